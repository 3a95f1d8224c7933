//! TCP connections, by socket and by the addresses that their packets bear.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
};

use crate::{
    event::{Flow, KernelTime, Task, Transport},
    identify::Owner,
};

use super::{
    Carrier, ConnectionEnd, Protocol, Role, Step, TcpConnection,
    places::{KEYS, View, of_source},
};

/// Queries that may wait for one connection to open: a resolver sends a pair or a few over one.
const RETRIES: usize = 64;
/// DNS over HTTPS (RFC 8484).
const HTTPS: u16 = 443;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its SYN was sent, or is about to be.
    Opening,
    Open,
    /// It was closed before it was open, and the socket has no error: the program gave up, or the system call that
    /// should have opened it is about to fail.
    GivenUp,
    Closed,
}

/// A TCP connection at a traced socket.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    pub number: u64,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    pub socket: u64,
    pub role: Role,
    /// The port is 0 as long as it is not known: the kernel chooses it when the state is `SynSent` already.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub encrypted: bool,
    pub phase: Phase,
    /// Of the process that opened it.
    pub owner: Option<Owner>,
    pub task: Option<Task>,
    /// When it was first seen.
    pub seen: KernelTime,
    pub seen_from_start: bool,
    /// When its SYN was sent.
    pub opened: Option<KernelTime>,
    pub established: Option<KernelTime>,
    pub syn_retransmissions: u32,
    /// Queries that went over it.
    pub queries: u64,
    /// The query that went over it last.
    pub last_query: Option<u64>,
    pub endpoint: Option<SocketAddr>,
    /// What befell it that no attempt has told yet, in order of time.
    pub steps: Vec<Step>,
    pub steps_left_out: u32,
    /// Queries that wait for it to open, to be asked again over it.
    pub retries: Vec<u64>,
    /// It was shown by itself.
    pub is_told: bool,
    /// What ended it first, and when.
    pub end: Option<(KernelTime, ConnectionEnd)>,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub rtt_us: Option<u32>,
    /// When something was last seen of it.
    pub touched: KernelTime,
    keys: Vec<(View, Flow)>,
    /// Its place in the order of use.
    used: u64,
    deadline: Option<KernelTime>,
}

/// What a connection is known by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub netns: u32,
    pub socket: u64,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl Ends {
    /// Of a socket, with the flow from it to its peer.
    pub fn of(netns: u32, socket: u64, flow: &Flow) -> Self {
        Self { netns, socket, local: flow.source, remote: flow.destination }
    }

    /// The role of the socket, where no more is known of it than its ends: servers have the lower port.
    pub fn likely_role(&self) -> Role {
        let knows_port = self.local.port() != 0;
        if knows_port && self.local.port() < self.remote.port() { Role::Server } else { Role::Client }
    }
}

impl Traced {
    pub fn new(ends: Ends, role: Role, time: KernelTime) -> Self {
        Self {
            number: 0,
            netns: ends.netns,
            socket: ends.socket,
            role,
            local: ends.local,
            remote: ends.remote,
            encrypted: false,
            phase: Phase::Open,
            owner: None,
            task: None,
            seen: time,
            seen_from_start: false,
            opened: None,
            established: None,
            syn_retransmissions: 0,
            queries: 0,
            last_query: None,
            endpoint: None,
            steps: Vec::new(),
            steps_left_out: 0,
            retries: Vec::new(),
            is_told: false,
            end: None,
            bytes_acked: 0,
            bytes_received: 0,
            rtt_us: None,
            touched: time,
            keys: Vec::new(),
            used: 0,
            deadline: None,
        }
    }

    /// From the client to the server, as the traced socket has the addresses.
    pub fn flow(&self) -> Flow {
        let (source, destination) = match self.role {
            Role::Client => (self.local, self.remote),
            Role::Server => (self.remote, self.local),
        };
        Flow { source, destination, transport: Transport::Tcp }
    }

    fn view(&self) -> View {
        match self.role {
            Role::Client => View::Client,
            Role::Server => View::Server,
        }
    }

    /// Whether it is between these ends. A port that is not known may be any.
    pub fn is_between(&self, ends: &Ends) -> bool {
        let same_port = self.local.port() == ends.local.port();
        let port_unknown = self.local.port() == 0 || ends.local.port() == 0;
        let same_address = self.local.ip() == ends.local.ip()
            || (port_unknown && (self.local.ip().is_unspecified() || ends.local.ip().is_unspecified()));
        self.remote == ends.remote && same_address && (same_port || port_unknown)
    }

