use proptest::prelude::*;

use super::*;

fn frame(seq: u64, bytes: usize) -> Vec<u8> {
    let text = "x".repeat(bytes);
    format!(
        r#"{{"command":"ACTIVITY_BROADCAST","id":"w/00000000000000ff/{seq}","activity":{{"n":"{text}"}}}}"#
    )
    .into_bytes()
    .into_iter()
    .chain(*b"\n")
    .collect()
}

/// A segment of one block for each frame, and where each block begins.
fn segment(frames: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let (mut segment, mut starts) = (HEADER.to_vec(), Vec::new());
    for frame in frames {
        starts.push(segment.len());
        write_blocks(frame, &mut segment);
    }
    (segment, starts)
}

fn frames(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|seq| frame(seq, seq as usize * 7 % 40)).collect()
}

fn summary(frames: &[Vec<u8>]) -> Summary {
    let mut summary = Summary::default();
    assert!(summary.add(&frames.concat()));
    summary
}

#[test]
fn what_was_written_is_read_and_people_can_read_it_too() {
    let frames = [frame(7, 1), frame(8, 2)];
    let mut bytes = HEADER.to_vec();
    write_blocks(&frames.concat(), &mut bytes);
    bytes.extend(seal(&summary(&frames)));
    let expected = [
        r#"{"freshet_log":1}"#,
        r#"{"bytes":165,"crc32":"#,
        r#"{"command":"ACTIVITY_BROADCAST","id":"w/00000000000000ff/7","activity":{"n":"x"}}"#,
        r#"{"command":"ACTIVITY_BROADCAST","id":"w/00000000000000ff/8","activity":{"n":"xx"}}"#,
        r#"{"bytes":59,"crc32":"#,
        r#"{"sealed":"w/00000000000000ff/7-8","frames":2,"bytes":165}"#,
    ];
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(text.lines().count(), expected.len());
    for (line, expected) in text.lines().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    let contents = read(&bytes);
    let whole =
        Contents { summary: summary(&frames), frames: frames.concat(), whole: bytes.len(), damaged: 0 };
    assert_eq!(contents, whole);
}

#[test]
fn a_torn_tail_is_told_from_what_came_before_it_wherever_it_was_torn() {
    let frames = frames(5);
    let (bytes, starts) = segment(&frames);
    for length in HEADER.len()..bytes.len() {
        let contents = read(&bytes[..length]);
        let blocks = starts.iter().skip(1).filter(|start| **start <= length).count();
        assert_eq!(contents.frames, frames[..blocks].concat(), "{length}");
        assert_eq!((contents.whole, contents.damaged), (starts[blocks], 0), "{length}");
    }
    for length in 0..HEADER.len() {
        assert_eq!((read(&bytes[..length]), is_foreign(&bytes[..length])), (Contents::default(), false));
    }
}

#[test]
fn a_damaged_block_is_lost_and_no_other() {
    let frames = frames(5);
    let (bytes, starts) = segment(&frames);
    for at in starts[0]..starts[4] {
        for flip in [1, 0x20, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let contents = read(&damaged);
            let hit = starts.iter().rposition(|start| *start <= at).unwrap();
            let mut expected = frames.clone();
            expected.remove(hit);
            assert_eq!(contents.frames, expected.concat(), "byte {at} ^ {flip}");
            assert_eq!(contents.damaged, starts[hit + 1] - starts[hit], "byte {at} ^ {flip}");
            assert_eq!(contents.whole, bytes.len());
        }
    }
}

#[test]
fn what_is_written_at_once_lies_in_blocks_of_bounded_size() {
    let frames: Vec<_> = (0..300).map(|seq| frame(seq, 1_000)).collect();
    let mut bytes = HEADER.to_vec();
    write_blocks(&frames.concat(), &mut bytes);
    assert_eq!(read(&bytes).frames, frames.concat());
    bytes[100_000] ^= 1;
    assert!(read(&bytes).damaged < 2 * BLOCK_BYTES);
}

#[test]
fn only_an_end_that_says_what_is_in_a_segment_is_taken_for_one() {
    let frames = frames(5);
    let (mut bytes, _) = segment(&frames);
    assert_eq!(sealed(&bytes), None);
    bytes.extend(seal(&summary(&frames)));
    for tail in [bytes.len(), 120] {
        assert_eq!(sealed(&bytes[bytes.len() - tail..]), Some(summary(&frames)));
    }
    for tail in 0..100.min(seal(&summary(&frames)).len()) {
        assert_eq!(sealed(&bytes[bytes.len() - tail..]), None, "the last {tail} bytes");
    }
    for at in bytes.len() - 60..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(sealed(&damaged), None);
    }
    write_blocks(&frame(9, 1), &mut bytes);
    assert_eq!(sealed(&bytes), None, "something was added to it");
    assert_eq!(read(&bytes).summary.frames, 6);
}

#[test]
fn what_is_no_frame_is_not_served() {
    let mut bytes = HEADER.to_vec();
    write_blocks(b"{\"command\":\"LOGOUT\"}\n", &mut bytes);
    write_blocks(&frame(1, 1), &mut bytes);
    let contents = read(&bytes);
    assert_eq!((contents.frames, contents.damaged), (frame(1, 1), 21));
    assert!(is_foreign(b"{\"freshet_log\":2}\n") && is_foreign(&[0; 5_000]) && !is_foreign(&bytes));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0..500usize) {
        let (mut bytes, _) = segment(&frames(4));
        let at = at.min(bytes.len());
        bytes.splice(at..(at + 20).min(bytes.len()), noise);
        let contents = read(&bytes);
        prop_assert!(contents.whole + contents.damaged <= 2 * bytes.len());
        sealed(&bytes);
    }
}
