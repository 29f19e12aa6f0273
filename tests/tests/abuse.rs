//! A thousand connections that behave badly, in each way that one can, beside a hundred that behave well: those stay connected
//! and receive every activity once and in order, and no server takes more than 200 MB.
//!
//! Each abuse is done to a worker and, where it makes sense, to the coordinator at the same time, a thousand connections each.

use std::io::Write;
use std::time::{Duration, Instant};

use common::limits;
use common::wire::Address;
use serde_json::json;
use tests::cluster::crowd::{self, Crowd};
use tests::cluster::{self, Cluster, PATIENCE, Peer, eventually};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Connections that behave badly, for each server that is abused.
const ABUSERS: usize = 1_000;

/// Sessions that behave well.
const HONEST: usize = 100;

/// What no server's memory may reach, ever.
const MEMORY: u64 = 200_000_000;

/// The pause between two honest activities.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest that an honest activity may take while everything is under fire on a busy machine.
const DELAY: Duration = Duration::from_secs(10);

/// A network with its honest crowd, and a runtime for them and the abusers.
struct Scene {
    runtime: tokio::runtime::Runtime,
    cluster: Cluster,
    crowd: Crowd,
    began: Instant,
}

impl Scene {
    fn new() -> Scene {
        Scene::with_honest(HONEST)
    }

    fn with_honest(count: usize) -> Scene {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cluster = cluster::start(3);
        let crowd = runtime.block_on(Crowd::gather(&cluster.workers(), count));
        Scene { runtime, cluster, crowd, began: Instant::now() }
    }

    /// Where the abuse goes: a worker and the coordinator.
    fn both(&self) -> [Address; 2] {
        [self.cluster.network.workers[0].address().clone(), self.cluster.network.address().clone()]
    }

    /// A thousand abusers at each of `targets`; the crowd goes on until the last of them is done.
    fn endures<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        targets: impl IntoIterator<Item = Address>,
        abuser: impl Fn(Address) -> F,
    ) {
        let futures: Vec<F> = targets
            .into_iter()
            .flat_map(|target| (0..ABUSERS).map(|_| abuser(target.clone())).collect::<Vec<_>>())
            .collect();
        self.runtime.block_on(async {
            let mut abusers: JoinSet<()> = JoinSet::new();
            futures.into_iter().for_each(|abuser| {
                abusers.spawn(abuser);
            });
            let all_done = async {
                while let Some(done) = abusers.join_next().await {
                    done.expect("an abuser gets what it is due")
                }
            };
            self.crowd.go_on_during(PAUSE, all_done).await;
        });
        self.is_well();
    }

    /// Nobody was disconnected (the crowd has just checked that), nothing took too long, no server grew, and newcomers are welcome.
    fn is_well(&mut self) {
        self.is_well_within(MEMORY);
    }

    /// The same, where a server may take so many bytes.
    fn is_well_within(&mut self, memory: u64) {
        let slowest = self.crowd.slowest();
        assert!(slowest < DELAY, "an activity took {slowest:?}");
        let servers = self.cluster.network.workers.iter_mut().chain([&mut self.cluster.network.coordinator]);
        let peaks: Vec<(String, u64)> = servers
            .map(|server| {
                assert!(server.is_running(), "{} is dead:\n{}", server.name(), server.log_tail(20));
                (server.name().to_owned(), server.peak_bytes().expect("the system tells"))
            })
            .collect();
        println!(
            "{:?}, {} activities, the slowest took {slowest:?}; peaks: {peaks:?}",
            self.began.elapsed(),
            self.crowd.total()
        );
        for (name, peak) in peaks {
            assert!(peak < memory, "{name} took {peak} bytes");
        }
        self.cluster.log_in("anonymous", "");
    }
}

/// Says `bytes`; the server may have hung up before the end.
async fn say(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
}

/// Hears until the server closes in order, and returns what it said.
async fn hear(stream: &mut TcpStream) -> String {
    hear_or_miss(stream).await.expect("the server closes in order")
}

/// The same, where the abuser may still be talking long after the server has said goodbye, and is reset then.
async fn hear_or_miss(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut heard = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("the server closes")?;
    Ok(String::from_utf8(heard).expect("servers speak UTF-8"))
}

/// Says `bytes` on a new connection, again and again, and hears `answer` and the end each time.
async fn in_a_loop(target: Address, rounds: usize, bytes: &[u8], answer: &str) {
    for _ in 0..rounds {
        let mut stream = crowd::connect(&target).await.expect("the server accepts");
        say(&mut stream, bytes).await;
        let heard = hear(&mut stream).await;
        assert!(heard.contains(answer), "heard {heard}");
    }
}

#[test]
fn garbage_in_a_loop() {
    let mut scene = Scene::new();
    scene.endures(scene.both(), |target| {
        in_a_loop(target, 5, b"garbage \xff\xfe\n{}\n[]\n", "INVALID_MESSAGE")
    });
}

