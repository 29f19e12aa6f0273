//! Conversations of one session with servers that the test plays.

use common::id::ActivityId;
use common::limits;
use common::machine::DialError;
use common::time::WallMillis;
use common::user::Secret;
use common::wire::{ActivityBroadcast, Address, BackupEntry, Login, Message, Role};
use slotmap::SlotMap;

use super::*;

mod activities;
mod coordinators;
mod presence;
mod workers;

const COORDINATOR: &str = "10.0.0.1:3780";
const SECOND: &str = "10.0.0.2:3780";
const WORKER: &str = "10.0.1.1:4000";
const REDIRECT: &str = r#"{"command":"REDIRECT","hostname":"10.0.1.1","port":4000,"token":"t"}"#;
const SUCCESS: &str = r#"{"command":"LOGIN_SUCCESS","server":"worker-a"}"#;
/// Of a worker that knows sessions.
const WELCOME: &str =
    r#"{"command":"LOGIN_SUCCESS","server":"worker-a","network":"n1","position":"a/00000000000000ff/0-6"}"#;

/// A session and everything around it. Times are milliseconds.
struct World {
    client: Client,
    time: Time,
    links: SlotMap<LinkId, ()>,
    link: Option<LinkId>,
    dialling: Option<(DialId, Address)>,
    effects: Vec<Effect>,
    farewell: Option<String>,
    exit: Option<Result<(), String>>,
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> World {
        let mut config = Config {
            coordinators: vec![COORDINATOR.parse().unwrap()],
            remembered: Vec::new(),
            username: "ann".parse().unwrap(),
            secret: Some(Secret::new("hush")),
            register: RegisterMode::No,
            reconnect: true,
            session: None,
            start: Start::Now,
            resume: true,
            presence: false,
            seed: 7,
            limits: Limits::default(),
        };
        change(&mut config);
        let client = Client::new(Now::default(), config);
        let mut world = World {
            client,
            time: Time::ZERO,
            links: SlotMap::with_key(),
            link: None,
            dialling: None,
            effects: Vec::new(),
            farewell: None,
            exit: None,
        };
        world.tell(Event::DeadlinePassed);
        world
    }

    fn tell(&mut self, event: Event<Input>) {
        let mut actions = Vec::new();
        self.client.handle(Now { time: self.time, wall: WallMillis(0) }, event, &mut actions);
        self.client.assert_bounds();
        for action in actions {
            match action {
                Action::Dial { dial, address } => self.dialling = Some((dial, address)),
                Action::Close { link, farewell } => {
                    assert_eq!(self.link.take(), Some(link), "only the connection that stands is closed");
                    self.farewell = Some(String::from_utf8(farewell).unwrap());
                }
                Action::Effect(effect) => self.effects.push(effect),
                Action::Exit(result) => self.exit = Some(result),
                Action::Flush(link) => assert_eq!(self.link, Some(link)),
                Action::FlushAll | Action::StopAccepting => {
                    unreachable!("a client has one link and accepts none")
                }
            }
        }
    }

    /// The attempt to reach `address`, which must be under way, succeeds.
    fn answer_dial(&mut self, address: &str) {
        let (dial, dialled) = self.dialling.take().expect("an attempt is under way");
        assert_eq!(dialled.to_string(), address);
        let link = self.links.insert(());
        self.link = Some(link);
        self.tell(Event::Dialled { dial, link });
    }

    fn refuse_dial(&mut self, address: &str) {
        let (dial, dialled) = self.dialling.take().expect("an attempt is under way");
        assert_eq!(dialled.to_string(), address);
        self.tell(Event::DialFailed { dial, error: DialError::Refused });
    }

    /// Takes all that the session writes.
    fn hear(&mut self) -> String {
        let link = self.link.expect("a connection stands");
        let heard = self.client.output(link).to_vec();
        if !heard.is_empty() {
            self.tell(Event::Wrote { link, bytes: heard.len() });
        }
        String::from_utf8(heard).unwrap()
    }

    fn say(&mut self, line: &str) {
        let link = self.link.expect("a connection stands");
        let message = Message::decode(line.as_bytes()).unwrap();
        self.tell(Event::Received { link, message, epoch: None });
    }

