//! The file that users are exported to and imported from.
//!
//! It is text, one JSON object a line, so that other programs can write and read it: first a header (what it is, of which network, when
//! it was written), then a registration a line, removed ones included, last how many they were and the SHA-256 (FIPS 180-4) of all
//! bytes before that line.
//!
//! **Invariants.** A file is there whole or not at all: it is written under another name, synced, and moved into place. A reader's
//! last item comes after the checksum has been compared; who acts before has acted on hearsay.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use common::time::WallMillis;
use common::wire::Registration;
use common::{limits, password};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// What the first line says that it is.
const FORMAT: &str = "freshet-users";

/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u32,
    /// The network whose users these are.
    pub(super) network: String,
    /// When they were exported.
    exported: WallMillis,
}

/// The last line.
#[derive(Serialize, Deserialize)]
struct Trailer {
    count: u64,
    sha256: String,
}

/// Why a file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// Nothing is left of it; what was there before is untouched.
    #[error("cannot write {path}: {error}")]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A directory, a link, a device: moving a file to its place would destroy it.
    #[error("{0} is there and is no plain file: name another")]
    InTheWay(PathBuf),
    /// The operating system says no.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Something else altogether.
    #[error("{0} is no file of users that `coordinator export` has written")]
    Foreign(PathBuf),
    /// A newer version wrote it.
    #[error(
        "{path} was written by a newer version (format {found}, this one knows {VERSION}): use that version"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Its end is missing.
    #[error("{0} is cut off: its last line, with the checksum, is missing; use another copy of it")]
    CutOff(PathBuf),
    /// It is not what was written.
    #[error("{path} is damaged ({detail}): use another copy of it")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
}

/// Writes a file.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
    hash: Sha256,
    count: u64,
}

impl Writer {
    /// Begins a file that is to be at `path`. Until it is finished, what is there stays.
    pub(super) fn create(path: &Path, network: String, exported: WallMillis) -> Result<Self, FileError> {
        let (out, hash) = (BufWriter::with_capacity(1 << 20, draft(path)?), Sha256::new());
        let mut writer = Writer { path: path.to_owned(), out, hash, count: 0 };
        writer.line(&Header { format: FORMAT.to_owned(), version: VERSION, network, exported })?;
        Ok(writer)
    }

    /// Adds a registration.
    pub(super) fn add(&mut self, registration: &Registration) -> Result<(), FileError> {
        self.count += 1;
        self.line(registration)
    }

    /// Puts the file into its place, and returns when it survives a crash: how many registrations it holds.
    pub(super) fn finish(mut self) -> Result<u64, FileError> {
        let (count, sha256) = (self.count, hex(&self.hash.clone().finalize()));
        self.line(&Trailer { count, sha256 })?;
        let path = self.path;
        let place = || -> io::Result<()> {
            let draft = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
            draft.as_file().sync_all()?;
            draft.persist(&path)?;
            File::open(directory(&path))?.sync_all()
        };
        place().map_err(|error| FileError::Unwritable { path: path.clone(), error })?;
        Ok(count)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), FileError> {
        let mut bytes = serde_json::to_vec(line).expect("lines serialise");
        bytes.push(b'\n');
        self.hash.update(&bytes);
        let written = self.out.write_all(&bytes);
        written.map_err(|error| FileError::Unwritable { path: self.path.clone(), error })
    }
}

/// Reads a file: an iterator of its registrations that ends, without an error, after the checksum has been found right.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    input: BufReader<File>,
    hash: Sha256,
    count: u64,
    /// The bytes of a line, used again for the next.
    line: Vec<u8>,
    ended: bool,
}

