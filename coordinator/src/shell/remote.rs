//! Users to a file and back, at a coordinator that runs: over a connection, as an operator.
//!
//! The file is read to its end, and its checksum compared, before the first of its users is sent. An import that breaks off has taken in a
//! part, which does no harm: it can be done again.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::limits;
use common::time::WallMillis;
use common::user::Secret;
use common::users::Seen;
use common::wire::{Address, Export, Exported, Import, Message, Registration};

use super::transfer::Imported;
use super::users_file::{FileError, Reader, Writer};

/// How long some users to export may take to come: a coordinator that lives has them in memory.
const EXPORT_PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take until users are taken in, on disk and at the standbys.
const IMPORT_PATIENCE: Duration = Duration::from_secs(60);

/// Why users were not exported or imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The connection.
    #[error("the coordinator at {address} does not answer: {error}")]
    Unreachable { address: Address, error: io::Error },
    /// Somebody is there, and says nothing.
    #[error(
        "the coordinator at {address} has said nothing for {} s: its process is stopped, or its machine is overloaded. Let it go on, or end \
         it, and try again; or name the data directory of another coordinator with --data-dir",
        patience.as_secs()
    )]
    Silent { address: Address, patience: Duration },
    /// The coordinator says no.
    #[error("the coordinator at {address} refuses: {reason}")]
    Refused { address: Address, reason: String },
}

/// A connection to a coordinator that runs.
#[derive(Debug)]
pub(super) struct Remote {
    address: Address,
    secret: Secret,
    stream: BufReader<TcpStream>,
}

impl Remote {
    pub(super) fn connect(address: Address, secret: Secret) -> Result<Self, RemoteError> {
        let connect = || {
            let stream = dial(&address)?;
            stream.set_write_timeout(Some(EXPORT_PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(BufReader::new(stream))
        };
        match connect() {
            Ok(stream) => Ok(Remote { address, secret, stream }),
            Err(error) => Err(RemoteError::Unreachable { address, error }),
        }
    }

    /// Writes all users to a file: how many registrations.
    pub(super) fn export(
        mut self,
        path: &Path,
        now: WallMillis,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, RemoteError> {
        let mut some = self.exported(Seen::default())?;
        let mut file = Writer::create(path, some.network, now)?;
        let mut count = 0;
        while !some.users.is_empty() {
            count += some.users.len() as u64;
            for registration in &some.users {
                file.add(registration)?;
            }
            progress(count);
            some = self.exported(some.next)?;
        }
        Ok(file.finish()?)
    }

    fn exported(&mut self, after: Seen) -> Result<Exported, RemoteError> {
        match self.ask(&Export { secret: self.secret.clone(), after }.into(), EXPORT_PATIENCE)? {
            Message::Exported(exported) => Ok(exported),
            other => Err(self.refused(format!("it answered with {}", other.command()))),
        }
    }

    /// Takes in users from a file; those of another network where `other_network` says so.
    pub(super) fn import(
        mut self,
        path: &Path,
        other_network: bool,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Imported, RemoteError> {
        let (mut file, _) = Reader::open(path)?;
        file.try_for_each(|registration| registration.map(drop))?;
        let (mut file, header) = Reader::open(path)?;
        let network = (!other_network).then_some(header.network);
        let (mut imported, length, mut read) = (Imported::default(), file.length(), 0);
        loop {
            let mut users = Vec::new();
            while users.len() < limits::SYNC_USERS
                && let Some(registration) = file.next()
            {
                users.push(registration?);
                read += file.line_length();
            }
            let is_last = users.len() < limits::SYNC_USERS;
            imported.total += users.len() as u64;
            imported.news += self.imported(network.clone(), users)?;
            progress(read, length);
            if is_last {
                return Ok(imported);
            }
        }
    }

    /// Has some users taken in: how many were news. Follows the main coordinator, and tries again for a while where that may help.
    fn imported(&mut self, network: Option<String>, users: Vec<Registration>) -> Result<u64, RemoteError> {
        let question = Import { secret: self.secret.clone(), network, users }.into();
        let give_up = Instant::now() + IMPORT_PATIENCE;
        loop {
            match self.ask(&question, IMPORT_PATIENCE)? {
                Message::Imported(imported) => return Ok(imported.news),
                Message::Redirect(redirect) if Instant::now() < give_up => {
                    *self = Remote::connect(redirect.address, self.secret.clone())?;
                }
                Message::ImportFailed(failed) => match failed.retry_after {
                    Some(pause) if Instant::now() < give_up => thread::sleep(pause.into()),
                    _ => return Err(self.refused(failed.info)),
                },
                other => return Err(self.refused(format!("it answered with {}", other.command()))),
            }
        }
    }

    fn ask(&mut self, question: &Message, patience: Duration) -> Result<Message, RemoteError> {
        let mut line = Vec::new();
        let mut exchange = || {
            self.stream.get_ref().set_read_timeout(Some(patience))?;
            self.stream.get_mut().write_all(&question.encode())?;
            self.stream.by_ref().take(limits::SERVER_OUTBOX_BYTES as u64).read_until(b'\n', &mut line)
        };
        match exchange() {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error: io::Error| {
            let address = self.address.clone();
            match error.kind() {
                // The one or the other, depending on the system.
                ErrorKind::WouldBlock | ErrorKind::TimedOut => RemoteError::Silent { address, patience },
                _ => RemoteError::Unreachable { address, error },
            }
        })?;
        match Message::decode(line.trim_ascii_end()) {
            Ok(Message::AuthenticationFail(failed)) => Err(self.refused(failed.info)),
            Ok(Message::InvalidMessage(invalid)) => Err(self.refused(invalid.info)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.refused(error.to_string())),
        }
    }

    fn refused(&self, reason: String) -> RemoteError {
        RemoteError::Refused { address: self.address.clone(), reason }
    }
}

/// Connects within [`limits::DIAL_TIMEOUT`] to each of the addresses of this name, until one answers.
fn dial(address: &Address) -> io::Result<TcpStream> {
    let mut last = ErrorKind::NotFound.into();
    for found in (address.hostname.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&found, limits::DIAL_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
