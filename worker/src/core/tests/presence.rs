//! Who is online, as workers and clients tell each other.

use super::mesh::Mesh;
use super::*;

const WATCHER: &str = r#"{"command":"LOGIN","username":"anonymous","capabilities":["presence"]}"#;

impl Mesh {
    /// Who is online in the eyes of a worker: name and worker.
    fn online(&self, at: usize) -> Vec<String> {
        self.nodes[at].worker.present().map(|(place, name)| format!("{name}@{}", place.worker)).collect()
    }

    /// The process of a worker is killed.
    fn kill(&mut self, at: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            self.cut(at, other);
        }
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.nodes.iter_mut().for_each(|node| node.wait(Duration::from_millis(500)));
            self.run();
        }
    }
}

#[test]
fn every_worker_knows_who_is_online_classic_clients_included() {
    let mut mesh = Mesh::new(3);
    let first = mesh.nodes[0].client();
    mesh.nodes[2].client();
    mesh.run();
    for at in 0..3 {
        assert_eq!(mesh.online(at), ["anonymous@w1", "anonymous@w3"]);
    }
    mesh.nodes[0].hang_up(first);
    mesh.run();
    for at in 0..3 {
        assert_eq!(mesh.online(at), ["anonymous@w3"]);
    }
}

#[test]
fn who_is_online_is_known_behind_a_chain_of_workers_and_a_dead_one_leaves_no_ghosts_there() {
    let mut mesh = Mesh::new(4);
    mesh.nodes[1].client();
    // What is left is a chain: 0-3-2-1.
    [(0, 1), (0, 2), (1, 3)].into_iter().for_each(|(one, other)| mesh.cut(one, other));
    mesh.run();
    mesh.nodes[1].client();
    mesh.wait(4);
    assert_eq!(mesh.online(0), ["anonymous@w2", "anonymous@w2"]);
    mesh.kill(1);
    mesh.wait(18);
    assert_eq!(mesh.online(0), ["anonymous@w2", "anonymous@w2"], "it may come back");
    mesh.wait(4);
    for at in [0, 2, 3] {
        assert_eq!(mesh.online(at), [] as [&str; 0]);
    }
    mesh.cut.clear();
    mesh.settle();
    assert_eq!(mesh.online(0), ["anonymous@w2", "anonymous@w2"], "it was only cut off");
}

#[test]
fn a_client_that_wants_to_know_is_told_who_comes_and_goes_and_a_classic_one_is_not() {
    let mut mesh = Mesh::new(2);
    let (watcher, classic) = (mesh.nodes[0].connect(), mesh.nodes[0].client());
    mesh.nodes[0].say(watcher, WATCHER);
    assert_eq!(mesh.nodes[0].hear(watcher), ["LOGIN_SUCCESS logged in as anonymous"]);
    let other = mesh.nodes[1].client();
    mesh.run();
    mesh.nodes[1].hang_up(other);
    mesh.run();
    assert_eq!(mesh.nodes[0].hear(watcher), ["NEW_CLIENT anonymous", "CLIENT_DISCONNECT"]);
    mesh.nodes[1].client();
    mesh.run();
    mesh.kill(1);
    assert_eq!(mesh.nodes[0].hear(watcher), ["NEW_CLIENT anonymous"]);
    mesh.wait(21);
    assert_eq!(mesh.nodes[0].hear(watcher), ["CLIENT_DISCONNECT"]);
    assert_eq!(mesh.nodes[0].hear(classic), [] as [&str; 0]);
}

#[test]
fn whoever_is_logged_in_may_ask_who_is_online() {
    let mut node = Node::new();
    let stranger = node.connect();
    node.say(stranger, r#"{"command":"WHO"}"#);
    assert_eq!(
        node.hear(stranger),
        ["INVALID_MESSAGE log in first: WHO comes after LOGIN_SUCCESS", "(closed)"]
    );
    let clients: Vec<_> = (0..300).map(|_| node.client()).collect();
    let (mut asked, mut pages) = (r#"{"command":"WHO"}"#.to_owned(), Vec::new());
    loop {
        node.say(clients[0], &asked);
        let answer = node.read_all(clients[0]);
        let Ok(Message::WhoAnswer(answer)) = Message::decode(answer.trim_ascii_end()) else { panic!() };
        pages.push(answer.clients.len());
        let Some(after) = answer.next else { break };
        asked = String::from_utf8(Message::from(common::wire::Who { after: Some(after) }).encode()).unwrap();
    }
    assert_eq!(pages.iter().sum::<usize>(), 300);
    assert!(pages.len() > 1, "{pages:?}");
}

#[test]
fn who_does_not_take_what_it_is_told_hears_later_that_it_has_missed_something() {
    let mut node = Node::new();
    let watcher = node.connect();
    node.say(watcher, WATCHER);
    node.hear(watcher);
    let clients: Vec<_> = (0..500).map(|_| node.client()).collect();
    clients.into_iter().for_each(|client| node.hang_up(client));
    node.wait(Duration::from_secs(3));
    let told = node.hear(watcher);
    assert!((50..500).contains(&told.len()), "{}", told.len());
    assert!(told.iter().all(|told| told == "NEW_CLIENT anonymous"));
    node.wait(Duration::from_secs(1));
    assert_eq!(node.hear(watcher), ["PRESENCE_MISSED"]);
    node.client();
    assert_eq!(node.hear(watcher), ["NEW_CLIENT anonymous"]);
}

/// One is gone, another one is full when it is told so: whom to ask who is online was the one that was gone.
#[test]
fn a_worker_that_is_lost_while_another_one_lags_is_asked_nothing() {
    let limit = 8_192;
    let mut node = Node::with("w1", Limits { server_outbox_bytes: limit, ..Limits::default() });
    let client = node.client();
    let (slow, lost) = (stream::neighbour(&mut node, "w2", ""), stream::neighbour(&mut node, "w3", ""));
    let knows = |id: &str, incarnation: &str| {
        format!(
            r#"{{"command":"NEIGHBOURS","links":["w1"],"next":0,"presence":[{{"worker":"{id}","incarnation":"{incarnation}","change":1,"silent":0}}]}}"#
        )
    };
    node.say(slow, &knows("w2", "0000000000000022"));
    node.say(lost, &knows("w3", "0000000000000033"));
    // The first one is being asked, and reads nothing.
    let publish = |node: &mut Node, padding: usize| {
        let before = node.worker.output(slow).len();
        let padding = "x".repeat(padding);
        node.say(client, &format!(r#"{{"command":"ACTIVITY_MESSAGE","activity":{{"x":"{padding}"}}}}"#));
        node.read_all(client);
        node.read_all(lost);
        node.worker.output(slow).len() - before
    };
    let mut overhead = publish(&mut node, 0);
    while limit - node.worker.output(slow).len() > 2 * overhead {
        let room = limit - node.worker.output(slow).len();
        overhead = publish(&mut node, (room - overhead - 20).min(2_000)).max(1).min(overhead);
    }
    assert!(node.links.contains_key(slow));
    while node.links.contains_key(slow) && limit - node.worker.output(slow).len() > overhead + 10 {
        publish(&mut node, 0);
    }
    let room = limit - node.worker.output(slow).len();
    assert!(room < 60, "{room} bytes are left");
    node.hang_up(lost);
    assert!(!node.links.contains_key(slow), "it lags too far behind");
}
