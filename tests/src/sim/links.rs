//! How a [`World`] opens, reads, writes and ends connections, as the shell does with sockets.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use common::id::LinkId;
use common::limits;
use common::machine::{DialError, DialId, Event, Machine};
use common::wire::{Address, Message};

use super::network::{ConnId, Side, State};
use super::pipe::Piece;
use super::{Due, ProcessId, Seen, World};

impl<M: Machine> World<M> {
    pub(super) fn process_at(&mut self, conn: ConnId, side: Side) -> Option<ProcessId> {
        self.network.get(conn).map(|connection| connection.process(side))
    }

    pub(super) fn dial(&mut self, id: ProcessId, dial: DialId, address: Address) {
        let now = self.now;
        self[id].dials(now);
        let (least, most) = self.network.weather.delay;
        let at = self.now + least + most.saturating_sub(least).mul_f64(self.rng.f64());
        let from = (id, self[id].run);
        self.queue.push(at, Due::Knock { from, dial, address });
    }

    pub(super) fn knock(&mut self, from: ProcessId, run: u32, dial: DialId, address: &Address) {
        let delay = self.network.weather.delay.0;
        let to = self.listeners.get(address).copied();
        let Some(to) = to.filter(|&to| !self.network.is_cut(from, to)) else {
            let at = self.now + limits::DIAL_TIMEOUT;
            return self.queue.push(at, Due::DialFailed(from, run, dial, DialError::Unreachable));
        };
        let at = self.now + delay;
        if self[to].dark {
            let at = self.now + limits::DIAL_TIMEOUT;
            return self.queue.push(at, Due::DialFailed(from, run, dial, DialError::Unreachable));
        }
        if !self[to].accepting {
            return self.queue.push(at, Due::DialFailed(from, run, dial, DialError::Refused));
        }
        let acceptor = (to, self[to].run);
        let conn = self.network.open((from, run), acceptor, &mut self.rng);
        self.queue.push(self.now, Due::Accepted(conn));
        // Before the first byte: a pipe's least delay is the weather's.
        self.queue.push(at, Due::Dialled(conn, run, dial));
    }

    pub(super) fn accepted(&mut self, conn: ConnId) {
        let Some(connection) = self.network.get(conn) else { return };
        let (peer, id) = (connection.process(Side::Dialler), connection.process(Side::Acceptor));
        if !matches!(connection.end(Side::Acceptor).state, State::Opening) {
            return;
        }
        let link = self[id].links.insert((conn, Side::Acceptor));
        self.set_state(conn, Side::Acceptor, State::Open(link));
        self.tell(id, Event::Accepted { link, peer: peer.ip() });
    }

    pub(super) fn dialled(&mut self, conn: ConnId, run: u32, dial: DialId) {
        let Some(connection) = self.network.get(conn) else { return };
        let id = connection.process(Side::Dialler);
        if !matches!(connection.end(Side::Dialler).state, State::Opening) {
            return;
        }
        if self[id].run != run || !self[id].is_up() {
            return self.abandon(conn, Side::Dialler);
        }
        let link = self[id].links.insert((conn, Side::Dialler));
        self.set_state(conn, Side::Dialler, State::Open(link));
        self.tell(id, Event::Dialled { dial, link });
    }

    /// Writes what the machine has for `link`, as far as the window takes it.
    pub(super) fn flush(&mut self, id: ProcessId, link: LinkId, again: &mut BTreeSet<LinkId>) {
        while let Some(&(conn, side)) = self[id].links.get(link) {
            self.overhear(id, link, None);
            let process = &self.processes[id.0];
            let Some(machine) = &process.machine else { return };
            let output = machine.output(link);
            let connection = self.network.get(conn).expect("an open link has a connection");
            let end = connection.end(side);
            let free = end.pipe.free();
            end.starved = !output.is_empty() && free == 0;
            let bytes = output.len().min(free);
            if bytes == 0 {
                break;
            }
            end.pipe.write(self.now, &output[..bytes], &mut self.rng);
            end.ahead = end.ahead.saturating_sub(bytes);
            self.attend(conn, side.other());
            self.handle(id, Event::Wrote { link, bytes }, again);
        }
    }

    /// The reader has made room.
    pub(super) fn writable(&mut self, conn: ConnId, side: Side) {
        let Some(connection) = self.network.get(conn) else { return };
        let id = connection.process(side);
        match connection.end(side).state {
            State::Open(link) => {
                self.end_turn(id, BTreeSet::from([link]));
            }
            State::Closing(_) => self.say_goodbye(conn, side),
            State::Opening | State::Gone => {}
        }
    }

