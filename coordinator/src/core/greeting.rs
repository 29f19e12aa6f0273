//! How two coordinators get to know each other, and what they say while they do nothing else.

use common::epoch::Epoch;
use common::id::{LinkId, ServerId};
use common::machine::{Action, DialError};
use common::wire::{
    BackupAuthenticate, BackupAuthenticationFail, BackupAuthenticationSuccess, Heartbeat, Message,
    ServerEntry,
};
use tracing::{debug, info};

use super::links::Party;
use super::peers::{Contact, PeerId, Up};
use super::reign::{Lost, Reigning};
use super::writing::{Then, Write};
use super::{Coordinator, Dialled, Turn};

impl Coordinator {
    /// Dials the coordinators that are to be dialled now.
    pub(super) fn dial_peers(&mut self, turn: &mut Turn<'_>) {
        if self.draining {
            return;
        }
        for (number, address) in self.peers.due(turn.now.time) {
            let dial = self.dials.insert(Dialled::Peer(number));
            turn.actions.push(Action::Dial { dial, address });
        }
    }

    /// A coordinator was reached: says who we are.
    pub(super) fn greet(&mut self, turn: &mut Turn<'_>, number: PeerId, link: LinkId) {
        let until = turn.now.time + self.config.limits.failure_timeout;
        let peer = self.peers.get_mut(number).filter(|peer| matches!(peer.contact, Contact::Dialling));
        let Some(peer) = peer.filter(|_| !self.draining) else {
            // It came to us meanwhile.
            return turn.actions.push(Action::Close { link, farewell: Vec::new() });
        };
        peer.contact = Contact::Greeting(link, until);
        self.links.dialled(link, Party::Greeting(number));
        let greeting = BackupAuthenticate {
            id: self.config.id.clone(),
            address: self.config.address.clone(),
            secret: self.config.secret.clone(),
            incarnation: self.config.incarnation,
            standing: self.standing(),
        };
        self.say(turn, link, greeting);
    }

    pub(super) fn peer_unreachable(&mut self, turn: &mut Turn<'_>, number: PeerId, error: DialError) {
        let peer = self.peers.get_mut(number).filter(|peer| matches!(peer.contact, Contact::Dialling));
        if let Some(peer) = peer {
            // Whoever comes to that address next may be one of ours.
            peer.foreign = false;
            let crashed = error == DialError::Refused;
            let mistyped =
                (error == DialError::Unresolved && peer.configured).then(|| peer.address.to_string());
            self.peers.lost(turn.now.time, number, crashed, &mut self.rng);
            self.peer_lost(turn, number, crashed);
            if let Some(address) = mistyped {
                // It may be a host that is yet to come.
                self.complain(
                    turn,
                    &address,
                    "a coordinator named by --backup is not found: the host's name does not resolve",
                );
            }
        }
    }