#[test]
fn ten_thousand_levels_in_a_loop() {
    let mut scene = Scene::new();
    let deep =
        format!("{{\"command\":\"LOGIN\",\"username\":{}{}}}\n", "[".repeat(10_000), "]".repeat(10_000));
    let deep: &'static str = deep.leak();
    scene.endures(scene.both(), move |target| in_a_loop(target, 5, deep.as_bytes(), "INVALID_MESSAGE"));
}

#[test]
fn what_only_servers_may_say_in_a_loop() {
    let mut scene = Scene::new();
    let lines =
        b"{\"command\":\"DE_LOAD\",\"load\":0}\n{\"command\":\"REMOVE_SERVER\",\"id\":\"worker-1\"}\n";
    scene.endures(scene.both(), move |target| in_a_loop(target, 5, lines, "is for servers"));
}

#[test]
fn lines_over_the_limit() {
    let mut scene = Scene::new();
    scene.endures(scene.both(), async |target| {
        let mut stream = crowd::connect(&target).await.expect("the server accepts");
        for _ in 0..((limits::LINE_BYTES + limits::ENVELOPE_BYTES) >> 12) + 2 {
            say(&mut stream, &[b'x'; 4096]).await;
        }
        // Too long, or too many that are long.
        if let Ok(heard) = hear_or_miss(&mut stream).await {
            assert!(heard.contains("INVALID_MESSAGE"), "heard {heard}");
        }
    });
}

#[test]
fn half_a_megabyte_without_an_end_and_silence() {
    let mut scene = Scene::new();
    scene.endures(scene.both(), async |target| {
        let mut stream = crowd::connect(&target).await.expect("the server accepts");
        say(&mut stream, &vec![b'x'; 500_000]).await;
        if let Ok(heard) = hear_or_miss(&mut stream).await {
            assert!(heard.contains("too many long lines") || heard.contains("LOGIN_FAILED"), "heard {heard}");
        }
    });
}

#[test]
fn half_lines_and_silence() {
    let mut scene = Scene::new();
    scene.endures(scene.both(), async |target| {
        let mut stream = crowd::connect(&target).await.expect("the server accepts");
        say(&mut stream, b"{\"command\":\"LOGIN\",\"user").await;
        assert!(hear(&mut stream).await.contains("LOGIN_FAILED"));
    });
}

#[test]
fn connections_that_never_speak() {
    let mut scene = Scene::new();
    scene.endures(scene.both(), async |target| {
        let mut stream = crowd::connect(&target).await.expect("the server accepts");
        assert!(hear(&mut stream).await.contains("LOGIN_FAILED"));
    });
}

#[test]
fn connecting_and_vanishing_in_a_loop() {
    let mut scene = Scene::new();
    scene.endures(scene.both(), async |target| {
        for round in 0..10 {
            let mut stream = crowd::connect(&target).await.expect("the server accepts");
            if round % 2 == 1 {
                say(&mut stream, b"{\"command\":\"LOGIN\",\"username\":\"anonymous\"}\n").await;
            }
            // With a reset, as a process that is killed with unread bytes leaves one.
            stream.set_zero_linger().expect("a TCP socket");
        }
    });
}

#[test]
fn wrong_secrets_in_a_loop() {
    let mut scene = Scene::new();
    scene.cluster.register("ann", "correct horse");
    scene.endures(scene.both(), async |target| {
        // As many as may wait for a hash cost one; the others are turned away at once, and insist.
        for _ in 0..5 {
            let mut stream = crowd::connect(&target).await.expect("the server accepts");
            say(&mut stream, b"{\"command\":\"LOGIN\",\"username\":\"ann\",\"secret\":\"battery staple\"}\n")
                .await;
            let heard = hear(&mut stream).await;
            assert!(heard.contains("LOGIN_FAILED"), "heard {heard}");
            if !heard.contains("retry_after") {
                return;
            }
        }
    });
}

#[test]
fn leaving_before_the_secret_is_hashed() {
    // Clients gave up after a second and a half and asked again, and what they had asked for first was still hashed, one after the other:
    // under the load of fifty clients, on a busy machine, every answer came too late, and for a minute nobody was served at all.
    const SERVED: Duration = Duration::from_secs(2);
    let cluster = cluster::start(1);
    for (kind, server) in
        [("direct", cluster.network.address()), ("worker", cluster.network.workers[0].address())]
    {
        let register = |number: usize| {
            let name = format!("{kind}-{number}");
            json!({"command": "REGISTER", "username": name, "secret": name})
        };
        let mut clients: Vec<Peer> = (0..limits::HASH_QUEUE).map(|_| Peer::connect(server)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.say(&register(number));
        }
        drop(clients);
        // The name that was asked for last is soon free, and the secret hashed.
        let began = Instant::now();
        let last = register(limits::HASH_QUEUE - 1);
        eventually("somebody who stays is registered", || {
            let answer = Peer::connect(server).ask(&last);
            answer.is_some_and(|answer| answer["command"] == "REGISTER_SUCCESS")
        });
        println!("{kind}: it took {:?}", began.elapsed());
        assert!(began.elapsed() < SERVED, "it took {:?}", began.elapsed());
    }
}

