//! The library against servers that the test plays, over real sockets.

use std::time::Duration;

use crate::fake::Fake;
use client::{Client, Error, Event, Options, Receive, Secret, Unfit};
use futures::StreamExt;
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn ann(fake: &Fake) -> Options {
    Options::new(fake.coordinator.clone())
        .user("ann".parse().unwrap(), Secret::new("hush"))
        .register_if_missing()
}

/// What happens next, but for news of the servers.
async fn next(client: &mut Client) -> Option<Event> {
    let next = async {
        loop {
            match client.event().await {
                Some(Event::Servers(_)) => {}
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
