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

/// Workers first, so that they can say goodbye; the first coordinator last.
fn drain(mut network: Network) -> Result<(), String> {
    let Network { coordinator, standbys, workers, .. } = &mut network;
    for server in workers.iter_mut().chain(standbys).chain([coordinator]) {
        if !server.is_running() {
            continue;
        }
        let status = server.terminate(DRAIN)?;
        if !status.success() {
            return Err(format!("{} ended with {status}:\n{}", server.name(), server.log_tail(10)));
        }
    }
    Ok(())
}
