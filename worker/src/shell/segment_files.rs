//! The files of a log's segments: made, appended to, cut, read and removed.
//!
//! **Invariants.** Whatever a file holds, what makes sense of it is served, and what is wrong with it is said in the log. A file that does
//! not end well, because a write failed or the machine died, is cut to what makes sense before more is written to it. A segment is sealed
//! before the next one begins: so only the last one may lack its end, and of any other one it has been cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::limits::SESSIONS;
use tracing::{info, warn};

use crate::core::segment::{self, Contents, HEADER, Kept, SegmentId, Summary};

/// How much of a file's end is read to find out what is in it. Longer ones are read as a whole.
const TAIL: u64 = 64 << 10;

const EXTENSION: &str = "log";

/// The files of one log.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// The segment that was begun and is not sealed, by an earlier run where `growing` is none.
    unsealed: Option<SegmentId>,
    growing: Option<Growing>,
}

/// The segment that is written to.
#[derive(Debug)]
struct Growing {
    file: File,
    summary: Summary,
}

impl Files {
    /// The files in `directory`, which need not exist.
    pub(super) fn new(directory: PathBuf) -> Self {
        Files { directory, unsealed: None, growing: None }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What an earlier run left, in ascending order: with their frames those of the latest segments that together hold `memory` bytes.
    ///
    /// # Errors
    /// A sentence that says what to do, where a newer version wrote one of them.
    pub(super) fn restore(&mut self, memory: usize) -> Result<Vec<Kept>, String> {
        let segments = self.segments().unwrap_or_else(|error| {
            warn!("cannot read {}: {error}: what is kept there is not served", self.directory.display());
            Vec::new()
        });
        let (now, mut room) = (SystemTime::now(), memory);
        let last = segments.last().copied();
        let mut kept = Vec::with_capacity(segments.len());
        let mut sessions = 0;
        for segment in segments.into_iter().rev() {
            let path = self.path(segment);
            self.check_version(&path)?;
            let age = modified(&path).and_then(|at| now.duration_since(at).ok()).unwrap_or(Duration::ZERO);
            let sealed = if room == 0 { sealed(&path).ok().flatten() } else { None };
            let (mut summary, frames) = match sealed {
                Some(summary) => (summary, None),
                None => match fs::read(&path) {
                    Ok(bytes) if segment::is_foreign(&bytes) => {
                        foreign(&path);
                        Default::default()
                    }
                    Ok(bytes) => {
                        let contents = examine(&path, &bytes);
                        match segment::sealed(&bytes) {
                            Some(_) => {}
                            None if Some(segment) == last => {
                                cut(&path, &bytes, &contents);
                                self.unsealed = last;
                            }
                            None => mend(&path, &bytes, &contents),
                        }
                        (contents.summary, (room > 0).then_some(contents.frames))
                    }
                    Err(error) => {
                        unreadable(&path, &error);
                        Default::default()
                    }
                },
            };
            room = room.saturating_sub(summary.bytes);
            sessions += summary.sessions.len();
            if sessions > 2 * SESSIONS {
                // No more are remembered.
                summary.sessions.clear();
            }
            kept.push(Kept { segment, age, summary, frames });
        }
        kept.reverse();
        Ok(kept)
    }

    /// Writes `frames` to the end of a segment, and ends the one that was written to before.
    ///
    /// # Errors
    /// Where it cannot be written. It may be tried again.
    pub(super) fn append(&mut self, segment: SegmentId, frames: &[u8]) -> io::Result<()> {
        // What fails leaves nothing open: the next attempt looks at what there is.
        if let Some(previous) = self.unsealed.filter(|previous| *previous != segment) {
            let growing = self.growing.take();
            growing.map_or_else(|| self.begin(previous), Ok)?.seal()?;
            self.unsealed = None;
        }
        let mut growing = match self.growing.take() {
            Some(growing) => growing,
            None => self.begin(segment)?,
        };
        self.unsealed = Some(segment);
        let mut blocks = Vec::with_capacity(frames.len() + 64);
        segment::write_blocks(frames, &mut blocks);
        growing.file.write_all(&blocks)?;
        growing.summary.add(frames);
        self.growing = Some(growing);
        Ok(())
    }

    /// Returns when all that was written is on disk.
    ///
    /// # Errors
    /// Where that cannot be said.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.growing.as_ref().map_or(Ok(()), |growing| growing.file.sync_data())
    }

    /// What can be read of a segment's frames.
    pub(super) fn read(&self, segment: SegmentId) -> Vec<u8> {
        let path = self.path(segment);
        match fs::read(&path) {
            Ok(bytes) => examine(&path, &bytes).frames,
            Err(error) => {
                unreadable(&path, &error);
                Vec::new()
            }
        }
    }

