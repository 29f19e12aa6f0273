//! One message of every kind, with every field set. The compiler insists: a new field breaks this file until it is here, and then
//! the page until it is there.

use std::collections::BTreeMap;

use common::epoch::{Epoch, Reign};
use common::id::{Incarnation, Seq, ServerId};
use common::position::{After, Position};
use common::session::{SessionId, SessionKey};
use common::time::WallMillis;
use common::token::TokenKey;
use common::user::{PasswordHash, Secret, Stamp, UserRecord, Username};
use common::users::Seen;
use common::wire::*;

/// In the order of [`Message::COMMANDS`].
pub(crate) fn all() -> Vec<Message> {
    let mut samples = between_clients_and_servers();
    samples.extend(among_servers());
    samples.extend(among_coordinators());
    samples.extend(among_workers());
    samples.extend(for_operators());
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
        Login {
            username: "ann".into(),
            secret: Some(secret()),
            token: Some("v1.a.b".into()),
            capabilities: vec!["backup_list".into()],
            session: Some(SessionKey::new(7)),
            resume: Some(position()),
            last: Some(1),
            network: Some("n".into()),
        }
        .into(),
        LoginSuccess {
            info: "hello".into(),
            server: Some(id()),
            position: Some(position()),
            network: Some("n".into()),
        }
        .into(),
        LoginFailed { info: "no".into(), retry_after: Some(Millis(1)), position: true }.into(),
        Logout {}.into(),
        Redirect { address: address(), token: Some("v1.a.b".into()) }.into(),
        ActivityMessage {
            username: Some("ann".into()),
            secret: Some(secret()),
            activity_seq: Some(Seq(1)),
            activity: activity(),
        }
        .into(),
        broadcast().into(),
        ActivityAck { received: 1 }.into(),
        ActivitySendingReport {
            first_seq: Some(Seq(1)),
            activity_seq: Seq(2),
            client_count: 3,
            succ_count: 2,
            fail_count: 1,
            durability: Durability::Replicated,
            unreachable: vec![id()],
        }
        .into(),
        ActivityRetrieve {
            after: After::Position(position()),
            request: 1,
            within: position(),
            need_reply: true,
        }
        .into(),
        ActivityRetrieved { request: 1, activities: vec![broadcast()], done: true }.into(),
        Resumed { recovered: true, gaps: position(), position: position() }.into(),
        Quit::to(address(), Some("v1.a.b".into())).into(),
        Who { after: Some(place()) }.into(),
        WhoAnswer {
            worker: id(),
            incarnation: Incarnation(7),
            after: 1,
            change: 2,
            clients: vec![PresentClient {
                attachment: 2,
                username: username("ann"),
                session: session(),
                since: WallMillis(5),
            }],
            next: Some(place()),
        }
        .into(),
        ClientDisconnect { username: username("ann"), at: attached(), change: 3 }.into(),
        PresenceMissed {}.into(),
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
            users_after: seen(),
            recovering: true,
        }
        .into(),
        AuthenticateSuccess {
            id: id(),
            incarnation: Some(Incarnation(7)),
            network: Some("n".into()),
            token_key: Some(TokenKey::new([7; 32])),
            servers: vec![server()],
            seen: seen(),
        }
        .into(),
        AuthenticationFail { info: "no".into(), retry_after: Some(Millis(1)), taken: true }.into(),
        NewClient { username: username("ann"), load: Some(1), at: Some(attached()) }.into(),
        DeLoad { load: 1 }.into(),
        ServerLoad { load: 1, movable: 1, recovering: true }.into(),
        SynchronisedNewServer { server: server(), update: Some(1) }.into(),
        RemoveServer { id: id(), update: Some(1) }.into(),
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
        SyncUser {
            users: users(),
            seen: seen(),
            r#override: true,
            members: vec![server()],
            history: vec![reign()],
        }
        .into(),
        BackupList {
            servers: vec![BackupEntry { id: Some(id()), address: address(), role: Role::Main }],
            token: Some("v1.a.b".into()),
        }
        .into(),
    ]
}

fn among_coordinators() -> Vec<Message> {
    vec![
        BackupAuthenticate {
            id: id(),
            address: address(),
            secret: secret(),
            incarnation: Incarnation(7),
            standing: standing(),
        }
        .into(),
        BackupAuthenticationSuccess {
            id: id(),
            address: address(),
            incarnation: Incarnation(7),
            standing: standing(),
        }
        .into(),
        BackupAuthenticationFail {
            info: "no".into(),
            retry_after: Some(Millis(1)),
            id: Some(id()),
            network: Some("n".into()),
        }
        .into(),
        Heartbeat { standing: standing() }.into(),
        SynchroniseServerAddresses {
            update: 1,
            network: "n".into(),
            token_key: TokenKey::new([7; 32]),
            servers: vec![server()],
            members: vec![server()],
            forgotten: vec![id()],
            history: vec![reign()],
            seen: seen(),
        }
        .into(),
        SynchroniseServerLoad { update: 1, loads: [(id(), 3)].into() }.into(),
        SynchroniseUserStore { update: 1, users: users(), seen: seen() }.into(),
        Synchronised { update: 1 }.into(),
        MainQuery { id: id(), secret: secret() }.into(),
        MainAnswer { main: Some(id()) }.into(),
        Promote {}.into(),
    ]
}