/// A connection that takes no more than a few kilobytes into the kernel's buffer, so that it is the server's memory that is tried.
async fn connect_narrow(target: &Address) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = format!("{target}").parse().expect("workers listen on an IP address");
    socket.connect(address).await.expect("the server accepts")
}

/// Logs in and reads no further than that.
async fn log_in_narrow(target: &Address) -> TcpStream {
    let mut stream = connect_narrow(target).await;
    say(&mut stream, b"{\"command\":\"LOGIN\",\"username\":\"anonymous\"}\n").await;
    let mut heard = Vec::new();
    while !heard.ends_with(b"\n") {
        assert!(stream.read_buf(&mut heard).await.expect("the server answers") > 0);
    }
    assert!(heard.starts_with(b"{\"command\":\"LOGIN_SUCCESS\""));
    stream
}

async fn log_in_crowd_narrow(target: &Address) -> Vec<TcpStream> {
    let mut deaf = Vec::with_capacity(ABUSERS);
    for _ in 0..ABUSERS {
        deaf.push(log_in_narrow(target).await);
    }
    deaf
}

#[test]
fn sessions_that_never_read() {
    let mut scene = Scene::new();
    let worker = scene.cluster.network.workers[0].address().clone();
    let padding = "x".repeat(16_000);
    scene.runtime.block_on(async {
        let mut deaf = log_in_crowd_narrow(&worker).await;
        // Past the end of the log, in bursts that fit into it.
        scene.crowd.flood(limits::LOG_BYTES / padding.len() + 500, 100, &padding).await;
        for stream in &mut deaf {
            // What the kernel had taken comes still; then it is over.
            let mut rest = Vec::new();
            let outcome = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
            let _ = outcome.expect("whoever does not read is dropped");
        }
    });
    scene.is_well();
}

#[test]
fn sessions_that_publish_and_never_read() {
    const EACH: usize = 10;
    let mut scene = Scene::new();
    let worker = scene.cluster.network.workers[0].address().clone();
    let noise = json!({"command": "ACTIVITY_MESSAGE", "activity": {"noise": "x".repeat(100)}});
    let noise = format!("{noise}\n").repeat(EACH);
    let Scene { runtime, crowd, .. } = &mut scene;
    runtime.block_on(async {
        let mut deaf = log_in_crowd_narrow(&worker).await;
        let mut witness = BufReader::new(crowd::log_in(&worker).await).lines();
        let publish_all = async {
            for stream in &mut deaf {
                say(stream, noise.as_bytes()).await;
            }
            for _ in 0..ABUSERS * EACH {
                while !witness.next_line().await.unwrap().expect("the witness is honest").contains("noise") {}
            }
        };
        crowd.go_on_during(PAUSE, publish_all).await;
    });
    scene.is_well();
}

/// Publishes `bytes` at a worker as fast as the worker takes them, and reads what comes so that it is not dropped for that.
fn publish_without_a_pause(target: &Address, bytes: usize) {
    let mut stream = std::net::TcpStream::connect(target.to_string()).expect("the worker accepts");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out that is not zero");
    let reader = stream.try_clone().expect("a socket can be shared");
    let reader = std::thread::spawn(move || std::io::copy(&mut &reader, &mut std::io::sink()));
    stream.write_all(b"{\"command\":\"LOGIN\",\"username\":\"anonymous\"}\n").expect("the worker listens");
    let noise = json!({"command": "ACTIVITY_MESSAGE", "activity": {"noise": "x".repeat(10_000)}});
    let noise = format!("{noise}\n");
    for _ in 0..bytes / noise.len() {
        stream.write_all(noise.as_bytes()).expect("nobody is dropped for sending quickly");
    }
    // All of it has been read before the worker closes.
    stream.write_all(b"{\"command\":\"LOGOUT\"}\n").expect("the worker listens");
    reader.join().expect("the reader does not panic").expect("the worker closes in order");
}

#[test]
fn one_who_publishes_without_a_pause() {
    // One such publisher, even anonymous, had all others dropped from its worker within a second ("you fell behind what this server
    // keeps"), however fast they read. A worker went on reading from it for as long as there was something, so that the whole log
    // passed before anything was written; and when it came to writing, more came in than anybody could take.
    let mut scene = Scene::with_honest(30);
    let worker = scene.cluster.network.workers[0].address().clone();
    let Scene { runtime, crowd, .. } = &mut scene;
    runtime.block_on(async {
        let flood =
            tokio::task::spawn_blocking(move || publish_without_a_pause(&worker, 8 * limits::LOG_BYTES));
        crowd.go_on_during(PAUSE, flood).await.expect("the publisher is served");
    });
    // The log is full besides, and on a busy machine some of it is on its way to the disk.
    scene.is_well_within(MEMORY + limits::LOG_BYTES as u64);
    let dropped = |log: String| log.matches("dropped a client").count();
    for worker in &scene.cluster.network.workers {
        assert_eq!(dropped(worker.log_tail(usize::MAX)), 0, "{} dropped somebody", worker.name());
    }
}
