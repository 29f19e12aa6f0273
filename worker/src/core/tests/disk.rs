//! A log on disk: what a restart finds there, and what is read back for those who missed more than is in memory.

use common::position::Position;
use common::wire::ActivityRetrieved;

use super::*;
use crate::core::segment::{self, HEADER, Kept, SegmentRequest};

/// Eight kilobytes in memory: some sixty activities.
fn limits() -> Limits {
    Limits { log_bytes: 8 << 10, ..Limits::default() }
}

/// What a start finds in the files of an earlier run; of those beyond memory, what is in them.
pub(super) fn kept(disk: &BTreeMap<SegmentId, Vec<u8>>) -> Vec<Kept> {
    let latest = disk.len().saturating_sub(40);
    let kept = |(index, (segment, file)): (usize, (&SegmentId, &Vec<u8>))| {
        let contents = segment::read(file);
        let frames = (index >= latest).then_some(contents.frames);
        Kept { segment: *segment, age: Duration::ZERO, summary: contents.summary, frames }
    };
    disk.iter().enumerate().map(kept).collect()
}

impl Node {
    /// What is read is here when [`serve_disk`](Node::serve_disk) says so.
    pub(super) fn ask_disk(&mut self, request: SegmentRequest) {
        let disk = self.disk.as_mut().expect("there is a disk");
        match request {
            SegmentRequest::Append { segment, frames } => {
                segment::write_blocks(&frames, disk.entry(segment).or_insert_with(|| HEADER.to_vec()));
            }
            SegmentRequest::Drop(segment) => drop(disk.remove(&segment)),
            SegmentRequest::Read(_) => self.effects.push(Effect::Segment(request)),
        }
    }

    /// Answers what was asked of the disk. Says how much that was.
    fn serve_disk(&mut self) -> usize {
        let requests = std::mem::take(&mut self.effects);
        let count = requests.len();
        for effect in requests {
            let Effect::Segment(SegmentRequest::Read(segment)) = effect else { panic!("{effect:?}") };
            let file = self.disk.as_ref().unwrap().get(&segment);
            let frames = file.map(|file| segment::read(file).frames).unwrap_or_default();
            self.event(Event::Input(Input::Segment { segment, frames }));
        }
        count
    }

    /// The worker dies, and is started again as the incarnation that `id` says.
    fn restart(self, id: &str) -> Node {
        Node::keeping(id, limits(), Remembered::default(), self.disk)
    }

    /// A client that goes on with the session of `key`, of which it has `resume`.
    fn resume(&mut self, key: &str, resume: &str) -> LinkId {
        let link = self.connect();
        self.say(
            link,
            &format!(
                r#"{{"command":"LOGIN","username":"anonymous","capabilities":["session"],"session":"{key}","resume":"{resume}"}}"#
            ),
        );
        link
    }

    fn publish_as(&mut self, link: LinkId, seq: u64) {
        self.say(
            link,
            &format!(
                r#"{{"command":"ACTIVITY_MESSAGE","activity_seq":{seq},"activity":{{"authenticated_user":"","n":{seq}}}}}"#
            ),
        );
    }

    /// All that a client hears while the disk is read for it: the numbers of the activities, and the last word.
    fn hear_all(&mut self, link: LinkId) -> (Vec<u64>, String) {
        let (mut numbers, mut last) = (Vec::new(), String::new());
        loop {
            let heard = String::from_utf8(self.read_all(link)).unwrap();
            if heard.is_empty() && self.serve_disk() == 0 {
                return (numbers, last);
            }
            for line in heard.lines() {
                match Message::decode(line.as_bytes()).unwrap() {
                    Message::ActivityBroadcast(it) => numbers.push(it.activity_seq.unwrap().0),
                    _ => last = tell(line),
                }
            }
        }
    }
}

const ANN: &str = "a key of sixteen";
const BOB: &str = "another key of those";