    /// Adds what befell it, in its place in time. `limit` is how many are kept; of further ones the last is.
    pub fn add_step(&mut self, step: Step, limit: usize) {
        if self.steps.len() >= limit {
            self.steps.pop();
            self.steps_left_out = self.steps_left_out.saturating_add(1);
        }
        let index = self.steps.partition_point(|earlier| earlier.time <= step.time);
        self.steps.insert(index, step);
    }

    /// Whether no translation of its addresses has been seen.
    pub fn is_way_unknown(&self) -> bool {
        self.endpoint.is_none() && self.keys.iter().all(|(view, _)| *view != View::Translated)
    }

    /// Whether it was not open so far.
    pub fn is_unopened(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::GivenUp)
    }

    /// As an attempt over it bears it.
    pub fn carrier(&self) -> Carrier {
        Carrier {
            connection: self.number,
            opened: self.opened,
            established: self.established,
            syn_retransmissions: self.syn_retransmissions,
            queries_before: self.queries,
        }
    }

    /// Notes a query that waits for it to open, if there is room for one.
    pub fn add_retry(&mut self, query: u64) -> bool {
        let has_room = self.retries.len() < RETRIES;
        if has_room {
            self.retries.push(query);
        }
        has_room
    }

    /// As it is told.
    pub fn told(self, now: KernelTime) -> TcpConnection {
        let protocol = match self.remote.port() {
            _ if !self.encrypted => Protocol::Dns,
            _ if self.flow().destination.port() == HTTPS => Protocol::Https,
            _ => Protocol::Tls,
        };
        TcpConnection {
            number: self.number,
            role: self.role,
            protocol,
            owner: self.owner,
            task: self.task,
            netns: self.netns,
            local: self.local,
            remote: self.remote,
            endpoint: self.endpoint,
            peer: Default::default(),
            time: self.opened.unwrap_or(self.seen),
            seen_from_start: self.seen_from_start,
            established: self.established,
            steps: self.steps,
            steps_left_out: self.steps_left_out,
            bytes_acked: self.bytes_acked,
            bytes_received: self.bytes_received,
            rtt_us: self.rtt_us,
            ended: self.end.map_or(now, |(time, _)| time),
            end: self.end.map(|(_, end)| end),
        }
    }
}

/// All connections that are known, at most so many. Those that have ended go first, then those that were used least
/// recently.
#[derive(Debug)]
pub(super) struct Connections {
    room: usize,
    /// Serial number of the next connection.
    next: u64,
    /// Counts uses.
    uses: u64,
    all: HashMap<u64, Traced>,
    sockets: HashMap<(u32, u64), u64>,
    flows: BTreeSet<(View, Flow, u64)>,
    /// Whether it is under way, its place in the order of use, its number: the first is forgotten first.
    order: BTreeSet<(bool, u64, u64)>,
    deadlines: BTreeSet<(KernelTime, u64)>,
}

impl Connections {
    pub fn new(room: usize) -> Self {
        Self {
            room,
            next: 1,
            uses: 0,
            all: HashMap::new(),
            sockets: HashMap::new(),
            flows: BTreeSet::new(),
            order: BTreeSet::new(),
            deadlines: BTreeSet::new(),
        }
    }

    pub fn get(&self, number: u64) -> Option<&Traced> {
        self.all.get(&number)
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Traced> {
        self.all.get_mut(&number)
    }

    /// The connection that was last seen at this socket.
    pub fn at_socket(&self, netns: u32, socket: u64) -> Option<&Traced> {
        self.all.get(self.sockets.get(&(netns, socket))?)
    }

    /// Those whose packets bear these addresses, from client to server.
    pub fn at(&self, view: View, flow: Flow) -> impl Iterator<Item = &Traced> {
        let range = (view, flow, u64::MIN)..=(view, flow, u64::MAX);
        self.flows.range(range).filter_map(|(.., number)| self.all.get(number))
    }

    /// Takes out the one to forget first, if there is no room for another.
    pub fn take_for_room(&mut self) -> Option<Traced> {
        if self.all.len() < self.room {
            return None;
        }
        let &(.., number) = self.order.first()?;
        self.remove(number)
    }

    /// Adds a connection, for which there must be room. Returns its number.
    pub fn add(&mut self, mut connection: Traced) -> u64 {
        let number = self.next;
        self.next += 1;
        connection.number = number;
        self.sockets.insert((connection.netns, connection.socket), number);
        self.all.insert(number, connection);
        self.add_ends(number);
        self.use_again(number);
        number
    }

    /// It was used: it is forgotten after those that were not.
    pub fn use_again(&mut self, number: u64) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        self.uses += 1;
        self.order.remove(&place_in_order(connection));
        connection.used = self.uses;
        self.order.insert(place_in_order(connection));
    }