    fn lose_connection(&mut self) {
        let link = self.link.take().expect("a connection stands");
        self.tell(Event::Closed { link });
    }

    fn wait_for_deadline(&mut self) {
        self.time = self.client.deadline().expect("the session waits for something");
        self.tell(Event::DeadlinePassed);
    }

    fn publish(&mut self, text: &str) {
        self.tell(Event::Input(Input::Publish(Activity::parse(text).unwrap())));
    }

    /// Logs in at a server of the classic protocol.
    fn log_in(&mut self) {
        self.go_to_worker();
        self.say(SUCCESS);
        assert!(self.client.is_live());
        self.effects.clear();
    }

    /// Logs in at a worker that knows sessions. Returns the LOGIN.
    fn begin(&mut self) -> Login {
        let login = self.go_to_worker();
        self.say(WELCOME);
        assert!(self.client.is_live());
        self.effects.clear();
        login
    }

    /// By the coordinator. Returns the LOGIN.
    fn go_to_worker(&mut self) -> Login {
        self.answer_dial(COORDINATOR);
        self.hear();
        self.say(SUCCESS);
        self.say(REDIRECT);
        self.answer_dial(WORKER);
        self.hear_login()
    }

    fn hear_login(&mut self) -> Login {
        match Message::decode(self.hear().trim_end().as_bytes()).unwrap() {
            Message::Login(login) => login,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_session_logs_in_is_redirected_and_logs_in_again_by_token() {
    let mut world = World::new(|_| {});
    world.answer_dial(COORDINATOR);
    assert_eq!(
        world.hear(),
        "{\"command\":\"LOGIN\",\"username\":\"ann\",\"secret\":\"hush\",\"capabilities\":[\"backup_list\"]}\n"
    );
    world.say(SUCCESS);
    assert!(world.effects.is_empty(), "a coordinator's welcome is no live session");
    world.say(REDIRECT);
    world.answer_dial(WORKER);
    assert!(world.hear().contains("\"secret\":\"hush\",\"token\":\"t\""));
    world.say(SUCCESS);
    let server = "worker-a".parse().ok();
    let address = WORKER.parse().unwrap();
    assert_eq!(world.effects, [Effect::LoggedIn { server, address, after: None }]);
}

#[test]
fn a_missing_name_is_registered_and_logged_in_on_the_same_connection() {
    let mut world = World::new(|config| config.register = RegisterMode::IfMissing);
    world.answer_dial(COORDINATOR);
    assert_eq!(world.hear(), "{\"command\":\"REGISTER\",\"username\":\"ann\",\"secret\":\"hush\"}\n");
    world.say(r#"{"command":"REGISTER_SUCCESS"}"#);
    assert_eq!(world.effects, [Effect::Registered { existing: false }]);
    assert!(world.hear().contains("LOGIN"));
}

#[test]
fn a_registered_name_logs_in_on_a_new_connection_and_a_wrong_secret_then_tells_both_reasons() {
    let mut world = World::new(|config| config.register = RegisterMode::IfMissing);
    world.answer_dial(COORDINATOR);
    world.hear();
    world.say(r#"{"command":"REGISTER_FAILED","info":"ann is registered"}"#);
    world.answer_dial(COORDINATOR);
    assert!(world.hear().contains("\"LOGIN\""));
    world.say(r#"{"command":"LOGIN_FAILED","info":"wrong name or secret"}"#);
    let info = "wrong name or secret (registering the name was refused, too: ann is registered)".to_owned();
    assert_eq!(world.effects, [Effect::Refused { info: info.clone() }]);
    assert_eq!(world.exit, Some(Err(info)));
}

#[test]
fn registering_alone_ends_with_its_result() {
    let mut world = World::new(|config| config.register = RegisterMode::Only);
    world.answer_dial(COORDINATOR);
    world.hear();
    world.say(r#"{"command":"REGISTER_SUCCESS"}"#);
    assert_eq!((world.exit, world.link), (Some(Ok(())), None));

    let mut world = World::new(|config| config.register = RegisterMode::Only);
    world.answer_dial(COORDINATOR);
    world.hear();
    world.say(r#"{"command":"REGISTER_FAILED","info":"ann is registered"}"#);
    assert_eq!(world.exit, Some(Err("ann is registered".to_owned())));
}

#[test]
fn being_told_to_come_later_means_no_earlier() {
    let mut world = World::new(|_| {});
    world.answer_dial(COORDINATOR);
    world.hear();
    world.say(r#"{"command":"LOGIN_FAILED","info":"no worker is connected yet","retry_after":1000}"#);
    assert_eq!(world.link, None);
    let deadline = world.client.deadline().unwrap();
    assert!(
        deadline - world.time >= Duration::from_secs(1)
            && deadline - world.time < Duration::from_millis(1_101)
    );
    world.wait_for_deadline();
    world.answer_dial(COORDINATOR);
}

#[test]
fn a_mad_retry_after_does_not_send_the_session_away_for_a_year() {
    let mut world = World::new(|_| {});
    world.answer_dial(COORDINATOR);
    world.say(r#"{"command":"LOGIN_FAILED","retry_after":18446744073709551615}"#);
    assert!(world.client.deadline().unwrap() - world.time <= Duration::from_secs(61));
}

#[test]
fn a_coordinators_refusal_is_final_and_a_workers_is_not() {
    for refusal in ["LOGIN_FAILED", "AUTHENTICATION_FAIL", "INVALID_MESSAGE"] {
        let line = format!(r#"{{"command":"{refusal}","info":"no"}}"#);
        let mut world = World::new(|_| {});
        world.answer_dial(COORDINATOR);
        world.say(&line);
        assert_eq!(world.exit, Some(Err("no".to_owned())), "{refusal}");

        let mut world = World::new(|_| {});
        world.answer_dial(COORDINATOR);
        world.hear();
        world.say(REDIRECT);
        world.answer_dial(WORKER);
        world.say(&line);
        assert_eq!(world.exit, None, "{refusal}");
        assert!(
            matches!(&world.effects[..], [Effect::Disconnected { reason, retry_in: Some(_), .. }] if reason == "10.0.1.1:4000: no")
        );
    }
}

#[test]
fn a_silent_server_is_given_up() {
    let mut world = World::new(|_| {});
    world.answer_dial(COORDINATOR);
    assert_eq!(world.client.deadline(), Some(world.time + Duration::from_secs(10)));
    world.wait_for_deadline();
    assert_eq!(world.link, None);
    assert!(matches!(&world.effects[..], [Effect::Disconnected { .. }]));

    world.wait_for_deadline();
    world.answer_dial(COORDINATOR);
    world.hear();
    world.say(SUCCESS);
    assert_eq!(
        world.client.deadline(),
        Some(world.time + Duration::from_secs(5)),
        "the REDIRECT must follow"
    );
    world.wait_for_deadline();
    assert_eq!(world.link, None);
}

#[test]
fn a_worker_that_a_coordinator_sent_us_to_and_that_is_silent_is_left_soon_in_the_first_round() {
    let mut world = World::new(|_| {});
    for patience in [limits::FAILURE_TIMEOUT + limits::PULSE, limits::LOGIN_DEADLINE] {
        world.answer_dial(COORDINATOR);
        world.hear();
        world.say(REDIRECT);
        world.answer_dial(WORKER);
        assert_eq!(world.client.deadline(), Some(world.time + patience));
        world.wait_for_deadline();
        assert_eq!(world.link, None);
        world.wait_for_deadline();
    }
}

#[test]
fn without_any_coordinator_the_session_returns_to_its_last_worker() {
    let mut world = World::new(|config| config.coordinators.push(SECOND.parse().unwrap()));
    world.log_in();
    world.lose_connection();
    assert!(matches!(&world.effects[..], [Effect::Disconnected { .. }]));
    world.wait_for_deadline();
    world.refuse_dial(COORDINATOR);
    world.refuse_dial(SECOND);
    world.answer_dial(WORKER);
    let login = world.hear_login();
    assert_eq!((login.secret, login.token), (Some(Secret::new("hush")), None));
    world.say(SUCCESS);
    assert!(world.client.is_live());
}

#[test]
fn without_any_coordinator_a_new_session_begins_at_a_worker_that_is_remembered() {
    let remembered = |config: &mut Config, register| {
        let address = WORKER.parse().unwrap();
        config.remembered = vec![BackupEntry { id: None, address, role: Role::Worker }];
        config.register = register;
    };
    for register in [RegisterMode::No, RegisterMode::IfMissing] {
        let mut world = World::new(|config| remembered(config, register));
        world.refuse_dial(COORDINATOR);
        world.answer_dial(WORKER);
        let login = world.hear_login();
        assert_eq!((login.secret, login.token), (Some(Secret::new("hush")), None));
        world.say(WELCOME);
        assert!(world.client.is_live());
    }
    // Where the name is only to be registered, a worker is no help.
    let mut world = World::new(|config| remembered(config, RegisterMode::Only));
    world.refuse_dial(COORDINATOR);
    assert!(world.dialling.is_none());
    assert!(matches!(&world.effects[..], [Effect::Disconnected { .. }]));
}

#[test]
fn pauses_grow_and_are_drawn_at_random() {
    let pauses = |seed| {
        let mut world = World::new(|config| config.seed = seed);
        let pauses: Vec<Duration> = (0..12)
            .map(|_| {
                world.refuse_dial(COORDINATOR);
                let pause = world.client.deadline().unwrap() - world.time;
                world.wait_for_deadline();
                pause
            })
            .collect();
        assert!(
            pauses[0] < Duration::from_millis(100)
                && pauses.iter().all(|&pause| pause < Duration::from_secs(5))
        );
        assert!(pauses.iter().any(|&pause| pause > Duration::from_millis(500)));
        pauses
    };
    assert_eq!(pauses(1), pauses(1));
    assert_ne!(pauses(1), pauses(2));
}

#[test]
fn a_session_that_must_not_reconnect_ends_with_the_reason() {
    let mut world = World::new(|config| config.reconnect = false);
    world.refuse_dial(COORDINATOR);
    let reason = "10.0.0.1:3780: connection refused: nobody listens there".to_owned();
    assert_eq!(
        world.effects,
        [Effect::Disconnected { reason: reason.clone(), put_off_by: None, retry_in: None }]
    );
    assert_eq!(world.exit, Some(Err(reason)));
}

#[test]
fn at_a_classic_server_what_waits_is_sent_when_the_session_is_live_and_what_was_begun_is_not_sent_again() {
    let mut world = World::new(|_| {});
    world.publish(r#"{"n":1}"#);
    world.publish(r#"{"n":2}"#);
    world.log_in();
    let link = world.link.unwrap();
    world.tell(Event::Wrote { link, bytes: 5 });
    world.publish(r#"{"n":3}"#);
    world.lose_connection();
    assert_eq!(world.client.unreported(), 2);
    assert_eq!(world.effects[0], Effect::Unreported { first: Seq(1), last: Seq(1) });
    world.wait_for_deadline();
    world.log_in();
    let lines = world.hear();
    let second = r#"{"command":"ACTIVITY_MESSAGE","activity_seq":2,"activity":{"n":2}}"#;
    assert!(lines.starts_with(second), "{lines}");
    assert_eq!((lines.lines().count(), world.client.unreported()), (2, 0));
    assert_eq!(world.effects, [Effect::Unreported { first: Seq(2), last: Seq(3) }]);
}

#[test]
fn broadcasts_are_handed_up_and_a_redirect_moves_a_live_session_without_a_pause() {
    let mut world = World::new(|_| {});
    world.log_in();
    world.say(r#"{"command":"ACTIVITY_BROADCAST","id":"w/00000000000000ff/1","activity":{"a":1}}"#);
    let id: Option<ActivityId> = "w/00000000000000ff/1".parse().ok();
    let activity = Activity::parse(r#"{"a":1}"#).unwrap();
    assert_eq!(world.effects, [Effect::Activity(ActivityBroadcast { id, ..activity.into() })]);
    world.say(r#"{"command":"REDIRECT","host":"10.0.1.2","port":"4001"}"#);
    world.answer_dial("10.0.1.2:4001");
    world.hear();
    world.say(SUCCESS);
    assert!(world.client.is_live());
}

#[test]
fn a_server_that_talks_nonsense_or_takes_nothing_is_left() {
    let mut world = World::new(|_| {});
    world.log_in();
    let link = world.link.unwrap();
    world.tell(Event::Malformed { link, error: common::wire::WireError::NoCommand });
    assert_eq!(world.link, None);
    assert!(matches!(&world.effects[..], [Effect::Disconnected { retry_in: Some(_), .. }]));

    let mut world = World::new(|_| {});
    world.log_in();
    world.say(r#"{"command":"STATUS","secret":"x"}"#);
    assert_eq!(world.link, None);

    let mut world = World::new(|_| {});
    world.log_in();
    assert_eq!(world.client.deadline(), None, "a quiet session has nothing to wait for");
    world.publish("{}");
    world.wait_for_deadline();
    assert_eq!((world.time, world.link), (Time::ZERO + limits::WRITE_STALL, None));
}

#[test]
fn an_invalid_message_ends_a_live_connection_but_not_the_session() {
    let mut world = World::new(|_| {});
    world.log_in();
    world.say(r#"{"command":"INVALID_MESSAGE","info":"too deep"}"#);
    assert_eq!((world.link, world.exit.is_none()), (None, true));
    assert!(matches!(&world.effects[..], [Effect::Disconnected { reason, .. }] if reason == "too deep"));
}

#[test]
fn logging_out_says_what_waits_and_then_goodbye() {
    let mut world = World::new(|_| {});
    world.log_in();
    world.publish(r#"{"n":1}"#);
    world.tell(Event::Input(Input::Logout));
    let farewell = world.farewell.unwrap();
    assert!(farewell.ends_with("{\"n\":1}}\n{\"command\":\"LOGOUT\"}\n"), "{farewell}");
    assert_eq!(world.exit, Some(Ok(())));

    let mut world = World::new(|_| {});
    world.tell(Event::Input(Input::Logout));
    assert_eq!(world.exit, Some(Ok(())), "nothing waits, so there is nothing to wait for");

    let mut world = World::new(|_| {});
    world.publish(r#"{"n":1}"#);
    world.tell(Event::Input(Input::Logout));
    world.publish(r#"{"n":2}"#);
    assert_eq!(world.exit, None);
    world.answer_dial(COORDINATOR);
    world.say(REDIRECT);
    world.answer_dial(WORKER);
    world.say(SUCCESS);
    let farewell = world.farewell.unwrap();
    assert!(farewell.ends_with("{\"n\":1}}\n{\"command\":\"LOGOUT\"}\n"), "{farewell}");
    assert_eq!(world.exit, Some(Ok(())));
}

#[test]
fn events_of_older_connections_mean_nothing() {
    let mut world = World::new(|_| {});
    world.log_in();
    let old = world.link.unwrap();
    world.lose_connection();
    world.wait_for_deadline();
    world.log_in();
    world.tell(Event::Closed { link: old });
    world.tell(Event::Wrote { link: old, bytes: 1 });
    world.tell(Event::Malformed { link: old, error: common::wire::WireError::NoCommand });
    assert!(world.client.is_live() && world.effects.is_empty());
}

/// It was let in each time, and came again within a tenth of a second each time, without end.
#[test]
fn who_is_let_in_and_turned_out_again_and_again_comes_ever_more_slowly() {
    for reason in [
        "activity_seq 1 of this session is another activity already",
        "the session goes on over another connection",
    ] {
        let mut world = World::new(|_| {});
        world.publish("{}");
        let mut attempts = 0;
        while world.time < Time::ZERO + Duration::from_secs(60) && world.exit.is_none() {
            world.begin();
            world.hear();
            world.say(&format!(r#"{{"command":"INVALID_MESSAGE","info":"{reason}"}}"#));
            world.wait_for_deadline();
            attempts += 1;
        }
        assert!(attempts < 120, "{attempts} log-ins in a minute, and no end: {reason}");
    }
}
