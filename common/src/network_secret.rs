//! The network secret, by which servers know each other: where it comes from, and that it stays there.
//!
//! In order: the file named by `--secret-file`, the environment variable `FRESHET_SECRET`, the file `freshet/secret` in the
//! user's configuration directory. Only the last is created where it does not exist, by the first coordinator, with mode 0600;
//! so everything works on one machine with no flag, and a server that others can reach must be *given* a secret.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::user::Secret;

/// The environment variable that may hold the secret.
pub const VARIABLE: &str = "FRESHET_SECRET";

/// Shortest secret that is accepted, in bytes. A generated one has 256 bits.
pub const SHORTEST: usize = 16;

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Named by the operator: a file or the environment.
    Given,
    /// The file in the user's configuration directory.
    UserDefault(PathBuf),
}

/// Whether a missing default file may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMissing {
    /// A coordinator makes it.
    Create,
    /// Everybody else expects it.
    Fail,
}

/// Why there is no secret. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A file could not be read or made.
    #[error("cannot read the network secret from {path}: {error}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The default file is not there.
    #[error(
        "there is no network secret at {0}: start a coordinator on this machine first (it makes one), or name a file with --secret-file"
    )]
    Missing(PathBuf),
    /// Others may read it.
    #[error("the network secret in {path} can be read by others (mode {mode:03o}): run chmod 600 {path}")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Empty or short.
    #[error("the network secret is shorter than {SHORTEST} bytes: make one with `openssl rand -hex 32`")]
    Short,
    /// There is no home to put the default file in.
    #[error(
        "there is no configuration directory to keep a network secret in: name a file with --secret-file or set {VARIABLE}"
    )]
    NoHome,
    /// Others can reach this server, so the secret must be chosen, not found.
    #[error(
        "listening on {0} lets other machines in, so the network secret must be given: name a file with --secret-file or set {VARIABLE}"
    )]
    MustBeGiven(IpAddr),
}

/// Finds the secret for a server that listens on `listen`.
pub fn load(file: Option<&Path>, listen: IpAddr, if_missing: IfMissing) -> Result<Secret, SecretError> {
    let (secret, source) = find(file, if_missing)?;
    if source != Source::Given && !listen.is_loopback() {
        return Err(SecretError::MustBeGiven(listen));
    }
    Ok(secret)
}

fn find(file: Option<&Path>, if_missing: IfMissing) -> Result<(Secret, Source), SecretError> {
    if let Some(path) = file {
        return Ok((read(path)?, Source::Given));
    }
    if let Ok(text) = std::env::var(VARIABLE) {
        return Ok((checked(&text)?, Source::Given));
    }
    let path = dirs::config_dir().ok_or(SecretError::NoHome)?.join("freshet").join("secret");
    let source = Source::UserDefault(path.clone());
    match (read(&path), if_missing) {
        (Err(SecretError::Unreadable { error, .. }), IfMissing::Create)
            if error.kind() == io::ErrorKind::NotFound =>
        {
            Ok((create(&path).map_err(|error| SecretError::Unreadable { path, error })?, source))
        }
        (Err(SecretError::Unreadable { error, .. }), IfMissing::Fail)
            if error.kind() == io::ErrorKind::NotFound =>
        {
            Err(SecretError::Missing(path))
        }
        (found, _) => Ok((found?, source)),
    }
}

fn read(path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |error| SecretError::Unreadable { path: path.to_owned(), error };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        let mode = metadata.permissions().mode() & 0o777;
        // A pipe or a device (process substitution, a mounted secret store) guards itself.
        if metadata.is_file() && mode & 0o077 != 0 {
            return Err(SecretError::Exposed { path: path.to_owned(), mode });
        }
    }
    checked(&std::fs::read_to_string(path).map_err(unreadable)?)
}

fn checked(text: &str) -> Result<Secret, SecretError> {
    let text = text.trim();
    if text.len() < SHORTEST { Err(SecretError::Short) } else { Ok(Secret::new(text)) }
}

/// Makes the default file. Two coordinators may try at once: whoever links first wins, and both read what won.
fn create(path: &Path) -> io::Result<Secret> {
    let directory = path.parent().expect("the path was built by joining");
    std::fs::create_dir_all(directory)?;
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let draft = directory.join(format!(".secret-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(Secret::new(std::fs::read_to_string(path)?.trim())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    #[test]
    fn a_given_file_is_read_without_its_line_end() {
        let (_directory, path) = file("0123456789abcdef\n", 0o600);
        let secret = load(Some(&path), LOOPBACK, IfMissing::Fail).unwrap();
        assert_eq!(secret.expose(), "0123456789abcdef");
    }

    #[test]
    fn a_file_that_others_can_read_or_that_holds_too_little_is_refused() {
        let (_directory, path) = file("0123456789abcdef", 0o644);
        assert!(matches!(
            load(Some(&path), LOOPBACK, IfMissing::Fail),
            Err(SecretError::Exposed { mode: 0o644, .. })
        ));
        let (_directory, path) = file("short", 0o600);
        assert!(matches!(load(Some(&path), LOOPBACK, IfMissing::Fail), Err(SecretError::Short)));
    }

    #[test]
    fn creating_twice_gives_the_same_secret_in_a_private_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("freshet").join("secret");
        let first = create(&path).unwrap();
        assert_eq!(create(&path).unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(first.expose().len(), 64);
    }
}
