//! One message of every kind, with every field set. The compiler insists: a new field breaks this file until it is here, and then
//! the page until it is there.

use common::id::{Incarnation, Seq, ServerId};
use common::token::TokenKey;
use common::user::{PasswordHash, Secret, Stamp, UserRecord, Username};
use common::users::Seen;
use common::wire::*;

/// In the order of [`Message::COMMANDS`].
pub(crate) fn all() -> Vec<Message> {
    let mut samples = between_clients_and_servers();
    samples.extend(among_servers());
    samples
}

fn between_clients_and_servers() -> Vec<Message> {
    vec![
        Register { username: "ann".into(), secret: secret() }.into(),
        RegisterSuccess { info: "done".into(), durability: Some(Durability::Local), existing: true }.into(),
        RegisterFailed { info: "no".into(), retry_after: Some(Millis(1)) }.into(),
        ChangeSecret { username: "ann".into(), secret: secret(), new_secret: secret() }.into(),
        ChangeSecretSuccess { info: "done".into(), durability: Durability::Local }.into(),
        ChangeSecretFailed { info: "no".into(), retry_after: Some(Millis(1)) }.into(),
        Login { username: "ann".into(), secret: Some(secret()), token: Some("v1.a.b".into()) }.into(),
        LoginSuccess { info: "hello".into(), server: Some(id()) }.into(),
        LoginFailed { info: "no".into(), retry_after: Some(Millis(1)) }.into(),
        Logout {}.into(),
        Redirect { address: address(), token: Some("v1.a.b".into()) }.into(),
        ActivityMessage { username: Some("ann".into()), secret: Some(secret()), activity: activity() }.into(),
        ActivityBroadcast { id: "w/00000000000000ff/1".parse().ok(), activity: activity() }.into(),
        InvalidMessage { info: "what?".into() }.into(),
    ]
}

fn among_servers() -> Vec<Message> {
    vec![
        Authenticate {
            id: id(),
            address: address(),
            secret: secret(),
            incarnation: Incarnation(7),
            to: Some(id()),
            load: Some(3),
            users_after: Seen::from(vec![stamp()]),
        }
        .into(),
        AuthenticateSuccess {
            id: id(),
            incarnation: Some(Incarnation(7)),
            network: Some("n".into()),
            token_key: Some(TokenKey::new([7; 32])),
            servers: vec![server()],
        }
        .into(),
        AuthenticationFail { info: "no".into() }.into(),
        NewClient { username: username("ann"), load: 1 }.into(),
        DeLoad { load: 1 }.into(),
        ServerLoad { load: 1 }.into(),
        SynchronisedNewServer { server: server() }.into(),
        RemoveServer { id: id() }.into(),
        LockRequest { username: username("ann"), secret: hash() }.into(),
        LockAllowed { username: username("ann"), user: user(), durability: Durability::Local }.into(),
        LockDenied {
            username: username("ann"),
            info: "no".into(),
            retry_after: Some(Millis(1)),
            user: Some(user()),
        }
        .into(),
        UserRegisterResult { username: username("ann"), user: user() }.into(),
        UserQuery { username: username("ann") }.into(),
        UserAnswer { username: username("ann"), user: Some(user()) }.into(),
        // A name that says what it stands for: it becomes a part of the fields' paths.
        SyncUser { users: [(username("<username>"), user())].into() }.into(),
        BackupList { servers: vec![BackupEntry { address: address(), role: Role::Main }] }.into(),
        Neighbours { links: vec![id()], next: Seq(1) }.into(),
        Status { secret: secret() }.into(),
        StatusReport {
            id: id(),
            network: "n".into(),
            users: 1,
            workers: vec![WorkerStatus { server: server(), load: 1, expected: 1, connected: true }],
        }
        .into(),
        RemoveUser { username: "ann".into(), secret: secret() }.into(),
        RemoveUserSuccess { info: "done".into(), durability: Durability::Local }.into(),
        RemoveUserFailed { info: "no".into(), retry_after: Some(Millis(1)) }.into(),
    ]
}

fn username(text: &str) -> Username {
    text.parse().expect("a username")
}

fn secret() -> Secret {
    Secret::new("correct horse")
}

fn hash() -> PasswordHash {
    PasswordHash::new("$argon2id$…")
}

fn id() -> ServerId {
    "worker-1".parse().expect("a server's id")
}

fn address() -> Address {
    Address::new("localhost", 3780).expect("an address")
}

fn server() -> ServerEntry {
    ServerEntry { id: id(), address: address() }
}

fn stamp() -> Stamp {
    "5.0@c1".parse().expect("a stamp")
}

fn user() -> UserRecord {
    UserRecord { registration: stamp(), changed: stamp(), secret: Some(hash()) }
}

/// Without keys: what an activity holds is no part of the protocol.
fn activity() -> Activity {
    Activity::parse("{}").expect("an object")
}
