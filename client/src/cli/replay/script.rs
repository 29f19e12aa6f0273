//! The file to replay: who sends what, in which order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use common::user::Username;
use common::wire::Activity;
use flate2::bufread::MultiGzDecoder;
use serde_json::value::RawValue;

use crate::cli::send;

/// Who sends what.
#[derive(Debug)]
pub(super) struct Script {
    /// In the order of their first activity.
    pub(super) users: Vec<Username>,
    /// The sender's index in `users`, and what is sent.
    pub(super) activities: Vec<(usize, Activity)>,
}

/// Reads a script, compressed or not, from a file or, where that is called `-`, from standard input. All of it lies in memory afterwards.
pub(super) fn read(path: &Path, user_from: Option<&str>, username: &Username) -> Result<Script, String> {
    let readable = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(path).map_err(readable)?),
    };
    let mut file = BufReader::new(file);
    // By its first bytes, whatever its name: RFC 1952, 2.3.1.
    let compressed = file.fill_buf().map_err(readable)?.starts_with(&[0x1f, 0x8b]);
    let script = if compressed {
        parse(BufReader::new(MultiGzDecoder::new(file)), user_from, username)
    } else {
        parse(file, user_from, username)
    };
    script.map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(input: impl BufRead, user_from: Option<&str>, username: &Username) -> Result<Script, String> {
    let mut script = Script { users: Vec::new(), activities: Vec::new() };
    let mut indices = BTreeMap::new();
    for (index, line) in input.lines().enumerate() {
        let at = |error: String| format!("line {}: {error}", index + 1);
        let line = line.map_err(|error| at(error.to_string()))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let activity = send::parse(&line).map_err(at)?;
        let sender = match user_from {
            Some(key) => sender(&activity, key).map_err(at)?,
            None => username.clone(),
        };
        let index = *indices.entry(sender).or_insert_with_key(|sender| {
            script.users.push(sender.clone());
            script.users.len() - 1
        });
        script.activities.push((index, activity));
    }
    if script.activities.is_empty() { Err("there is no activity in it".to_owned()) } else { Ok(script) }
}

/// The user that an activity's `key` names: a string as it is, a number or a boolean as written.
fn sender(activity: &Activity, key: &str) -> Result<Username, String> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(activity.get()).map_err(|error| error.to_string())?;
    let value = fields.get(key).ok_or_else(|| format!("there is no {key:?} to name its user"))?;
    let name = match value.get().as_bytes()[0] {
        b'"' => serde_json::from_str(value.get()).map_err(|error| error.to_string())?,
        b'{' | b'[' => return Err(format!("its {key:?} is no name")),
        _ => value.get().to_owned(),
    };
    name.parse().map_err(|error| format!("its {key:?}, {name:?}, is no name: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn parsed(text: &str, key: Option<&str>) -> Result<Script, String> {
        parse(text.as_bytes(), key, &"ann".parse().unwrap())
    }

    #[test]
    fn each_value_of_the_key_is_a_user_and_the_order_is_kept() {
        let text = "{\"actor\":\"b\",\"n\":1}\n\n{\"actor\":7}\r\n{\"actor\":\"b\",\"n\":2}\n";
        let script = parsed(text, Some("actor")).unwrap();
        assert_eq!(script.users.iter().map(Username::as_str).collect::<Vec<_>>(), ["b", "7"]);
        let order: Vec<(usize, &str)> =
            script.activities.iter().map(|(user, sent)| (*user, sent.get())).collect();
        assert_eq!(
            order,
            [(0, "{\"actor\":\"b\",\"n\":1}"), (1, "{\"actor\":7}"), (0, "{\"actor\":\"b\",\"n\":2}")]
        );
    }

    #[test]
    fn without_a_key_everything_is_sent_as_one_user() {
        assert_eq!(parsed("{}\n{}", None).unwrap().users, ["ann".parse().unwrap()]);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        assert!(parsed("{}\n\nno\n", None).unwrap_err().starts_with("line 3: not a JSON object"));
        assert_eq!(
            parsed("{\"a\":1}", Some("actor")).unwrap_err(),
            "line 1: there is no \"actor\" to name its user"
        );
        assert_eq!(parsed("{\"actor\":[1]}", Some("actor")).unwrap_err(), "line 1: its \"actor\" is no name");
        assert!(
            parsed("{\"actor\":\"a\\nb\"}", Some("actor")).unwrap_err().contains("no control characters")
        );
        assert_eq!(parsed("\n", None).unwrap_err(), "there is no activity in it");
    }

    #[test]
    fn a_compressed_file_is_recognised_whatever_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("activities");
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        encoder.write_all(b"{\"n\":1}\n{\"n\":2}\n").unwrap();
        encoder.finish().unwrap();
        assert_eq!(read(&path, None, &"ann".parse().unwrap()).unwrap().activities.len(), 2);
        let missing = read(&directory.path().join("nothing"), None, &"ann".parse().unwrap());
        assert!(missing.unwrap_err().starts_with("cannot read "));
    }
}
