//! TCP connections as they come and go: how they were opened is told by the first query over them, how they ended by
//! the queries that waited, and both by themselves where they carried no query that could be seen.

use crate::{
    event::{ConnectFailure, ConnectionChange, KernelTime, Retransmission, TcpState},
    identify::Owner,
};

use super::{
    ConnectionEnd, Leg, Output, Role, Step, Tracker, What,
    connections::{Ends, Phase, Traced},
    open::SETTLE,
    places::Place,
};

const EPIPE: u16 = 32;
const ECONNRESET: u16 = 104;
const ECONNREFUSED: u16 = 111;

impl Tracker {
    /// A TCP connection changed its state. `owner` is whose task opens it, if the change tells of one.
    pub fn connection(&mut self, change: ConnectionChange, owner: Option<Owner>, out: &mut Vec<Output>) {
        use TcpState::{Close, CloseWait, Established, FinWait1, Listen, NewSynRecv, SynRecv, SynSent};
        self.advance(change.time, out);
        let ends = Ends::of(change.netns, change.socket, &change.flow);
        self.forget_closed(&ends, out);
        let number = match (change.from, change.to) {
            // No connection, or not yet one: a server's is known once it is open.
            (Listen, _) | (_, Listen | SynRecv | NewSynRecv) => return,
            (_, SynSent) => return self.opens(ends, &change, owner, out),
            (SynRecv, Established) => self.connection_at(ends, Role::Server, change.time, out),
            (SynSent, _) => {
                let number = self.connection_at(ends, Role::Client, change.time, out);
                self.connections.set_opening(number);
                number
            }
            _ => {
                let known = self.connections.at_socket(ends.netns, ends.socket);
                let role = known.filter(|known| known.is_between(&ends)).map(|known| known.role);
                self.connection_at(ends, role.unwrap_or_else(|| ends.likely_role()), change.time, out)
            }
        };
        self.note_counters(number, &change);
        match (change.from, change.to) {
            (from, Established) => self.established(number, from, change.time),
            (SynSent, Close) => self.not_opened(number, change.time, change.error, out),
            (SynRecv, Close) => self.closed(number, &change, out),
            (Established | SynRecv, FinWait1) => self.ends(number, change.time, ConnectionEnd::Closed),
            (_, CloseWait) => self.ends(number, change.time, ConnectionEnd::ClosedByPeer),
            (_, Close) => self.closed(number, &change, out),
            _ => {}
        }
    }

    /// The kernel refused to open a connection: no SYN was sent.
    pub fn connect_failed(&mut self, failure: ConnectFailure, owner: Option<Owner>, out: &mut Vec<Output>) {
        self.advance(failure.time, out);
        let ends = Ends::of(failure.netns, failure.socket, &failure.flow);
        let known = self.connections.at_socket(ends.netns, ends.socket).filter(|known| {
            known.is_between(&ends) && known.role == Role::Client && known.established.is_none()
        });
        let number = match known.map(|known| (known.phase, known.touched, known.number)) {
            Some((Phase::GivenUp | Phase::Opening, _, number)) => number,
            // Told already by the error of the socket.
            Some((Phase::Closed, ended, _)) if failure.time.since(ended) <= SETTLE => return,
            _ => {
                let mut connection = Traced::new(ends, Role::Client, failure.time);
                connection.phase = Phase::Opening;
                self.add_connection(connection, out)
            }
        };
        if let Some(connection) = self.connections.get_mut(number)
            && connection.task.is_none()
        {
            connection.seen_from_start = true;
            connection.encrypted = failure.encrypted;
            connection.owner = owner;
            connection.task = Some(failure.task);
            self.expect_retries(number, failure.time);
        }
        // By the time of it the socket may have forgotten its error; the system call tells it.
        self.not_opened(number, failure.time, Some(failure.errno), out);
    }

    /// A segment was sent again.
    pub fn retransmitted(&mut self, again: Retransmission, out: &mut Vec<Output>) {
        self.advance(again.time, out);
        let ends = Ends::of(again.netns, again.socket, &again.flow);
        let role = match again.state {
            TcpState::SynSent => Role::Client,
            TcpState::SynRecv | TcpState::NewSynRecv => Role::Server,
            _ => {
                let known = self.connections.at_socket(ends.netns, ends.socket);
                known.map_or_else(|| ends.likely_role(), |known| known.role)
            }
        };
        // Of a listening socket: there is no connection yet.
        if matches!(again.state, TcpState::Listen | TcpState::NewSynRecv) {
            return;
        }
        let number = self.connection_at(ends, role, again.time, out);
        if matches!(again.state, TcpState::SynSent | TcpState::SynRecv) {
            self.connections.set_opening(number);
        }
        let leg = match (again.state, role) {
            (TcpState::SynSent, _) => Leg::Syn,
            (TcpState::SynRecv, _) => Leg::SynAck,
            (_, Role::Client) => Leg::Query,
            (_, Role::Server) => Leg::Answer,
        };
        if let Some(connection) = self.connections.get_mut(number) {
            connection.encrypted |= again.encrypted;
            connection.syn_retransmissions += u32::from(leg == Leg::Syn);
        }
        let step = Step { time: again.time, netns: Some(again.netns), what: What::Retransmitted { leg } };
        let places = match leg {
            Leg::Answer => self.table.answered_over(number),
            Leg::Query | Leg::Syn | Leg::SynAck => self.table.waiting_over(number),
        };
        self.tell(number, &places, step);
        self.keep_retries(number, again.time);
    }

