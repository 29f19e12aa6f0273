//! Arbitrary messages, well formed and not, for the properties that hold for all of them.

mod fields;

use common::id::Incarnation;
use common::token::TokenKey;
use common::wire::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::Union;

use fields::*;
pub(crate) use fields::{epoch, json};

/// Any message that the types allow.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    Union::new(kinds())
}

/// One strategy per command, in the order of [`Message::COMMANDS`].
pub(crate) fn kinds() -> Vec<BoxedStrategy<Message>> {
    let mut kinds = between_clients_and_servers();
    kinds.extend(among_servers());
    kinds.extend(among_coordinators());
    kinds.extend(among_workers());
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
        kind(
            (
                (text(), option::of(secret()), option::of(text()), vec(text(), 0..3)),
                (
                    option::of(session_key()),
                    option::of(position()),
                    option::of(any::<u64>()),
                    option::of(text()),
                ),
            ),
            |((username, secret, token, capabilities), (session, resume, last, network))| Login {
                username,
                secret,
                token,
                capabilities,
                session,
                resume,
                last,
                network,
            },
        ),
        kind(
            (text(), option::of(id()), option::of(position()), option::of(text())),
            |(info, server, position, network)| LoginSuccess { info, server, position, network },
        ),
        kind((text(), option::of(millis()), any::<bool>()), |(info, retry_after, position)| LoginFailed {
            info,
            retry_after,
            position,
        }),
        kind(Just(()), |()| Logout {}),
        kind((address(), option::of(text())), |(address, token)| Redirect { address, token }),
        kind(
            (option::of(text()), option::of(secret()), option::of(seq()), activity()),
            |(username, secret, activity_seq, activity)| ActivityMessage {
                username,
                secret,
                activity_seq,
                activity,
            },
        ),
        kind(broadcast(), |broadcast| broadcast),
    ]
    .into_iter()
    .chain(of_sessions())
    .chain(of_presence())
    .chain([kind(text(), |info| InvalidMessage { info })])
    .collect()
}

fn of_sessions() -> Vec<BoxedStrategy<Message>> {
    vec![
        kind(any::<u64>(), |received| ActivityAck { received }),
        kind(
            ((option::of(seq()), seq()), any::<[u64; 3]>(), durability(), vec(id(), 0..3)),
            |((first_seq, activity_seq), counts, durability, unreachable)| ActivitySendingReport {
                first_seq,
                activity_seq,
                client_count: counts[0],
                succ_count: counts[1],
                fail_count: counts[2],
                durability,
                unreachable,
            },
        ),
        kind((after(), any::<u64>(), position(), any::<bool>()), |(after, request, within, need_reply)| {
            ActivityRetrieve { after, request, within, need_reply }
        }),
        kind((any::<u64>(), vec(broadcast(), 0..3), any::<bool>()), |(request, activities, done)| {
            ActivityRetrieved { request, activities, done }
        }),
        kind((any::<bool>(), position(), position()), |(recovered, gaps, position)| Resumed {
            recovered,
            gaps,
            position,
        }),
        kind(
            (option::of(text()), option::of(any::<u64>()), option::of(text())),
            |(new_server_ip, new_server_port, token)| Quit { new_server_ip, new_server_port, token },
        ),
    ]
}

fn of_presence() -> Vec<BoxedStrategy<Message>> {
    let client =
        (any::<u64>(), username(), session(), wall()).prop_map(|(attachment, username, session, since)| {
            PresentClient { attachment, username, session, since }
        });
    vec![
        kind(option::of(place()), |after| Who { after }),
        kind(
            (place(), any::<u64>(), vec(client, 0..3), option::of(place())),
            |(Place { worker, incarnation, attachment: after }, change, clients, next)| WhoAnswer {
                worker,
                incarnation,
                after,
                change,
                clients,
                next,
            },
        ),
        kind((username(), attached(), any::<u64>()), |(username, at, change)| ClientDisconnect {
            username,
            at,
            change,
        }),
        kind(Just(()), |()| PresenceMissed {}),
    ]
}