    /// Somebody who connected says that it is a coordinator.
    pub(super) fn admit_peer(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        theirs: BackupAuthenticate,
        epoch: Option<Epoch>,
    ) {
        let objection = self.objection(&theirs.secret, &theirs.id, theirs.standing.network.as_ref());
        if let Some(info) = objection.or_else(|| self.absurdity(epoch.as_ref())) {
            let whom = format!("{} at {}", theirs.id, theirs.address);
            self.complain(turn, &whom, &format!("refused a coordinator: {info}"));
            let knows_secret = self.config.secret.equals(&theirs.secret);
            let id = knows_secret.then(|| self.config.id.clone());
            let network = self.standing().network.filter(|_| knows_secret);
            return self.dismiss(
                turn,
                link,
                BackupAuthenticationFail { info, retry_after: None, id, network },
            );
        }
        // Also of one that is taken for a twin: it may be the peer that we are linked with, which was started again and has reigned.
        self.hear_epoch(turn, epoch.as_ref());
        if let Some(fail) = self.objection_to_twin(&theirs.id, theirs.incarnation) {
            let whom = format!("{} at {}", theirs.id, theirs.address);
            self.complain(turn, &whom, &format!("refused a coordinator: {}", fail.info));
            return self.dismiss(turn, link, fail);
        }
        let now = turn.now.time;
        let number = self.peers.note(now, &theirs.address, Some(&theirs.id), false);
        self.peers.lives(now, number);
        let we_are_first = self.config.id < theirs.id;
        let stays = |peer: &super::peers::Peer| match &peer.contact {
            Contact::Greeting(..) => we_are_first,
            Contact::Up(up) => {
                let lively = now.since(up.heard) < self.config.limits.pulse * 2;
                up.incarnation == theirs.incarnation && up.ours && we_are_first && lively
            }
            Contact::Dialling | Contact::Resting(_) => false,
        };
        let Some(peer) = self.peers.get(number) else { return };
        if stays(peer) {
            debug!(id = %theirs.id, "both dialled at once; ours stays");
            return self.close(turn, link, None);
        }
        let old = match &peer.contact {
            Contact::Greeting(old, _) => Some(*old),
            Contact::Up(up) => Some(up.link),
            Contact::Dialling | Contact::Resting(_) => None,
        };
        if let Some(old) = old {
            self.close(turn, old, None);
        }
        let ours = BackupAuthenticationSuccess {
            id: self.config.id.clone(),
            address: self.config.address.clone(),
            incarnation: self.config.incarnation,
            standing: self.standing(),
        };
        self.links.promote(link, Party::Peer(number));
        self.say(turn, link, ours);
        let server = ServerEntry { id: theirs.id, address: theirs.address };
        let up = Up {
            link,
            incarnation: theirs.incarnation,
            ours: false,
            since: now,
            heard: now,
            standing: theirs.standing,
            epoch,
        };
        self.peer_established(turn, number, server, up);
    }

    /// Why somebody does not belong here.
    fn objection(
        &self,
        secret: &common::user::Secret,
        id: &ServerId,
        network: Option<&String>,
    ) -> Option<String> {
        if !self.config.secret.equals(secret) {
            return Some("wrong network secret".to_owned());
        }
        self.objection_to_known(id, network)
    }

    fn objection_to_known(&self, id: &ServerId, network: Option<&String>) -> Option<String> {
        if *id == self.config.id {
            return Some(format!(
                "{id} is the id of this coordinator too: each needs a data directory of its own, or another --id"
            ));
        }
        if let Some(other) = self.foreign(network) {
            return Some(format!(
                "it keeps users of network {other}, and this coordinator of {}: export the users of one and import them into the other",
                self.group.network
            ));
        }
        let known = self.group.members.iter().any(|member| member.id == *id);
        let full = !known && self.group.members.len() >= self.config.limits.members;
        full.then(|| format!("this group has {} coordinators already", self.config.limits.members))
    }

