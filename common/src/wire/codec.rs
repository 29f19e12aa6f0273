//! Bytes to lines, and what can be wrong with them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::limits;

/// Why a line is no message. The text is for the peer that sent it: it goes into INVALID_MESSAGE's `info`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No line end within the limit.
    #[error("the line is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The unfinished lines of all connections together have reached their bound.
    #[error("too many long lines are arriving at once: send shorter ones, or try again in a moment")]
    Crowded,
    /// Bytes that are no text.
    #[error("the line is not valid UTF-8")]
    NotUtf8,
    /// Text that is no JSON.
    #[error("the line is not valid JSON: {0}")]
    NotJson(String),
    /// JSON, but a number, a list, …
    #[error("the line is JSON but not an object")]
    NotAnObject,
    /// More than [`limits::NESTING`] levels.
    #[error("the line nests deeper than {max} levels", max = limits::NESTING)]
    TooDeep,
    /// An ACTIVITY_MESSAGE whose activity has more than [`limits::ACTIVITY_NESTING`] levels.
    #[error("the activity nests deeper than {max} levels", max = limits::ACTIVITY_NESTING)]
    ActivityTooDeep,
    /// An object that does not say what it is.
    #[error("the object has no \"command\", or a command that is null")]
    NoCommand,
    /// A command that nobody knows.
    #[error("unknown command {0:?}")]
    UnknownCommand(String),
    /// A field is missing, doubled or of the wrong type.
    #[error("{command}: {error}")]
    Fields {
        /// Which command.
        command: &'static str,
        /// What is wrong with its fields.
        error: String,
    },
}

impl WireError {
    /// An unknown command, cut short: the peer chose its length.
    pub(super) fn unknown(command: &str) -> Self {
        WireError::UnknownCommand(command.chars().take(40).collect())
    }
}

/// Refuses a line that nests too deep, before any parser sees it.
pub(super) fn check_nesting(line: &str) -> Result<(), WireError> {
    if nests_within(line, limits::NESTING) { Ok(()) } else { Err(WireError::TooDeep) }
}

