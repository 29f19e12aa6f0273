//! Activities for people to read. Whatever comes from others is escaped, so that nobody can drive somebody else's terminal.

use std::borrow::Cow;
use std::fmt::Write;

use serde::Deserialize;

use crate::Activity;

/// An activity as one line: `ann: hello` where it has a text, its JSON otherwise.
pub fn line(activity: &Activity) -> String {
    let late = if activity.late { " (late)" } else { "" };
    format!("{} {}{late}", name(&activity.user), content(activity))
}

/// The user's name with a colon, in a colour of their own where the terminal has colours.
fn name(user: &str) -> String {
    let hash = user.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    // The six colours between black and white, which are the ones that show on either background.
    let style = console::Style::new().bold().fg(console::Color::Color256(1 + (hash % 6) as u8));
    style.apply_to(format!("{}:", escape(user))).to_string()
}

/// What an activity says: its `content`; else its type and what its object is called or says (the vocabulary of Activity Streams
/// 2.0, W3C 2017); else all of it.
fn content(activity: &Activity) -> String {
    #[derive(Deserialize)]
    struct Readable<'a> {
        #[serde(borrow, default)]
        content: Option<Cow<'a, str>>,
        #[serde(borrow, default, rename = "type")]
        kind: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        object: Option<Object<'a>>,
    }
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow, alias = "summary", alias = "name")]
        content: Cow<'a, str>,
    }
    match serde_json::from_str(&activity.json) {
        Ok(Readable { content: Some(content), .. }) => escape(&content).into_owned(),
        Ok(Readable { kind: Some(kind), object: Some(Object { content }), .. }) => {
            format!("{}: {}", escape(&kind), escape(&content))
        }
        _ => escape(&without_author(activity)).into_owned(),
    }
}

/// The JSON without the author, who is named in front of it, where it is written as workers write it.
fn without_author(activity: &Activity) -> Cow<'_, str> {
    let author = serde_json::to_string(&activity.user).expect("a string serialises");
    let rest =
        activity.json.strip_prefix("{\"authenticated_user\":").and_then(|rest| rest.strip_prefix(&author));
    match rest {
        Some(rest) => Cow::Owned(format!("{{{}", rest.strip_prefix(',').unwrap_or(rest))),
        None => Cow::Borrowed(&activity.json),
    }
}

/// The text with everything spelt out that a terminal would obey or that would reorder the line: control characters, line and
/// paragraph separators, and the marks that change the direction of writing.
pub fn escape(text: &str) -> Cow<'_, str> {
    let dangerous = |c: char| {
        c.is_control()
            || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            c if dangerous(c) => write!(safe, "\\u{:04x}", u32::from(c)).expect("a String takes all"),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(user: &str, json: &str) -> String {
        let activity = Activity { user: user.to_owned(), json: json.to_owned(), ..Activity::default() };
        console::strip_ansi_codes(&line(&activity)).into_owned()
    }

    #[test]
    fn a_text_is_shown_as_text_and_anything_else_as_json() {
        assert_eq!(
            shown("ann", r#"{"authenticated_user":"ann","type":"Note","content":"héllo 🦀"}"#),
            "ann: héllo 🦀"
        );
        assert_eq!(
            shown("ann", r#"{"authenticated_user":"ann","content":{"x":1}}"#),
            r#"ann: {"content":{"x":1}}"#
        );
        assert_eq!(
            shown("ann", r#"{"type":"Commit","object":{"id":7,"summary":"Fix it"}}"#),
            "ann: Commit: Fix it"
        );
        assert_eq!(shown("ann", r#"{"type":"Move","object":"e4"}"#), r#"ann: {"type":"Move","object":"e4"}"#);
        assert_eq!(shown("ann", r#"{"authenticated_user":"ann"}"#), "ann: {}");
        assert_eq!(shown("bob", r#"{"a":1}"#), r#"bob: {"a":1}"#);
    }

    #[test]
    fn nobody_drives_anothers_terminal() {
        // Clearing the screen, setting the title, C1's own CSI, DEL, and turning the line round.
        let attack = "a\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{7f}\u{202e}b\r\nc";
        let escaped = r"a\u001b[2J\u001b]0;x\u0007\u009b31m\u007f\u202eb\u000d\nc";
        assert_eq!(escape(attack), escaped);
        let json = serde_json::json!({"authenticated_user": attack, "content": attack}).to_string();
        assert_eq!(shown(attack, &json), format!("{escaped}: {escaped}"));
        // In JSON that is shown as JSON, C1 and DEL may stand raw.
        assert_eq!(shown("eve", "{\"a\":\"\u{9b}2J\u{7f}\"}"), "eve: {\"a\":\"\\u009b2J\\u007f\"}");
    }
}