    /// Puts the arrival of the next piece for the end on `side` into the queue.
    pub(super) fn attend(&mut self, conn: ConnId, side: Side) {
        let now = self.now;
        let Some(connection) = self.network.get(conn) else { return };
        let writer = connection.end(side.other());
        let Some(at) = writer.pipe.next().map(|at| at.max(now)) else { return };
        if writer.scheduled.is_none_or(|scheduled| at < scheduled) {
            writer.scheduled = Some(at);
            self.queue.push(at, Due::Readable(conn, side, at));
        }
    }

    /// Something has arrived for the end on `side`.
    pub(super) fn readable(&mut self, conn: ConnId, side: Side, at: common::time::Time) {
        let now = self.now;
        let held_until = self.held_until(conn, side);
        let Some(connection) = self.network.get(conn) else { return };
        let writer = connection.end(side.other());
        if writer.scheduled != Some(at) {
            return;
        }
        writer.scheduled = held_until;
        if let Some(at) = held_until {
            return self.queue.push(at, Due::Readable(conn, side, at));
        }
        let piece = writer.pipe.read(now);
        if piece.is_some() && std::mem::take(&mut writer.starved) || matches!(writer.state, State::Closing(_))
        {
            let at = now + writer.pipe.delay();
            self.queue.push(at, Due::Writable(conn, side.other()));
        }
        match piece {
            Some(Piece::Bytes(bytes)) => self.take(conn, side, &bytes),
            Some(Piece::End { clean: true }) => self.ended(conn, side),
            Some(Piece::End { clean: false }) => self.lost(conn, side, false),
            None => {}
        }
        self.attend(conn, side);
        self.network.forget_if_over(conn);
    }

    /// Until when the machine at this end does not want to read what has arrived, if it does not.
    fn held_until(&mut self, conn: ConnId, side: Side) -> Option<common::time::Time> {
        let connection = self.network.get(conn)?;
        let id = connection.process(side);
        let State::Open(link) = connection.end(side).state else { return None };
        let process = &self[id];
        let after = process.machine.as_ref()?.read_after(link)?;
        Some(process.when(after)).filter(|after| *after > self.now)
    }

