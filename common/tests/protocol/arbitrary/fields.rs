//! Arbitrary values of the fields that messages share.

use std::collections::BTreeMap;

use common::epoch::{Epoch, Reign};
use common::id::{ActivityId, Incarnation, Seq, ServerId};
use common::position::{After, Position, StreamId};
use common::session::{SessionId, SessionKey};
use common::time::WallMillis;
use common::user::{PasswordHash, Secret, Stamp, UserRecord, Username};
use common::users::Seen;
use common::wire::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

/// Any text, line breaks and control characters included.
pub(crate) fn text() -> impl Strategy<Value = String> {
    "(?s).{0,20}"
}

pub(crate) fn secret() -> impl Strategy<Value = Secret> {
    text().prop_map(Secret::new)
}

pub(crate) fn hash() -> impl Strategy<Value = PasswordHash> {
    text().prop_map(|text| PasswordHash::new(&text))
}

pub(crate) fn username() -> impl Strategy<Value = Username> {
    prop_oneof![
        9 => "\\PC{1,64}".prop_filter_map("normalised, it is too long", |text| text.parse().ok()),
        1 => Just(Username::anonymous()),
    ]
}

pub(crate) fn id() -> impl Strategy<Value = ServerId> {
    "[A-Za-z0-9._-]{1,64}".prop_map(|text| text.parse().expect("drawn from the alphabet of ids"))
}

pub(crate) fn seq() -> impl Strategy<Value = Seq> {
    (0..=Seq::MAX.0).prop_map(Seq)
}

pub(crate) fn activity_id() -> impl Strategy<Value = ActivityId> {
    (id(), any::<u64>(), seq()).prop_map(|(origin, incarnation, seq)| ActivityId {
        origin,
        incarnation: Incarnation(incarnation),
        seq,
    })
}

/// Any position, of a single activity and of none, too.
pub(crate) fn position() -> impl Strategy<Value = Position> {
    let number = || prop_oneof![0..10u64, 0..=Seq::MAX.0];
    let range = (prop_oneof![Just("a"), Just("b")], 0..2u64, number(), 0..3u64);
    vec(range, 0..5).prop_map(|ranges| {
        let mut position = Position::default();
        for (origin, incarnation, first, more) in ranges {
            let origin = origin.parse().expect("a server's id");
            let stream = StreamId { origin, incarnation: Incarnation(incarnation) };
            position.add(&stream, first, (first + more).min(Seq::MAX.0));
        }
        position
    })
}

pub(crate) fn after() -> impl Strategy<Value = After> {
    prop_oneof![activity_id().prop_map(After::Activity), position().prop_map(After::Position)]
}

pub(crate) fn session_key() -> impl Strategy<Value = SessionKey> {
    "[ -~]{16,64}".prop_map(|text| text.parse().expect("long enough and not too long"))
}

pub(crate) fn session() -> impl Strategy<Value = SessionId> {
    any::<u128>().prop_map(SessionId)
}

pub(crate) fn wall() -> impl Strategy<Value = WallMillis> {
    any::<u64>().prop_map(WallMillis)
}

pub(crate) fn place() -> impl Strategy<Value = Place> {
    (id(), any::<u64>(), any::<u64>()).prop_map(|(worker, incarnation, attachment)| Place {
        worker,
        incarnation: Incarnation(incarnation),
        attachment,
    })
}

pub(crate) fn attached() -> impl Strategy<Value = Attached> {
    (place(), session(), wall()).prop_map(|(place, session, since)| Attached { place, session, since })
}

pub(crate) fn broadcast() -> impl Strategy<Value = ActivityBroadcast> {
    let place = (option::of(session()), option::of(seq()), option::of(seq()), any::<bool>());
    (option::of(activity_id()), place, activity()).prop_map(
        |(id, (session, activity_seq, missing_from, late), activity)| ActivityBroadcast {
            id,
            session,
            activity_seq,
            missing_from,
            late,
            activity,
        },
    )
}

pub(crate) fn address() -> impl Strategy<Value = Address> {
    ("[a-z0-9.:-]{1,40}", 1..=u16::MAX)
        .prop_map(|(host, port)| Address::new(host, port).expect("plain characters, and a port above 0"))
}

