//! Holds `docs/protocol.md` against the types, and the types against arbitrary messages and lines.
//!
//! The page is a promise to people who write clients and workers in other languages. What these tests can compare, they compare:
//! commands, fields, their types, which are required, every example, the other spellings, the limits. What a sentence says they
//! cannot.

mod arbitrary;
mod bounds;
mod page;
mod samples;

use std::collections::{BTreeMap, BTreeSet};

use common::limits;
use common::session::SessionKey;
use common::user::Username;
use common::wire::{ActivityRetrieved, Message};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;

#[test]
fn every_command_has_one_heading_and_no_heading_is_of_anything_else() {
    let mut described: Vec<_> = page::messages().iter().map(|section| section.heading).collect();
    let mut known = Message::COMMANDS.to_vec();
    described.sort_unstable();
    known.sort_unstable();
    assert_eq!(described, known);
}

#[test]
fn every_example_and_transcript_is_what_is_sent_byte_for_byte() {
    let lines = page::lines(page::PAGE);
    assert!(lines.len() > Message::COMMANDS.len(), "the page's examples were not found");
    for line in lines {
        let (message, epoch) =
            Message::decode_with_epoch(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
        let mut again = Vec::new();
        message.encode_at(epoch.as_ref(), &mut again);
        assert_eq!(String::from_utf8(again).unwrap().trim_end(), line);
    }
}

#[test]
fn on_the_page_servers_tell_each_other_their_epoch_and_nobody_else() {
    let read = |line: &str| Message::decode_with_epoch(line.as_bytes()).unwrap();
    // Who starts for the first time has heard of none, and who is not let in is told none.
    let may_lack_it = |message: &Message| {
        let refusal =
            matches!(message, Message::AuthenticationFail(_) | Message::BackupAuthenticationFail(_));
        refusal || matches!(message, Message::Authenticate(_) | Message::BackupAuthenticate(_))
    };
    let steps = page::transcripts();
    assert!(!steps.is_empty(), "the page's transcripts were not found");
    for step in steps {
        let outsider = |party: &&str| party.contains("client") || party.contains("operator");
        let (message, epoch) = read(step.line);
        if step.parties.iter().any(outsider) || matches!(message, Message::ActivityBroadcast(_)) {
            assert_eq!(epoch, None, "{}", step.line);
        } else {
            assert!(epoch.is_some() || may_lack_it(&message), "{}", step.line);
        }
    }
    for chapter in ["Among servers", "Among coordinators"] {
        for line in page::lines(page::chapter(chapter).body) {
            let (message, epoch) = read(line);
            assert!(epoch.is_some() || may_lack_it(&message), "{line}");
        }
    }
}

#[test]
fn every_message_has_an_example_of_itself() {
    for section in page::messages() {
        let lines = page::lines(section.body);
        assert!(!lines.is_empty(), "{} has no example", section.heading);
        for line in lines {
            assert_eq!(Message::decode(line.as_bytes()).unwrap().command(), section.heading);
        }
    }
}

#[test]
fn every_field_table_names_the_fields_their_types_and_which_are_required() {
    for sample in samples::all() {
        let command = sample.command();
        let section = page::messages().into_iter().find(|section| section.heading == command);
        let body = section.unwrap_or_else(|| panic!("{command} has no heading")).body;
        let described: BTreeSet<_> = page::rows(body, "field")
            .iter()
            .map(|row| {
                let kind = row[1].split([' ', ',', ':']).next().unwrap_or_default();
                (row[0].to_owned(), kind.to_owned(), row[2].to_owned())
            })
            .collect();
        let whole: Value = serde_json::from_slice(&sample.encode()).unwrap();
        let typed: BTreeSet<_> = fields(&whole)
            .into_iter()
            .map(|(path, kind)| {
                let required = Message::decode(without(&whole, &path).to_string().as_bytes()).is_err();
                // A server's id has no angle brackets; the page has them around what stands for any.
                let path = path.replace(&format!(".{}", samples::id()), ".<id>");
                (path, kind.to_owned(), if required { "yes" } else { "no" }.to_owned())
            })
            .collect();
        assert_eq!(described, typed, "{command}: the page's table on the left, the type on the right");
    }
}

#[test]
fn no_message_has_a_field_of_its_own_where_its_epoch_stands() {
    for sample in samples::all() {
        let whole: Value = serde_json::from_slice(&sample.encode()).unwrap();
        assert!(whole.get("epoch").is_none(), "{} has a field called epoch", sample.command());
    }
}

#[test]
fn the_samples_and_the_arbitrary_messages_leave_no_command_out() {
    let samples: Vec<_> = samples::all().iter().map(Message::command).collect();
    assert_eq!(samples, Message::COMMANDS);
    let mut runner = TestRunner::deterministic();
    let drawn = arbitrary::kinds();
    let drawn: Vec<_> =
        drawn.iter().map(|kind| kind.new_tree(&mut runner).unwrap().current().command()).collect();
    assert_eq!(drawn, Message::COMMANDS);
}

#[test]
fn the_session_in_the_examples_is_that_of_the_key_in_the_examples() {
    let key: SessionKey = "q83vEjRWeJq83vASNFZ4mg".parse().unwrap();
    let session = key.session(&"ann".parse().unwrap());
    assert!(page::PAGE.contains(&serde_json::to_string(&key).unwrap()));
    assert!(page::PAGE.contains(&serde_json::to_string(&session).unwrap()));
}

#[test]
fn every_other_spelling_is_read_as_the_page_says() {
    let rows = page::rows(page::chapter("Other spellings").body, "written");
    let mut written = BTreeSet::new();
    for row in &rows {
        let [other, canonical] = [row[0], row[1]]
            .map(|line| Message::decode(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}")));
        assert_eq!(other, canonical, "{}", row[0]);
        assert_ne!(row[0], row[1], "a spelling that is no other");
        let envelope: BTreeMap<String, Value> = serde_json::from_str(row[0]).unwrap();
        written.insert(envelope["command"].as_str().unwrap().to_owned());
    }
    for (spelling, command) in Message::SPELLINGS {
        assert!(written.contains(*spelling), "{spelling}, another spelling of {command}, is not on the page");
    }
}

#[test]
fn every_limit_is_on_the_page_with_its_default() {
    let described: BTreeMap<_, _> = page::rows(page::chapter("Limits").body, "limit")
        .into_iter()
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    let source = include_str!("../../src/limits.rs");
    let names = source.lines().filter_map(|line| Some(line.strip_prefix("pub const ")?.split_once(':')?.0));
    let names: BTreeSet<_> = names.map(str::to_owned).collect();
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), names);
    for (name, value) in bounds::all() {
        assert_eq!(described[name], value, "{name}");
    }
    assert_eq!(bounds::all().len(), names.len(), "every limit is compared");
}

