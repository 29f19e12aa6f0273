//! A file that a result is written to at the end: whole or not at all, and what was there before stays until then. That it can be written
//! is known at the beginning.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// What files are created with, where the user's mask allows it.
const MODE: u32 = 0o666;

#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Takes the place of the file when it is written; gone if it never is.
    Beside(NamedTempFile),
    /// It is no file, but for example a terminal.
    Itself(File),
}

impl Output {
    /// # Errors
    /// A sentence, where it cannot be written.
    pub(crate) fn new(path: &Path) -> Result<Self, String> {
        let trouble = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        // Where it is a link, the file at its end.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let place = match OpenOptions::new().write(true).open(&path) {
            Ok(file) if !file.metadata().map_err(trouble)?.is_file() => Place::Itself(file),
            Err(error) if path.exists() => return Err(trouble(error)),
            _ => {
                let directory = path.parent().filter(|directory| *directory != Path::new(""));
                let mut builder = tempfile::Builder::new();
                builder.prefix(".").suffix(".part").permissions(Permissions::from_mode(MODE));
                Place::Beside(builder.tempfile_in(directory.unwrap_or(Path::new("."))).map_err(trouble)?)
            }
        };
        Ok(Output { path, place })
    }

    /// # Errors
    /// A sentence.
    pub(crate) fn write(self, text: &str) -> Result<(), String> {
        let written = match self.place {
            Place::Itself(mut file) => file.write_all(text.as_bytes()),
            Place::Beside(mut file) => file
                .write_all(text.as_bytes())
                .and_then(|()| file.persist(&self.path).map(drop).map_err(|error| error.error)),
        };
        written.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_there_stays_until_all_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table");
        fs::write(&path, "the last one").unwrap();
        drop(Output::new(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "the last one");
        let output = Output::new(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "the last one");
        output.write("this one").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "this one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_known_at_the_beginning() {
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path().join("nowhere/table"), directory.path().to_owned()] {
            let error = Output::new(&path).unwrap_err();
            assert!(error.contains("cannot write") && error.contains(&*path.to_string_lossy()), "{error}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_file_is_written_and_not_replaced() {
        Output::new(Path::new("/dev/null")).unwrap().write("gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
