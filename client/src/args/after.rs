//! What `client tail --after` takes: a position, or one activity's id.

use std::str::FromStr;

use crate::{ActivityId, Position};

/// What was printed, or seen, before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// All of this.
    Position(Position),
    /// This activity, and all before it in its stream. Of which network, an id does not say.
    Activity(ActivityId),
}

impl After {
    /// What it means in this network.
    ///
    /// # Errors
    /// A sentence, where the network's id can stand in no position.
    pub fn position(self, network: &str) -> Result<Position, String> {
        match self {
            After::Position(position) => Ok(position),
            After::Activity(id) => {
                let text = format!("{network}@{}", common::position::Position::from(&id));
                text.parse().map_err(|_| "the network's id can stand in no position".to_owned())
            }
        }
    }
}

impl FromStr for After {
    type Err = String;

    /// A position of a single activity has a range, `7-7`, and is not taken for its id.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(id) = text.parse() {
            return Ok(After::Activity(id));
        }
        if let Some((network, id)) = text.rsplit_once('@')
            && let Ok(id) = id.parse()
            && let Ok(position) = After::Activity(id).position(network)
        {
            return Ok(After::Position(position));
        }
        text.parse().map(After::Position).map_err(|error: crate::PositionError| {
            format!("{error}; or it is one activity's id, as `client tail --json` prints it")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_id_stands_for_its_stream_up_to_there_and_a_position_for_itself() {
        let meant = |text: &str| text.parse::<After>().unwrap().position("n1").unwrap().to_string();
        assert_eq!(meant("w/00000000000000ff/7"), "n1@w/00000000000000ff/0-7");
        assert_eq!(meant(" n2@w/00000000000000ff/7\n"), "n2@w/00000000000000ff/0-7");
        for position in ["n2@", "n2@w/00000000000000ff/7-7", "n2@v/00000000000000ff/7,w/00000000000000ff/7"] {
            assert_eq!(meant(position), position);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for wrong in [
            "",
            "7",
            "w/00000000000000ff/7-9",
            "w/ff/7",
            "@w/00000000000000ff/7",
            "n\u{7}@w/00000000000000ff/7",
        ] {
            assert!(wrong.parse::<After>().is_err(), "{wrong:?}");
        }
    }
}
