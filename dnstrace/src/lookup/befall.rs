//! What befalls packets between the sockets: each event becomes a step of the attempt that it belongs to, or is shown
//! by itself.

use std::net::SocketAddr;

use crate::{
    dns::{Decoded, Message},
    event::{Direction, DropPlace, Eviction, Flow, Icmp, KernelTime, Loss, Packet, PacketDrop, Transport},
};

use super::{
    Answer, Conversation, Dropped, Fate, Leg, Observation, Output, Step, StrayPacket, StrayPacketReason,
    Tracker, What,
    fate::{is_copy, is_no_socket, is_overflow},
    find::{Found, Sought},
    places::Place,
    tracker::{answer_of, attempt},
};

impl Tracker {
    /// A packet was dropped. `decoded` is its excerpt.
    pub fn dropped(&mut self, drop: PacketDrop, decoded: Decoded, out: &mut Vec<Output>) {
        self.advance(drop.time, out);
        if drop.packet.flow.transport == Transport::Tcp {
            return self.segment_dropped(drop, out);
        }
        let connection = drop.packet.tracking.connection();
        if connection.is_some_and(|entry| self.entries.take_failed(entry, drop.time)) {
            return;
        }
        let sought =
            Sought { is_drop: true, ..Sought::of(drop.time, &drop.packet, decoded.message.as_ref()) };
        let (leg, found) = sought.client(&self.table);
        if is_copy(&drop.place) && !matches!(found, Found::Attempt(_)) {
            return;
        }
        let asked = place_of(found).and_then(|place| self.table.known(place)).map(|known| known.remote);
        let untranslated = match leg {
            Leg::Query | Leg::Syn | Leg::SynAck => None,
            Leg::Answer => asked.and_then(|asked| untranslated(&drop.packet, asked, &drop.place)),
        };
        let what = What::Dropped(Dropped {
            leg,
            place: drop.place.clone(),
            arrived: drop.arrived.filter(|_| !is_overflow(&drop.place)),
            table_full: drop.table_full,
            untranslated,
        });
        let step = Step { time: drop.time, netns: drop.packet.netns, what };
        self.befalls(&drop.packet, decoded, true, step, (leg, found), out);
    }

    /// An ICMP error about a packet. `decoded` is its excerpt.
    pub fn icmp(&mut self, icmp: Icmp, decoded: Decoded, out: &mut Vec<Output>) {
        self.advance(icmp.time, out);
        if icmp.packet.flow.transport == Transport::Tcp {
            return self.segment_rejected(icmp, out);
        }
        let (leg, found) = Sought::of(icmp.time, &icmp.packet, decoded.message.as_ref()).client(&self.table);
        let what = match icmp.direction {
            Direction::Sent => What::IcmpSent { leg, error: icmp.error },
            Direction::Received => What::IcmpReceived { leg, error: icmp.error },
        };
        let step = Step { time: icmp.time, netns: icmp.packet.netns, what };
        self.befalls(&icmp.packet, decoded, false, step, (leg, found), out);
    }

    /// An entry was thrown out of the full table: for all of its flow that still wait.
    pub fn eviction(&mut self, eviction: Eviction, out: &mut Vec<Output>) {
        self.advance(eviction.time, out);
        self.entries.evicted(&eviction.victim);
        if eviction.victim.original.transport == Transport::Tcp {
            return self.connection_evicted(&eviction, out);
        }
        let sought = Sought {
            time: eviction.time,
            netns: eviction.netns,
            flow: eviction.victim.original,
            connection: None,
            message: None,
            is_drop: false,
        };
        let step = Step { time: eviction.time, netns: eviction.netns, what: What::Evicted };
        match sought.waiting_on(&self.table) {
            Ok(places) => {
                for place in places {
                    self.table.add_step(place, step.clone());
                }
            }
            Err(found) => {
                let nothing = Decoded { message: None, defect: None };
                stray(step, eviction.victim.original, nothing, found, out);
            }
        }
    }

    /// The system call by which `socket` sent a message at the time `sent` failed in the end, at `time`.
    ///
    /// If no such message is known it was none that is wanted, or is shown by itself.
    pub fn send_failed(
        &mut self,
        time: KernelTime,
        errno: u16,
        socket: u64,
        sent: KernelTime,
        out: &mut Vec<Output>,
    ) {
        self.advance(time, out);
        for place in self.table.sent(socket, sent) {
            let netns = self.table.known(place).map(|known| known.netns);
            self.table.add_step(place, Step { time, netns, what: What::SendFailed { errno } });
        }
    }