#[test]
fn the_deepest_line_that_is_accepted_can_be_read_by_an_ordinary_parser() {
    let nested = |levels: usize| {
        // The message is one of them.
        let inner = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"command":"LOGOUT","a":{inner}}}"#)
    };
    let deepest = nested(limits::NESTING);
    assert!(Message::decode(deepest.as_bytes()).is_ok());
    assert!(serde_json::from_str::<Value>(&deepest).is_ok());
    assert!(Message::decode(nested(limits::NESTING + 1).as_bytes()).is_err());
}

/// Otherwise a client could publish what no worker can be told again, and what parts two of them whenever they catch up.
#[test]
fn the_deepest_activity_that_is_accepted_can_be_retrieved() {
    let nested = |levels: usize| {
        // The activity is one of them.
        let inner = format!("{}{}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        format!(r#"{{"command":"ACTIVITY_MESSAGE","activity":{{"a":{inner}}}}}"#)
    };
    let deepest = Message::decode(nested(limits::ACTIVITY_NESTING).as_bytes());
    let Ok(Message::ActivityMessage(deepest)) = deepest else { panic!("{deepest:?}") };
    let retrieved = ActivityRetrieved { request: 0, activities: vec![deepest.activity.into()], done: true };
    let line = Message::from(retrieved.clone()).encode();
    assert_eq!(Message::decode(line.trim_ascii_end()), Ok(retrieved.into()));
    assert!(Message::decode(nested(limits::ACTIVITY_NESTING + 1).as_bytes()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_message_is_one_line_that_decodes_to_itself(message in arbitrary::message()) {
        let line = message.encode();
        prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        prop_assert_eq!(Message::decode(line.strip_suffix(b"\n").unwrap()), Ok(message));
    }

    #[test]
    fn every_message_carries_every_epoch_and_nothing_else_of_it_changes(
        message in arbitrary::message(),
        epoch in arbitrary::epoch(),
    ) {
        let mut line = Vec::new();
        message.encode_at(Some(&epoch), &mut line);
        prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let line = line.strip_suffix(b"\n").unwrap();
        prop_assert_eq!(Message::decode(line), Ok(message.clone()));
        prop_assert_eq!(Message::decode_with_epoch(line), Ok((message.clone(), Some(epoch))));
        let plain = message.encode();
        prop_assert_eq!(Message::decode_with_epoch(plain.strip_suffix(b"\n").unwrap()), Ok((message, None)));
    }

    #[test]
    fn an_epoch_that_is_none_is_an_unknown_key_whatever_it_is(
        message in arbitrary::message(),
        foreign in arbitrary::json(),
    ) {
        let envelope = format!(r#"{{"epoch":{foreign},"#);
        let line = String::from_utf8(message.encode()).unwrap().replacen('{', &envelope, 1);
        let epoch = foreign.as_str().and_then(|text| text.parse().ok());
        prop_assert_eq!(Message::decode_with_epoch(line.trim_end().as_bytes()), Ok((message, epoch)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        stands_or_is_refused(&line)?;
    }

    #[test]
    fn a_damaged_line_never_panics(line in arbitrary::damaged_line()) {
        stands_or_is_refused(&line)?;
    }
}

/// A line is refused, or it is a message that others understand as we do, and whose sender nobody can forge.
fn stands_or_is_refused(line: &[u8]) -> Result<(), TestCaseError> {
    let Ok(message) = Message::decode(line) else { return Ok(()) };
    let again = message.encode();
    let again = Message::decode(again.strip_suffix(b"\n").unwrap());
    prop_assert_eq!(again.as_ref(), Ok(&message));
    if let Message::ActivityMessage(body) = &message {
        let eve: Username = "eve".parse().unwrap();
        let activity = body.activity.authenticated(&eve);
        // Whether a reader takes the first or the last of several keys.
        prop_assert!(activity.get().starts_with(r#"{"authenticated_user":"eve""#), "{}", activity.get());
        if let Ok(read) = serde_json::from_str::<Value>(activity.get()) {
            prop_assert_eq!(&read["authenticated_user"], "eve");
        }
    }
    Ok(())
}

/// Every field of a message by its path, and its JSON type. What an activity holds is none of the protocol's.
fn fields(whole: &Value) -> BTreeMap<String, &'static str> {
    fn walk(value: &Value, path: &str, found: &mut BTreeMap<String, &'static str>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    found.insert(path.clone(), kind(value));
                    walk(value, &path, found);
                }
            }
            Value::Array(items) => walk(&items[0], &format!("{path}[]"), found),
            _ => {}
        }
    }
    let mut found = BTreeMap::new();
    walk(whole, "", &mut found);
    found.remove("command");
    found
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The message without the field at `path`.
fn without(whole: &Value, path: &str) -> Value {
    let mut changed = whole.clone();
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut parent = &mut changed;
    for step in parents.split('.').filter(|step| !step.is_empty()) {
        parent = match step.strip_suffix("[]") {
            Some(step) => &mut parent[step][0],
            None => &mut parent[step],
        };
    }
    let removed = parent.as_object_mut().and_then(|object| object.remove(last));
    assert!(removed.is_some(), "{path} is not there");
    changed
}