    /// A socket whose connection has closed is another's by now if its state changes, even if nobody saw it opened.
    pub(super) fn forget_closed(&mut self, ends: &Ends, out: &mut Vec<Output>) {
        let known = self.connections.at_socket(ends.netns, ends.socket);
        let is_over = |known: &&Traced| matches!(known.phase, Phase::Closed | Phase::GivenUp);
        if let Some(number) = known.filter(is_over).map(|known| known.number) {
            self.conclude_given_up(number, out);
            self.connections.remove(number);
        }
    }

    /// A program opens a connection.
    fn opens(&mut self, ends: Ends, change: &ConnectionChange, owner: Option<Owner>, out: &mut Vec<Output>) {
        // A query that goes with the SYN is sent before it.
        let known = self.connections.at_socket(ends.netns, ends.socket);
        let asks =
            known.filter(|known| known.is_between(&ends) && known.local.port() == 0 && known.queries > 0);
        let number = match asks.map(|known| known.number) {
            Some(number) => {
                self.learn_ends(number, ends.local, Role::Client);
                self.connections.set_opening(number);
                number
            }
            None => {
                let mut connection = Traced::new(ends, Role::Client, change.time);
                connection.phase = Phase::Opening;
                self.add_connection(connection, out)
            }
        };
        if let Some(connection) = self.connections.get_mut(number) {
            connection.seen_from_start = true;
            connection.opened = Some(change.time);
            connection.encrypted = change.encrypted;
            connection.owner = owner;
            connection.task = change.task.clone();
        }
        self.expect_retries(number, change.time);
    }