/// A worker on whose disk there are 500 activities of one session, the client with it, and how much of that is in memory.
fn full() -> (Node, LinkId) {
    let mut node = Node::keeping("w1", limits(), Remembered::default(), Some(BTreeMap::new()));
    let ann = node.resume(ANN, "");
    for seq in 1..=500 {
        node.publish_as(ann, seq);
        node.read_all(ann);
    }
    (node, ann)
}

#[test]
fn a_client_that_missed_more_than_is_in_memory_gets_it_from_disk_in_order_and_then_what_is_new() {
    let (mut node, ann) = full();
    let bob = node.resume(BOB, "");
    assert_eq!(node.hear(bob), ["LOGIN_SUCCESS logged in as anonymous"], "the disk is waited for");
    node.publish_as(ann, 501);
    let (numbers, last) = node.hear_all(bob);
    assert_eq!(numbers, (1..=501).collect::<Vec<_>>());
    assert!(last.starts_with("RESUMED true []"), "{last}");
    node.publish_as(ann, 502);
    assert_eq!(node.hear_all(bob).0, [502]);
}

#[test]
fn a_worker_that_is_killed_and_started_again_has_what_it_had_and_knows_what_it_knew() {
    let (node, _) = full();
    let mut node = node.restart("w2");
    let mut ann = node.resume(ANN, "w1/0000000000000001/0-399");
    let (numbers, last) = node.hear_all(ann);
    assert_eq!(numbers, (401..=500).collect::<Vec<_>>());
    assert!(last.starts_with("RESUMED true []"), "{last}");
    // It has not heard what became of the last one, and sends it again.
    node.publish_as(ann, 500);
    node.publish_as(ann, 501);
    assert_eq!(node.hear_all(ann).0, [501]);
    for id in ["w3", "w4"] {
        node = node.restart(id);
        ann = node.resume(ANN, "");
        assert_eq!(node.hear_all(ann).0, (1..=501).collect::<Vec<_>>(), "after the start of {id}");
    }
    node.publish_as(ann, 502);
    assert_eq!(node.hear_all(ann).0, [502]);
}

#[test]
fn what_the_disk_lost_is_named_as_a_gap() {
    let (mut node, _) = full();
    let file = node.disk.as_mut().unwrap().values_mut().nth(3).unwrap();
    let lost = segment::read(file).summary;
    file.fill(0);
    let bob = node.resume(BOB, "");
    let (numbers, last) = node.hear_all(bob);
    assert!(last.starts_with(&format!("RESUMED false [{}]", lost.ids)), "{last}");
    assert_eq!(numbers.len(), 500 - lost.frames);
}

