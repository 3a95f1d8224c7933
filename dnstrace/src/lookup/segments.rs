//! What befalls the segments of TCP connections between the sockets.
//!
//! A segment is any part of the stream, so it cannot be told whose message it carries. Its connection is found by its
//! addresses, as a datagram's attempt is (see [`super::find`]), and all attempts that wait over that are told, since TCP
//! delivers in order: what was sent after a lost segment waits for it, too.

use crate::{
    dns::Decoded,
    event::{Confirm, ConfirmResult, Direction, Eviction, Flow, Icmp, KernelTime, Packet, PacketDrop},
};

use super::{
    Conntrack, Dropped, Insertion, Leg, Output, Role, Step, Tracker, What,
    befall::stray,
    connections::{Connections, Traced},
    fate::{is_copy, is_overflow, is_seen_before},
    find::{Found, stays_in_namespace},
    places::{Place, View},
};

/// A connection that a segment was found to be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Connection(u64),
    Ambiguous,
    Nobody,
}

/// A segment, and the connections that it is of.
#[derive(Clone, Copy, Debug)]
struct Whose {
    leg: Leg,
    client: Of,
    /// The connection at a traced server, of a segment from there.
    server: Of,
}

impl Tracker {
    /// A segment was dropped.
    pub(super) fn segment_dropped(&mut self, drop: PacketDrop, out: &mut Vec<Output>) {
        let connection = drop.packet.tracking.connection();
        if connection.is_some_and(|entry| self.entries.take_failed(entry, drop.time)) {
            return;
        }
        let whose = self.connections.whose(&drop.packet, drop.time);
        let is_known = whose.client != Of::Nobody || whose.server != Of::Nobody;
        if is_copy(&drop.place) || (is_known && is_seen_before(&drop.place)) {
            return;
        }
        let what = What::Dropped(Dropped {
            leg: whose.leg,
            arrived: drop.arrived.filter(|_| !is_overflow(&drop.place)),
            place: drop.place,
            table_full: drop.table_full,
            untranslated: None,
        });
        let step = Step { time: drop.time, netns: drop.packet.netns, what };
        self.befalls_segment(&drop.packet, whose, step, out);
    }

    /// An ICMP error about a segment.
    pub(super) fn segment_rejected(&mut self, icmp: Icmp, out: &mut Vec<Output>) {
        let whose = self.connections.whose(&icmp.packet, icmp.time);
        let (leg, error) = (whose.leg, icmp.error);
        let what = match icmp.direction {
            Direction::Sent => What::IcmpSent { leg, error },
            Direction::Received => What::IcmpReceived { leg, error },
        };
        let step = Step { time: icmp.time, netns: icmp.packet.netns, what };
        self.befalls_segment(&icmp.packet, whose, step, out);
    }

    /// A segment's entry was to be inserted into connection tracking.
    pub(super) fn segment_confirmed(&mut self, confirm: &Confirm, out: &mut Vec<Output>) {
        let whose = self.connections.whose(&confirm.packet, confirm.began);
        let connection = match whose.client {
            Of::Connection(number) if matches!(whose.leg, Leg::Syn | Leg::Query) => Some(number),
            _ => None,
        };
        let Some(entry) = confirm.packet.tracking.connection().copied() else {
            let flow = confirm.packet.flow;
            if let (ConfirmResult::Untracked, Some(number)) = (confirm.result, connection) {
                let result = Insertion::Untracked;
                let entry = Conntrack { original: flow, reply: flow.reversed(), result };
                self.tell_insertion(number, confirm, entry);
            }
            return;
        };
        let is_gap = self.gaps.lost(confirm.began, confirm.time) > 0;
        let netns = connection.and_then(|number| self.connections.get(number)).map(|known| known.netns);
        let verdict = self.entries.judge(confirm, entry, None, netns, is_gap);
        if matches!(verdict.step.result, Insertion::Inserted | Insertion::ReplyOnly { .. }) {
            self.made(confirm, &entry, None);
        }
        let has_failed = matches!(verdict.step.result, Insertion::Failed { .. });
        match connection {
            Some(number) => {
                self.tell_insertion(number, confirm, verdict.step);
                if let Some(entry) = verdict.entry {
                    self.learn_way(number, &entry, has_failed);
                }
            }
            None if has_failed => {
                let step = Step {
                    time: confirm.time,
                    netns: confirm.packet.netns,
                    what: What::Conntrack(verdict.step),
                };
                stray(step, confirm.packet.flow, nothing(), self.found(whose.client), out);
            }
            // That the segments of others are inserted is nothing to tell.
            None => {}
        }
    }

