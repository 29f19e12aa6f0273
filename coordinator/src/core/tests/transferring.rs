//! EXPORT and IMPORT.

use common::user::Stamp;
use common::users::Seen;
use common::wire::{Export, Exported, Import, Imported, Registration};

use super::*;

fn registration(name: &str, registration: &str, changed: &str) -> Registration {
    let [registration, changed] = [registration, changed].map(|stamp| stamp.parse().unwrap());
    let user = UserRecord { registration, changed, written: None, secret: Some(password::decoy()) };
    Registration { username: name.parse().unwrap(), user }
}

impl Net {
    fn export(&mut self, link: LinkId, after: Seen) -> Exported {
        self.say_message(link, Export { secret: Secret::new(SECRET), after });
        match self.hear(link) {
            Message::Exported(exported) => exported,
            other => panic!("{other:?}"),
        }
    }

    fn import(&mut self, link: LinkId, users: &[Registration]) {
        let network = Some("net".to_owned());
        self.say_message(link, Import { secret: Secret::new(SECRET), network, users: users.to_vec() });
    }

    fn say_message(&mut self, link: LinkId, message: impl Into<Message>) {
        let line = message.into().encode();
        self.say(link, std::str::from_utf8(&line).unwrap().trim_end());
    }

    fn exported_names(&mut self) -> Vec<String> {
        let link = self.connect();
        let (mut names, mut after) = (Vec::new(), Seen::default());
        loop {
            let Exported { users, next, .. } = self.export(link, after);
            if users.is_empty() {
                return names;
            }
            names.extend(users.iter().map(|registration| registration.username.to_string()));
            after = next;
        }
    }
}

#[test]
fn users_are_exported_some_at_a_time_until_there_are_no_more() {
    let mut net = Net::with(Limits { sync_users: 2, ..Limits::default() }, Vec::new());
    for name in ["ann", "bob", "cy", "dot", "eve"] {
        net.has_registered(name, "s");
    }
    let operator = net.connect();
    let first = net.export(operator, Seen::default());
    assert_eq!((first.network.as_str(), first.users.len()), ("net", 2));
    assert_eq!(net.exported_names(), ["ann", "bob", "cy", "dot", "eve"]);
    net.remove(operator, "bob");
    assert_eq!(net.exported_names(), ["ann", "cy", "dot", "eve", "bob"], "removed ones are told of too");
}

#[test]
fn what_is_imported_is_on_disk_first_and_workers_hear_of_it() {
    let mut net = Net::new();
    let (worker, operator) = (net.worker("w1"), net.connect());
    let users = [registration("ann", "5.0@c7", "6.0@c7"), registration("bob", "7.0@c7", "7.0@c7")];
    net.hold_effects();
    net.import(operator, &users);
    assert_eq!(net.batch(), ["ann", "bob"]);
    assert!(net.hear_all(operator).is_empty() && net.hear_all(worker).is_empty(), "the disk has not spoken");
    net.answer_all();
    let [Message::Imported(Imported { news: 2, .. })] = net.hear_all(operator)[..] else {
        panic!("no answer")
    };
    assert_eq!(net.commands(worker), ["SYNC_USER"; 2], "the second says that this was all");
    net.import(operator, &users);
    let [Message::Imported(Imported { news: 0, .. })] = net.hear_all(operator)[..] else {
        panic!("no answer")
    };
    assert!(net.effects.is_empty(), "nothing is written twice");
    let ann = net.export(operator, Seen::default()).users.remove(0);
    assert_eq!(ann.user.registration.to_string(), "5.0@c7");
    assert_eq!(ann.user.written().coordinator, "c1".parse().unwrap(), "it is written under a stamp of ours");
}

#[test]
fn a_secret_that_is_changed_while_an_older_one_is_imported_stays() {
    let mut net = Net::new();
    net.has_registered("ann", "first");
    let (worker, operator, ann) = (net.worker("w1"), net.connect(), net.connect());
    let mut later = net.export(operator, Seen::default()).users.remove(0);
    let Stamp { wall, counter, coordinator } = later.user.changed;
    later.user.changed = Stamp { wall, counter: counter + 1, coordinator };
    later.user.secret = Some(password::decoy());
    net.hold_effects();
    net.change_secret(ann, "ann", "first", "second");
    net.answer();
    // Somebody else keeps the disk busy; behind it wait the new secret, then the record of a file that is newer than what is known.
    net.lock(worker, "bob");
    net.answer();
    assert_eq!(net.batch(), ["bob"]);
    net.import(operator, &[later]);
    net.answer();
    assert_eq!(net.batch(), ["ann"]);
    net.answer_all();
    assert_eq!(net.commands(operator), ["IMPORTED"]);
    let login = net.connect();
    net.login(login, "ann", "second");
    net.answer_all();
    assert_eq!(net.commands(login), ["LOGIN_SUCCESS", "REDIRECT"]);
}

#[test]
fn an_import_that_cannot_be_is_refused_and_changes_nothing() {
    let mut net = Net::with(Limits { sync_users: 2, ..Limits::default() }, Vec::new());
    let operator = net.connect();
    let user = |name| registration(name, "5.0@c7", "6.0@c7");
    let refusals: [(&str, Import); 2] = [
        (
            "the file holds users of elsewhere, this coordinator belongs to net: to have both in one network, say --other-network",
            Import {
                secret: Secret::new(SECRET),
                network: Some("elsewhere".to_owned()),
                users: vec![user("ann")],
            },
        ),
        (
            "more than 2 users in one message",
            Import {
                secret: Secret::new(SECRET),
                network: None,
                users: vec![user("a"), user("b"), user("c")],
            },
        ),
    ];
    for (info, import) in refusals {
        net.say_message(operator, import);
        let Message::ImportFailed(failed) = net.hear(operator) else { panic!("it is taken in") };
        assert_eq!((failed.info.as_str(), failed.retry_after), (info, None));
    }
    net.import(operator, &[registration("ann", "6.0@c7", "5.0@c7")]);
    assert_eq!(net.refusal(operator).0, "INVALID_MESSAGE");
    let stranger = net.connect();
    net.say_message(
        stranger,
        Import { secret: Secret::new("guessed"), network: None, users: vec![user("a")] },
    );
    assert_eq!(net.refusal(stranger).0, "AUTHENTICATION_FAIL");
    let stranger = net.connect();
    net.say_message(stranger, Export { secret: Secret::new("guessed"), after: Seen::default() });
    assert_eq!(net.refusal(stranger).0, "AUTHENTICATION_FAIL");
    assert!(net.exported_names().is_empty());
}

#[test]
fn who_imports_hears_that_the_disk_fails() {
    let mut net = Net::new();
    let operator = net.connect();
    net.hold_effects();
    net.import(operator, &[registration("ann", "5.0@c7", "5.0@c7")]);
    net.fail_disk();
    let Message::ImportFailed(failed) = net.hear(operator) else { panic!("no refusal") };
    assert!(failed.retry_after.is_some());
}
