//! The library against servers that the test plays, over real sockets.

use std::time::Duration;

use crate::fake::Fake;
use client::{Client, Durability, Error, Event, Options, Position, Receive, Secret, Unfit};
use futures::StreamExt;
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn ann(fake: &Fake) -> Options {
    Options::new(fake.coordinator.clone())
        .user("ann".parse().unwrap(), Secret::new("hush"))
        .register_if_missing()
}

/// What happens next, but for news of the servers and of what was published.
async fn next(client: &mut Client) -> Option<Event> {
    let next = async {
        loop {
            match client.event().await {
                Some(Event::Servers(_) | Event::Report(_) | Event::Unreported { .. }) => {}
                event => return event,
            }
        }
    };
    timeout(PATIENCE, next).await.expect("something happens in time")
}

#[tokio::test]
async fn what_is_published_comes_back_to_everybody() {
    let fake = Fake::start().await;
    let mut ann = Client::connect(ann(&fake)).await.unwrap();
    let mut anonymous = Client::connect(Options::new(fake.coordinator.clone())).await.unwrap();
    ann.publish(&json!({"type": "Note", "content": "hello"})).await.unwrap();
    for client in [&mut ann, &mut anonymous] {
        let activity = timeout(PATIENCE, client.activities().next()).await.unwrap().unwrap();
        assert_eq!(activity.user, "ann");
        assert_eq!(activity.parse::<serde_json::Value>().unwrap()["content"], "hello");
        assert_eq!(client.received(), 1);
    }
    ann.close().await.unwrap();
    anonymous.close().await.unwrap();
    assert_eq!(fake.logouts(), 2);
}

