//! Arbitrary messages, well formed and not, for the properties that hold for all of them.

use common::id::{ActivityId, Incarnation, Seq, ServerId};
use common::time::WallMillis;
use common::token::TokenKey;
use common::user::{PasswordHash, Secret, Stamp, UserRecord, Username};
use common::wire::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::Union;

/// Any message that the types allow.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    Union::new(kinds())
}

/// One strategy per command, in the order of [`Message::COMMANDS`].
pub(crate) fn kinds() -> Vec<BoxedStrategy<Message>> {
    let mut kinds = between_clients_and_servers();
    kinds.extend(among_servers());
    kinds.extend(for_operators());
    kinds
}

/// The line of a message after some accidents: bytes changed, lost, added, doubled, cut off.
pub(crate) fn damaged_line() -> impl Strategy<Value = Vec<u8>> {
    let accident = (0..5u8, any::<Index>(), any::<Index>(), prop_oneof![any::<u8>(), interesting_byte()]);
    (message(), vec(accident, 1..6)).prop_map(|(message, accidents)| {
        let mut line = message.encode();
        line.pop();
        for (kind, here, there, byte) in accidents {
            if line.is_empty() {
                break;
            }
            let (a, b) = (here.index(line.len()), there.index(line.len()));
            let (from, to) = (a.min(b), a.max(b));
            match kind {
                0 => line[a] = byte,
                1 => line.insert(a, byte),
                2 => line.truncate(a),
                3 => drop(line.drain(from..to)),
                _ => line.splice(to..to, line[from..to].to_vec()).for_each(drop),
            }
        }
        line
    })
}

fn interesting_byte() -> impl Strategy<Value = u8> {
    proptest::sample::select(b"{}[]\",:\\u0-1.eE \n\r\t\x00\x7f\xc3\xff".to_vec())
}

fn kind<S: Strategy + 'static, M: Into<Message>>(
    fields: S,
    build: impl Fn(S::Value) -> M + 'static,
) -> BoxedStrategy<Message> {
    fields.prop_map(move |fields| build(fields).into()).boxed()
}

fn between_clients_and_servers() -> Vec<BoxedStrategy<Message>> {
    vec![
        kind((text(), secret()), |(username, secret)| Register { username, secret }),
        kind((text(), option::of(durability()), any::<bool>()), |(info, durability, existing)| {
            RegisterSuccess { info, durability, existing }
        }),
        kind((text(), option::of(millis())), |(info, retry_after)| RegisterFailed { info, retry_after }),
        kind((text(), secret(), secret()), |(username, secret, new_secret)| ChangeSecret {
            username,
            secret,
            new_secret,
        }),
        kind((text(), durability()), |(info, durability)| ChangeSecretSuccess { info, durability }),
        kind((text(), option::of(millis())), |(info, retry_after)| ChangeSecretFailed { info, retry_after }),
        kind((text(), option::of(secret()), option::of(text())), |(username, secret, token)| Login {
            username,
            secret,
            token,
        }),
        kind((text(), option::of(id())), |(info, server)| LoginSuccess { info, server }),
        kind((text(), option::of(millis())), |(info, retry_after)| LoginFailed { info, retry_after }),
        kind(Just(()), |()| Logout {}),
        kind((address(), option::of(text())), |(address, token)| Redirect { address, token }),
        kind((option::of(text()), option::of(secret()), activity()), |(username, secret, activity)| {
            ActivityMessage { username, secret, activity }
        }),
        kind((option::of(activity_id()), activity()), |(id, activity)| ActivityBroadcast { id, activity }),
        kind(text(), |info| InvalidMessage { info }),
    ]
}

