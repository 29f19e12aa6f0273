use std::collections::BTreeSet;

use super::*;

/// Workers wired to each other in memory. A coordinator tells each of all; it is reached once, at the beginning.
pub(super) struct Mesh {
    pub(super) nodes: Vec<Node>,
    wires: Vec<[(usize, LinkId); 2]>,
    /// Pairs that cannot reach each other.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// ACTIVITY_BROADCASTs that went over wires.
    copies: usize,
}

impl Mesh {
    pub(super) fn new(count: usize) -> Self {
        let nodes: Vec<Node> =
            (1..=count).map(|number| Node::with(&format!("w{number}"), Limits::default())).collect();
        let entry = |number| format!(r#"{{"id":"w{number}","hostname":"w{number}","port":1}}"#);
        let servers: Vec<String> = (1..=count).map(entry).collect();
        let mut mesh = Mesh { nodes, wires: Vec::new(), cut: BTreeSet::new(), copies: 0 };
        for node in &mut mesh.nodes {
            let coordinator = node.answer_dial();
            node.say(coordinator, &success("net", &servers.join(",")));
            node.hang_up(coordinator);
        }
        mesh.settle();
        mesh
    }

    /// Carries bytes until nobody has anything to say.
    pub(super) fn run(&mut self) {
        loop {
            let dialled = self.connect();
            let mut carried = false;
            for wire in self.wires.clone() {
                carried |= self.carry(wire[0], wire[1]) | self.carry(wire[1], wire[0]);
            }
            if !dialled && !carried {
                return;
            }
        }
    }

    /// Lets time pass for everybody, so that links are tried again and heartbeats go out.
    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            self.nodes.iter_mut().for_each(|node| node.wait(Duration::from_millis(100)));
            self.run();
        }
    }

    fn connect(&mut self) -> bool {
        let mut any = false;
        for from in 0..self.nodes.len() {
            for (dial, address) in std::mem::take(&mut self.nodes[from].dials) {
                any = true;
                let to = self.nodes.iter().position(|node| node.worker.config.address == address);
                match to.filter(|to| !self.cut.contains(&(from.min(*to), from.max(*to)))) {
                    Some(to) => {
                        let far = self.nodes[to].connect();
                        let near = self.nodes[from].links.insert(());
                        self.wires.push([(from, near), (to, far)]);
                        self.nodes[from].event(Event::Dialled { dial, link: near });
                    }
                    None => {
                        self.nodes[from].event(Event::DialFailed { dial, error: DialError::Unreachable });
                    }
                }
            }
        }
        any
    }

    fn carry(&mut self, from: (usize, LinkId), to: (usize, LinkId)) -> bool {
        let bytes = self.nodes[from.0].read_all(from.1);
        for line in std::str::from_utf8(&bytes).unwrap().lines() {
            self.copies += usize::from(line.contains("ACTIVITY_BROADCAST"));
            if self.nodes[to.0].links.contains_key(to.1) {
                self.nodes[to.0].say(to.1, line);
            }
        }
        let (here, there) =
            (self.nodes[from.0].links.contains_key(from.1), self.nodes[to.0].links.contains_key(to.1));
        if !here && there {
            self.nodes[to.0].hang_up(to.1);
        }
        !bytes.is_empty()
    }

    /// Breaks the wire between two workers, for good.
    pub(super) fn cut(&mut self, one: usize, other: usize) {
        self.cut.insert((one.min(other), one.max(other)));
        for wire in self.wires.clone() {
            if [wire[0].0, wire[1].0] == [one, other] || [wire[0].0, wire[1].0] == [other, one] {
                for (node, link) in wire {
                    if self.nodes[node].links.contains_key(link) {
                        self.nodes[node].hang_up(link);
                    }
                }
            }
        }
    }

    /// Publishes one activity at each worker, and checks that each client of each worker gets each once.
    fn flood(&mut self) -> usize {
        let clients: Vec<LinkId> = self.nodes.iter_mut().map(Node::client).collect();
        self.copies = 0;
        for (index, client) in clients.iter().enumerate() {
            self.nodes[index].publish(*client, index as u64);
        }
        self.run();
        for (index, client) in clients.iter().enumerate() {
            let mut heard = self.nodes[index].hear(*client);
            heard.sort();
            let all: Vec<_> = (0..clients.len())
                .map(|n| format!(r#"{{"authenticated_user":"anonymous","n":{n}}}"#))
                .collect();
            assert_eq!(heard, all, "at worker {index}");
            self.nodes[index].hang_up(*client);
        }
        self.copies
    }
}

#[test]
fn a_healthy_mesh_of_n_workers_carries_n_minus_one_copies_of_each_activity() {
    for count in [1, 2, 3, 5] {
        let mut mesh = Mesh::new(count);
        for node in &mesh.nodes {
            assert_eq!(node.worker.neighbours().len(), count - 1);
        }
        assert_eq!(mesh.flood(), count * (count - 1));
        assert!(mesh.nodes.iter().all(|node| node.worker.dropped().duplicates == 0));
    }
}

#[test]
fn a_mesh_floods_around_missing_links() {
    let mut mesh = Mesh::new(4);
    mesh.cut(0, 1);
    mesh.run();
    mesh.flood();
    mesh.cut(0, 2);
    mesh.cut(1, 3);
    mesh.run();
    // What is left is a chain: 0-3-2-1.
    assert_eq!(mesh.flood(), 12, "a chain needs no duplicate either");
}

#[test]
fn a_link_that_comes_back_is_used_again_without_duplicates_at_clients() {
    let mut mesh = Mesh::new(3);
    mesh.cut(0, 2);
    mesh.flood();
    mesh.cut.clear();
    mesh.settle();
    assert_eq!(mesh.flood(), 6);
}