/// Whether arrays and objects nest at most so many levels. Brackets inside strings do not count.
pub(super) fn nests_within(text: &str, levels: usize) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() <= 2 * levels {
        // Too short for so many brackets that are closed again, and what is not closed is refused.
        return true;
    }
    // As many opening brackets as levels at the most; most texts have far fewer.
    if memchr::memchr2_iter(b'{', b'[', bytes).count() <= levels {
        return true;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > levels {
                    return false;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// What the unfinished lines of all connections of a process may hold together. Clones share one purse.
#[derive(Clone, Debug)]
pub struct PartialBudget {
    left: Arc<AtomicUsize>,
}

impl PartialBudget {
    /// A purse of `bytes`.
    pub fn new(bytes: usize) -> Self {
        PartialBudget { left: Arc::new(AtomicUsize::new(bytes)) }
    }

    fn take(&self, bytes: usize) -> bool {
        bytes == 0 || self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.left.fetch_add(bytes, Relaxed);
        }
    }
}

impl Default for PartialBudget {
    fn default() -> Self {
        PartialBudget::new(limits::PARTIAL_LINES_BYTES)
    }
}

/// Cuts a stream of bytes into lines. Lines end in LF; a CR before it is dropped. A line that lies whole in one read is not
/// copied.
#[derive(Debug)]
pub struct Lines {
    partial: Vec<u8>,
    /// What of `partial` the budget was charged for.
    charged: usize,
    limit: usize,
    budget: PartialBudget,
}

impl Lines {
    /// A cutter for lines of at most `limit` bytes.
    pub fn new(limit: usize, budget: PartialBudget) -> Self {
        Lines { partial: Vec::new(), charged: 0, limit, budget }
    }

    /// Takes what was read and calls `each` with every line that it completes, in order. A line that is not complete yet is no
    /// error; it is kept. Where `each` breaks off, the rest of `input` is forgotten: the link is being closed.
    ///
    /// # Errors
    /// [`WireError::TooLong`] as soon as a line passes the limit, finished or not; [`WireError::Crowded`] when the budget is
    /// spent. The stream is useless afterwards.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), WireError> {
        while let Some(end) = memchr::memchr(b'\n', input) {
            let (line, rest) = (&input[..end], &input[end + 1..]);
            input = rest;
            if self.partial.len() + line.len() > self.limit + usize::from(line.ends_with(b"\r")) {
                return Err(WireError::TooLong { limit: self.limit });
            }
            let flow = if self.partial.is_empty() {
                each(line.strip_suffix(b"\r").unwrap_or(line))
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                self.budget.give_back(std::mem::take(&mut self.charged));
                whole.extend_from_slice(line);
                each(whole.strip_suffix(b"\r").unwrap_or(&whole))
            };
            if flow.is_break() {
                return Ok(());
            }
        }
        self.keep(input)
    }

    /// Bytes of the line that has begun and not ended.
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        // One more byte than the limit may be the CR of a line end.
        if self.partial.len() + bytes.len() > self.limit + 1 {
            return Err(WireError::TooLong { limit: self.limit });
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let total = self.partial.len() + bytes.len();
        let charge = total.saturating_sub(limits::PARTIAL_LINE_FREE_BYTES).saturating_sub(self.charged);
        if !self.budget.take(charge) {
            return Err(WireError::Crowded);
        }
        self.charged += charge;
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.budget.give_back(self.charged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]], limit: usize) -> Result<Vec<Vec<u8>>, WireError> {
        let mut lines = Lines::new(limit, PartialBudget::default());
        let mut found = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |line| {
                found.push(line.to_vec());
                ControlFlow::Continue(())
            })?;
        }
        Ok(found)
    }

    fn keep(lines: &mut Lines, bytes: &[u8]) -> Result<(), WireError> {
        lines.feed(bytes, |_| ControlFlow::Continue(()))
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let stream = b"one\r\ntwo\n\nfour and more\nunfinished";
        let whole = cut(&[stream], 100).unwrap();
        assert_eq!(whole, [&b"one"[..], b"two", b"", b"four and more"]);
        for size in 1..stream.len() {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(cut(&chunks, 100).unwrap(), whole, "in chunks of {size}");
        }
    }

    #[test]
    fn a_line_is_refused_as_soon_as_it_passes_the_limit() {
        assert!(cut(&[b"1234\n", b"1234\r\n"], 4).is_ok());
        assert_eq!(cut(&[b"12345\n"], 4), Err(WireError::TooLong { limit: 4 }));
        assert_eq!(cut(&[b"123", b"456"], 4), Err(WireError::TooLong { limit: 4 }));
        assert_eq!(cut(&[b"123", b"45\n"], 4), Err(WireError::TooLong { limit: 4 }));
    }

    #[test]
    fn unfinished_lines_share_one_budget_and_give_it_back() {
        let budget = PartialBudget::new(10_000);
        let (mut first, mut second) =
            (Lines::new(1 << 20, budget.clone()), Lines::new(1 << 20, budget.clone()));
        let long = vec![b'x'; limits::PARTIAL_LINE_FREE_BYTES + 6_000];
        assert_eq!(keep(&mut first, &long), Ok(()));
        assert_eq!(keep(&mut second, &long), Err(WireError::Crowded));
        // What stays within the free allowance is never refused.
        let mut third = Lines::new(1 << 20, budget.clone());
        assert_eq!(keep(&mut third, &long[..4_000]), Ok(()));
        drop(first);
        let mut fourth = Lines::new(1 << 20, budget);
        assert_eq!(keep(&mut fourth, &long), Ok(()));
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(check_nesting(&deep(limits::NESTING)), Ok(()));
        assert_eq!(check_nesting(&deep(limits::NESTING + 1)), Err(WireError::TooDeep));
        assert_eq!(check_nesting(&format!("{{\"a\":\"{}\\\"[\"}}", "[".repeat(1_000))), Ok(()));
        assert_eq!(check_nesting(&"{}".repeat(1_000)), Ok(()));
    }
}
