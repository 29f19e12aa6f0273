//! Where the three binaries are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Paths of the three binaries, all built from the same sources as this program.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The coordinator.
    pub coordinator: PathBuf,
    /// The worker.
    pub worker: PathBuf,
    /// The client.
    pub client: PathBuf,
}

/// Finds the binaries beside this program. Under cargo (`cargo run`, `cargo test`) they are built first, with this program's
/// profile, so that they are never older than the sources; it is done once a process.
///
/// # Errors
/// A sentence, where they cannot be built or are not there.
pub fn locate() -> Result<Binaries, String> {
    static FOUND: OnceLock<Result<Binaries, String>> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

fn find() -> Result<Binaries, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("cannot tell where this program lies: {error}"))?;
    let mut directory = program.parent().expect("a program lies in a directory");
    // Test programs lie one deeper.
    if directory.ends_with("deps") {
        directory = directory.parent().expect("deps lies in a directory");
    }
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(cargo.as_ref(), directory)?;
    }
    let path = |name: &str| {
        let path = directory.join(name).with_extension(std::env::consts::EXE_EXTENSION);
        if path.exists() {
            Ok(path)
        } else {
            Err(format!("{} is missing: build it with `cargo build --release --workspace`", path.display()))
        }
    };
    Ok(Binaries { coordinator: path("coordinator")?, worker: path("worker")?, client: path("client")? })
}

fn build(cargo: &Path, directory: &Path) -> Result<(), String> {
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = directory.parent().expect("a profile's directory lies in the target directory");
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(target)
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .status()
        .map_err(|error| format!("cannot run cargo to build the servers: {error}"))?;
    if status.success() { Ok(()) } else { Err("the servers do not build: see above".into()) }
}
