use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::core::segment;

fn frame(seq: u64) -> Vec<u8> {
    let id = format!("w/00000000000000ff/{seq}");
    format!("{{\"command\":\"ACTIVITY_BROADCAST\",\"id\":\"{id}\",\"activity\":{{\"n\":{seq}}}}}\n")
        .into_bytes()
}

fn append(segment: u64, seq: u64) -> SegmentRequest {
    SegmentRequest::Append { segment: SegmentId(segment), frames: frame(seq) }
}

type Answers = Receiver<(SegmentId, Vec<u8>)>;

fn open(directory: &TempDir, memory: usize) -> (Segments, Vec<Kept>, Answers) {
    let (answers, answered) = channel();
    let answer = move |segment, frames| drop(answers.send((segment, frames)));
    let (segments, kept) = Segments::open(directory.path(), memory, answer).unwrap();
    (segments, kept, answered)
}

/// Does these requests and ends; what the next start finds.
fn after(directory: &TempDir, requests: impl IntoIterator<Item = SegmentRequest>) -> Vec<Kept> {
    let (segments, ..) = open(directory, 0);
    requests.into_iter().for_each(|request| segments.request(request));
    drop(segments);
    open(directory, usize::MAX).1
}

/// Number, how many activities and their frames.
fn brief(kept: &[Kept]) -> Vec<(u64, usize, Option<Vec<u8>>)> {
    kept.iter().map(|kept| (kept.segment.0, kept.summary.frames, kept.frames.clone())).collect()
}

fn file(directory: &TempDir, segment: u64) -> PathBuf {
    directory.path().join(DIRECTORY).join(format!("{segment:016}.log"))
}

#[test]
fn what_was_appended_is_there_at_the_next_start_and_what_was_dropped_is_not() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(open(&directory, usize::MAX).1, [], "there is nothing at the first");
    let kept = after(&directory, [append(0, 0), append(1, 1), append(1, 2), append(2, 3), append(3, 4)]);
    let two = [frame(1), frame(2)].concat();
    let expected =
        [(0, 1, Some(frame(0))), (1, 2, Some(two.clone())), (2, 1, Some(frame(3))), (3, 1, Some(frame(4)))];
    assert_eq!(brief(&kept), expected);
    let kept = after(&directory, [SegmentRequest::Drop(SegmentId(0)), append(3, 5), append(4, 6)]);
    let five = [frame(4), frame(5)].concat();
    let expected = [(1, 2, Some(two)), (2, 1, Some(frame(3))), (3, 2, Some(five)), (4, 1, Some(frame(6)))];
    assert_eq!(brief(&kept), expected);
    assert!(!file(&directory, 0).exists());
}

#[test]
fn of_what_does_not_fit_into_memory_a_start_reads_the_ends() {
    let directory = tempfile::tempdir().unwrap();
    let all = after(&directory, (0..5).map(|number| append(number, number)));
    // Nobody looks into these.
    for segment in 0..3 {
        let mut bytes = fs::read(file(&directory, segment)).unwrap();
        bytes[60] ^= 1;
        fs::write(file(&directory, segment), bytes).unwrap();
    }
    let (_segments, kept, _) = open(&directory, frame(0).len() + 1);
    assert_eq!(
        kept.iter().map(|kept| &kept.summary).collect::<Vec<_>>(),
        all.iter().map(|kept| &kept.summary).collect::<Vec<_>>()
    );
    let here: Vec<_> = kept.iter().map(|kept| kept.frames.is_some()).collect();
    assert_eq!(here, [false, false, false, true, true]);
}

#[test]
fn what_is_read_is_answered_also_where_it_waits_to_be_written_is_damaged_or_gone() {
    let directory = tempfile::tempdir().unwrap();
    drop(after(&directory, [append(0, 0), append(1, 1)]));
    let mut bytes = fs::read(file(&directory, 0)).unwrap();
    bytes[60] ^= 1;
    fs::write(file(&directory, 0), bytes).unwrap();
    let (segments, _, answered) = open(&directory, 0);
    segments.request(append(2, 2));
    for (segment, expected) in [(2, frame(2)), (0, Vec::new()), (1, frame(1)), (9, Vec::new())] {
        segments.request(SegmentRequest::Read(SegmentId(segment)));
        assert_eq!(answered.recv().unwrap(), (SegmentId(segment), expected));
    }
}

#[test]
fn a_torn_tail_is_cut_and_written_on_behind() {
    let directory = tempfile::tempdir().unwrap();
    drop(after(&directory, [append(0, 0), append(0, 1)]));
    let whole = fs::read(file(&directory, 0)).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(&whole[20..90]);
    fs::write(file(&directory, 0), torn).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(1_000);
    File::options().write(true).open(file(&directory, 0)).unwrap().set_modified(long_ago).unwrap();
    let (segments, kept, _) = open(&directory, usize::MAX);
    assert_eq!(fs::read(file(&directory, 0)).unwrap(), whole);
    assert!(kept[0].age >= Duration::from_secs(1_000), "{:?}", kept[0].age);
    segments.request(append(0, 2));
    drop(segments);
    let kept = open(&directory, usize::MAX).1;
    assert_eq!((kept[0].summary.frames, kept[0].age < Duration::from_secs(500)), (3, true));
}