impl Reader {
    /// Opens a file and reads its header.
    pub(super) fn open(path: &Path) -> Result<(Self, Header), FileError> {
        let file =
            File::open(path).map_err(|error| FileError::Unreadable { path: path.to_owned(), error })?;
        let mut reader = Reader {
            path: path.to_owned(),
            input: BufReader::with_capacity(1 << 20, file),
            hash: Sha256::new(),
            count: 0,
            line: Vec::new(),
            ended: false,
        };
        reader.read_line()?;
        let header =
            serde_json::from_slice::<Header>(&reader.line).ok().filter(|found| found.format == FORMAT);
        let header = header.ok_or_else(|| FileError::Foreign(path.to_owned()))?;
        if header.version > VERSION {
            return Err(FileError::Newer { path: path.to_owned(), found: header.version });
        }
        reader.hash.update(&reader.line);
        Ok((reader, header))
    }

    /// How many bytes the file has.
    pub(super) fn length(&self) -> u64 {
        self.input.get_ref().metadata().map_or(0, |found| found.len())
    }

    /// How many bytes the last line had.
    pub(super) fn line_length(&self) -> u64 {
        self.line.len() as u64
    }

    fn registration(&mut self) -> Result<Option<Registration>, FileError> {
        self.read_line()?;
        if self.line.last() != Some(&b'\n') {
            let too_long = self.line.len() == limits::LINE_BYTES;
            let damage = || self.damaged(format!("line {} is too long", self.count + 2));
            return Err(if too_long { damage() } else { FileError::CutOff(self.path.clone()) });
        }
        let rest = self.input.fill_buf();
        if rest.map_err(|error| FileError::Unreadable { path: self.path.clone(), error })?.is_empty() {
            return self.compare().map(|()| None);
        }
        self.hash.update(&self.line);
        self.count += 1;
        match parse(&self.line) {
            Ok(registration) => Ok(Some(registration)),
            Err(error) => Err(self.damaged(format!("line {}: {error}", self.count + 1))),
        }
    }

    /// Compares what the last line says with what has been read before it.
    fn compare(&self) -> Result<(), FileError> {
        let Ok(Trailer { count, sha256 }) = serde_json::from_slice(&self.line) else {
            return Err(FileError::CutOff(self.path.clone()));
        };
        if sha256 != hex(&self.hash.clone().finalize()) {
            return Err(self.damaged("its checksum is not that of what it holds".to_owned()));
        }
        if count != self.count {
            return Err(self.damaged(format!("it holds {} registrations and says {count}", self.count)));
        }
        Ok(())
    }

    fn read_line(&mut self) -> Result<(), FileError> {
        self.line.clear();
        let read = self.input.by_ref().take(limits::LINE_BYTES as u64).read_until(b'\n', &mut self.line);
        read.map(drop).map_err(|error| FileError::Unreadable { path: self.path.clone(), error })
    }

    fn damaged(&self, detail: String) -> FileError {
        FileError::Damaged { path: self.path.clone(), detail }
    }
}

impl Iterator for Reader {
    type Item = Result<Registration, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.registration().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// What a line says, where it is what may be kept: a name that can be registered, and an Argon2id hash.
fn parse(line: &[u8]) -> Result<Registration, String> {
    let registration: Registration = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let Registration { username, user } = &registration;
    if username.is_anonymous() {
        return Err("nobody can be registered as anonymous".to_owned());
    }
    if user.changed < user.registration {
        return Err("it changed before it was registered".to_owned());
    }
    match &user.secret {
        Some(hash) if !password::is_well_formed(hash) => Err("its secret is no Argon2id hash".to_owned()),
        _ => Ok(registration),
    }
}

/// Whether a file can be put at `path`, as far as can be told without doing so.
///
/// # Errors
/// What [`Writer::create`] would say.
pub(super) fn check_writable(path: &Path) -> Result<(), FileError> {
    draft(path).map(drop)
}

/// An empty file beside `path` that can take its place, and is gone where it does not.
fn draft(path: &Path) -> Result<NamedTempFile, FileError> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(FileError::InTheWay(path.to_owned()));
    }
    let draft = tempfile::Builder::new().prefix(".freshet-export-").tempfile_in(directory(path));
    draft.map_err(|error| FileError::Unwritable { path: path.to_owned(), error })
}

/// The directory that a file is in.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "users_file_tests.rs"]
mod tests;