    /// Removes a segment.
    pub(super) fn remove(&mut self, segment: SegmentId) {
        if self.unsealed.take_if(|unsealed| *unsealed == segment).is_some() {
            self.growing = None;
        }
        let path = self.path(segment);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!("cannot remove {}: {error}: it takes room that it should not", path.display());
            }
            _ => {}
        }
    }

    /// Fails where a newer version wrote a file.
    fn check_version(&self, path: &Path) -> Result<(), String> {
        let mut beginning = Vec::new();
        // What cannot be read is said later.
        drop(File::open(path).and_then(|file| file.take(64).read_to_end(&mut beginning)));
        match segment::version(&beginning) {
            Some(version) if version > segment::VERSION => Err(format!(
                "{} was written by a newer version of Freshet (its log is of version {version}, and this program reads {}): start that one, or \
                 move {} away; then this worker begins without the activities in it, and gets from other workers what they hold",
                path.display(),
                segment::VERSION,
                self.directory.display()
            )),
            _ => Ok(()),
        }
    }

    fn path(&self, segment: SegmentId) -> PathBuf {
        self.directory.join(segment.to_string()).with_extension(EXTENSION)
    }

    fn segments(&self) -> io::Result<Vec<SegmentId>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut segments = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.')?.parse().ok());
            // A name that we would not give is somebody else's.
            let ours = number.map(SegmentId).filter(|segment| self.path(*segment).file_name() == Some(&name));
            segments.extend(ours);
        }
        segments.sort();
        Ok(segments)
    }

    /// Opens a segment to write to its end.
    fn begin(&self, segment: SegmentId) -> io::Result<Growing> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        builder.create(&self.directory)?;
        let mut file = options.open(self.path(segment))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let contents = segment::read(&bytes);
        file.set_len(contents.whole as u64)?;
        file.seek(SeekFrom::Start(contents.whole as u64))?;
        if contents.whole == 0 {
            file.write_all(HEADER)?;
            File::open(&self.directory)?.sync_all()?;
        }
        Ok(Growing { file, summary: contents.summary })
    }
}

impl Growing {
    /// Nothing will be added to it.
    fn seal(mut self) -> io::Result<()> {
        self.file.write_all(&segment::seal(&self.summary))?;
        self.file.sync_all()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// What is in a file, where its end says so.
fn sealed(path: &Path) -> io::Result<Option<Summary>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(segment::sealed(&tail).filter(|summary| summary.bytes as u64 <= length))
}

/// Reads a segment, and says what is wrong with it.
fn examine(path: &Path, bytes: &[u8]) -> Contents {
    let contents = segment::read(bytes);
    if contents.damaged > 0 {
        warn!(
            "{} is damaged: {} bytes of it make no sense. The {} other activities in it are served; the lost ones come from other workers, \
             as far as they have them. Nothing needs to be done, but if it happens again, check the disk",
            path.display(),
            contents.damaged,
            contents.summary.frames
        );
    }
    contents
}

fn unreadable(path: &Path, error: &io::Error) {
    warn!(
        "cannot read {}: {error}: the activities in it come from other workers, as far as they have them; see to it that this worker may \
         read the file",
        path.display()
    );
}

fn foreign(path: &Path) {
    warn!(
        "{} is no log that this version can read, and is left alone until --retain-age has passed: the activities in it come from other \
         workers, as far as they have them",
        path.display()
    );
}

/// Cuts what was being written when the worker or its machine stopped.
fn cut(path: &Path, bytes: &[u8], contents: &Contents) {
    let torn = bytes.len() - contents.whole;
    if torn > 0 {
        info!("{}: the last {torn} bytes were not written to the end, and are cut", path.display());
        end_with(path, contents.whole, &[]);
    }
}

/// A segment that has lost its end gets another one.
fn mend(path: &Path, bytes: &[u8], contents: &Contents) {
    let torn = bytes.len() - contents.whole;
    warn!(
        "{} is damaged: its end is gone{}. The {} activities in the rest of it are served; the lost ones come from other workers, as far as they \
         have them. Nothing needs to be done, but if it happens again, check the disk",
        path.display(),
        if torn > 0 { format!(", and {torn} bytes before that make no sense") } else { String::new() },
        contents.summary.frames
    );
    let header = if contents.whole == 0 { HEADER } else { &[] };
    end_with(path, contents.whole, &[header, &segment::seal(&contents.summary)].concat());
}

/// Cuts a file to its first `whole` bytes, and appends `end`.
fn end_with(path: &Path, whole: usize, end: &[u8]) {
    let before = modified(path);
    let written = OpenOptions::new().write(true).open(path).and_then(|mut file| {
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(end)?;
        // What says how old it is stays.
        before.map_or(Ok(()), |at| file.set_modified(at))
    });
    if let Err(error) = written {
        warn!("cannot write to {}: {error}", path.display());
    }
}
