use common::position::Position;

use super::*;
use crate::core::segment::Summary;

const RETENTION: Retention = Retention { bytes: 1 << 20, age: Duration::from_secs(160) };

/// A disk that does at once what it is told, and loses what it is told to.
#[derive(Debug, Default)]
struct Disk {
    segments: std::collections::BTreeMap<SegmentId, Vec<u8>>,
    reads: usize,
}

impl Disk {
    fn serve(&mut self, log: &mut Log) {
        while let Some(request) = log.next_request() {
            match request {
                SegmentRequest::Append { segment, frames } => {
                    self.segments.entry(segment).or_default().extend(frames);
                }
                SegmentRequest::Drop(segment) => drop(self.segments.remove(&segment)),
                SegmentRequest::Read(segment) => {
                    self.reads += 1;
                    log.was_read(segment, self.segments.get(&segment).map_or(&[], Vec::as_slice));
                }
            }
        }
        assert!(log.chunks.range(..log.archived).filter(|chunk| chunk.bytes.is_some()).count() <= READ_BACK);
    }

    /// What the next run finds, with the frames of the latest `latest` segments.
    fn kept(&self, latest: usize) -> Vec<Kept> {
        let kept = |(index, (segment, frames)): (usize, (&SegmentId, &Vec<u8>))| {
            let mut summary = Summary::default();
            summary.add(frames);
            let frames = (index + latest >= self.segments.len()).then(|| frames.clone());
            Kept { segment: *segment, age: Duration::ZERO, summary, frames }
        };
        self.segments.iter().enumerate().map(kept).collect()
    }
}