    /// A message that never became a packet: the system call that should have sent it failed at `time`.
    pub fn unsent(&mut self, time: KernelTime, errno: u16, observation: Observation, out: &mut Vec<Output>) {
        self.advance(time, out);
        let step = Step { time, netns: Some(observation.seen.netns), what: What::SendFailed { errno } };
        let place = match &observation.decoded.message {
            Some(message) if message.response => self.unsent_answer(&observation, message),
            Some(Message { question: Some(question), .. }) => {
                let Some(mut attempt) = attempt(&observation) else { return };
                attempt.steps.push(step);
                attempt.fate = Fate::SendFailed { step: 0 };
                self.add_attempt(&observation, question.clone(), attempt, out);
                return;
            }
            _ => None,
        };
        match place {
            Some(place) => self.table.add_step(place, step),
            None => stray(step, observation.seen.flow, observation.decoded, Found::Nobody, out),
        }
    }

    /// An answer that never left is its program's answer all the same. Returns the attempt it is for.
    fn unsent_answer(&mut self, observation: &Observation, message: &Message) -> Option<Place> {
        let conversation = Conversation::of(&observation.seen, message);
        let place = self.awaiting(&conversation, message, observation.seen.socket)?;
        let answer = Answer { arrived: None, ..answer_of(observation, message) };
        self.table.settle(place, answer);
        Some(place)
    }

    /// Events were lost.
    pub fn loss(&mut self, loss: Loss, out: &mut Vec<Output>) {
        self.advance(loss.time, out);
        self.gaps.note(loss);
        self.entries.lost();
    }

    /// Puts a step where it belongs: see [`super::find`].
    fn befalls(
        &mut self,
        packet: &Packet,
        decoded: Decoded,
        is_drop: bool,
        step: Step,
        (leg, found): (Leg, Found),
        out: &mut Vec<Output>,
    ) {
        let server = match leg {
            Leg::Query | Leg::Syn | Leg::SynAck => Found::Nobody,
            Leg::Answer => {
                let sought = Sought::of(step.time, packet, decoded.message.as_ref());
                Sought { is_drop, ..sought }.server(&self.table)
            }
        };
        if let Found::Attempt(place) = server {
            self.table.add_step(place, step.clone());
        }
        match (found, server) {
            (Found::Attempt(place), _) => {
                self.learn_on_the_way(place, packet);
                self.table.add_step(place, step);
            }
            (Found::Ended(_), _) => stray(step, packet.flow, decoded, found, out),
            (_, Found::Attempt(_)) => {}
            (Found::Nobody, server) => stray(step, packet.flow, decoded, server, out),
            (Found::Ambiguous, _) => stray(step, packet.flow, decoded, found, out),
        }
    }

    /// A packet that bears its flow's entry tells where it goes, also where the insertion was not seen, since the entry
    /// is older than the trace.
    fn learn_on_the_way(&mut self, place: Place, packet: &Packet) {
        let Some(entry) = packet.tracking.connection() else { return };
        let Some(attempt) = self.table.attempt_mut(place) else { return };
        if entry.original == attempt.conversation.flow() && entry.endpoint().is_some() {
            attempt.endpoint = entry.endpoint();
            self.table.add_translated(place, entry.reply);
        }
    }
}

fn place_of(found: Found) -> Option<Place> {
    match found {
        Found::Attempt(place) | Found::Ended(place) => Some(place),
        Found::Ambiguous | Found::Nobody => None,
    }
}

/// The source of an answer that nobody translated back to the address that was asked, if that is so: connection
/// tracking takes it for the first packet of a flow of its own, or it found no socket. Elsewhere on its way it may
/// only not have been translated yet.
fn untranslated(packet: &Packet, asked: SocketAddr, place: &DropPlace) -> Option<SocketAddr> {
    let is_new = packet.tracking.connection().is_some_and(|entry| entry.original == packet.flow);
    (packet.flow.source != asked && (is_new || is_no_socket(place))).then_some(packet.flow.source)
}

/// Shows what belongs to no attempt under way.
pub(super) fn stray(step: Step, flow: Flow, decoded: Decoded, found: Found, out: &mut Vec<Output>) {
    let reason = match found {
        Found::Attempt(place) | Found::Ended(place) => StrayPacketReason::Ended { query: place.query },
        Found::Ambiguous => StrayPacketReason::Ambiguous,
        Found::Nobody => StrayPacketReason::NoAttempt,
    };
    out.push(Output::Packet(Box::new(StrayPacket { step, flow, decoded, reason })));
}
