//! What the simulator found in the way of activities, told as short as possible.

use super::*;

/// A link to the worker `id`, which has connected and holds `holds`.
fn neighbour(node: &mut Node, id: &str, holds: &str) -> LinkId {
    let link = node.connect();
    node.say(
        link,
        &format!(
            r#"{{"command":"AUTHENTICATE","id":"{id}","hostname":"{id}","port":1,"secret":"{SECRET}","incarnation":"00000000000000{}","load":0}}"#,
            id.trim_start_matches(char::is_alphabetic).repeat(2)
        ),
    );
    node.say(link, &format!(r#"{{"command":"NEIGHBOURS","links":["w1"],"next":0,"holds":"{holds}"}}"#));
    node.hear(link);
    link
}

#[test]
fn a_worker_that_starts_and_waits_for_an_answer_when_its_wait_for_links_is_over_sleeps_meanwhile() {
    // A second after it had heard of another worker that could not be reached, it was still asking a third one: its deadline lay in the past.
    let mut node = Node::starting("w1", Limits::default(), Remembered::default(), None);
    let coordinator = node.answer_dial();
    node.say(
        coordinator,
        &success("net", r#"{"id":"w2","hostname":"w2","port":1},{"id":"w3","hostname":"w3","port":1}"#),
    );
    neighbour(&mut node, "w2", "w2/0000000000000022/0-4");
    node.wait(Duration::from_millis(1_500));
    assert!(node.worker.is_recovering());
    assert!(node.worker.deadline() > Some(node.now.time), "nothing is to be done yet");
}
