//! The binary, as people and scripts use it, against servers that the test plays.

use std::process::{Output, Stdio};
use std::time::Duration;

use crate::fake::Fake;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn client(fake: &Fake, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
    command.args(arguments).env("FRESHET_COORDINATOR", fake.coordinator.to_string());
    command.env("XDG_DATA_HOME", fake.data.path()).env("FRESHET_SECRET", "0123456789abcdef");
    command.env_remove("FRESHET_USERNAME").env("FRESHET_USER_SECRET", "hush").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub(crate) async fn finished(child: Child) -> Output {
    timeout(PATIENCE, child.wait_with_output()).await.expect("it ends in time").unwrap()
}

pub(crate) async fn run(fake: &Fake, arguments: &[&str]) -> Output {
    finished(client(fake, arguments).spawn().unwrap()).await
}

async fn run_with_input(fake: &Fake, arguments: &[&str], input: &str) -> Output {
    let mut child = client(fake, arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    finished(child).await
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Starts `tail`, and waits until it is connected.
async fn tail(fake: &Fake, arguments: &[&str]) -> Child {
    let mut tail = client(fake, &[&["tail"], arguments].concat()).spawn().unwrap();
    let mut said = BufReader::new(tail.stderr.take().unwrap()).lines();
    let line = timeout(PATIENCE, said.next_line()).await.expect("it connects").unwrap().unwrap();
    assert!(line.starts_with("connected to worker-a at 127.0.0.1:"), "{line}");
    tail
}

#[tokio::test]
async fn a_name_is_registered_once() {
    let fake = Fake::start().await;
    let first = run(&fake, &["--username", "ann", "register"]).await;
    assert_eq!((first.status.code(), text(&first.stdout)), (Some(0), "ann is registered\n"));
    let again = run(&fake, &["--username", "ann", "register"]).await;
    assert_eq!(text(&again.stdout), "ann is registered already, with this secret\n");
    let mut stranger = client(&fake, &["--username", "ann", "register"]);
    let second = finished(stranger.env("FRESHET_USER_SECRET", "mine").spawn().unwrap()).await;
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(text(&second.stderr), "error: ann was not registered: ann is registered\n");
}

#[tokio::test]
async fn tail_prints_what_send_sends() {
    let fake = Fake::start().await;
    let json = tail(&fake, &["--json", "--count", "2"]).await;
    let readable = tail(&fake, &["--count", "2"]).await;
    let sent = run_with_input(&fake, &["send"], "{\"n\":1.0}\n\n{\"content\":\"h\\u0007i\"}\n").await;
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    assert_eq!(
        text(&sent.stdout),
        "line 1: received by 3 of 3 clients, local\nline 3: received by 3 of 3 clients, local\n"
    );
    let json = finished(json).await;
    assert_eq!(
        text(&json.stdout),
        "{\"id\":\"worker-a/00000000000000ff/0\",\"activity\":{\"authenticated_user\":\"anonymous\",\"n\":1.0}}\n\
         {\"id\":\"worker-a/00000000000000ff/1\",\"activity\":{\"authenticated_user\":\"anonymous\",\"content\":\"h\\u0007i\"}}\n"
    );
    assert_eq!(text(&finished(readable).await.stdout), "anonymous: {\"n\":1.0}\nanonymous: h\\u0007i\n");
}

#[tokio::test]
async fn send_names_the_invalid_line_and_sends_the_rest() {
    let fake = Fake::start().await;
    let listener = tail(&fake, &["--json", "--count", "2"]).await;
    // Without a subcommand and a terminal, standard input is sent.
    // Any server would refuse the third line, close, and forget what came behind it.
    let too_deep = format!("{{\"n\":{}{}}}", "[".repeat(124), "]".repeat(124));
    let input = format!("{{\"n\":1}}\nnonsense\n{too_deep}\n{{\"n\":3}}");
    let sent = run_with_input(&fake, &[], &input).await;
    assert_eq!(sent.status.code(), Some(1));
    let errors: Vec<_> = text(&sent.stderr).lines().filter(|line| !line.starts_with("connected")).collect();
    let [second, third, last] = errors[..] else { panic!("{errors:?}") };
    assert!(second.starts_with("line 2 was not sent: not a JSON object"), "{second}");
    assert_eq!(third, "line 3 was not sent: nests deeper than 124 levels");
    assert_eq!(last, "error: 2 invalid, 2 sent");
    assert_eq!(text(&finished(listener).await.stdout).lines().count(), 2);
}

#[tokio::test]
async fn tail_ends_quietly_when_nobody_reads_it_and_when_it_is_interrupted() {
    let fake = Fake::start().await;
    let mut unread = tail(&fake, &[]).await;
    drop(unread.stdout.take());
    let interrupted = tail(&fake, &[]).await;
    let sent = run(&fake, &["send", "{}"]).await;
    assert!(sent.status.success());
    assert!(finished(unread).await.status.success());
    let pid = interrupted.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(finished(interrupted).await.status.success());
}

#[tokio::test]
async fn a_result_that_nobody_reads_ends_quietly_and_one_that_cannot_be_written_in_a_sentence() {
    let fake = Fake::start().await;
    for arguments in [&["status"][..], &["--username", "ann", "register"], &["forget-coordinator", "gone"]] {
        let mut unread = client(&fake, arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let unread = finished(unread.stdout(writer).spawn().unwrap()).await;
        assert_eq!((unread.status.code(), text(&unread.stderr)), (Some(0), ""), "{arguments:?}");
        let mut unwritten = client(&fake, arguments);
        let full = std::fs::File::create("/dev/full").unwrap();
        let unwritten = finished(unwritten.stdout(full).spawn().unwrap()).await;
        assert_eq!(unwritten.status.code(), Some(1), "{arguments:?}");
        assert!(text(&unwritten.stderr).starts_with("error: cannot print: "), "{}", text(&unwritten.stderr));
    }
}

#[tokio::test]
async fn what_cannot_be_reached_or_is_refused_is_said_in_a_sentence() {
    let fake = Fake::start().await;
    let refused = run(&fake, &["--username", "nobody", "send", "{}"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr)
            .starts_with("error: the coordinator refused: wrong name or secret; check --username")
    );
    drop(fake);
    let gone = Fake::start().await;
    let mut command = client(&gone, &["send", "--timeout", "300ms", "{}"]);
    drop(gone);
    let unreachable = finished(command.spawn().unwrap()).await;
    assert_eq!(unreachable.status.code(), Some(1));
    let error = text(&unreachable.stderr);
    assert!(error.starts_with("error: not connected within 300ms (tried 127.0.0.1:"), "{error}");
    assert!(error.contains("connection refused"), "{error}");
}

#[tokio::test]
async fn replay_plays_every_users_activities_in_order_and_reports() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("activities.jsonl");
    let script: String = (0..300).map(|n| format!("{{\"actor\":\"user-{}\",\"n\":{n}}}\n", n % 7)).collect();
    std::fs::write(&path, script).unwrap();
    let file = path.to_str().unwrap();

    let listener = tail(&fake, &["--json", "--count", "600"]).await;
    let replay = ["replay", file, "--user-from", "actor", "--json", "--window", "20"];
    let first = run(&fake, &replay).await;
    assert!(first.status.success(), "{}", text(&first.stderr));
    let report: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    for (key, expected) in
        [("users", 7), ("registered", 7), ("existing", 0), ("seen", 300), ("disconnections", 0)]
    {
        assert_eq!(report[key], expected, "{key} in {report}");
    }
    assert_eq!((&report["sessions"]["worker-a"], &report["deliveries"]), (&7.into(), &(7 * 300).into()));

    let script = std::fs::read_to_string(&path).unwrap();
    let second = run_with_input(&fake, &["replay", "-", "--user-from", "actor"], &script).await;
    assert!(text(&second.stdout).starts_with("users           7 (0 registered now, 7 before), joined in"));

    let mut last = [None; 7];
    for line in text(&finished(listener).await.stdout).lines().take(300) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let n = line["activity"]["n"].as_u64().unwrap();
        let user = (n % 7) as usize;
        assert_eq!(line["activity"]["authenticated_user"], format!("user-{user}"));
        assert!(last[user] < Some(n), "activity {n} came after {:?}", last[user]);
        last[user] = Some(n);
    }
}

#[tokio::test]
async fn replay_stops_with_advice_where_a_name_has_another_secret() {
    let fake = Fake::start().await;
    assert!(run(&fake, &["--username", "user-0", "register"]).await.status.success());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("activities.jsonl");
    std::fs::write(&path, "{\"actor\":\"user-0\"}\n").unwrap();
    let mut command = client(&fake, &["replay", path.to_str().unwrap(), "--user-from", "actor", "--quiet"]);
    let replay = finished(command.env_remove("FRESHET_USER_SECRET").spawn().unwrap()).await;
    assert_eq!(replay.status.code(), Some(1));
    let error = text(&replay.stderr);
    assert!(error.starts_with("error: user-0 cannot take part: wrong name or secret"), "{error}");
}

#[tokio::test]
async fn send_prints_the_report_on_each_activity() {
    let fake = Fake::start().await;
    let one = run(&fake, &["send", "{}"]).await;
    assert_eq!(text(&one.stdout), "received by 1 of 1 clients, local\n", "{}", text(&one.stderr));
    let input = "{}\n{}\nnonsense\n{}\n";
    let many = run_with_input(&fake, &["send"], input).await;
    assert_eq!(
        text(&many.stdout),
        "lines 1 to 2: received by 1 of 1 clients, local\nline 4: received by 1 of 1 clients, local\n"
    );
    let json = run_with_input(&fake, &["send", "--json"], input).await;
    let counts = r#""client_count":1,"succ_count":1,"fail_count":0,"durability":"local","unreachable":[]"#;
    let expected: String = [1, 2, 4].map(|line| format!("{{\"line\":{line},{counts}}}\n")).concat();
    assert_eq!(text(&json.stdout), expected);
}

#[tokio::test]
async fn send_fails_where_an_activity_is_not_acknowledged() {
    let fake = Fake::start().await;
    fake.report(false);
    let unreported = run(&fake, &["send", "--timeout", "300ms", "--quiet", "{}"]).await;
    assert_eq!((unreported.status.code(), text(&unreported.stdout)), (Some(1), ""));
    let error =
        "error: 1 of 1 activities were not acknowledged in time; they may have arrived all the same\n";
    assert_eq!(text(&unreported.stderr), error);
    fake.make_classic();
    let unknown = run(&fake, &["send", "--quiet", "{}"]).await;
    let error = "error: 1 of 1 activities were sent to a server that does not say what became of them\n";
    assert_eq!((unknown.status.code(), text(&unknown.stderr)), (Some(1), error));
}

#[tokio::test]
async fn tail_goes_on_from_where_it_was_and_begins_with_the_latest_and_tells_what_is_gone() {
    let fake = Fake::start().await;
    let send = async |n: u32| {
        let sent = run(&fake, &["send", &format!("{{\"n\":{n}}}")]).await;
        assert!(sent.status.success(), "{}", text(&sent.stderr));
    };
    send(1).await;
    send(2).await;
    let printed = |n: u32| format!("anonymous: {{\"n\":{n}}}\n");
    let latest = run(&fake, &["tail", "--last", "1", "--count", "1"]).await;
    assert_eq!(text(&latest.stdout), printed(2));
    let said = text(&latest.stderr).lines().last().unwrap();
    let position = said.strip_prefix("to go on from here: --after '").unwrap().strip_suffix('\'').unwrap();
    assert_eq!(position, "n1@worker-a/00000000000000ff/0-1");
    send(3).await;
    let next = run(&fake, &["tail", "--after", position, "--count", "1"]).await;
    assert_eq!(text(&next.stdout), printed(3));
    for id in ["worker-a/00000000000000ff/1", "n1@worker-a/00000000000000ff/1"] {
        let next = run(&fake, &["tail", "--after", id, "--count", "1"]).await;
        assert_eq!(text(&next.stdout), printed(3), "after {id}: {}", text(&next.stderr));
    }
    let beginning = run(&fake, &["tail", "--last", "2", "--count", "1"]).await;
    assert_eq!(text(&beginning.stdout), printed(2));
    let said = text(&beginning.stderr).lines().last().unwrap();
    assert!(said.contains("the history was not read to its end"), "{said}");
    fake.forget();
    let gone = tail(&fake, &["--after", position, "--json", "--count", "1"]).await;
    send(4).await;
    let lines = text(&finished(gone).await.stdout).to_owned();
    assert!(lines.starts_with("{\"gaps\":\"worker-a/00000000000000ff/2-2\"}\n{\"id\":"), "{lines}");
    let stranger = run(&fake, &["tail", "--after", "n2@"]).await;
    assert_eq!(stranger.status.code(), Some(1));
    let error = text(&stranger.stderr);
    assert!(error.contains("the position is of another network, n2; this is n1"), "{error}");
}