pub(crate) fn server() -> impl Strategy<Value = ServerEntry> {
    (id(), address()).prop_map(|(id, address)| ServerEntry { id, address })
}

pub(crate) fn backup_entry() -> impl Strategy<Value = BackupEntry> {
    (option::of(id()), address(), role()).prop_map(|(id, address, role)| BackupEntry { id, address, role })
}

pub(crate) fn stamp() -> impl Strategy<Value = Stamp> {
    (0..=Stamp::LATEST.0, any::<u32>(), id()).prop_map(|(wall, counter, coordinator)| Stamp {
        wall: WallMillis(wall),
        counter,
        coordinator,
    })
}

pub(crate) fn user() -> impl Strategy<Value = UserRecord> {
    (stamp(), stamp(), option::of(stamp().prop_map(Box::new)), option::of(hash())).prop_map(
        |(registration, changed, written, secret)| UserRecord { registration, changed, written, secret },
    )
}

pub(crate) fn millis() -> impl Strategy<Value = Millis> {
    any::<u64>().prop_map(Millis)
}

pub(crate) fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(Durability::Local), Just(Durability::Replicated)]
}

pub(crate) fn role() -> impl Strategy<Value = Role> {
    proptest::sample::select(vec![Role::Main, Role::Backup, Role::Seeking, Role::Worker])
}

pub(crate) fn state() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Normal), Just(State::Recovering)]
}

pub(crate) fn users() -> impl Strategy<Value = BTreeMap<Username, UserRecord>> {
    btree_map(username(), user(), 0..3)
}

pub(crate) fn registration() -> impl Strategy<Value = Registration> {
    (username(), user()).prop_map(|(username, user)| Registration { username, user })
}

pub(crate) fn seen() -> impl Strategy<Value = Seen> {
    vec(stamp(), 0..3).prop_map(Seen::from)
}

/// Any epoch, the highest included.
pub(crate) fn epoch() -> impl Strategy<Value = Epoch> {
    (1..=Epoch::MAX, id()).prop_map(|(counter, coordinator)| Epoch { counter, coordinator })
}

pub(crate) fn reign() -> impl Strategy<Value = Reign> {
    (epoch(), any::<u64>(), option::of(id()), text()).prop_map(|(epoch, since, after, why)| Reign {
        epoch,
        since: WallMillis(since),
        after,
        why,
    })
}

pub(crate) fn standing() -> impl Strategy<Value = Standing> {
    (role(), option::of(any::<u64>()), option::of(id()), option::of(text()))
        .prop_map(|(role, rank, main, network)| Standing { role, rank, main, network })
}

pub(crate) fn coordinator() -> impl Strategy<Value = CoordinatorStatus> {
    (server(), option::of(role()), option::of(epoch()), any::<bool>(), option::of(any::<u64>())).prop_map(
        |(server, role, heard_epoch, listed, behind)| CoordinatorStatus {
            server,
            role,
            heard_epoch,
            listed,
            behind,
        },
    )
}

pub(crate) fn worker() -> impl Strategy<Value = WorkerStatus> {
    (server(), any::<u64>(), any::<u64>(), any::<bool>())
        .prop_map(|(server, load, expected, connected)| WorkerStatus { server, load, expected, connected })
}

pub(crate) fn conflict() -> impl Strategy<Value = Conflict> {
    (username(), stamp(), stamp(), any::<u64>()).prop_map(|(username, registration, lost_to, registered)| {
        Conflict { username, registration, lost_to, registered: WallMillis(registered) }
    })
}

/// Any JSON object, compact or spread over lines, sometimes with a forged sender.
pub(crate) fn activity() -> impl Strategy<Value = Activity> {
    (btree_map(key(), json(), 0..4), any::<bool>()).prop_map(|(object, pretty)| {
        let text =
            if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
        Activity::parse(&text.expect("it serialises")).expect("it is an object")
    })
}

/// Any JSON value.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(key(), inner, 0..3).prop_map(|object| object.into_iter().collect()),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => text(), 1 => Just("authenticated_user".to_owned())]
}