/// Another worker, which knows who we are.
fn neighbour(node: &mut Node) -> LinkId {
    let asking = node.connect();
    node.say(
        asking,
        &format!(r#"{{"command":"AUTHENTICATE","id":"b","secret":"{SECRET}","hostname":"b","port":1,"incarnation":"0000000000000002"}}"#),
    );
    node.say(asking, r#"{"command":"NEIGHBOURS","links":[],"next":0}"#);
    node.read_all(asking);
    asking
}

fn ask(node: &mut Node, asking: LinkId, request: u64, wanted: &Position) {
    let question =
        format!(r#"{{"command":"ACTIVITY_RETRIEVE","after":"","request":{request},"within":"{wanted}"}}"#);
    node.say(asking, &question);
}

/// The answer, if there is one by now.
fn answer(node: &mut Node, asking: LinkId) -> Option<ActivityRetrieved> {
    let heard = String::from_utf8(node.read_all(asking)).unwrap();
    let answers = heard.lines().filter(|line| line.contains("ACTIVITY_RETRIEVED"));
    match answers.map(|line| Message::decode(line.as_bytes()).unwrap()).collect::<Vec<_>>().pop()? {
        Message::ActivityRetrieved(answer) => Some(answer),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_worker_gets_what_it_asks_for_piece_by_piece_from_disk() {
    let (mut node, _) = full();
    let asking = neighbour(&mut node);
    let mut wanted: Position = "w1/0000000000000001/0-499".parse().unwrap();
    let mut questions = 0;
    while !wanted.is_empty() {
        ask(&mut node, asking, questions, &wanted);
        let now = answer(&mut node, asking);
        node.serve_disk();
        let answer = now.or_else(|| answer(&mut node, asking)).expect("the disk is served");
        for activity in answer.activities {
            let mut one = Position::default();
            assert!(one.insert(&activity.id.unwrap()) && one.is_within(&wanted));
            wanted.subtract(&one);
        }
        assert_eq!(answer.done, wanted.is_empty(), "after {questions} questions");
        questions += 1;
    }
    assert!(questions < 500, "{questions} questions");
}

/// Two workers asked and answered each other 1,600 times in half a second, while one of them read its disk.
#[test]
fn who_asks_for_what_is_on_disk_alone_hears_nothing_until_it_is_read_or_a_second_has_passed() {
    let (mut node, _) = full();
    let asking = neighbour(&mut node);
    let wanted = "w1/0000000000000001/0-9".parse().unwrap();
    ask(&mut node, asking, 1, &wanted);
    assert_eq!(answer(&mut node, asking), None);
    node.wait(Duration::from_secs(1));
    let put_off = answer(&mut node, asking).expect("the disk is slow");
    assert!(put_off.activities.is_empty() && !put_off.done, "{put_off:?}");
    ask(&mut node, asking, 2, &wanted);
    assert_eq!(answer(&mut node, asking), None);
    node.serve_disk();
    let answer = answer(&mut node, asking).expect("it is read");
    assert_eq!((answer.request, answer.activities.is_empty()), (2, false));
}

#[test]
fn what_the_disk_lost_and_another_worker_has_is_replayed_in_its_place() {
    let mut node = Node::keeping("w1", limits(), Remembered::default(), Some(BTreeMap::new()));
    let ann = node.resume(ANN, "");
    for seq in 1..=30 {
        node.publish_as(ann, seq);
        node.read_all(ann);
    }
    // Numbers 11 to 15, which another worker has, and 21, which nobody has.
    let mut disk = node.disk.unwrap();
    let mut lost = Vec::new();
    for file in disk.values_mut() {
        let frames = segment::read(file).frames;
        let mut rest = Vec::new();
        for frame in frames.split_inclusive(|byte| *byte == b'\n') {
            match super::super::log::session_of(frame).unwrap().1.0 {
                11..=15 => lost.push(String::from_utf8(frame.trim_ascii_end().to_vec()).unwrap()),
                21 => {}
                _ => rest.extend_from_slice(frame),
            }
        }
        *file = HEADER.to_vec();
        segment::write_blocks(&rest, file);
    }
    let before = disk.len();
    let mut node = Node::starting("w2", limits(), Remembered::default(), Some(disk));
    let coordinator = node.answer_dial();
    node.say(coordinator, &success("net", r#"{"id":"w1","hostname":"w1","port":1}"#));
    let worker = stream::neighbour(&mut node, "w1", "w1/0000000000000001/10-14");
    for activity in &mut lost {
        *activity = activity.replacen(r#""command":"ACTIVITY_BROADCAST","#, "", 1);
    }
    node.say(
        worker,
        &format!(
            r#"{{"command":"ACTIVITY_RETRIEVED","request":1,"activities":[{}],"done":true}}"#,
            lost.join(",")
        ),
    );
    assert!(!node.worker.is_recovering());
    let bob = node.resume(BOB, "");
    let heard = String::from_utf8(node.read_all(bob)).unwrap();
    let mut numbers = Vec::new();
    for line in heard.lines() {
        if let Message::ActivityBroadcast(it) = Message::decode(line.as_bytes()).unwrap() {
            let seq = it.activity_seq.unwrap();
            numbers.push(seq.0);
            assert!(!it.late, "{seq}");
            assert_eq!(it.missing_from.map(|first| first.0), (seq.0 == 22).then_some(21), "{seq}");
        }
    }
    assert_eq!(numbers, (1..=30).filter(|number| *number != 21).collect::<Vec<_>>());
    // So it is on disk, and once.
    node.wait(Duration::from_secs(1));
    let disk = node.disk.clone().unwrap();
    assert!(disk.len() <= before + 1, "{} segments of {before}", disk.len());
    let again = Node::keeping("w3", limits(), Remembered::default(), Some(disk));
    assert_eq!(again.worker.held().map(|(_, seq)| seq.0).collect::<Vec<_>>(), numbers);
}

#[test]
fn what_a_worker_let_go_of_it_does_not_fetch_again_after_a_restart() {
    // Another worker kept more. It was all fetched behind what was newer, and had that let go of; who resumed here got the newer first.
    let less = Limits { retain_bytes: 16 << 10, ..limits() };
    let mut node = Node::keeping("w1", less.clone(), Remembered::default(), Some(BTreeMap::new()));
    let ann = node.resume(ANN, "");
    for seq in 1..=500 {
        node.publish_as(ann, seq);
        node.read_all(ann);
    }
    node.wait(Duration::from_secs(2));
    let kept: Vec<u64> = node.worker.held().map(|(_, seq)| seq.0).collect();
    assert!(kept.len() < 200 && kept.ends_with(&[500]), "{kept:?}");
    let (remembered, disk) = (node.remembered.clone(), node.disk.clone());

    for (remembers, asks) in [(remembered, false), (Remembered::default(), true)] {
        let mut node = Node::keeping("w2", less.clone(), remembers, disk.clone());
        let worker = node.connect();
        node.say(
            worker,
            &format!(r#"{{"command":"AUTHENTICATE","id":"b","secret":"{SECRET}","hostname":"b","port":1,"incarnation":"0000000000000002"}}"#),
        );
        node.say(
            worker,
            r#"{"command":"NEIGHBOURS","links":[],"next":0,"holds":"w1/0000000000000001/0-499"}"#,
        );
        let heard = String::from_utf8(node.read_all(worker)).unwrap();
        assert_eq!(heard.contains("ACTIVITY_RETRIEVE"), asks, "{heard}");
        if !asks {
            let bob = node.resume(BOB, "w1/0000000000000001/0-9");
            let heard = String::from_utf8(node.read_all(worker)).unwrap();
            assert!(heard.contains("ACTIVITY_RETRIEVE"), "for one who lacks it, it is: {heard}");
            assert_eq!(node.hear(bob), ["LOGIN_SUCCESS logged in as anonymous"]);
        }
    }
}

/// A link to `b`, of which `holds` is held.
fn holder(node: &mut Node, holds: &str) -> LinkId {
    let link = neighbour(node);
    node.say(link, &format!(r#"{{"command":"NEIGHBOURS","links":[],"next":0,"holds":"{holds}"}}"#));
    link
}

fn of_start(start: u64) -> String {
    let padding = "x".repeat(100);
    format!(
        r#"{{"command":"ACTIVITY_BROADCAST","id":"c/{start:016x}/0","session":"AAAAAAAAAAAAAAAAAAAAAA","activity_seq":{},"activity":{{"x":"{padding}"}}}}"#,
        start + 1
    )
}

/// A worker crashes every few minutes for a day, and each run of it takes something in: more than 1,024 incarnations are in the log.
fn many_starts(starts: u64) -> (Node, String) {
    let mut node = Node::keeping("w1", limits(), Remembered::default(), Some(BTreeMap::new()));
    let link = neighbour(&mut node);
    for start in 0..starts {
        node.say(link, &of_start(start));
        node.read_all(link);
    }
    assert_eq!(node.worker.log.holds().len() as u64, starts);
    let holds = node.worker.log.holds().to_string();
    (node, holds)
}

#[test]
fn what_is_held_is_not_fetched_again_however_many_incarnations_there_were() {
    let (mut node, holds) = many_starts(1_100);
    node.pass(Duration::from_secs(1));
    let other = node.connect();
    node.say(
        other,
        &format!(r#"{{"command":"AUTHENTICATE","id":"d","secret":"{SECRET}","hostname":"d","port":1,"incarnation":"0000000000000004"}}"#),
    );
    node.say(other, &format!(r#"{{"command":"NEIGHBOURS","links":[],"next":0,"holds":"{holds}"}}"#));
    let heard = String::from_utf8(node.read_all(other)).unwrap();
    let asked = heard.lines().find(|line| line.contains("ACTIVITY_RETRIEVE"));
    assert!(asked.is_none(), "it asks for what it holds: {:.200}", asked.unwrap());
}

#[test]
fn a_worker_that_starts_with_more_incarnations_in_its_log_than_it_remembers_lives_on() {
    let (node, holds) = many_starts(1_020);
    let mut node = node.restart("w2");
    let other = holder(&mut node, &holds);
    node.read_all(other);
    // Some more starts of that worker.
    for start in 1_020..1_030 {
        node.say(other, &of_start(start));
    }
    // The next digest of the other one, and its answer to what it is asked for.
    for _ in 0..2 {
        node.say(other, &format!(r#"{{"command":"NEIGHBOURS","links":[],"next":0,"holds":"{holds}"}}"#));
    }
    let heard = String::from_utf8(node.read_all(other)).unwrap();
    let Some(asked) = heard.lines().find(|line| line.contains("ACTIVITY_RETRIEVE")) else { return };
    let Message::ActivityRetrieve(ask) = Message::decode(asked.as_bytes()).unwrap() else { panic!() };
    let start = ask.within.streams().next().unwrap().0.incarnation.0;
    let activity = of_start(start).replacen(r#""command":"ACTIVITY_BROADCAST","#, "", 1);
    let request = ask.request;
    node.say(
        other,
        &format!(
            r#"{{"command":"ACTIVITY_RETRIEVED","request":{request},"activities":[{activity}],"done":true}}"#
        ),
    );
}

#[test]
fn what_is_on_disk_alone_is_known_after_a_restart() {
    let (node, _) = full();
    let mut node = node.restart("w2");
    let listener = node.client();
    let ann = node.resume(ANN, "w1/0000000000000001/0-499");
    node.hear_all(ann);
    // Of what it had sent before it was away, it has heard nothing.
    node.publish_as(ann, 10);
    let heard = String::from_utf8(node.read_all(listener)).unwrap();
    assert!(heard.is_empty(), "it is in the log under w1/0000000000000001/9: {heard}");
}

/// It was published in a cut at two workers, and each kept the copy that came first.
#[test]
fn a_second_copy_is_not_taken_for_new_after_a_restart() {
    let (node, _) = full();
    let mut node = node.restart("w2");
    let session = ANN.parse::<common::session::SessionKey>().unwrap();
    let session = session.session(&common::user::Username::anonymous());
    let other = holder(&mut node, "b/0000000000000002/0-0");
    let heard = String::from_utf8(node.read_all(other)).unwrap();
    assert!(heard.contains("ACTIVITY_RETRIEVE"), "{heard}");
    node.say(
        other,
        &format!(
            r#"{{"command":"ACTIVITY_RETRIEVED","request":1,"activities":[{{"id":"b/0000000000000002/0","session":"{session}","activity_seq":10,"activity":{{"authenticated_user":"anonymous","n":10}}}}],"done":true}}"#
        ),
    );
    let bob = node.resume(BOB, "");
    let (numbers, _) = node.hear_all(bob);
    assert_eq!(numbers.iter().filter(|number| **number == 10).count(), 1, "{numbers:?}");
}