fn seconds(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

/// A log with 16 KiB in memory, in chunks of 256 bytes, each of two or three frames.
fn empty(kept: Vec<Kept>) -> Log {
    Log::restored(seconds(0), 16 << 10, RETENTION, kept, Position::default())
}

fn append(log: &mut Log, numbers: std::ops::Range<u64>) {
    for seq in numbers {
        let id = format!("w/00000000000000ff/{seq}");
        let frame =
            format!("{{\"command\":\"ACTIVITY_BROADCAST\",\"id\":\"{id}\",\"activity\":{{\"n\":{seq}}}}}\n");
        log.append(&id.parse().unwrap(), frame.as_bytes());
    }
}

/// Everything that is not in `after`, waiting for the disk where that is needed.
fn read_all(log: &mut Log, disk: &mut Disk, after: &Position) -> String {
    let (mut at, mut ids) = (Offset(0), Position::default());
    loop {
        for frame in log.missing(after, at).collect::<Vec<_>>() {
            assert!(frame.offset >= at && ids.insert(&frame.id), "{} comes twice", frame.id);
            at = frame.end();
        }
        let awaits = log.awaits_disk(after, at);
        disk.serve(log);
        if !awaits {
            return ids.to_string();
        }
    }
}

fn position(text: &str) -> Position {
    format!("w/00000000000000ff/{text}").parse().unwrap()
}

#[test]
fn what_left_memory_is_read_back_from_disk_in_order() {
    let (mut log, mut disk) = (empty(Vec::new()), Disk::default());
    append(&mut log, 0..1_000);
    disk.serve(&mut log);
    log.assert_bounds();
    assert!(log.start() > log.first() && log.first() == Offset(0) && log.archived > 100);
    assert_eq!(read_all(&mut log, &mut disk, &Position::default()), position("0-999").to_string());
    assert_eq!(disk.reads, log.archived, "each was read once");
    disk.reads = 0;
    assert_eq!(read_all(&mut log, &mut disk, &position("0-299+301-999")), position("300").to_string());
    assert_eq!(disk.reads, 1, "and what somebody has is not read");
    assert_eq!(read_all(&mut log, &mut disk, &position("0-990")), position("991-999").to_string());
    assert_eq!(disk.reads, 1, "nor is anything for those who missed the latest alone");
}

#[test]
fn many_who_wait_each_get_on() {
    let (mut log, mut disk) = (empty(Vec::new()), Disk::default());
    append(&mut log, 0..1_000);
    disk.serve(&mut log);
    let nothing = Position::default();
    let mut readers: Vec<_> = (0..30).map(|index| log.chunks[index * 3].start).collect();
    let mut rounds = 0;
    while readers.iter().any(|at| *at < log.end()) {
        for at in &mut readers {
            // One frame at a time, so that all chunks are wanted for long.
            let end = log.missing(&nothing, *at).next().map(|frame| frame.end());
            assert_eq!(end.is_none(), *at == log.end() || log.awaits_disk(&nothing, *at) && end.is_none());
            *at = end.unwrap_or(*at);
        }
        // One read a round.
        while let Some(request) = log.next_request() {
            if let SegmentRequest::Read(segment) = request {
                log.was_read(segment, &disk.segments[&segment]);
                break;
            }
        }
        rounds += 1;
        assert!(rounds < 100_000, "somebody starves at {readers:?}");
    }
}

#[test]
fn a_restart_finds_what_was_there_and_goes_on_behind_it() {
    let (mut log, mut disk) = (empty(Vec::new()), Disk::default());
    append(&mut log, 0..500);
    disk.serve(&mut log);
    for latest in [usize::MAX / 2, 70, 1, 0] {
        let mut disk = Disk { segments: disk.segments.clone(), reads: 0 };
        let mut log = empty(disk.kept(latest));
        log.assert_bounds();
        assert_eq!(log.holds(), &position("0-499"));
        append(&mut log, 500..600);
        disk.serve(&mut log);
        assert_eq!(read_all(&mut log, &mut disk, &Position::default()), position("0-599").to_string());
        let again = empty(disk.kept(latest));
        assert_eq!(again.holds(), &position("0-599"), "with {latest} in memory");
    }
}

#[test]
fn restarts_that_write_little_fill_one_segment() {
    let mut disk = Disk::default();
    for number in 0..3 {
        let mut log = empty(disk.kept(100));
        append(&mut log, number..number + 1);
        disk.serve(&mut log);
    }
    assert_eq!(disk.segments.len(), 1);
}

#[test]
fn what_the_disk_lost_is_held_no_longer_and_the_rest_is_served() {
    let (mut log, mut disk) = (empty(Vec::new()), Disk::default());
    append(&mut log, 0..1_000);
    disk.serve(&mut log);
    let [gone, short] = [3, 7].map(|index| log.chunks[index].segment);
    let mut lost = log.chunks[3].ids.clone();
    disk.segments.remove(&gone);
    let frames = disk.segments.get_mut(&short).unwrap();
    let first = memchr::memchr(b'\n', frames).unwrap() + 1;
    let id = id_of(&frames.drain(..first).collect::<Vec<_>>()).unwrap();
    lost.insert(&id);
    let expected = position("0-999").without(&lost);
    assert_eq!(read_all(&mut log, &mut disk, &Position::default()), expected.to_string());
    assert_eq!(log.holds(), &expected);
    assert_eq!(read_all(&mut log, &mut disk, &Position::default()), expected.to_string(), "and again");
}

#[test]
fn a_reader_inside_of_a_chunk_that_is_damaged_meanwhile_goes_on_with_whole_frames() {
    let (mut log, mut disk) = (empty(Vec::new()), Disk::default());
    append(&mut log, 0..1_000);
    disk.serve(&mut log);
    let (segment, start) = (log.chunks[0].segment, log.chunks[0].start);
    let frames = disk.segments.get_mut(&segment).unwrap();
    frames.drain(..memchr::memchr(b'\n', frames).unwrap() + 1);
    let nothing = Position::default();
    for inside in 0..log.chunks[0].len {
        assert!(log.awaits_disk(&nothing, start) || inside > 0);
        disk.serve(&mut log);
        log.chunks[0]
            .frames(start.plus(inside))
            .for_each(|frame| assert_eq!(id_of(frame.bytes), Some(frame.id)));
    }
}

#[test]
fn no_more_is_kept_than_may_be() {
    let retention = Retention { bytes: 20_000, ..RETENTION };
    let mut log = Log::restored(seconds(0), 16 << 10, retention, Vec::new(), Position::default());
    let mut disk = Disk::default();
    for seq in 0..1_000 {
        append(&mut log, seq..seq + 1);
        disk.serve(&mut log);
        let bytes: usize = disk.segments.values().map(Vec::len).sum();
        assert!(bytes <= 20_000 && bytes == log.end().since(log.first()), "{bytes} bytes are on disk");
    }
    let kept = read_all(&mut log, &mut disk, &Position::default());
    assert_eq!(kept, log.holds().to_string());
    let less = Retention { bytes: 5_000, ..RETENTION };
    let mut log = Log::restored(seconds(0), 16 << 10, less, disk.kept(10), Position::default());
    disk.serve(&mut log);
    assert!(disk.segments.values().map(Vec::len).sum::<usize>() <= 5_000, "also after a start with less");
}

#[test]
fn a_disk_with_less_room_than_memory_takes_nothing_from_memory() {
    // With --retain-bytes 1MiB, a worker kept no more than that in memory either, and who came back a moment later was told of a loss.
    let mut disk = Disk::default();
    let retention = Retention { bytes: 2_000, ..RETENTION };
    let mut log = Log::restored(seconds(0), 16 << 10, retention, Vec::new(), Position::default());
    for seq in 0..1_000 {
        append(&mut log, seq..seq + 1);
        disk.serve(&mut log);
        log.assert_bounds();
        assert!(disk.segments.values().map(Vec::len).sum::<usize>() <= 2_000);
        assert!(seq < 200 || log.len() > 15 << 10, "{} bytes are in memory", log.len());
    }
    assert_eq!((log.archived, log.first()), (0, log.start()));
    let kept = read_all(&mut log, &mut disk, &Position::default());
    assert_eq!((kept, disk.reads), (log.holds().to_string(), 0));

    // And what is on disk is the latest of it.
    let again = Log::restored(seconds(0), 16 << 10, retention, disk.kept(100), Position::default());
    assert!(again.holds().is_within(log.holds()) && again.len() > 1_500, "{} bytes", again.len());
    assert!(position("999").is_within(again.holds()));
    log.sweep(seconds(0));
    log.sweep(seconds(160));
    disk.serve(&mut log);
    assert!(
        log.holds().is_empty() && disk.segments.is_empty(),
        "what is too old is forgotten, in memory too"
    );
}

#[test]
fn what_is_too_old_is_forgotten_however_little_there_is_and_whatever_ran_it() {
    let (mut log, mut disk) = (empty(Vec::new()), Disk::default());
    for second in 0..400 {
        if second < 200 {
            append(&mut log, second..second + 1);
        }
        log.sweep(seconds(second));
        disk.serve(&mut log);
        let oldest = log.holds().streams().next().map(|(_, ranges)| ranges.iter().next().unwrap().0);
        match second {
            0..160 => assert_eq!(oldest, Some(0)),
            160..359 => assert!(
                oldest.is_some_and(|oldest| (second.saturating_sub(170)..=second - 159).contains(&oldest))
            ),
            _ => assert_eq!((oldest, disk.segments.len()), (None, 0), "after {second} s"),
        }
    }
    append(&mut log, 500..501);
    disk.serve(&mut log);
    let mut kept = disk.kept(1);
    kept[0].age = Duration::from_secs(100);
    let mut log = empty(kept);
    log.sweep(seconds(59));
    assert_eq!(log.holds(), &position("500"));
    log.sweep(seconds(60));
    assert!(log.holds().is_empty(), "the time before the start counts");
}

#[test]
fn a_copied_file_does_no_harm() {
    let (mut log, mut disk) = (empty(Vec::new()), Disk::default());
    append(&mut log, 0..300);
    disk.serve(&mut log);
    let first = disk.segments[&SegmentId(0)].clone();
    disk.segments.insert(SegmentId(998), first.clone());
    disk.segments.insert(SegmentId(999), [first.clone(), first].concat());
    for latest in [0, 2, 1_000] {
        let mut disk = Disk { segments: disk.segments.clone(), reads: 0 };
        let mut log = empty(disk.kept(latest));
        assert_eq!(read_all(&mut log, &mut disk, &Position::default()), position("0-299").to_string());
    }
}

#[test]
fn without_a_disk_nothing_is_asked_of_one() {
    let mut log = Log::new(1_000);
    append(&mut log, 0..100);
    log.sweep(seconds(1_000_000));
    assert_eq!(log.next_request(), None);
    assert!(!log.awaits_disk(&Position::default(), Offset(0)) && !log.holds().is_empty());
    assert_eq!(log.first(), log.start());
}