fn among_workers() -> Vec<Message> {
    vec![
        Neighbours {
            links: vec![id()],
            next: Seq(1),
            holds: Some(position()),
            past: Some(position()),
            presence: vec![PresenceKnown {
                worker: id(),
                incarnation: Incarnation(7),
                change: 2,
                silent: Millis(1),
                pulse: 3,
            }],
            doubles: vec![Double {
                session: session(),
                activity_seq: Seq(2),
                ids: vec!["w/00000000000000ff/1".parse().expect("an id")],
            }],
            recovering: true,
            need_reply: true,
        }
        .into(),
        ActivitySuccInfo {
            worker: id(),
            incarnation: Incarnation(7),
            counts: vec![DeliveryCount {
                session: session(),
                first: Seq(1),
                last: Seq(2),
                taken_by: Incarnation(7),
                client_count: 3,
                succ_count: 2,
            }],
        }
        .into(),
        MoveClients { count: 1, to: id() }.into(),
    ]
}

fn for_operators() -> Vec<Message> {
    vec![
        Status { secret: secret(), conflicts: true }.into(),
        StatusReport {
            id: id(),
            network: "n".into(),
            role: Role::Main,
            highest_epoch: Some(epoch()),
            state: State::Recovering,
            reasons: vec!["a worker is gone".into()],
            users: 1,
            coordinators: vec![CoordinatorStatus {
                server: server(),
                role: Some(Role::Backup),
                heard_epoch: Some(epoch()),
                listed: true,
                behind: Some(1),
            }],
            workers: vec![WorkerStatus { server: server(), load: 1, expected: 1, connected: true }],
            history: vec![reign()],
            conflict_count: 1,
            conflicts: vec![Conflict {
                username: username("ann"),
                registration: stamp(),
                lost_to: stamp(),
                registered: WallMillis(5),
            }],
        }
        .into(),
        RemoveUser { username: "ann".into(), secret: secret() }.into(),
        RemoveUserSuccess { info: "done".into(), durability: Durability::Local }.into(),
        RemoveUserFailed { info: "no".into(), retry_after: Some(Millis(1)) }.into(),
        ForgetCoordinator { id: id(), secret: secret() }.into(),
        ForgetCoordinatorSuccess { info: "done".into() }.into(),
        ForgetCoordinatorFailed { info: "no".into(), retry_after: Some(Millis(1)) }.into(),
        Export { secret: secret(), after: seen() }.into(),
        Exported { network: "n".into(), users: vec![registration()], next: seen() }.into(),
        Import { secret: secret(), network: Some("n".into()), users: vec![registration()] }.into(),
        Imported { news: 1, durability: Durability::Local }.into(),
        ImportFailed { info: "no".into(), retry_after: Some(Millis(1)) }.into(),
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

/// The id of every server that a sample names.
pub(crate) fn id() -> ServerId {
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
    UserRecord {
        registration: stamp(),
        changed: stamp(),
        written: Some(Box::new(stamp())),
        secret: Some(hash()),
    }
}

/// A name that says what it stands for: it becomes a part of the fields' paths.
fn users() -> BTreeMap<Username, UserRecord> {
    [(username("<username>"), user())].into()
}

fn registration() -> Registration {
    Registration { username: username("ann"), user: user() }
}

fn seen() -> Seen {
    Seen::from(vec![stamp()])
}

fn epoch() -> Epoch {
    "7@c1".parse().expect("an epoch")
}

fn reign() -> Reign {
    Reign { epoch: epoch(), since: WallMillis(5), after: Some(id()), why: "it was first".into() }
}

fn standing() -> Standing {
    Standing { role: Role::Backup, rank: Some(1), main: Some(id()), network: Some("n".into()) }
}

fn session() -> SessionId {
    SessionKey::new(7).session(&username("ann"))
}

fn place() -> Place {
    Place { worker: id(), incarnation: Incarnation(7), attachment: 2 }
}

fn attached() -> Attached {
    Attached { place: place(), session: session(), since: WallMillis(5) }
}

fn position() -> Position {
    "w/00000000000000ff/0-41+43".parse().expect("a position")
}

fn broadcast() -> ActivityBroadcast {
    ActivityBroadcast {
        id: "w/00000000000000ff/1".parse().ok(),
        session: Some(session()),
        activity_seq: Some(Seq(2)),
        missing_from: Some(Seq(1)),
        late: true,
        activity: activity(),
    }
}

/// Without keys: what an activity holds is no part of the protocol.
fn activity() -> Activity {
    Activity::parse("{}").expect("an object")
}