    fn note_counters(&mut self, number: u64, change: &ConnectionChange) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        connection.encrypted |= change.encrypted;
        connection.bytes_acked = connection.bytes_acked.max(data_acked(change, connection.role));
        connection.bytes_received = connection.bytes_received.max(change.bytes_received);
        connection.rtt_us = change.rtt_us.or(connection.rtt_us);
    }

    fn established(&mut self, number: u64, from: TcpState, time: KernelTime) {
        if let Some(connection) = self.connections.get_mut(number) {
            connection.established.get_or_insert(time);
            connection.seen_from_start |= from == TcpState::SynRecv;
            let carrier = connection.carrier();
            // Of a query that went with the SYN.
            for place in self.table.carried_by(number) {
                self.table.learn_opening(place, &carrier);
            }
        }
        self.connections.set_phase(number, Phase::Open);
        self.keep_retries(number, time);
    }

    /// The first that ends it: of what waits over it, that is known by now.
    fn ends(&mut self, number: u64, time: KernelTime, end: ConnectionEnd) {
        if let Some(connection) = self.connections.get_mut(number) {
            connection.end.get_or_insert((time, end));
        }
        self.tell_end(number, time, end);
        self.release_retries(number);
    }

    /// Tells what waits over a connection that it has ended, unless that was told.
    fn tell_end(&mut self, number: u64, time: KernelTime, end: ConnectionEnd) {
        let netns = self.connections.get(number).map(|connection| connection.netns);
        let step = Step { time, netns, what: What::ConnectionEnded(end) };
        let mut places = self.table.waiting_over(number);
        places.extend(self.table.end_transfers(number, time));
        for place in places {
            let is_told = self.table.attempt_mut(place).is_some_and(|attempt| {
                attempt.steps.iter().any(|step| matches!(step.what, What::ConnectionEnded(_)))
            });
            if !is_told {
                self.table.add_step(place, step.clone());
                self.table.expects_retry(place.query);
            }
        }
    }

    /// A connection that was open has come to its end.
    fn closed(&mut self, number: u64, change: &ConnectionChange, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get(number) else { return };
        let end = match (change.error, connection.end, change.from) {
            (Some(ECONNRESET | EPIPE | ECONNREFUSED), ..) => ConnectionEnd::Reset,
            (Some(errno), ..) => ConnectionEnd::Failed { errno },
            (None, Some((_, end)), _) => end,
            (None, None, TcpState::LastAck | TcpState::CloseWait) => ConnectionEnd::ClosedByPeer,
            (None, None, TcpState::Established | TcpState::SynRecv) => ConnectionEnd::Aborted,
            (None, None, _) => ConnectionEnd::Closed,
        };
        self.ends(number, change.time, end);
        self.has_closed(number, change.time, out);
    }

    /// A connection was closed before it was open.
    fn not_opened(&mut self, number: u64, time: KernelTime, error: Option<u16>, out: &mut Vec<Output>) {
        match error {
            Some(errno) => self.fails(number, time, What::ConnectFailed { errno }, out),
            None => {
                self.connections.set_phase(number, Phase::GivenUp);
                self.connections.set_deadline(number, Some(time.plus(SETTLE)));
                if let Some(connection) = self.connections.get_mut(number) {
                    connection.end = Some((time, ConnectionEnd::Closed));
                }
            }
        }
    }

    /// It is clear that a connection was not opened, and why.
    fn fails(&mut self, number: u64, time: KernelTime, what: What, out: &mut Vec<Output>) {
        let end = match &what {
            What::ConnectFailed { errno: ECONNREFUSED | ECONNRESET } => ConnectionEnd::Reset,
            What::ConnectFailed { errno } => ConnectionEnd::Failed { errno: *errno },
            _ => ConnectionEnd::Closed,
        };
        let Some(connection) = self.connections.get_mut(number) else { return };
        connection.end = Some((time, end));
        let step = Step { time, netns: Some(connection.netns), what };
        // Of a query that went with the SYN (TCP Fast Open).
        let places = self.table.waiting_over(number);
        for place in &places {
            self.table.expects_retry(place.query);
        }
        self.tell(number, &places, step);
        self.fail_retries(number, time);
        self.has_closed(number, time, out);
    }

    /// Shows a connection that has closed, if it has something to tell, and remembers it for what comes late.
    fn has_closed(&mut self, number: u64, time: KernelTime, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        connection.touched = time;
        let told = connection.clone();
        connection.is_told = true;
        connection.steps.clear();
        self.connections.set_phase(number, Phase::Closed);
        let deadline = time.plus(self.table.limits.late);
        self.connections.set_deadline(number, Some(deadline));
        self.tell_connection(told, time, out);
    }

    /// The deadline of a connection has come.
    pub(super) fn connection_due(&mut self, number: u64, out: &mut Vec<Output>) {
        self.connections.set_deadline(number, None);
        match self.connections.get(number).map(|connection| connection.phase) {
            Some(Phase::Closed) => drop(self.connections.remove(number)),
            _ => self.conclude_given_up(number, out),
        }
    }

    /// If a connection was given up before it was open, that is why it was not opened: no system call has failed for it.
    pub(super) fn conclude_given_up(&mut self, number: u64, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get(number) else { return };
        if let (Phase::GivenUp, Some((time, end))) = (connection.phase, connection.end) {
            self.fails(number, time, What::ConnectionEnded(end), out);
        }
    }

    /// Shows a connection that is known no longer, if it has something to tell by itself.
    pub(super) fn tell_connection(&mut self, connection: Traced, now: KernelTime, out: &mut Vec<Output>) {
        let asked_nothing =
            connection.queries == 0 && connection.role == Role::Client && connection.is_unopened();
        if !connection.is_told && (connection.encrypted || asked_nothing) {
            out.push(Output::Connection(Box::new(connection.told(now))));
        }
    }

    /// Tells a step to these attempts over a connection, else to the next one.
    pub(super) fn tell(&mut self, number: u64, places: &[Place], step: Step) {
        for place in places {
            self.table.add_step(*place, step.clone());
        }
        let limit = self.table.limits.steps;
        if let Some(connection) = self.connections.get_mut(number)
            && places.is_empty()
            && (connection.encrypted || connection.is_unopened())
        {
            connection.add_step(step, limit);
        }
    }
}

/// The bytes that the peer has acknowledged. `tcp_sock.bytes_acked` counts what sequence numbers do (`tcp_snd_una_update`): a
/// client's SYN as well, not a server's (`tcp_create_openreq_child` begins behind it), and the FIN, once acknowledged.
fn data_acked(change: &ConnectionChange, role: Role) -> u64 {
    use TcpState::{Close, Closing, FinWait2, LastAck, TimeWait};
    let is_fin_acked = change.error.is_none()
        && matches!(
            (change.from, change.to),
            (_, FinWait2 | TimeWait) | (FinWait2 | LastAck | Closing, Close)
        );
    let others = u64::from(role == Role::Client) + u64::from(is_fin_acked);
    change.bytes_acked.saturating_sub(others)
}
