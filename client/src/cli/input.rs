//! Standard input, line by line.

use std::io::{BufRead, Read};
use std::thread;

use common::limits;
use tokio::sync::mpsc;

use crate::core::Unfit;

/// Lines that may wait between the thread that reads them and whoever takes them.
const WAITING: usize = 64;

/// The lines of standard input with their numbers, from 1, without their line ends; empty ones are left out. A line that is no text, or too
/// long for an activity, comes as an error that says so.
pub(super) fn lines() -> mpsc::Receiver<(u64, Result<String, String>)> {
    let (lines, received) = mpsc::channel(WAITING);
    // Reading blocks, and the process must be able to end meanwhile: a thread of its own, which nobody waits for.
    thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        for number in 1.. {
            match next_line(&mut input) {
                Ok(None) => return,
                Ok(Some(line)) if line.trim_ascii().is_empty() => {}
                Ok(Some(line)) => {
                    let text = text(line);
                    if lines.blocking_send((number, text)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    // Whoever takes the lines hears it, or is gone.
                    let _ = lines.blocking_send((number, Err(error.to_string())));
                    return;
                }
            }
        }
    });
    received
}

/// A text without the white space around it.
///
/// # Errors
/// It is longer than any activity.
pub(super) fn short_enough(text: &str) -> Result<&str, String> {
    let text = text.trim_ascii();
    if text.len() > limits::LINE_BYTES { Err(Unfit::TooLong.to_string()) } else { Ok(text) }
}

/// A line as text. The end of one that was cut may be half a character.
fn text(line: Vec<u8>) -> Result<String, String> {
    let is_cut = line.trim_ascii().len() > limits::LINE_BYTES;
    String::from_utf8(line).map_err(|_| match is_cut {
        true => Unfit::TooLong.to_string(),
        false => "not valid UTF-8".to_owned(),
    })
}

/// Reads a line, its end included. One longer than any activity is cut: it would not be sent whole anyway.
fn next_line(input: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = limits::LINE_BYTES as u64 + 2;
    input.by_ref().take(limit).read_until(b'\n', &mut line)?;
    if line.len() as u64 == limit && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    Ok((!line.is_empty()).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_line_is_cut_and_the_next_one_is_whole() {
        let text = format!("a\n{}\nb", "x".repeat(3 * limits::LINE_BYTES));
        let mut input = text.as_bytes();
        let mut lengths = Vec::new();
        while let Some(line) = next_line(&mut input).unwrap() {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [2, limits::LINE_BYTES + 2, 1]);
    }

    #[test]
    fn a_line_that_was_cut_within_a_character_is_too_long_and_not_of_another_encoding() {
        let cut = next_line(&mut "é".repeat(limits::LINE_BYTES).as_bytes()).unwrap().unwrap();
        assert_eq!(text(cut[..cut.len() - 1].to_vec()).unwrap_err(), "longer than 1048576 bytes");
        assert_eq!(text(b"\xff".to_vec()).unwrap_err(), "not valid UTF-8");
    }
}
