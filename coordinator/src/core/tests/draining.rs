use common::machine::Event;

use super::{Input, Net};

#[test]
fn a_drain_says_goodbye_and_ends() {
    let mut net = Net::new();
    let (worker, stranger) = (net.worker("w1"), net.connect());
    net.event(Event::Input(Input::Drain));
    assert!(net.is_closed(worker) && net.is_closed(stranger));
    assert!(!net.accepting);
    assert_eq!(net.exited, Some(Ok(())));
}

#[test]
fn what_is_on_its_way_to_the_disk_is_confirmed_first() {
    let mut net = Net::new();
    let worker = net.worker("w1");
    net.has_registered("dee", "s");
    net.commands(worker);
    net.hold_effects();
    let (ann, bob, dee) = (net.connect(), net.connect(), net.connect());
    net.register(ann, "ann", "s");
    net.answer();
    net.register(bob, "bob", "s");
    net.login(dee, "dee", "s");
    net.event(Event::Input(Input::Drain));
    for (link, command) in [(bob, "REGISTER_FAILED"), (dee, "LOGIN_FAILED")] {
        let (heard, info, retry) = net.refusal(link);
        assert_eq!((heard, retry), (command, true));
        assert!(info.contains("shutting down"), "{info}");
    }
    assert_eq!(net.exited, None);
    let late = net.connect();
    assert_eq!(net.refusal(late).1, "this coordinator is shutting down");
    net.lock(worker, "cy");
    assert_eq!(net.commands(worker), ["LOCK_DENIED"]);
    net.answer_all();
    assert_eq!(net.commands(ann), ["REGISTER_SUCCESS"]);
    assert_eq!(net.commands(worker), ["USER_REGISTER_RESULT"]);
    assert!(net.is_closed(ann) && net.is_closed(worker));
    assert_eq!(net.exited, Some(Ok(())));
}
