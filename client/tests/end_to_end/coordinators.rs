//! Two coordinators, of which the main one goes away: library and binary find the network all the same.

use std::time::Duration;

use client::{Client, Event, Options, Role, Secret};
use serde_json::json;
use tokio::time::timeout;

use crate::command_line::{client, finished, run, text};
use crate::fake::Fake;

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for an event that `wanted` wants.
async fn eventually(client: &mut Client, wanted: impl Fn(&Event) -> bool) -> Event {
    let search = async {
        loop {
            let event = client.event().await.expect("the session goes on");
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(PATIENCE, search).await.expect("it happens in time")
}

#[tokio::test]
async fn a_session_that_was_told_of_a_standby_is_sent_to_the_main_coordinator() {
    let fake = Fake::start().await;
    let options = Options::new(fake.standby.clone()).user("ann".parse().unwrap(), Secret::new("hush"));
    let mut ann = Client::connect(options.register_if_missing()).await.unwrap();
    ann.publish(&json!({"n": 1})).await.unwrap();
    eventually(&mut ann, |event| matches!(event, Event::Activity(_))).await;
    ann.close().await.unwrap();
}

#[tokio::test]
async fn a_session_learns_the_coordinators_and_returns_by_the_one_that_is_left() {
    let fake = Fake::start().await;
    let memory = fake.data.path().join("servers");
    let options = || Options::new(fake.coordinator.clone()).remember(&memory);
    let mut client = Client::connect(options()).await.unwrap();
    let learned = eventually(&mut client, |event| matches!(event, Event::Servers(_))).await;
    let Event::Servers(servers) = learned else { unreachable!("that was waited for") };
    let roles: Vec<Role> = servers.iter().map(|server| server.role).collect();
    assert_eq!(roles, [Role::Worker, Role::Main, Role::Backup]);
    fake.lose_main(None);
    eventually(&mut client, |event| matches!(event, Event::LoggedIn { .. })).await;
    client.close().await.unwrap();
    // And so does the next run of the program.
    let again = timeout(PATIENCE, Client::connect(options())).await.unwrap().unwrap();
    again.close().await.unwrap();
    let forgetful = Options::new(fake.coordinator.clone()).once();
    assert!(Client::connect(forgetful).await.is_err(), "without the memory there is no way");
}

#[tokio::test]
async fn a_registration_that_the_main_coordinator_did_not_live_to_answer_is_repeated_at_the_next() {
    let fake = Fake::start().await;
    fake.lose_main(Some("REGISTER"));
    let both = format!("{},{}", fake.coordinator, fake.standby);
    let registered = run(&fake, &["--coordinator", &both, "--username", "ann", "register"]).await;
    assert_eq!(text(&registered.stdout), "ann is registered already, with this secret\n");
}

#[tokio::test]
async fn a_command_finds_the_network_although_the_coordinator_that_it_is_told_of_is_gone() {
    let fake = Fake::start().await;
    assert!(run(&fake, &["send", "{}"]).await.status.success());
    fake.lose_main(None);
    let sent = run(&fake, &["send", "{}"]).await;
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    // What needs no session finds it too.
    let registered = run(&fake, &["--username", "ann", "register"]).await;
    assert!(registered.status.success(), "{}", text(&registered.stderr));
    let status = run(&fake, &["status"]).await;
    assert!(text(&status.stdout).starts_with("NORMAL, 1 user, 0 clients\n"), "{}", text(&status.stderr));

    let files: Vec<_> = std::fs::read_dir(fake.memory()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::write(&files[0], "{\"coordinators\":").unwrap();
    let lost = run(&fake, &["send", "--timeout", "300ms", "{}"]).await;
    assert_eq!(lost.status.code(), Some(1));
    assert!(text(&lost.stderr).contains("the remembered servers are ignored"), "{}", text(&lost.stderr));
}

#[tokio::test]
async fn what_a_standby_cannot_do_is_done_by_the_main_coordinator_and_asked_of_it() {
    let fake = Fake::start().await;
    assert!(run(&fake, &["--username", "ann", "register"]).await.status.success());
    let new = fake.data.path().join("new-secret");
    std::fs::write(&new, "husher\n").unwrap();
    let at_standby = async |arguments: &[&str]| {
        let mut command = client(&fake, arguments);
        command.env("FRESHET_COORDINATOR", fake.standby.to_string());
        finished(command.spawn().unwrap()).await
    };
    let changed =
        at_standby(&["--username", "ann", "passwd", "--new-secret-file", new.to_str().unwrap()]).await;
    assert_eq!(text(&changed.stdout), "the secret of ann is changed\n", "{}", text(&changed.stderr));
    let forgotten = at_standby(&["forget-coordinator", "gone"]).await;
    let answer = "gone is no member of the group any more\n";
    assert_eq!(text(&forgotten.stdout), answer, "{}", text(&forgotten.stderr));
    let kept = at_standby(&["forget-coordinator", "other"]).await;
    assert_eq!(kept.status.code(), Some(1));
    let error = text(&kept.stderr);
    assert!(error.ends_with(" refused: other is connected: stop it first\n"), "{error}");
    let report = at_standby(&["status", "--json"]).await;
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("it is JSON");
    assert_eq!((&report["role"], &report["users"]), (&"main".into(), &1.into()), "{report}");

    // Who has asked once finds whoever is left.
    assert!(run(&fake, &["status"]).await.status.success());
    fake.lose_main(None);
    assert!(run(&fake, &["status"]).await.status.success());
}

#[tokio::test]
async fn a_worker_at_the_address_of_a_former_coordinator_is_passed_over_and_forgotten() {
    // A coordinator was retired, and a worker got its port. The first to be asked, it refused, and that was the end, although the
    // coordinator that had been named was there.
    let fake = Fake::start().await;
    fake.remember(&[fake.worker(), fake.coordinator.clone()]);
    let forgotten = run(&fake, &["forget-coordinator", "gone"]).await;
    assert!(forgotten.status.success(), "{}", text(&forgotten.stderr));
    let file = std::fs::read_dir(fake.memory()).unwrap().next().unwrap().unwrap().path();
    let remembered = std::fs::read_to_string(file).unwrap();
    assert!(!remembered.contains(&format!(":{},", fake.worker().port)), "{remembered}");
    assert!(remembered.contains(&format!(":{},", fake.coordinator.port)), "{remembered}");

    fake.remember(&[fake.worker(), fake.standby.clone()]);
    fake.lose_main(None);
    let status = run(&fake, &["status"]).await;
    assert!(text(&status.stdout).starts_with("NORMAL, "), "{}", text(&status.stderr));

    let mut command = client(&fake, &["status"]);
    command.env("FRESHET_COORDINATOR", fake.worker().to_string());
    let nobody = finished(command.spawn().unwrap()).await;
    assert_eq!(nobody.status.code(), Some(1));
    let sentence = format!(
        "error: {} is no coordinator, or one of another version (STATUS is for coordinators; this is a worker): name one with --coordinator\n",
        fake.worker()
    );
    assert_eq!(text(&nobody.stderr), sentence, "it is said at once");
}

#[tokio::test]
async fn status_shows_the_side_of_a_cut_whose_coordinator_is_named() {
    // Whichever was named, the side was shown whose main coordinator was remembered.
    let (here, there) = (Fake::start().await, Fake::start().await);
    here.remember(std::slice::from_ref(&there.coordinator));
    let says =
        |coordinator: &client::Address| format!("as coordinator-{} says, which is main", coordinator.port);
    let status = run(&here, &["status"]).await;
    assert!(text(&status.stdout).contains(&says(&here.coordinator)), "{}", text(&status.stdout));
    assert_eq!(text(&status.stderr), "");

    here.remember(std::slice::from_ref(&there.coordinator));
    here.lose_main(None);
    let status = run(&here, &["status"]).await;
    assert!(text(&status.stdout).contains(&says(&there.coordinator)), "{}", text(&status.stdout));
    let (named, other) = (&here.coordinator, there.coordinator.port);
    let said = text(&status.stderr);
    assert!(said.starts_with(&format!("no status from {named} ({named}: ")), "{said}");
    let of_whom = format!("): this is what coordinator-{other} says, of which the network told before\n");
    assert!(said.ends_with(&of_whom), "{said}");
    here.remember(std::slice::from_ref(&there.coordinator));
    let quiet = run(&here, &["status", "--quiet"]).await;
    assert_eq!((quiet.status.code(), text(&quiet.stderr)), (Some(0), ""));
}
