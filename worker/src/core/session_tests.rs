use super::*;
use common::session::SessionId;
use common::wire::LoginSuccess;

fn reply(number: u32) -> Message {
    LoginSuccess { info: format!("reply {number}"), ..Default::default() }.into()
}

fn session(log: &Log) -> (Session, Digests) {
    let digests = Digests::new(&mut fastrand::Rng::with_seed(1));
    let mut session = Session::new(std::net::Ipv4Addr::LOCALHOST.into(), Time::ZERO, Time::ZERO, 10_000);
    session.log_in(
        "ann".parse().unwrap(),
        None,
        Some(digests.of(&Secret::new("s"))),
        Attachment::classic(SessionId(7), 1),
    );
    session.go_live(log.end(), Ordinal::default());
    (session, digests)
}

/// Takes at most `most` bytes of the output.
fn take(session: &mut Session, log: &Log, most: usize) -> Vec<u8> {
    let output = session.output(log);
    let taken = output[..most.min(output.len())].to_vec();
    if !taken.is_empty() {
        session.wrote(Time::ZERO, log, taken.len());
    }
    taken
}

#[test]
fn replies_go_out_between_frames_however_much_is_written_at_a_time() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        // Small enough that the frames lie in many chunks, large enough that none is trimmed.
        let mut log = Log::new(5_000);
        let (mut session, _) = session(&log);
        let (mut frames, mut replies, mut read) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..60 {
            match rng.u8(..4) {
                0 => {
                    log.append_line(format!("frame {number}\n").as_bytes());
                    frames.push(format!("frame {number}"));
                }
                1 if number % 3 == 0 => {
                    session.reply(Time::ZERO, &reply(number), None).unwrap();
                    replies.push(String::from_utf8(reply(number).encode()).unwrap().trim_end().to_owned());
                }
                _ => read.extend(take(&mut session, &log, rng.usize(1..60))),
            }
        }
        while !session.output(&log).is_empty() {
            read.extend(take(&mut session, &log, 7));
        }
        let text = String::from_utf8(read).unwrap();
        let lines = text.lines().map(str::to_owned);
        let (read_replies, read_frames): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('{'));
        assert_eq!((read_frames, read_replies), (frames, replies), "seed {seed}");
    }
}

#[test]
fn a_farewell_ends_what_was_begun_wherever_that_was() {
    for taken in 0..60 {
        let mut log = Log::new(100_000);
        let (mut session, _) = session(&log);
        log.append_line(b"frame one\n");
        log.append_line(b"frame two\n");
        let mut read = take(&mut session, &log, taken.min(5));
        session.reply(Time::ZERO, &reply(1), None).unwrap();
        read.extend(take(&mut session, &log, taken));
        read.extend(session.farewell(&log, 100, Some(&reply(2))));
        let text = String::from_utf8(read).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        assert!(lines.pop().unwrap().contains("reply 2"), "{text}");
        lines.sort();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[..2], ["frame one", "frame two"]);
    }
}

#[test]
fn a_farewell_is_short_whatever_the_client_left_unread() {
    let mut log = Log::new(100_000);
    let (mut session, _) = session(&log);
    let long = format!("{}\n", "x".repeat(500));
    log.append_line(b"short\n");
    log.append_line(long.as_bytes());
    assert_eq!(take(&mut session, &log, 6), b"short\n");
    let (mut between, _) = self::session(&log);
    log.append_line(long.as_bytes());
    assert_eq!(between.output(&log), long.as_bytes());
    take(&mut session, &log, 1);
    assert_eq!(
        session.farewell(&log, 100, Some(&reply(1))),
        b"",
        "the frame that was begun is too long to end"
    );
    take(&mut between, &log, 0);
    assert_eq!(between.farewell(&log, 100, Some(&reply(1))), reply(1).encode());
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 248, "{} bytes", size_of::<Session>());
    assert!(size_of::<super::super::Link>() <= 248, "{} bytes", size_of::<super::super::Link>());
}

#[test]
fn who_fell_behind_the_log_hears_it_where_a_message_may_follow() {
    for (taken, said) in [(0, true), (6, true), (3, false)] {
        let mut log = Log::new(1_000);
        let (mut session, _) = session(&log);
        log.append_line(b"first\n");
        take(&mut session, &log, taken);
        (0..300).for_each(|_| log.append_line(b"later\n"));
        assert_eq!(session.output(&log), b"", "what follows is gone");
        let expected = if said { reply(1).encode() } else { Vec::new() };
        assert_eq!(session.farewell(&log, 100, Some(&reply(1))), expected, "after {taken} bytes");
    }
}

#[test]
fn a_client_that_takes_its_share_is_waited_for_and_one_that_takes_less_only_for_a_moment() {
    const RATE: usize = 1_000;
    let at = |millis: u64| Time::from_micros(millis * 1_000);
    let mut log = Log::new(100_000);
    let ((mut good, _), (mut slow, _)) = (session(&log), session(&log));
    let outpaced = |millis, log: &Log, session: &mut Session| session.is_outpaced(at(millis), log, 500, RATE);
    log.append_line(&[b"x".repeat(499).as_slice(), b"\n"].concat());
    assert!(!outpaced(0, &log, &mut good) && !outpaced(0, &log, &mut slow), "neither is far behind");
    for _ in 0..20 {
        log.append_line(&[b"x".repeat(999).as_slice(), b"\n"].concat());
    }
    for millis in (0..8_000).step_by(100) {
        // In gulps, as a process reads that is not always let run.
        take(&mut good, &log, if millis % 500 == 0 { RATE / 2 } else { 0 });
        take(&mut slow, &log, RATE / 20);
        assert!(outpaced(millis, &log, &mut good), "nobody waits for the good one after {millis} ms");
        assert_eq!(outpaced(millis, &log, &mut slow), millis < 2_000, "after {millis} ms");
    }
    while !good.output(&log).is_empty() {
        take(&mut good, &log, 500);
    }
    assert!(!outpaced(9_000, &log, &mut good), "it has caught up");
}
