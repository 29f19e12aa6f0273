//! Standard output, for results.

use std::io::{ErrorKind, Write};

/// Prints a text as it is, and line ends where it has them.
///
/// # Errors
/// A sentence, where it cannot be written: a full disk, say. Whoever has stopped reading (`head`, say) has seen enough.
pub(super) fn print(text: &str) -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot print: {error}")),
        _ => Ok(()),
    }
}