    /// The entry of a connection was thrown out of the full table.
    pub(super) fn connection_evicted(&mut self, eviction: &Eviction, out: &mut Vec<Output>) {
        let flow = eviction.victim.original;
        let step = Step { time: eviction.time, netns: eviction.netns, what: What::Evicted };
        let candidates = [(View::Client, flow), (View::Translated, flow)];
        let of = self.connections.choose(candidates, &flow, eviction.netns, eviction.time);
        let Of::Connection(number) = of else {
            return stray(step, flow, nothing(), self.found(of), out);
        };
        let places = self.table.waiting_over(number);
        self.tell(number, &places, step.clone());
        // It will be missed by the next query.
        let limit = self.table.limits.steps;
        if let Some(connection) = self.connections.get_mut(number)
            && places.is_empty()
            && !connection.is_told
            && !(connection.encrypted || connection.is_unopened())
        {
            connection.add_step(step, limit);
        }
    }

    fn tell_insertion(&mut self, number: u64, confirm: &Confirm, entry: Conntrack) {
        let step = Step { time: confirm.time, netns: confirm.packet.netns, what: What::Conntrack(entry) };
        let places = self.table.waiting_over(number);
        self.tell(number, &places, step);
    }

    /// Where a connection's segments go by its entry, or would have gone.
    fn learn_way(&mut self, number: u64, entry: &crate::event::Connection, has_failed: bool) {
        let Some(connection) = self.connections.get(number) else { return };
        if entry.original.destination == connection.remote {
            self.learn_ends(number, entry.original.source, Role::Client);
        }
        let Some(connection) = self.connections.get_mut(number) else { return };
        let endpoint = entry.endpoint();
        // Another namespace's entry begins with what this one's has made of the addresses.
        if endpoint.is_some() || entry.original == connection.flow() {
            connection.endpoint = endpoint;
        }
        if !has_failed {
            self.connections.add_translated(number, entry.reply);
        }
        self.tell_way(number);
    }

    /// The socket that received a client's message is where its connection goes, by an entry that nobody saw.
    pub(super) fn connection_went_to(&mut self, number: u64, received: Flow) {
        if let Some(connection) = self.connections.get_mut(number) {
            connection.endpoint = Some(received.destination);
        }
        self.connections.add_translated(number, received.reversed());
        self.tell_way(number);
    }

    /// The attempts that wait on a connection go where it does.
    fn tell_way(&mut self, number: u64) {
        let Some(endpoint) = self.connections.get(number).map(|connection| connection.endpoint) else {
            return;
        };
        for place in self.table.waiting_over(number) {
            if let Some(attempt) = self.table.attempt_mut(place) {
                attempt.endpoint = endpoint;
            }
        }
    }

    /// Puts a step where it belongs.
    fn befalls_segment(&mut self, packet: &Packet, whose: Whose, step: Step, out: &mut Vec<Output>) {
        let mut is_told = false;
        if let Of::Connection(number) = whose.server {
            for place in self.table.answered_over(number) {
                self.table.add_step(place, step.clone());
                is_told = true;
            }
        }
        if let Of::Connection(number) = whose.client {
            if let Some(entry) = packet.tracking.connection().copied() {
                self.learn_way_of(number, &entry);
            }
            let places = self.table.waiting_over(number);
            let takes = |known: &Traced| !known.is_told && (known.encrypted || known.is_unopened());
            is_told |= !places.is_empty() || self.connections.get(number).is_some_and(takes);
            self.tell(number, &places, step.clone());
        }
        if !is_told {
            let of = if whose.client == Of::Nobody { whose.server } else { whose.client };
            stray(step, packet.flow, nothing(), self.found(of), out);
        }
    }

    /// A segment that bears its connection's entry tells where it goes, also where the insertion was not seen.
    fn learn_way_of(&mut self, number: u64, entry: &crate::event::Connection) {
        let flow = self.connections.get(number).map(Traced::flow);
        if flow == Some(entry.original) && entry.endpoint().is_some() {
            self.learn_way(number, entry, false);
        }
    }

    /// What a stray segment belongs to: the query that went over its connection last.
    fn found(&self, of: Of) -> Found {
        match of {
            Of::Connection(number) => {
                let last = self.connections.get(number).and_then(|connection| connection.last_query);
                last.map_or(Found::Nobody, |query| Found::Ended(Place { query, attempt: 0 }))
            }
            Of::Ambiguous => Found::Ambiguous,
            Of::Nobody => Found::Nobody,
        }
    }
}

