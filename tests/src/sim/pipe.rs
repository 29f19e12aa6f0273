//! One direction of a connection: bytes in order, late, in pieces, and no more of them than the window holds.

use std::collections::VecDeque;
use std::time::Duration;

use common::time::Time;

/// What a network is like; drawn from the seed, so that some runs have a fast one and some a bad one.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Least and greatest base delay of a connection, one way.
    pub delay: (Duration, Duration),
    /// What a piece may be late beyond its connection's base delay, at the most.
    pub jitter: Duration,
    /// Least and greatest number of bytes that a connection takes before its reader must have read some.
    pub window: (usize, usize),
    /// The odds that what is written in one go arrives in several pieces.
    pub split: f64,
}

impl Weather {
    /// A network in one room.
    pub fn calm() -> Self {
        Weather {
            delay: (Duration::from_micros(50), Duration::from_micros(500)),
            jitter: Duration::from_micros(50),
            window: (64 << 10, 64 << 10),
            split: 0.1,
        }
    }

    /// The longest that a byte is on its way, where nothing is wrong.
    pub fn slowest(&self) -> Duration {
        self.delay.1 + self.jitter
    }

    /// Any network from one room to two continents.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let far = Duration::from_micros(rng.u64(200..40_000));
        Weather {
            delay: (Duration::from_micros(50), far),
            jitter: far.mul_f64(rng.f64() * 2.0),
            window: (rng.usize(8 << 10..16 << 10), rng.usize(16 << 10..64 << 10)),
            split: rng.f64() * 0.5,
        }
    }
}

/// What a pipe carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    /// Nothing follows. `clean`: the writer closed it with all that it had to say; else it died.
    End {
        clean: bool,
    },
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe {
    /// On their way, or waiting for a reader, with their times of arrival; in order.
    pieces: VecDeque<(Time, Piece)>,
    /// Bytes that count towards the window: written and not read yet.
    unread: usize,
    window: usize,
    delay: Duration,
    jitter: Duration,
    split: f64,
    /// Nothing arrives before.
    not_before: Time,
    severed: bool,
    /// What was written last is the end of a line.
    ends_line: bool,
}

impl Pipe {
    pub(super) fn new(weather: &Weather, rng: &mut fastrand::Rng) -> Self {
        let (least, most) = weather.delay;
        let (narrow, wide) = weather.window;
        Pipe {
            pieces: VecDeque::new(),
            unread: 0,
            window: rng.usize(narrow..=wide),
            delay: least + most.saturating_sub(least).mul_f64(rng.f64()),
            jitter: weather.jitter,
            split: weather.split,
            not_before: Time::ZERO,
            severed: false,
            ends_line: true,
        }
    }

    /// How many bytes may be written.
    pub(super) fn free(&self) -> usize {
        self.window - self.unread
    }

    /// Whether nothing was written yet, or whole lines.
    pub(super) fn ends_line(&self) -> bool {
        self.ends_line
    }

    /// The least time a byte takes.
    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    /// Takes bytes, at most [`free`](Self::free). Those written to a severed pipe are lost, and fill the window all the same: that
    /// is all the writer can see.
    pub(super) fn write(&mut self, now: Time, mut bytes: &[u8], rng: &mut fastrand::Rng) {
        assert!(
            bytes.len() <= self.free(),
            "{} bytes were written into a window of {}",
            bytes.len(),
            self.free()
        );
        self.unread += bytes.len();
        self.ends_line = bytes.last().map_or(self.ends_line, |byte| *byte == b'\n');
        while !bytes.is_empty() && !self.severed {
            let length = if rng.f64() < self.split { rng.usize(1..=bytes.len()) } else { bytes.len() };
            let (piece, rest) = bytes.split_at(length);
            bytes = rest;
            let at = self.arrival(now, rng);
            self.pieces.push_back((at, Piece::Bytes(piece.to_vec())));
        }
    }

    /// Ends the pipe after what was written.
    pub(super) fn end(&mut self, now: Time, clean: bool, rng: &mut fastrand::Rng) {
        if !self.severed {
            let at = self.arrival(now, rng);
            self.pieces.push_back((at, Piece::End { clean }));
        }
    }

    /// When the next piece can be read.
    pub(super) fn next(&self) -> Option<Time> {
        self.pieces.front().map(|(at, _)| (*at).max(self.not_before))
    }

    /// Reads the next piece, if it has arrived.
    pub(super) fn read(&mut self, now: Time) -> Option<Piece> {
        self.next().filter(|&at| at <= now)?;
        let (_, piece) = self.pieces.pop_front()?;
        if let Piece::Bytes(bytes) = &piece {
            self.unread -= bytes.len();
        }
        Some(piece)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Holds everything back until `until`.
    pub(super) fn stall(&mut self, until: Time) {
        self.not_before = self.not_before.max(until);
    }

    /// Lets what is held back go.
    pub(super) fn relieve(&mut self) {
        self.not_before = Time::ZERO;
    }

    /// Cuts the pipe: some first part of what is on its way still arrives, perhaps nothing, and nothing ever after. Says whether
    /// bytes were lost.
    pub(super) fn sever(&mut self, rng: &mut fastrand::Rng) -> bool {
        self.severed = true;
        let kept = rng.usize(0..=self.pieces.len());
        let lost = self.pieces.len() > kept;
        self.pieces.truncate(kept);
        lost
    }

    fn arrival(&self, now: Time, rng: &mut fastrand::Rng) -> Time {
        let at = now + self.delay + self.jitter.mul_f64(rng.f64() * rng.f64());
        self.pieces.back().map_or(at, |(last, _)| at.max(*last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (Pipe, fastrand::Rng) {
        let mut rng = fastrand::Rng::with_seed(1);
        let weather = Weather { window: (10, 10), split: 0.5, ..Weather::calm() };
        (Pipe::new(&weather, &mut rng), rng)
    }

    fn read_all(pipe: &mut Pipe) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(at) = pipe.next() {
            match pipe.read(at) {
                Some(Piece::Bytes(bytes)) => all.extend(bytes),
                _ => break,
            }
        }
        all
    }

    #[test]
    fn bytes_arrive_late_and_in_order_however_they_are_cut() {
        let (mut pipe, mut rng) = pipe();
        pipe.write(Time::ZERO, b"one ", &mut rng);
        pipe.write(Time::ZERO, b"two", &mut rng);
        assert_eq!(pipe.read(Time::ZERO), None);
        assert_eq!(read_all(&mut pipe), b"one two");
    }

    #[test]
    fn the_window_opens_as_the_reader_reads() {
        let (mut pipe, mut rng) = pipe();
        pipe.write(Time::ZERO, b"0123456789", &mut rng);
        assert_eq!(pipe.free(), 0);
        read_all(&mut pipe);
        assert_eq!(pipe.free(), 10);
    }

    #[test]
    fn a_severed_pipe_swallows_what_is_written() {
        let (mut pipe, mut rng) = pipe();
        pipe.sever(&mut rng);
        pipe.write(Time::ZERO, b"012345678", &mut rng);
        pipe.end(Time::ZERO, true, &mut rng);
        assert_eq!((pipe.free(), pipe.next()), (1, None));
    }

    #[test]
    fn a_stalled_pipe_delivers_later() {
        let (mut pipe, mut rng) = pipe();
        pipe.write(Time::ZERO, b"0", &mut rng);
        pipe.stall(Time::from_micros(1_000_000));
        assert_eq!(pipe.next(), Some(Time::from_micros(1_000_000)));
    }
}