fn among_servers() -> Vec<BoxedStrategy<Message>> {
    vec![
        kind(
            (
                (id(), address(), secret(), any::<u64>()),
                (option::of(id()), option::of(any::<u64>()), seen(), any::<bool>()),
            ),
            |((id, address, secret, incarnation), (to, load, users_after, recovering))| Authenticate {
                id,
                address,
                secret,
                incarnation: Incarnation(incarnation),
                to,
                load,
                users_after,
                recovering,
            },
        ),
        kind(
            (
                id(),
                option::of(any::<u64>()),
                option::of(text()),
                option::of(any::<[u8; 32]>()),
                vec(server(), 0..3),
                seen(),
            ),
            |(id, incarnation, network, key, servers, seen)| AuthenticateSuccess {
                id,
                incarnation: incarnation.map(Incarnation),
                network,
                token_key: key.map(TokenKey::new),
                servers,
                seen,
            },
        ),
        kind((text(), option::of(millis()), any::<bool>()), |(info, retry_after, taken)| {
            AuthenticationFail { info, retry_after, taken }
        }),
        kind((username(), option::of(any::<u64>()), option::of(attached())), |(username, load, at)| {
            NewClient { username, load, at }
        }),
        kind(any::<u64>(), |load| DeLoad { load }),
        kind((any::<u64>(), any::<u64>(), any::<bool>()), |(load, movable, recovering)| ServerLoad {
            load,
            movable,
            recovering,
        }),
        kind((server(), option::of(any::<u64>())), |(server, update)| SynchronisedNewServer {
            server,
            update,
        }),
        kind((id(), option::of(any::<u64>())), |(id, update)| RemoveServer { id, update }),
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
        kind(
            (users(), seen(), any::<bool>(), vec(server(), 0..3), vec(reign(), 0..3)),
            |(users, seen, r#override, members, history)| SyncUser {
                members,
                users,
                seen,
                r#override,
                history,
            },
        ),
        kind((vec(backup_entry(), 0..3), option::of(text())), |(servers, token)| BackupList {
            servers,
            token,
        }),
    ]
}

fn among_coordinators() -> Vec<BoxedStrategy<Message>> {
    vec![
        kind(
            (id(), address(), secret(), any::<u64>(), standing()),
            |(id, address, secret, incarnation, standing)| BackupAuthenticate {
                id,
                address,
                secret,
                incarnation: Incarnation(incarnation),
                standing,
            },
        ),
        kind((id(), address(), any::<u64>(), standing()), |(id, address, incarnation, standing)| {
            BackupAuthenticationSuccess { id, address, incarnation: Incarnation(incarnation), standing }
        }),
        kind(
            (text(), option::of(millis()), option::of(id()), option::of(text())),
            |(info, retry_after, id, network)| BackupAuthenticationFail { info, retry_after, id, network },
        ),
        kind(standing(), |standing| Heartbeat { standing }),
        kind(
            (
                (any::<u64>(), text(), any::<[u8; 32]>()),
                (vec(server(), 0..3), vec(server(), 0..3), vec(id(), 0..3), vec(reign(), 0..3), seen()),
            ),
            |((update, network, key), (servers, members, forgotten, history, seen))| {
                SynchroniseServerAddresses {
                    update,
                    network,
                    token_key: TokenKey::new(key),
                    servers,
                    members,
                    forgotten,
                    history,
                    seen,
                }
            },
        ),
        kind((any::<u64>(), btree_map(id(), any::<u64>(), 0..3)), |(update, loads)| SynchroniseServerLoad {
            update,
            loads,
        }),
        kind((any::<u64>(), users(), seen()), |(update, users, seen)| SynchroniseUserStore {
            update,
            users,
            seen,
        }),
        kind(any::<u64>(), |update| Synchronised { update }),
        kind((id(), secret()), |(id, secret)| MainQuery { id, secret }),
        kind(option::of(id()), |main| MainAnswer { main }),
        kind(Just(()), |()| Promote {}),
    ]
}