impl Connections {
    /// Which segment it is, and of which connections.
    fn whose(&self, packet: &Packet, time: KernelTime) -> Whose {
        let original = packet.tracking.connection().map(|entry| entry.original);
        let by_entry = original.into_iter().map(|flow| (View::Client, flow));
        let of = |candidates: Vec<(View, Flow)>| self.choose(candidates, &packet.flow, packet.netns, time);
        let (there, back) = (packet.flow, packet.flow.reversed());
        let from_client = [(View::Client, there), (View::Translated, there)];
        let from_server = [(View::Client, back), (View::Translated, back)];
        // Of an answer whose entry has gone: the first packet of an entry of its own.
        let anew = original.map(|flow| (View::Translated, flow.reversed()));
        let known_way = original.map(|flow| (View::Translated, flow));
        let tracked = of(by_entry.collect());
        let (is_from_client, client) = if tracked == Of::Nobody {
            match of(from_client.into_iter().chain(known_way).collect()) {
                Of::Nobody => match of(from_server.into_iter().chain(anew).collect()) {
                    Of::Nobody if is_syn(packet) => (true, self.just_opened(packet, time)),
                    Of::Nobody => (is_likely_from_client(packet), Of::Nobody),
                    client => (false, client),
                },
                client => (true, client),
            }
        } else {
            (is_of_original(packet), tracked)
        };
        let server = if is_from_client {
            Of::Nobody
        } else {
            let translated = packet.tracking.connection().map(|entry| entry.reply.reversed());
            let flows = [translated, Some(back)].into_iter().flatten();
            of(flows.map(|flow| (View::Server, flow)).collect())
        };
        let is_opening = match client {
            Of::Connection(number) => self.get(number).is_some_and(Traced::is_unopened),
            Of::Ambiguous | Of::Nobody => false,
        };
        let opens = is_opening || packet.tcp.is_some_and(|head| head.syn);
        let leg = match (is_from_client, opens) {
            (true, true) => Leg::Syn,
            (true, false) => Leg::Query,
            (false, true) => Leg::SynAck,
            (false, false) => Leg::Answer,
        };
        Whose { leg, client, server }
    }

    /// The connection with one of these addresses: the packet's own namespace comes first, then those that are under
    /// way, then the newest.
    fn choose(
        &self,
        flows: impl IntoIterator<Item = (View, Flow)>,
        headers: &Flow,
        netns: Option<u32>,
        time: KernelTime,
    ) -> Of {
        let may_be = |known: &&Traced| {
            (known.seen <= time || !known.seen_from_start)
                && (netns == Some(known.netns) || !stays_in_namespace(headers))
        };
        let flows = flows.into_iter().flat_map(|(view, flow)| self.at(view, flow));
        let mut candidates: Vec<_> = flows.filter(may_be).collect();
        let is_near = |known: &&Traced| netns == Some(known.netns);
        if candidates.iter().any(is_near) {
            candidates.retain(is_near);
        }
        let Some(best) = candidates.iter().max_by_key(|known| (known.end.is_none(), known.number)) else {
            return Of::Nobody;
        };
        if candidates.iter().any(|known| known.netns != best.netns) {
            return Of::Ambiguous;
        }
        Of::Connection(best.number)
    }

    /// The connection of a SYN that was opened a moment ago, so that its port is not known yet. Of several it may be any.
    fn just_opened(&self, syn: &Packet, time: KernelTime) -> Of {
        let original = syn.tracking.connection().map_or(syn.flow, |entry| entry.original);
        let all = self.at(View::Client, without_port(original));
        let mut opening = all.filter(|known| known.is_unopened() && known.seen <= time);
        match (opening.next(), opening.next()) {
            (Some(only), None) => Of::Connection(only.number),
            (Some(_), Some(_)) => Of::Ambiguous,
            (None, _) => Of::Nobody,
        }
    }
}

fn is_syn(packet: &Packet) -> bool {
    packet.tcp.is_some_and(|head| head.syn && !head.ack)
}

/// With the client's port not known.
fn without_port(mut flow: Flow) -> Flow {
    flow.source.set_port(0);
    flow
}

/// Whether a packet goes the way of the one that its entry was made for, translated or not.
fn is_of_original(packet: &Packet) -> bool {
    let Some(entry) = packet.tracking.connection() else { return true };
    let (from, to) = (packet.flow.source, packet.flow.destination);
    (from == entry.original.source || from == entry.reply.destination)
        && (to == entry.original.destination || to == entry.reply.source)
}

/// Of a packet that bears nothing else: servers have the lower port.
fn is_likely_from_client(packet: &Packet) -> bool {
    packet.flow.source.port() >= packet.flow.destination.port()
}

fn nothing() -> Decoded {
    Decoded { message: None, defect: None }
}
