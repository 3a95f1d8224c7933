//! Builds what befalls packets.

use super::*;
use crate::event::{
    Clash, Confirm, ConfirmResult, ConnectFailure, Connection, ConnectionChange, DropPlace, Eviction, Icmp,
    IcmpError, Loss, Packet, PacketDrop, Retransmission, TableFull, Tracking,
};

/// The node's own network namespace.
pub const NODE: u32 = 1;
pub const NEAR: &str = "10.244.1.9:53";
pub const FAR: &str = "10.244.2.9:53";

/// Anything that the tracker can be fed.
#[derive(Clone, Debug)]
pub enum Input {
    Message(Observation),
    Unsent(u64, Observation),
    SendFailed { at: u64, socket: u64, sent: u64 },
    Confirm(Confirm, Decoded),
    Clash(Clash),
    Eviction(Eviction),
    Drop(PacketDrop, Decoded),
    Icmp(Icmp, Decoded),
    Loss(Loss),
    Change(ConnectionChange),
    Again(Retransmission),
    ConnectFailure(ConnectFailure),
    Skipped(SocketMessage),
    NotDns(SocketMessage),
}

pub const EPERM: u16 = 1;

impl Input {
    pub fn time(&self) -> KernelTime {
        match self {
            Self::Message(observation) => observation.seen.time,
            Self::Unsent(at, _) | Self::SendFailed { at, .. } => KernelTime(*at),
            Self::Confirm(confirm, _) => confirm.time,
            Self::Clash(clash) => clash.time,
            Self::Eviction(eviction) => eviction.time,
            Self::Drop(drop, _) => drop.time,
            Self::Icmp(icmp, _) => icmp.time,
            Self::Loss(loss) => loss.time,
            Self::Change(change) => change.time,
            Self::Again(again) => again.time,
            Self::ConnectFailure(failure) => failure.time,
            Self::Skipped(seen) | Self::NotDns(seen) => seen.time,
        }
    }

    pub fn feed(self, tracker: &mut Tracker, out: &mut Vec<Output>) {
        match self {
            Self::Message(observation) => tracker.message(observation, out),
            Self::Unsent(at, observation) => tracker.unsent(KernelTime(at), EPERM, observation, out),
            Self::SendFailed { at, socket, sent } => {
                tracker.send_failed(KernelTime(at), EPERM, socket, KernelTime(sent), out);
            }
            Self::Confirm(confirm, decoded) => tracker.confirm(confirm, decoded, out),
            Self::Clash(clash) => tracker.clash(clash, out),
            Self::Eviction(eviction) => tracker.eviction(eviction, out),
            Self::Drop(drop, decoded) => tracker.dropped(drop, decoded, out),
            Self::Icmp(icmp, decoded) => tracker.icmp(icmp, decoded, out),
            Self::Loss(loss) => tracker.loss(loss, out),
            Self::Change(change) => {
                let owner = change.task.as_ref().map(|_| Owner::default());
                tracker.connection(change, owner, out);
            }
            Self::Again(again) => tracker.retransmitted(again, out),
            Self::ConnectFailure(failure) => tracker.connect_failed(failure, Some(Owner::default()), out),
            Self::Skipped(seen) => tracker.stream_skipped(seen, Owner::default(), out),
            Self::NotDns(seen) => tracker.stream_not_dns(seen, Owner::default(), out),
        }
    }
}

impl Input {
    /// Changes every address of a packet or an entry.
    pub fn each_address(&mut self, change: impl Fn(&mut SocketAddr)) {
        let flow = |flow: &mut Flow| {
            change(&mut flow.source);
            change(&mut flow.destination);
        };
        let entry = |entry: &mut Connection| {
            flow(&mut entry.original);
            flow(&mut entry.reply);
        };
        let packet = |packet: &mut Packet| {
            flow(&mut packet.flow);
            if let Tracking::Connection(connection) = &mut packet.tracking {
                entry(connection);
            }
        };
        match self {
            Self::Confirm(confirm, _) => packet(&mut confirm.packet),
            Self::Drop(drop, _) => packet(&mut drop.packet),
            Self::Icmp(icmp, _) => packet(&mut icmp.packet),
            Self::Clash(clash) => entry(&mut clash.winner),
            Self::Eviction(eviction) => entry(&mut eviction.victim),
            Self::Change(change) => flow(&mut change.flow),
            Self::Again(again) => flow(&mut again.flow),
            Self::ConnectFailure(failure) => flow(&mut failure.flow),
            Self::Message(_)
            | Self::Unsent(..)
            | Self::SendFailed { .. }
            | Self::Loss(_)
            | Self::Skipped(_)
            | Self::NotDns(_) => {}
        }
    }
}

impl From<Observation> for Input {
    fn from(observation: Observation) -> Self {
        Self::Message(observation)
    }
}