fn among_workers() -> Vec<BoxedStrategy<Message>> {
    let count = (session(), seq(), seq(), any::<u64>().prop_map(Incarnation), any::<u64>(), any::<u64>())
        .prop_map(|(session, first, last, taken_by, client_count, succ_count)| DeliveryCount {
            session,
            first,
            last,
            taken_by,
            client_count,
            succ_count,
        });
    let known = (place(), millis(), any::<u64>()).prop_map(|(at, silent, pulse)| {
        let Place { worker, incarnation, attachment: change } = at;
        PresenceKnown { worker, incarnation, change, silent, pulse }
    });
    let double = (session(), seq(), vec(activity_id(), 0..3))
        .prop_map(|(session, activity_seq, ids)| Double { session, activity_seq, ids });
    vec![
        kind(
            (
                vec(id(), 0..3),
                seq(),
                option::of(position()),
                option::of(position()),
                vec(known, 0..3),
                vec(double, 0..3),
                (any::<bool>(), any::<bool>()),
            ),
            |(links, next, holds, past, presence, doubles, (recovering, need_reply))| Neighbours {
                links,
                next,
                holds,
                past,
                presence,
                doubles,
                recovering,
                need_reply,
            },
        ),
        kind((id(), any::<u64>(), vec(count, 0..3)), |(worker, incarnation, counts)| ActivitySuccInfo {
            worker,
            incarnation: Incarnation(incarnation),
            counts,
        }),
        kind((any::<u64>(), id()), |(count, to)| MoveClients { count, to }),
    ]
}

fn for_operators() -> Vec<BoxedStrategy<Message>> {
    let about_itself = (id(), text(), role(), option::of(epoch()), state(), vec(text(), 0..3), any::<u64>());
    let about_others = (vec(coordinator(), 0..3), vec(worker(), 0..3));
    let about_the_past = (vec(reign(), 0..3), any::<u64>(), vec(conflict(), 0..3));
    vec![
        kind((secret(), any::<bool>()), |(secret, conflicts)| Status { secret, conflicts }),
        kind((about_itself, about_others, about_the_past), |(itself, others, past)| {
            let (id, network, role, highest_epoch, state, reasons, users) = itself;
            let (coordinators, workers) = others;
            let (history, conflict_count, conflicts) = past;
            StatusReport {
                id,
                network,
                role,
                highest_epoch,
                state,
                reasons,
                users,
                coordinators,
                workers,
                history,
                conflict_count,
                conflicts,
            }
        }),
        kind((text(), secret()), |(username, secret)| RemoveUser { username, secret }),
        kind((text(), durability()), |(info, durability)| RemoveUserSuccess { info, durability }),
        kind((text(), option::of(millis())), |(info, retry_after)| RemoveUserFailed { info, retry_after }),
        kind((id(), secret()), |(id, secret)| ForgetCoordinator { id, secret }),
        kind(text(), |info| ForgetCoordinatorSuccess { info }),
        kind((text(), option::of(millis())), |(info, retry_after)| ForgetCoordinatorFailed {
            info,
            retry_after,
        }),
        kind((secret(), seen()), |(secret, after)| Export { secret, after }),
        kind((text(), vec(registration(), 0..3), seen()), |(network, users, next)| Exported {
            network,
            users,
            next,
        }),
        kind((secret(), option::of(text()), vec(registration(), 0..3)), |(secret, network, users)| Import {
            secret,
            network,
            users,
        }),
        kind((any::<u64>(), durability()), |(news, durability)| Imported { news, durability }),
        kind((text(), option::of(millis())), |(info, retry_after)| ImportFailed { info, retry_after }),
    ]
}
