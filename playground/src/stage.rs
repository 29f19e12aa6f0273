//! The network's processes, on a thread of their own, where starting one may take its time: they are killed and started as whoever
//! watches wishes, and drained in the end.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use playground::network::Network;
use playground::server::Server;
use tokio::sync::mpsc::UnboundedSender;

/// How long a server may take to drain.
const DRAIN: Duration = Duration::from_secs(10);

/// How often it is looked whether a server has ended by itself.
const LOOK: Duration = Duration::from_millis(250);

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Running,
    Starting,
    Dead,
}

/// A server is in another condition than before.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) server: String,
    pub(crate) condition: Condition,
    /// What happened.
    pub(crate) sentence: String,
}

/// Tends the network until `wishes` is closed, then drains it. A wish is the name of a server: it is killed if it runs, and started if
/// it does not.
///
/// # Errors
/// A sentence, where a server does not drain.
pub(crate) fn tend(
    network: Network,
    wishes: &Receiver<String>,
    news: UnboundedSender<News>,
) -> Result<(), String> {
    let mut stage = Stage { network, conditions: BTreeMap::new(), news };
    loop {
        match wishes.recv_timeout(LOOK) {
            Ok(name) => stage.toggle(&name),
            Err(RecvTimeoutError::Timeout) => stage.look(),
            Err(RecvTimeoutError::Disconnected) => return drain(stage.network),
        }
    }
}

struct Stage {
    network: Network,
    /// Those that do not run.
    conditions: BTreeMap<String, Condition>,
    news: UnboundedSender<News>,
}

impl Stage {
    fn toggle(&mut self, name: &str) {
        if self.network.server_mut(name).is_running() {
            self.network.server_mut(name).kill();
            return self.tell(name, Condition::Dead, format!("{name} was killed (kill -9)"));
        }
        self.tell(name, Condition::Starting, format!("{name} is being started"));
        match self.network.restart(name) {
            Ok(()) => self.tell(name, Condition::Running, format!("{name} runs again")),
            Err(sentence) => self.tell(name, Condition::Dead, sentence),
        }
    }

    /// Tells who has ended by itself.
    fn look(&mut self) {
        let ended = |server: &mut Server| (!server.is_running()).then(|| server.name().to_owned());
        let ended: Vec<String> = self.network.servers_mut().filter_map(ended).collect();
        for name in ended {
            if !self.conditions.contains_key(&name) {
                let log = self.network.server_mut(&name).log_tail(1);
                self.tell(&name, Condition::Dead, format!("{name} has ended: {}", log.trim()));
            }
        }
    }

    fn tell(&mut self, name: &str, condition: Condition, sentence: String) {
        match condition {
            Condition::Running => self.conditions.remove(name),
            Condition::Starting | Condition::Dead => self.conditions.insert(name.to_owned(), condition),
        };
        // Nobody watches any more when the network is about to be drained.
        let _ = self.news.send(News { server: name.to_owned(), condition, sentence });
    }
}

/// Workers first, so that they can say goodbye; the first coordinator last. One that does not drain keeps no other from draining, and
/// one that was killed before, by whomever, has nothing to drain.
///
/// # Errors
/// The first sentence of any.
fn drain(mut network: Network) -> Result<(), String> {
    let Network { coordinator, standbys, workers, .. } = &mut network;
    let mut outcome = Ok(());
    for server in workers.iter_mut().chain(standbys).chain([coordinator]) {
        if server.is_running() {
            let drained = server.terminate(DRAIN).and_then(|status| match status.success() {
                true => Ok(()),
                false => Err(format!("{} ended with {status}:\n{}", server.name(), server.log_tail(10))),
            });
            outcome = outcome.and(drained);
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use playground::binaries::Binaries;
    use playground::network::Setup;

    use super::*;

    /// A program that says it is ready, and when it is told to end leaves a sign beside its name and ends with
    /// `WORKER_ENDS_WITH` if that name is `worker`. It is a file of the source and not written here: what this process has
    /// open for writing cannot be executed, and whatever another test has just started holds it open until it is executed
    /// itself (`fork(2)`, `execve(2)`: ETXTBSY).
    fn program(directory: &Path, name: &str) -> PathBuf {
        let path = directory.join(name);
        symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/src/stage/server.sh"), &path).unwrap();
        path
    }

    fn network(directory: &Path, workers_end_with: u8) -> Network {
        let binaries = Binaries {
            coordinator: program(directory, "coordinator"),
            worker: program(directory, "worker"),
            client: PathBuf::new(),
        };
        let (listen, data) = ("127.0.0.1:0".to_owned(), directory.to_owned());
        let environment = vec![("WORKER_ENDS_WITH".to_owned(), workers_end_with.to_string())];
        Network::start(binaries, Setup { listen, workers: 2, data, environment }).unwrap()
    }

    #[test]
    fn a_server_that_was_killed_from_outside_keeps_no_other_from_draining_and_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let mut network = network(directory.path(), 0);
        let victim = network.server_mut("worker-1");
        victim.signal("KILL").unwrap();
        while victim.is_running() {
            std::thread::yield_now();
        }
        assert_eq!(drain(network), Ok(()));
        for drained in ["worker-worker-2", "coordinator-coordinator-1"] {
            assert!(directory.path().join(format!("{drained}-drained")).exists(), "{drained}");
        }
    }

    #[test]
    fn a_server_that_ends_badly_is_told_when_all_have_drained() {
        let directory = tempfile::tempdir().unwrap();
        let error = drain(network(directory.path(), 3)).unwrap_err();
        assert!(error.starts_with("worker-1 ended with exit status: 3"), "{error}");
        assert!(directory.path().join("coordinator-coordinator-1-drained").exists());
    }
}