#[test]
fn a_segment_that_has_lost_its_end_is_told_from_one_that_was_being_written() {
    let directory = tempfile::tempdir().unwrap();
    drop(after(&directory, (0..4).map(|number| append(number, number))));
    let length = |segment| fs::read(file(&directory, segment)).unwrap().len();
    let sealed = length(0);
    for (segment, rest) in [(0, sealed - 10), (1, sealed / 2), (2, 0)] {
        File::options().write(true).open(file(&directory, segment)).unwrap().set_len(rest as u64).unwrap();
    }
    let expected =
        [(0, 1, Some(frame(0))), (1, 0, Some(Vec::new())), (2, 0, Some(Vec::new())), (3, 1, Some(frame(3)))];
    assert_eq!(brief(&open(&directory, usize::MAX).1), expected);
    let ends = |segment| segment::sealed(&fs::read(file(&directory, segment)).unwrap()).map(|it| it.frames);
    assert_eq!(
        [0, 1, 2, 3].map(ends),
        [Some(1), Some(0), Some(0), None],
        "they have an end again, and the last goes on"
    );
    assert_eq!(brief(&after(&directory, [append(4, 4)]))[..4], expected);
    assert_eq!(ends(3), Some(1), "what an earlier run began is sealed before another one begins");
}

#[test]
fn what_a_newer_version_wrote_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    drop(after(&directory, [append(0, 0), append(1, 1)]));
    let whole = fs::read(file(&directory, 0)).unwrap();
    let newer = [b"{\"freshet_log\":2,\"more\":3}\n", &whole[segment::HEADER.len()..]].concat();
    fs::write(file(&directory, 0), &newer).unwrap();
    let error = Segments::open(directory.path(), 0, |_, _| ()).unwrap_err();
    assert!(
        error.contains("newer version") && error.contains("move ") && error.contains("0000.log"),
        "{error}"
    );
    assert_eq!(fs::read(file(&directory, 0)).unwrap(), newer);
}

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(after(&directory, [append(0, 0)]));
    let log = directory.path().join(DIRECTORY);
    let strange = [("0000000000000007.log", "a log of somebody else\n"), ("notes.txt", "?"), ("8.log", "?")];
    for (name, text) in strange {
        fs::write(log.join(name), text).unwrap();
    }
    let kept = after(&directory, [append(8, 8)]);
    assert_eq!(brief(&kept), [(0, 1, Some(frame(0))), (7, 0, None), (8, 1, Some(frame(8)))]);
    for (name, text) in strange {
        assert_eq!(fs::read_to_string(log.join(name)).unwrap(), text);
    }
}

#[test]
fn a_disk_that_fails_is_tried_again_until_it_takes_what_waited() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join(DIRECTORY);
    fs::write(&log, "in the way").unwrap();
    let (segments, kept, answered) = open(&directory, 0);
    assert_eq!(kept, []);
    segments.request(append(0, 0));
    segments.request(append(1, 1));
    segments.request(SegmentRequest::Read(SegmentId(0)));
    assert_eq!(answered.recv().unwrap(), (SegmentId(0), Vec::new()));
    fs::remove_file(&log).unwrap();
    while !file(&directory, 1).exists() {
        segments.request(SegmentRequest::Read(SegmentId(1)));
        answered.recv().unwrap();
    }
    drop(segments);
    assert_eq!(brief(&open(&directory, usize::MAX).1), [(0, 1, Some(frame(0))), (1, 1, Some(frame(1)))]);
}

#[test]
fn what_waits_for_a_disk_that_fails_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join(DIRECTORY);
    fs::write(&log, "in the way").unwrap();
    let (segments, _, answered) = open(&directory, 0);
    let frames = frame(0).repeat(1_000);
    for _ in 0..UNWRITTEN_BYTES / frames.len() + 10 {
        segments.request(SegmentRequest::Append { segment: SegmentId(0), frames: frames.clone() });
    }
    let counts = segments.writer.as_ref().unwrap().counts.clone();
    assert!(
        counts.unwritten.load(Relaxed) <= UNWRITTEN_BYTES && counts.skipped.load(Relaxed) >= 9 * frames.len()
    );
    fs::remove_file(&log).unwrap();
    while counts.unwritten.load(Relaxed) > 0 {
        segments.request(SegmentRequest::Read(SegmentId(0)));
        answered.recv().unwrap();
    }
    segments.request(append(1, 1));
    drop(segments);
    assert_eq!(counts.unwritten.load(Relaxed) + counts.skipped.load(Relaxed), 0);
    assert!(file(&directory, 1).exists());
}