    /// Cuts what arrived into messages and tells the machine.
    fn take(&mut self, conn: ConnId, side: Side, bytes: &[u8]) {
        self.trace.bytes(bytes);
        let Some(connection) = self.network.get(conn) else { return };
        let (at, from) = (connection.process(side), connection.process(side.other()));
        let run = connection.end(side.other()).run;
        let end = connection.end(side);
        let State::Open(link) = end.state else { return };
        if end.deaf {
            return;
        }
        let mut arrived = Vec::new();
        let fed = end.lines.feed(bytes, |line| {
            arrived.push(Message::decode_with_epoch(line));
            if matches!(arrived.last(), Some(Err(_))) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        arrived.extend(fed.err().map(Err));
        end.deaf = matches!(arrived.last(), Some(Err(_)));
        let mut flush = BTreeSet::new();
        for message in arrived {
            // The machine may have closed the link, or exited, on the message before.
            if !self[at].links.contains_key(link) {
                break;
            }
            match message {
                Ok((message, epoch)) => {
                    let (said, of) = (message.clone(), epoch.clone());
                    self.seen.push(Seen::Received { at, from, run, conn, message: said, epoch: of });
                    self.handle(at, Event::Received { link, message, epoch }, &mut flush);
                }
                Err(error) => {
                    self.seen.push(Seen::Malformed { at, from, conn, error: error.clone() });
                    self.handle(at, Event::Malformed { link, error }, &mut flush);
                }
            }
        }
        self.end_turn(at, flush);
    }

    /// Shows what a machine has to say on a link as soon as it says it, if somebody listens: what waits there now, or its farewell.
    pub(super) fn overhear(&mut self, id: ProcessId, link: LinkId, farewell: Option<&[u8]>) {
        let process = &self.processes[id.0];
        let (true, Some(&(conn, side))) = (process.overheard, process.links.get(link)) else { return };
        let output = match (farewell, &process.machine) {
            (Some(farewell), _) => farewell,
            (None, Some(machine)) => machine.output(link),
            (None, None) => return,
        };
        let Some(connection) = self.network.get(conn) else { return };
        let to = connection.process(side.other());
        let end = connection.end(side);
        let fresh = &output[end.ahead.min(output.len())..];
        end.ahead = output.len();
        let seen = &mut self.seen;
        let fed = end.overheard.feed(fresh, |line| {
            if let Ok((message, epoch)) = Message::decode_with_epoch(line) {
                seen.push(Seen::Said { by: id, to, conn, message, epoch });
            }
            ControlFlow::Continue(())
        });
        assert!(fed.is_ok(), "{} says lines that are too long", self[id].name);
    }

    /// The machine is done with a link.
    pub(super) fn close(&mut self, id: ProcessId, link: LinkId, farewell: Vec<u8>) {
        if std::mem::take(&mut self[id].closes_half) {
            return self.close_half(id, link, &farewell);
        }
        let Some((conn, side)) = self[id].links.remove(link) else { return };
        let to = self.process_at(conn, side.other()).expect("an open link has a connection");
        let line = farewell.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
        let last = line.and_then(|line| Message::decode(line).ok());
        let ends_line = farewell.last().map(|byte| *byte == b'\n');
        let torn = !ends_line.unwrap_or_else(|| self.has_ended_line(conn, side));
        self.seen.push(Seen::Closed { by: id, to, conn, last, torn });
        self.set_state(conn, side, State::Closing(farewell));
        self.queue.push(self.now + limits::LINGER, Due::LingerOver(conn, side));
        self.say_goodbye(conn, side);
    }

    /// Whether what was written so far on this side ends with a line.
    fn has_ended_line(&mut self, conn: ConnId, side: Side) -> bool {
        self.network.get(conn).is_none_or(|connection| connection.end(side).pipe.ends_line())
    }

    /// A process says its last on a link, and still listens.
    fn close_half(&mut self, id: ProcessId, link: LinkId, last: &[u8]) {
        let now = self.now;
        let (conn, side) = self[id].links[link];
        let connection = self.network.get(conn).expect("an open link has a connection");
        let pipe = &mut connection.end(side).pipe;
        pipe.write(now, last, &mut self.rng);
        pipe.end(now, true, &mut self.rng);
        self.attend(conn, side.other());
    }

    /// Writes a farewell as far as the window takes it, and closes this direction after it.
    fn say_goodbye(&mut self, conn: ConnId, side: Side) {
        let now = self.now;
        let Some(connection) = self.network.get(conn) else { return };
        let end = connection.end(side);
        let State::Closing(farewell) = &mut end.state else { return };
        let bytes = farewell.len().min(end.pipe.free());
        end.pipe.write(now, &farewell[..bytes], &mut self.rng);
        farewell.drain(..bytes);
        if farewell.is_empty() {
            end.pipe.end(now, true, &mut self.rng);
            end.state = State::Gone;
        }
        self.attend(conn, side.other());
    }

    pub(super) fn linger_over(&mut self, conn: ConnId, side: Side) {
        let Some(connection) = self.network.get(conn) else { return };
        if matches!(connection.end(side).state, State::Closing(_)) {
            self.abandon(conn, side);
        }
    }

    /// An end goes away without a word; the other learns of it when what was written before has arrived.
    pub(super) fn abandon(&mut self, conn: ConnId, side: Side) {
        let now = self.now;
        let Some(connection) = self.network.get(conn) else { return };
        let end = connection.end(side);
        end.state = State::Gone;
        end.pipe.end(now, false, &mut self.rng);
        self.attend(conn, side.other());
    }

    /// The end on `side` learns that its peer says no more.
    fn ended(&mut self, conn: ConnId, side: Side) {
        let Some(connection) = self.network.get(conn) else { return };
        let (at, from) = (connection.process(side), connection.process(side.other()));
        let end = connection.end(side);
        if let State::Open(link) = end.state {
            let clean = end.lines.partial_bytes() == 0;
            self.seen.push(Seen::Lost { at, from, conn, clean });
            self.tell(at, Event::Ended { link });
        } else {
            self.lost(conn, side, true);
        }
    }

    /// The end on `side` learns that its peer is gone.
    pub(super) fn lost(&mut self, conn: ConnId, side: Side, clean: bool) {
        let Some(connection) = self.network.get(conn) else { return };
        let (at, from) = (connection.process(side), connection.process(side.other()));
        let end = connection.end(side);
        let clean = clean && end.lines.partial_bytes() == 0;
        if let State::Open(link) = std::mem::replace(&mut end.state, State::Gone) {
            self[at].links.remove(link);
            self.seen.push(Seen::Lost { at, from, conn, clean });
            self.tell(at, Event::Closed { link });
        }
        self.network.forget_if_over(conn);
    }

    fn set_state(&mut self, conn: ConnId, side: Side, state: State) {
        self.network.get(conn).expect("it was there a moment ago").end(side).state = state;
    }
}