#[tokio::test]
async fn a_thousand_activities_and_a_goodbye_arrive_in_order_although_the_goodbye_is_said_at_once() {
    let fake = Fake::start().await;
    let mut listener = Client::connect(Options::new(fake.coordinator.clone())).await.unwrap();
    let publisher = Client::connect(ann(&fake).receive(Receive::Nothing)).await.unwrap();
    for n in 0..1_000 {
        publisher.publish(&json!({"n": n, "padding": "x".repeat(500)})).await.unwrap();
    }
    publisher.close().await.unwrap();
    let arrived =
        listener.activities().take(1_000).map(|activity| activity.parse::<serde_json::Value>().unwrap());
    let numbers: Vec<_> =
        timeout(PATIENCE, arrived.map(|activity| activity["n"].as_u64().unwrap()).collect()).await.unwrap();
    assert_eq!(numbers, (0..1_000).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_session_survives_its_connection() {
    let fake = Fake::start().await;
    let mut client = Client::connect(ann(&fake)).await.unwrap();
    fake.break_connections();
    assert!(matches!(next(&mut client).await, Some(Event::Disconnected { retry_in: Some(_), .. })));
    // It waits until the session is live again.
    client.publish(&json!({"n": 1})).await.unwrap();
    assert!(matches!(next(&mut client).await, Some(Event::LoggedIn { .. })));
    assert!(matches!(next(&mut client).await, Some(Event::Resumed { recovered: true, .. })));
    assert!(matches!(next(&mut client).await, Some(Event::Activity(_))));
    // And the way it was broken by nonsense.
    fake.tell_sessions("nonsense");
    let Some(Event::Disconnected { reason, .. }) = next(&mut client).await else { panic!("still connected") };
    assert!(reason.contains("not valid JSON"), "{reason}");
    assert!(matches!(next(&mut client).await, Some(Event::LoggedIn { .. })));
}

#[tokio::test]
async fn a_session_of_its_own_activities_counts_the_others_and_does_not_hand_them_up() {
    let fake = Fake::start().await;
    let mut ann = Client::connect(ann(&fake).receive(Receive::Own)).await.unwrap();
    let anonymous =
        Client::connect(Options::new(fake.coordinator.clone()).receive(Receive::Nothing)).await.unwrap();
    for n in 0..100 {
        anonymous.publish(&json!({"n": n})).await.unwrap();
    }
    anonymous.close().await.unwrap();
    ann.publish(&json!({"mine": true})).await.unwrap();
    let activity = timeout(PATIENCE, ann.activities().next()).await.unwrap().unwrap();
    assert_eq!((activity.user.as_str(), ann.received()), ("ann", 101));
}

#[tokio::test]
async fn a_wrong_secret_is_told_and_ends_the_session() {
    let fake = Fake::start().await;
    Client::connect(ann(&fake)).await.unwrap().close().await.unwrap();
    let impostor = Options::new(fake.coordinator.clone()).user("ann".parse().unwrap(), Secret::new("wrong"));
    let Err(Error::Ended(reason)) = Client::connect(impostor).await else { panic!("let in") };
    assert_eq!(reason, "wrong name or secret");
}

#[tokio::test]
async fn where_nobody_listens_an_attempt_ends_or_goes_on_as_wished() {
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        client::Address::from(listener.local_addr().unwrap())
    };
    let Err(Error::Ended(reason)) = Client::connect(Options::new(nobody.clone()).once()).await else {
        panic!("let in")
    };
    assert!(reason.contains("connection refused"), "{reason}");
    let mut client = Client::open(Options::new(nobody));
    for _ in 0..3 {
        assert!(matches!(next(&mut client).await, Some(Event::Disconnected { retry_in: Some(_), .. })));
    }
    client.close().await.expect("nothing waits, so there is nothing to wait for");
}

#[tokio::test]
async fn what_is_no_activity_is_refused_before_it_is_sent() {
    let fake = Fake::start().await;
    let client = Client::connect(Options::new(fake.coordinator.clone())).await.unwrap();
    assert!(matches!(client.publish(&"text").await, Err(Error::NotAnActivity(_))));
    assert!(matches!(
        client.publish(&json!({"a": "x".repeat(1 << 20)})).await,
        Err(Error::Unfit(Unfit::TooLong))
    ));
    client.publish(&json!({"a": "x".repeat(1_000_000)})).await.unwrap();
    client.close().await.unwrap();
}

/// The numbers that the activities say, so many of them.
async fn numbers(client: &mut Client, count: usize) -> Vec<u64> {
    let numbers = client
        .activities()
        .take(count)
        .map(|activity| activity.parse::<serde_json::Value>().unwrap()["n"].as_u64().unwrap());
    timeout(PATIENCE, numbers.collect()).await.expect("they come in time")
}

async fn eventually(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it happens in time");
}

#[tokio::test]
async fn a_report_tells_how_many_have_what_was_published() {
    let fake = Fake::start().await;
    let ann = Client::connect(ann(&fake)).await.unwrap();
    let listener = Client::connect(Options::new(fake.coordinator.clone())).await.unwrap();
    let activities = [json!({"n": 1}), json!({"n": 2}), json!({"n": 3})];
    let deliveries = activities.each_ref().map(|activity| ann.deliver(activity));
    let reports = timeout(PATIENCE, futures::future::join_all(deliveries)).await.unwrap();
    for (n, report) in reports.into_iter().enumerate() {
        let report = report.unwrap();
        assert_eq!((report.first, report.last), (client::Seq(n as u64 + 1), client::Seq(n as u64 + 1)));
        assert_eq!((report.client_count, report.succ_count, report.durability), (2, 2, Durability::Local));
    }
    drop(listener);
}

#[tokio::test]
async fn what_was_not_reported_when_the_connection_broke_is_delivered_once_and_reported() {
    let fake = Fake::start().await;
    let mut listener = Client::connect(Options::new(fake.coordinator.clone())).await.unwrap();
    let publisher = Client::connect(ann(&fake).receive(Receive::Nothing)).await.unwrap();
    fake.report(false);
    let activity = json!({"n": 1});
    let mut delivery = std::pin::pin!(publisher.deliver(&activity));
    tokio::select! {
        report = &mut delivery => panic!("{report:?}"),
        () = eventually(|| fake.logged() == 1) => {}
    }
    fake.report(true);
    fake.break_connections();
    timeout(PATIENCE, delivery).await.expect("it is sent again").unwrap();
    publisher.publish(&json!({"n": 2})).await.unwrap();
    assert_eq!(numbers(&mut listener, 2).await, [1, 2]);
    assert_eq!(fake.logged(), 2, "the network knew the first by its number");
}

#[tokio::test]
async fn a_classic_server_is_published_to_and_does_not_say_what_became_of_it() {
    let fake = Fake::start().await;
    fake.make_classic();
    let mut client = Client::connect(ann(&fake)).await.unwrap();
    let delivery = timeout(PATIENCE, client.deliver(&json!({"n": 1}))).await.unwrap();
    assert!(matches!(delivery, Err(Error::NoReport)), "{delivery:?}");
    assert_eq!(numbers(&mut client, 1).await, [1]);
    assert_eq!(client.position(), None);
    client.close().await.unwrap();
}

#[tokio::test]
async fn what_was_missed_while_a_connection_was_broken_comes_once_and_what_is_gone_is_told() {
    let fake = Fake::start().await;
    let mut listener = Client::connect(Options::new(fake.coordinator.clone())).await.unwrap();
    let publisher = Client::connect(ann(&fake).receive(Receive::Nothing)).await.unwrap();
    for n in 0..100 {
        publisher.deliver(&json!({"n": n})).await.unwrap();
        if n % 10 == 0 {
            fake.break_connections();
        }
    }
    assert_eq!(numbers(&mut listener, 100).await, (0..100).collect::<Vec<u64>>());

    let position = listener.position().unwrap().clone();
    publisher.deliver(&json!({"n": 100})).await.unwrap();
    fake.forget();
    let mut late = Client::open(Options::new(fake.coordinator.clone()).resume(position));
    assert!(matches!(next(&mut late).await, Some(Event::LoggedIn { after: None, .. })));
    let Some(Event::Resumed { recovered: false, gaps, .. }) = next(&mut late).await else {
        panic!("nothing is missing")
    };
    assert_eq!(gaps.to_string(), "worker-a/00000000000000ff/100-100");
}

#[tokio::test]
async fn a_position_leads_on_in_another_session_and_covers_what_was_taken_alone() {
    let fake = Fake::start().await;
    let mut first = Client::connect(Options::new(fake.coordinator.clone())).await.unwrap();
    let publisher = Client::connect(ann(&fake).receive(Receive::Nothing)).await.unwrap();
    for n in 0..10 {
        publisher.deliver(&json!({"n": n})).await.unwrap();
    }
    eventually(|| fake.acked() >= 10).await;
    assert_eq!(numbers(&mut first, 4).await, [0, 1, 2, 3]);
    let position: Position = first.position().unwrap().to_string().parse().unwrap();
    first.close().await.unwrap();
    let options = || Options::new(fake.coordinator.clone());
    let mut second = Client::connect(options().resume(position)).await.unwrap();
    assert_eq!(numbers(&mut second, 6).await, [4, 5, 6, 7, 8, 9]);
    let mut third = Client::connect(options().last(2)).await.unwrap();
    assert_eq!(numbers(&mut third, 2).await, [8, 9]);
    assert!(matches!(next(&mut third).await, Some(Event::Resumed { recovered: true, .. })));
    assert_eq!(third.position(), second.position());
    let elsewhere = options().resume("n2@worker-a/00000000000000ff/0".parse().unwrap());
    let Err(Error::Ended(reason)) = Client::connect(elsewhere).await else { panic!("let in") };
    assert_eq!(reason, "the position is of another network, n2; this is n1");
}

#[tokio::test]
async fn who_is_sent_away_loses_nothing_and_gets_nothing_twice() {
    let fake = Fake::start().await;
    let mut client = Client::connect(ann(&fake)).await.unwrap();
    for n in 0..50 {
        client.publish(&json!({"n": n})).await.unwrap();
        if n % 10 == 5 {
            fake.send_away();
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(numbers(&mut client, 50).await, (0..50).collect::<Vec<u64>>());
    client.close().await.unwrap();
    assert_eq!((fake.logged(), fake.logouts()), (50, 1));
}
