//! What misbehaving peers say.

use serde_json::{Value, json};

/// What a misbehaving peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    NotJson,
    NotUtf8,
    UnknownCommand,
    NestsTooDeep,
    PublishesBeforeLogin,
    ForgesServerCommand,
    ForgesBroadcastWhenLoggedIn,
    SpeaksForAnother,
    RepeatsAWrongSecret,
    LogsInTwice,
    WrongSecret,
    WrongNetworkSecret,
    /// Gets a token, keeps it past its life, and then uses it.
    StaleToken,
    /// Uses its own token under another's name.
    StolenToken,
    HalfALine,
    /// Logs in, says that it will say no more, and waits for the answer. That is no mischief, but seldom met.
    HalfCloses,
    /// What it publishes goes back to a number that it had.
    SequenceGoesBack,
    /// What it publishes jumps by 2^60.
    SequenceJumps,
    /// It comes back and publishes something else under a number that it had.
    RepeatsWithAnother,
    /// It acknowledges more than it was sent.
    AcknowledgesTooMuch,
    /// It tells a worker what became of something that nobody sent.
    ForgesAReport,
    /// It goes on from what is no position.
    BrokenPosition,
    /// It goes on from a position of another network.
    ForeignPosition,
    /// It goes on from far ahead of everybody, which is no mistake.
    PositionAhead,
    /// It asks for everything, again and again.
    RetrievesInALoop,
    /// It asks for everything, and again before it is answered.
    RetrievesAtOnce,
    /// It begins one session after the other.
    ManySessions,
}

/// All of them.
pub const KINDS: [Kind; 27] = [
    Kind::NotJson,
    Kind::NotUtf8,
    Kind::UnknownCommand,
    Kind::NestsTooDeep,
    Kind::PublishesBeforeLogin,
    Kind::ForgesServerCommand,
    Kind::ForgesBroadcastWhenLoggedIn,
    Kind::SpeaksForAnother,
    Kind::RepeatsAWrongSecret,
    Kind::LogsInTwice,
    Kind::WrongSecret,
    Kind::WrongNetworkSecret,
    Kind::StaleToken,
    Kind::StolenToken,
    Kind::HalfALine,
    Kind::HalfCloses,
    Kind::SequenceGoesBack,
    Kind::SequenceJumps,
    Kind::RepeatsWithAnother,
    Kind::AcknowledgesTooMuch,
    Kind::ForgesAReport,
    Kind::BrokenPosition,
    Kind::ForeignPosition,
    Kind::PositionAhead,
    Kind::RetrievesInALoop,
    Kind::RetrievesAtOnce,
    Kind::ManySessions,
];

impl Kind {
    /// Whether it first logs in at the worker as an honest user does.
    pub(super) fn logs_in(self) -> bool {
        matches!(
            self,
            Kind::ForgesBroadcastWhenLoggedIn
                | Kind::SpeaksForAnother
                | Kind::RepeatsAWrongSecret
                | Kind::LogsInTwice
        ) || self.has_a_session()
    }

    /// Whether it has a session that outlives its connection.
    pub(super) fn has_a_session(self) -> bool {
        self >= Kind::SequenceGoesBack
    }

    /// Whether only a worker can be bothered in this way: the coordinator would welcome what it begins with, and close.
    pub(in crate::sim) fn needs_a_worker(self) -> bool {
        self.logs_in() || self.wants_a_token()
    }

    /// Whether it first gets a token from the coordinator.
    pub(super) fn wants_a_token(self) -> bool {
        matches!(self, Kind::StaleToken | Kind::StolenToken)
    }

    /// How many activities it publishes that are as good as anybody's.
    pub(in crate::sim) fn publishes(self) -> u64 {
        match self {
            Kind::SequenceGoesBack | Kind::SequenceJumps => 2,
            Kind::RepeatsWithAnother => 3,
            Kind::ManySessions => SESSIONS.into(),
            _ => 0,
        }
    }

    /// How often it connects.
    pub(super) fn rounds(self) -> u32 {
        match self {
            Kind::RepeatsWithAnother => 2,
            Kind::ManySessions => SESSIONS,
            _ => 1,
        }
    }

    /// How often it asks again when it was answered.
    pub(super) fn asks_again(self) -> u32 {
        if self == Kind::RetrievesInALoop { 20 } else { 0 }
    }

    /// What it wants when it logs in with its session: where it goes on, and in which network.
    pub(super) fn resume(self) -> Option<(&'static str, &'static str)> {
        match self {
            Kind::BrokenPosition => Some(("w1/00000000000000ff/9-1", "")),
            Kind::ForeignPosition => Some(("w1/00000000000000ff/0-9", "another network")),
            Kind::PositionAhead => Some((
                "nobody/00000000000000ff/0-1152921504606846976,w1/00000000000000ff/0-9223372036854775807",
                "",
            )),
            _ => None,
        }
    }

    /// What it says when it is logged in with a session, in this round. Of `activities`, which are as good as anybody's, some come first.
    pub(super) fn in_session(self, round: u32, activities: &[String]) -> String {
        let publish = |seq: u64, activity: &str| {
            let activity: Value = serde_json::from_str(activity).expect("it is one");
            json!({ "command": "ACTIVITY_MESSAGE", "activity_seq": seq, "activity": activity }).to_string()
        };
        let good = |count: usize| -> Vec<String> {
            activities.iter().take(count).zip(1..).map(|(text, seq)| publish(seq, text)).collect()
        };
        let forged = |seq: u64| publish(seq, r#"{"forged":true}"#);
        let retrieve = || json!({ "command": "ACTIVITY_RETRIEVE", "after": "", "request": 1 }).to_string();
        let lines = match (self, round) {
            (Kind::SequenceGoesBack, _) => [good(2), vec![publish(1, &activities[0])]].concat(),
            (Kind::SequenceJumps, _) => [good(2), vec![forged(2 + (1 << 60))]].concat(),
            (Kind::RepeatsWithAnother, 0) => good(3),
            (Kind::RepeatsWithAnother, _) => vec![forged(2)],
            (Kind::AcknowledgesTooMuch, _) => {
                vec![json!({ "command": "ACTIVITY_ACK", "received": 1_u64 << 40 }).to_string()]
            }
            (Kind::ForgesAReport, _) => vec![
                json!({ "command": "ACTIVITY_SUCC_INFO", "worker": "w1", "incarnation": "00000000000000ff", "counts": [
                    { "session": "AAAAAAAAAAAAAAAAAAAAAA", "first": 1, "last": 1_u64 << 40, "taken_by": "00000000000000ff", "client_count": 9, "succ_count": 9 }
                ] })
                .to_string(),
            ],
            (Kind::RetrievesInALoop, _) => vec![retrieve()],
            (Kind::RetrievesAtOnce, _) => vec![retrieve(), retrieve(), retrieve()],
            (Kind::ManySessions, round) => vec![publish(1, &activities[round as usize])],
            _ => Vec::new(),
        };
        lines.join("\n")
    }
}

/// How many sessions one peer begins.
const SESSIONS: u32 = 40;