fn among_servers() -> Vec<BoxedStrategy<Message>> {
    vec![
        kind(
            (
                (id(), address(), secret(), any::<u64>()),
                (option::of(id()), option::of(any::<u64>()), vec(stamp(), 0..3)),
            ),
            |((id, address, secret, incarnation), (to, load, users_after))| Authenticate {
                id,
                address,
                secret,
                incarnation: Incarnation(incarnation),
                to,
                load,
                users_after: users_after.into(),
            },
        ),
        kind(
            (
                id(),
                option::of(any::<u64>()),
                option::of(text()),
                option::of(any::<[u8; 32]>()),
                vec(server(), 0..3),
            ),
            |(id, incarnation, network, key, servers)| AuthenticateSuccess {
                id,
                incarnation: incarnation.map(Incarnation),
                network,
                token_key: key.map(TokenKey::new),
                servers,
            },
        ),
        kind(text(), |info| AuthenticationFail { info }),
        kind((username(), any::<u64>()), |(username, load)| NewClient { username, load }),
        kind(any::<u64>(), |load| DeLoad { load }),
        kind(any::<u64>(), |load| ServerLoad { load }),
        kind(server(), |server| SynchronisedNewServer { server }),
        kind(id(), |id| RemoveServer { id }),
        kind((username(), hash()), |(username, secret)| LockRequest { username, secret }),
        kind((username(), user(), durability()), |(username, user, durability)| LockAllowed {
            username,
            user,
            durability,
        }),
        kind(
            (username(), text(), option::of(millis()), option::of(user())),
            |(username, info, retry_after, user)| LockDenied { username, info, retry_after, user },
        ),
        kind((username(), user()), |(username, user)| UserRegisterResult { username, user }),
        kind(username(), |username| UserQuery { username }),
        kind((username(), option::of(user())), |(username, user)| UserAnswer { username, user }),
        kind(btree_map(username(), user(), 0..3), |users| SyncUser { users }),
        kind(vec((address(), role()), 0..3), |servers| BackupList {
            servers: servers.into_iter().map(|(address, role)| BackupEntry { address, role }).collect(),
        }),
        kind((vec(id(), 0..3), 0..=Seq::MAX.0), |(links, next)| Neighbours { links, next: Seq(next) }),
    ]
}

fn for_operators() -> Vec<BoxedStrategy<Message>> {
    let worker = (server(), any::<u64>(), any::<u64>(), any::<bool>());
    let worker = worker.prop_map(|(server, load, expected, connected)| WorkerStatus {
        server,
        load,
        expected,
        connected,
    });
    vec![
        kind(secret(), |secret| Status { secret }),
        kind((id(), text(), any::<u64>(), vec(worker, 0..3)), |(id, network, users, workers)| StatusReport {
            id,
            network,
            users,
            workers,
        }),
        kind((text(), secret()), |(username, secret)| RemoveUser { username, secret }),
        kind((text(), durability()), |(info, durability)| RemoveUserSuccess { info, durability }),
        kind((text(), option::of(millis())), |(info, retry_after)| RemoveUserFailed { info, retry_after }),
    ]
}

/// Any text, line breaks and control characters included.
fn text() -> impl Strategy<Value = String> {
    "(?s).{0,20}"
}

fn secret() -> impl Strategy<Value = Secret> {
    text().prop_map(Secret::new)
}

fn hash() -> impl Strategy<Value = PasswordHash> {
    text().prop_map(|text| PasswordHash::new(&text))
}

fn username() -> impl Strategy<Value = Username> {
    prop_oneof![
        9 => "\\PC{1,64}".prop_filter_map("normalised, it is too long", |text| text.parse().ok()),
        1 => Just(Username::anonymous()),
    ]
}

fn id() -> impl Strategy<Value = ServerId> {
    "[A-Za-z0-9._-]{1,64}".prop_map(|text| text.parse().expect("drawn from the alphabet of ids"))
}

fn activity_id() -> impl Strategy<Value = ActivityId> {
    (id(), any::<u64>(), 0..=Seq::MAX.0).prop_map(|(origin, incarnation, seq)| ActivityId {
        origin,
        incarnation: Incarnation(incarnation),
        seq: Seq(seq),
    })
}

fn address() -> impl Strategy<Value = Address> {
    ("[a-z0-9.:-]{1,40}", 1..=u16::MAX)
        .prop_map(|(host, port)| Address::new(host, port).expect("plain characters, and a port above 0"))
}

fn server() -> impl Strategy<Value = ServerEntry> {
    (id(), address()).prop_map(|(id, address)| ServerEntry { id, address })
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (0..=Stamp::LATEST.0, any::<u32>(), id()).prop_map(|(wall, counter, coordinator)| Stamp {
        wall: WallMillis(wall),
        counter,
        coordinator,
    })
}

fn user() -> impl Strategy<Value = UserRecord> {
    (stamp(), stamp(), option::of(hash())).prop_map(|(registration, changed, secret)| UserRecord {
        registration,
        changed,
        secret,
    })
}

fn millis() -> impl Strategy<Value = Millis> {
    any::<u64>().prop_map(Millis)
}

fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(Durability::Local), Just(Durability::Replicated)]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Main), Just(Role::Backup), Just(Role::Worker)]
}

/// Any JSON object, compact or spread over lines, sometimes with a forged sender.
fn activity() -> impl Strategy<Value = Activity> {
    use serde_json::Value;

    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let key = || prop_oneof![4 => text(), 1 => Just("authenticated_user".to_owned())];
    let value = leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(key(), inner, 0..3).prop_map(|object| object.into_iter().collect()),
        ]
    });
    (btree_map(key(), value, 0..4), any::<bool>()).prop_map(|(object, pretty)| {
        let text =
            if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
        Activity::parse(&text.expect("it serialises")).expect("it is an object")
    })
}