/// Runs inputs through a tracker that sees so much, to the end of the trace.
pub fn run_all(inputs: Vec<Input>, sight: Sight) -> Vec<Output> {
    let mut tracker = Tracker::new(Limits::default(), sight);
    let mut out = Vec::new();
    for input in inputs {
        input.feed(&mut tracker, &mut out);
    }
    tracker.finish(KernelTime(1_000_000 * MS), &mut out);
    without_lookups(out)
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub struct Pkt {
    pub packet: Packet,
    pub message: Option<Message>,
}

impl Client {
    pub fn flow(&self) -> Flow {
        Flow { source: self.local, destination: self.server, transport: self.transport }
    }

    /// Its query on the node, not yet translated and not tracked.
    pub fn query(&self, id: u16, name: &str) -> Pkt {
        Pkt::new(self.flow(), message(id, name, false))
    }

    /// The answer on the node, as it comes from `source`.
    pub fn answer_from(&self, source: SocketAddr, id: u16, name: &str) -> Pkt {
        let flow = Flow { source, destination: self.local, transport: self.transport };
        Pkt::new(flow, answer(id, name))
    }

    /// The answer, translated back.
    pub fn answer(&self, id: u16, name: &str) -> Pkt {
        self.answer_from(self.server, id, name)
    }

    /// The entry at `ct`, of its flow to an endpoint.
    pub fn entry(&self, ct: u64, endpoint: &str) -> Connection {
        let reply =
            Flow { source: endpoint.parse().unwrap(), destination: self.local, transport: self.transport };
        Connection { ct, original: self.flow(), reply }
    }

    /// Its query was never sent.
    pub fn fails_to_ask(&self, at: u64, id: u16, name: &str) -> Input {
        Input::Unsent(at, self.asks(at, id, name))
    }

    /// Sending a message that had been sent at the time `sent` failed in the end.
    pub fn is_refused(&self, at: u64, sent: u64) -> Input {
        Input::SendFailed { at, socket: self.socket, sent }
    }

    /// Its query's entry was inserted, a moment after it was sent.
    pub fn is_inserted(&self, at: u64, id: u16, name: &str, entry: Connection) -> Input {
        self.query(id, name).by(entry).confirmed(at, ConfirmResult::Inserted)
    }
}

impl Pkt {
    fn new(flow: Flow, message: Message) -> Self {
        let tracking = Tracking::None;
        let packet =
            Packet { flow, netns: Some(NODE), tracking, tcp: None, payload: Bytes::new(), length: 40 };
        Self { packet, message: Some(message) }
    }

    /// With this entry.
    pub fn by(mut self, entry: Connection) -> Self {
        self.packet.tracking = Tracking::Connection(entry);
        self
    }

    /// In this namespace.
    pub fn at(mut self, netns: u32) -> Self {
        self.packet.netns = Some(netns);
        self
    }

    /// With these headers.
    pub fn between(mut self, source: &str, destination: &str) -> Self {
        self.packet.flow.source = source.parse().unwrap();
        self.packet.flow.destination = destination.parse().unwrap();
        self
    }

    /// Nothing of the message was captured.
    pub fn cut(mut self) -> Self {
        self.message = None;
        self
    }

    /// Its id was captured, its question was not.
    pub fn without_question(mut self) -> Self {
        self.message.as_mut().unwrap().question = None;
        self
    }

    pub fn of_type(mut self, qtype: u16) -> Self {
        self.message = self.message.map(|message| of_type(message, qtype));
        self
    }

    fn decoded(&self) -> Decoded {
        Decoded { message: self.message.clone(), defect: None }
    }

    /// Its insertion took the microsecond up to `at`.
    pub fn confirmed(self, at: u64, result: ConfirmResult) -> Input {
        let decoded = self.decoded();
        let (time, began) = (KernelTime(at), KernelTime(at.saturating_sub(1_000)));
        Input::Confirm(Confirm { time, began, packet: self.packet, result }, decoded)
    }

    fn dropped_as(self, at: u64, place: DropPlace) -> Input {
        let decoded = self.decoded();
        let drop =
            PacketDrop { time: KernelTime(at), packet: self.packet, place, arrived: None, table_full: None };
        Input::Drop(drop, decoded)
    }

    pub fn dropped(self, at: u64, reason: &str) -> Input {
        self.dropped_as(at, DropPlace { reason: Some(reason.into()), ..DropPlace::default() })
    }

    /// Dropped on a kernel without reasons.
    pub fn dropped_in(self, at: u64, function: &str) -> Input {
        self.dropped_as(at, DropPlace { function: Some(function.into()), ..DropPlace::default() })
    }

    pub fn icmp(self, at: u64, direction: Direction, kind: u8, code: u8) -> Input {
        let decoded = self.decoded();
        let error = IcmpError::V4 { kind, code };
        Input::Icmp(Icmp { time: KernelTime(at), packet: self.packet, direction, error }, decoded)
    }
}

impl Input {
    /// The dropped packet had been put into the socket's buffer.
    pub fn unread_since(mut self, arrived: u64) -> Self {
        if let Self::Drop(drop, _) = &mut self {
            drop.arrived = Some(KernelTime(arrived));
        }
        self
    }

    /// There was no room for the dropped packet's entry.
    pub fn for_a_full_table(mut self) -> Self {
        if let Self::Drop(drop, _) = &mut self {
            drop.table_full = Some(TableFull { count: Some(9), max: Some(9) });
        }
        self
    }
}

/// The AAAA query of a name beside its A query, and so on.
pub fn of_type(mut message: Message, qtype: u16) -> Message {
    if let Some(question) = &mut message.question {
        question.qtype = qtype;
    }
    message
}

pub fn observed_of_type(mut observation: Observation, qtype: u16) -> Observation {
    observation.decoded.message = observation.decoded.message.map(|message| of_type(message, qtype));
    observation
}

pub fn clash(at: u64, loser: u64, winner: Connection) -> Input {
    Input::Clash(Clash { time: KernelTime(at), loser, winner })
}

pub fn eviction(at: u64, victim: Connection) -> Input {
    Input::Eviction(Eviction { time: KernelTime(at), netns: Some(NODE), victim })
}

pub fn loss(since: u64, at: u64, events: u64) -> Input {
    Input::Loss(Loss { since: KernelTime(since), time: KernelTime(at), events })
}
