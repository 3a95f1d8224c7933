//! Builds what happens to TCP connections.

use super::{packets::*, *};
use crate::event::{
    ConfirmResult, ConnectFailure, Connection, ConnectionChange, Retransmission, TcpHead, TcpState,
    TcpState::{Close, CloseWait, Established, FinWait1, SynRecv, SynSent},
};

pub const ECONNRESET: u16 = 104;
pub const ETIMEDOUT: u16 = 110;
pub const ECONNREFUSED: u16 = 111;
pub const EHOSTUNREACH: u16 = 113;

/// A client of TCP, of the same process as [`client`].
pub fn tcp() -> Client {
    Client { local: "10.244.1.7:50000".parse().unwrap(), socket: 2, transport: Transport::Tcp, ..client() }
}

/// Sees the messages of a [`Client`] from the other side.
pub struct Server(pub Client);

/// The server's end of the connection of [`tcp`], in another namespace and process.
pub fn tcp_server() -> Server {
    let Client { local, server, .. } = tcp();
    Server(Client { local: server, server: local, netns: 9, pid: 200, tid: 200, socket: 3, ..tcp() })
}

impl Server {
    pub fn is_asked(&self, at: u64, id: u16, name: &str) -> Input {
        self.0.gets(at, message(id, name, false)).into()
    }

    pub fn answers(&self, at: u64, id: u16, name: &str) -> Input {
        let seen = self.0.seen(at, Direction::Sent, self.0.local, self.0.server);
        observation(seen, answer(id, name)).into()
    }
}

impl Client {
    /// Another connection of the same process.
    pub fn another(&self, socket: u64) -> Self {
        let mut another = Self { socket, ..self.clone() };
        another.local.set_port(self.local.port() + u16::try_from(socket).unwrap());
        another
    }

    fn is_encrypted(&self) -> bool {
        matches!(self.server.port(), 443 | 853)
    }

    pub fn task(&self) -> Task {
        Task { cgroup: 1, pid: self.pid, tid: self.tid, comm: "curl".into() }
    }

    pub fn change(&self, at: u64, from: TcpState, to: TcpState) -> ConnectionChange {
        ConnectionChange {
            time: KernelTime(at),
            socket: self.socket,
            netns: self.netns,
            flow: self.flow(),
            from,
            to,
            task: None,
            encrypted: self.is_encrypted(),
            error: None,
            bytes_acked: 0,
            bytes_received: 0,
            rtt_us: None,
        }
    }

    pub fn turns(&self, at: u64, from: TcpState, to: TcpState) -> Input {
        Input::Change(self.change(at, from, to))
    }

    /// Its SYN is about to be sent. The kernel has not chosen its port yet.
    pub fn opens(&self, at: u64) -> Input {
        let mut change = self.change(at, Close, SynSent);
        change.flow.source.set_port(0);
        change.task = Some(self.task());
        Input::Change(change)
    }

    pub fn is_open(&self, at: u64) -> Input {
        self.turns(at, SynSent, Established)
    }

    /// A server's connection.
    pub fn accepts(&self, at: u64) -> Input {
        self.turns(at, SynRecv, Established)
    }

    pub fn fails(&self, at: u64, errno: u16) -> Input {
        Input::Change(ConnectionChange { error: Some(errno), ..self.change(at, SynSent, Close) })
    }

    pub fn gives_up(&self, at: u64) -> Input {
        self.turns(at, SynSent, Close)
    }

    pub fn closes(&self, at: u64) -> Input {
        self.turns(at, Established, FinWait1)
    }

    pub fn is_closed_by_peer(&self, at: u64) -> Input {
        self.turns(at, Established, CloseWait)
    }

    pub fn is_reset(&self, at: u64) -> Input {
        Input::Change(ConnectionChange { error: Some(ECONNRESET), ..self.change(at, Established, Close) })
    }

    pub fn sends_again(&self, at: u64, state: TcpState) -> Input {
        Input::Again(Retransmission {
            time: KernelTime(at),
            socket: self.socket,
            netns: self.netns,
            flow: self.flow(),
            state,
            encrypted: self.is_encrypted(),
        })
    }

    /// The system call that should have opened it failed.
    pub fn cannot_connect(&self, at: u64, errno: u16) -> Input {
        let mut flow = self.flow();
        flow.source.set_port(0);
        Input::ConnectFailure(ConnectFailure {
            time: KernelTime(at),
            socket: self.socket,
            netns: self.netns,
            task: self.task(),
            flow,
            encrypted: self.is_encrypted(),
            errno,
        })
    }

    /// A segment of it on the node.
    pub fn segment(&self, is_syn: bool) -> Pkt {
        let mut packet = self.query(0, "").cut();
        packet.packet.tcp = Some(TcpHead { seq: 1, syn: is_syn, ack: !is_syn, fin: false, rst: false });
        packet
    }

    pub fn syn(&self) -> Pkt {
        self.segment(true)
    }

    pub fn data(&self) -> Pkt {
        self.segment(false)
    }

    /// A segment from its server, translated back.
    pub fn segment_back(&self, is_syn: bool) -> Pkt {
        let mut packet = self.segment(is_syn);
        packet.packet.flow = packet.packet.flow.reversed();
        packet
    }

    pub fn data_back(&self) -> Pkt {
        self.segment_back(false)
    }

    pub fn syn_is_inserted(&self, at: u64, entry: Connection) -> Input {
        self.syn().by(entry).confirmed(at, ConfirmResult::Inserted)
    }
}

/// The answer that asks for a retry over TCP.
pub fn truncated(id: u16, name: &str) -> Message {
    let mut message = message(id, name, true);
    message.flags.truncated = true;
    message
}

/// A client asks over UDP at `at`; its answer, a millisecond later, is truncated.
pub fn is_truncated(at: u64, id: u16, name: &str) -> Vec<Input> {
    vec![client().asks(at, id, name).into(), client().gets(at + MS, truncated(id, name)).into()]
}