    /// The network of another coordinator, where both keep users, and not of the same one.
    fn foreign<'a>(&self, network: Option<&'a String>) -> Option<&'a String> {
        network.filter(|network| !self.registry.is_blank() && **network != self.group.network)
    }

    /// What came back on our BACKUP_AUTHENTICATE.
    pub(super) fn peer_answered(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        number: PeerId,
        message: Message,
        epoch: Option<Epoch>,
    ) {
        match message {
            Message::BackupAuthenticationSuccess(theirs) => {
                let network = theirs.standing.network.as_ref();
                if let Some(info) = self.objection_to_known(&theirs.id, network) {
                    return self.refused_for_good(turn, link, number, &info, network);
                }
                if let Some(fail) = self.objection_to_twin(&theirs.id, theirs.incarnation) {
                    self.hear_epoch(turn, epoch.as_ref());
                    let whom = format!("{} at {}", theirs.id, theirs.address);
                    self.complain(turn, &whom, &format!("refused a coordinator: {}", fail.info));
                    return self.dismiss(turn, link, fail);
                }
                self.links.promote(link, Party::Peer(number));
                let server = ServerEntry { id: theirs.id, address: theirs.address };
                let up = Up {
                    link,
                    incarnation: theirs.incarnation,
                    ours: true,
                    since: turn.now.time,
                    heard: turn.now.time,
                    standing: theirs.standing,
                    epoch,
                };
                self.peer_established(turn, number, server, up);
                self.greet_again(turn, number, link);
            }
            Message::BackupAuthenticationFail(fail) => self.refused(turn, link, number, &fail),
            Message::LoginFailed(_) => self.close(turn, link, None),
            other => {
                self.invalid(
                    turn,
                    link,
                    format!("{} before BACKUP_AUTHENTICATE was answered", other.command()),
                );
            }
        }
    }

    /// What we have become since we greeted was said to nobody on this link: a peer that was told that we seek would wait no longer for us,
    /// and take over from us.
    fn greet_again(&mut self, turn: &mut Turn<'_>, number: PeerId, link: LinkId) {
        if self.peers.link(number) == Some(link) {
            let heartbeat = Heartbeat { standing: self.standing() };
            self.say(turn, link, heartbeat);
        }
    }

    /// The other side will not have us.
    fn refused(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        number: PeerId,
        fail: &BackupAuthenticationFail,
    ) {
        if let Some(pause) = fail.retry_after {
            return self.refused_as_twin(turn, link, number, &fail.info, pause.into());
        }
        let seeking = matches!(self.reigning, Reigning::Seeking(_));
        if seeking && fail.id.as_ref() == Some(&self.config.id) {
            // It has met itself, or whoever has its directory. One that is at work already is not ended by a copy of itself.
            let address = self.address_of(number);
            return self.fail(turn, format!("the coordinator at {address} refused this one: {}", fail.info));
        }
        self.refused_for_good(turn, link, number, &fail.info, fail.network.as_ref());
    }

    /// The other side, which is of `network`, will not have us. At the start that ends this process, where the operator named it; later,
    /// others may do.
    fn refused_for_good(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        number: PeerId,
        info: &str,
        network: Option<&String>,
    ) {
        let foreign = self.foreign(network);
        let Some(peer) = self.peers.get_mut(number) else { return };
        (peer.hostile, peer.foreign) = (true, foreign.is_some());
        let starts = matches!(&self.reigning, Reigning::Seeking(seeking) if seeking.is_first());
        let ends = peer.configured && starts;
        let address = self.address_of(number);
        self.complain(turn, &address, &format!("a coordinator refused this one: {info}"));
        self.close(turn, link, None);
        if let Some(theirs) = foreign.filter(|_| ends) {
            let reason = format!(
                "the coordinator at {address} keeps users of another network ({theirs}; this one has users of {}); nothing was changed. \
                 To keep this network by itself, start without that --backup. To join the other one, export the users where they are \
                 wanted there, move the data directory away, start anew, and import them",
                self.group.network
            );
            self.fail(turn, reason);
        } else if ends && self.epoch.is_none() {
            let reason = format!(
                "the coordinator at {address} refused this one: {info}. If it is the network secret, give both the same one, with \
                 --secret-file or {}",
                common::network_secret::VARIABLE
            );
            self.fail(turn, reason);
        }
    }

    pub(super) fn address_of(&self, number: PeerId) -> String {
        self.peers.get(number).map(|peer| peer.address.to_string()).unwrap_or_default()
    }

    fn peer_established(&mut self, turn: &mut Turn<'_>, number: PeerId, server: ServerEntry, up: Up) {
        info!(id = %server.id, address = %server.address, "linked with a coordinator");
        let (epoch, blank) = (up.epoch.clone(), up.is_blank());
        for double in self.peers.established(number, server.clone(), up) {
            if let Some(link) = self.peers.link(double) {
                self.close(turn, link, None);
            }
            self.peers.remove(double);
        }
        // It has come back by itself, if it was ever forgotten.
        self.group.forgotten.retain(|id| *id != server.id);
        self.include(turn, vec![server]);
        self.hear_epoch(turn, epoch.as_ref());
        if self.is_main() && self.registry.is_blank() && !blank {
            info!("it keeps users, and this coordinator none: it is to be the main one");
            self.step_down(turn);
        }
        self.decide(turn);
    }

    /// Takes coordinators into the group, and tells those that follow.
    pub(super) fn include(&mut self, turn: &mut Turn<'_>, members: Vec<ServerEntry>) {
        let mut news = false;
        for member in members {
            if self.group.forgotten.contains(&member.id) {
                continue;
            }
            let known = self.group.members.iter().any(|known| known.id == member.id);
            if member.id != self.config.id && (known || self.group.members.len() < self.config.limits.members)
            {
                // Of one that is known, whoever speaks to it knows best where it is.
                let is_up = self.peers.named(&member.id).is_some_and(|(_, peer)| peer.up().is_some());
                self.learn_members(turn, std::slice::from_ref(&member));
                news |= (!known || is_up) && self.group.include(member);
            }
        }
        if news {
            let group = Some(self.group.clone());
            self.write(turn, Write { group, ..Write::nothing(Then::Nothing) });
            self.tell_group(turn);
            self.tell_main_of_members(turn);
        }
    }

    /// What the coordinator at the other end says.
    pub(super) fn hear_peer(
        &mut self,
        turn: &mut Turn<'_>,
        link: LinkId,
        number: PeerId,
        message: Message,
        epoch: Option<Epoch>,
    ) {
        self.peers.heard(turn.now.time, number, epoch.as_ref());
        self.hear_epoch(turn, epoch.as_ref());
        let current = epoch.as_ref() >= self.epoch.as_ref();
        match message {
            Message::Heartbeat(heartbeat) => self.peer_stands(turn, number, heartbeat),
            Message::SyncUser(_) | Message::Synchronised(_) if !self.is_main() => {
                debug!("not the main coordinator any more; our HEARTBEAT says so");
            }
            Message::SyncUser(_) | Message::Synchronised(_) => {
                let Some(id) = self.peers.get(number).and_then(|peer| peer.id.clone()) else { return };
                self.hear_backup(turn, link, &id, message);
            }
            Message::SynchroniseServerAddresses(_)
            | Message::SynchroniseServerLoad(_)
            | Message::SynchroniseUserStore(_)
            | Message::SynchronisedNewServer(_)
            | Message::RemoveServer(_)
            | Message::BackupList(_)
            | Message::Promote(_) => match &self.reigning {
                _ if !current => {
                    debug!(command = message.command(), "refused an update of a lower epoch");
                    let heartbeat = Heartbeat { standing: self.standing() };
                    self.say(turn, link, heartbeat);
                }
                Reigning::Backup(following) if following.main == number => {
                    self.follow_update(turn, link, message);
                }
                // It hands over, and what it says was on its way; or it has not heard yet that it is not followed any more.
                Reigning::Seeking(_) => debug!(command = message.command(), "no longer followed"),
                _ => self.invalid(
                    turn,
                    link,
                    format!("{} is for the main coordinator to say", message.command()),
                ),
            },
            Message::BackupAuthenticationFail(fail) => self.refused(turn, link, number, &fail),
            other => self.invalid(turn, link, format!("{} is not for a coordinator to say", other.command())),
        }
    }

    fn peer_stands(&mut self, turn: &mut Turn<'_>, number: PeerId, heartbeat: Heartbeat) {
        let Some(up) = self.peers.get_mut(number).and_then(|peer| peer.up_mut()) else { return };
        up.standing = heartbeat.standing;
        let reigns = up.is_main();
        self.let_in(number);
        match &self.reigning {
            Reigning::Backup(following) if following.main == number && !reigns => {
                self.seek(turn, Lost::silent(None));
            }
            _ => {}
        }
    }

    /// The link to a coordinator is gone, or the greeting was not answered.
    pub(super) fn peer_closed(&mut self, turn: &mut Turn<'_>, number: PeerId, link: LinkId) {
        let Some(peer) = self.peers.get(number) else { return };
        let id = peer.id.clone();
        match &peer.contact {
            Contact::Greeting(ours, _) if *ours == link => {
                self.peers.lost(turn.now.time, number, false, &mut self.rng);
            }
            Contact::Up(up) if up.link == link => {
                info!(coordinator = self.peers.name(number), "the connection to a coordinator is gone");
                self.peers.closed(turn.now.time, number, &mut self.rng);
                if let Some(id) = id {
                    self.standbys.lost(turn.now.time, &id);
                }
                self.peer_lost(turn, number, false);
            }
            _ => {}
        }
    }
}