    /// It is being opened, which was first seen when that was under way.
    pub fn set_opening(&mut self, number: u64) {
        let is_new =
            |connection: &Traced| connection.phase == Phase::Open && connection.established.is_none();
        if self.all.get(&number).is_some_and(is_new) {
            self.set_phase(number, Phase::Opening);
        }
    }

    /// Sets how far it has come.
    pub fn set_phase(&mut self, number: u64, phase: Phase) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        self.order.remove(&place_in_order(connection));
        connection.phase = phase;
        self.order.insert(place_in_order(connection));
    }

    /// Learns the end that it has, if its port was not known, and on which side of it the client is.
    pub fn learn(&mut self, number: u64, local: SocketAddr, role: Role) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        let knows_port = connection.local.port() != 0 || local.port() == 0;
        // Who opened it is the client, whoever asks.
        let role = if connection.seen_from_start { connection.role } else { role };
        if knows_port && connection.role == role {
            return;
        }
        for (view, flow) in connection.keys.drain(..) {
            self.flows.remove(&(view, flow, number));
        }
        if !knows_port {
            connection.local = local;
        }
        connection.role = role;
        self.add_ends(number);
    }

    fn add_ends(&mut self, number: u64) {
        let Some(connection) = self.all.get(&number) else { return };
        let (view, flow) = (connection.view(), connection.flow());
        self.add_key(number, view, flow);
        if view == View::Client {
            self.add_key(number, View::Source, of_source(&flow));
        }
    }

    /// Adds addresses that packets of a client's connection bear after translation.
    pub fn add_translated(&mut self, number: u64, reply: Flow) {
        if self.all.get(&number).is_some_and(|connection| reply.reversed() != connection.flow()) {
            self.add_key(number, View::Translated, reply.reversed());
        }
    }

    fn add_key(&mut self, number: u64, view: View, flow: Flow) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        if connection.keys.len() < KEYS && !connection.keys.contains(&(view, flow)) {
            connection.keys.push((view, flow));
            self.flows.insert((view, flow, number));
        }
    }

    /// When one of them is to be looked at again, first.
    pub fn next_deadline(&self) -> Option<(KernelTime, u64)> {
        self.deadlines.first().copied()
    }

    /// Sets when it is to be looked at again.
    pub fn set_deadline(&mut self, number: u64, deadline: Option<KernelTime>) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        if let Some(old) = connection.deadline {
            self.deadlines.remove(&(old, number));
        }
        connection.deadline = deadline;
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, number));
        }
    }

    pub fn remove(&mut self, number: u64) -> Option<Traced> {
        let connection = self.all.remove(&number)?;
        self.order.remove(&place_in_order(&connection));
        let key = (connection.netns, connection.socket);
        if self.sockets.get(&key) == Some(&number) {
            self.sockets.remove(&key);
        }
        for (view, flow) in &connection.keys {
            self.flows.remove(&(*view, *flow, number));
        }
        if let Some(deadline) = connection.deadline {
            self.deadlines.remove(&(deadline, number));
        }
        Some(connection)
    }

    /// Takes out all, in the order in which they were first seen.
    pub fn take_all(&mut self) -> Vec<Traced> {
        let mut numbers: Vec<_> = self.all.keys().copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Connections, and entries of each index for one of them: for tests of its bounds.
    #[cfg(test)]
    pub fn lens(&self) -> [usize; 5] {
        let flows = self.flows.len().div_ceil(KEYS);
        [self.all.len(), self.sockets.len(), flows, self.order.len(), self.deadlines.len()]
    }
}

fn place_in_order(connection: &Traced) -> (bool, u64, u64) {
    (connection.phase != Phase::Closed, connection.used, connection.number)
}
