//! Whose packet it is.
//!
//! A packet finds its attempt by the addresses, the transport, the id and the question that it bears: as the client's
//! socket addressed it, which the original tuple of its connection tracking entry keeps through every translation;
//! else as its headers are, which may be translated; a client's attempt is known by its translated addresses once its
//! own insertion was seen. Where that leaves several, those of the packet's own network namespace come first, since
//! pods may share addresses, ports and ids. Never is one guessed among different namespaces or sockets.
//!
//! Both ends may be traced. A packet belongs to the client's attempt. The server's attempt, which begins when the
//! query has arrived, is told what befell the answer and nothing else: of the query it knows that it came.

use std::net::{IpAddr, SocketAddr};

use crate::{
    dns::Message,
    event::{Connection, Flow, KernelTime, Packet},
};

use super::{
    Leg,
    fate::{has_dropped, is_dead},
    known::Known,
    places::{Place, View, of_source},
    table::Table,
};

/// What a packet tells of its attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought<'a> {
    /// The attempt was not sent after this.
    pub time: KernelTime,
    pub netns: Option<u32>,
    pub flow: Flow,
    pub connection: Option<&'a Connection>,
    /// As much as was captured; none if not even the id.
    pub message: Option<&'a Message>,
    /// The packet was dropped, which happens to a packet once.
    pub is_drop: bool,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Attempt(Place),
    /// An attempt of a query that has ended.
    Ended(Place),
    /// Several that it may be.
    Ambiguous,
    Nobody,
}

impl<'a> Sought<'a> {
    pub fn of(time: KernelTime, packet: &'a Packet, message: Option<&'a Message>) -> Self {
        Self {
            time,
            netns: packet.netns,
            flow: packet.flow,
            connection: packet.tracking.connection(),
            message,
            is_drop: false,
        }
    }

    /// Which of an attempt's packets it is, and of which client's attempt.
    pub fn client(&self, table: &Table) -> (Leg, Found) {
        match self.message {
            Some(message) if message.response => (Leg::Answer, self.of_client(Leg::Answer, table)),
            Some(_) => (Leg::Query, self.of_client(Leg::Query, table)),
            None => {
                let (query, answer) = (self.of_client(Leg::Query, table), self.of_client(Leg::Answer, table));
                match (query, answer) {
                    (Found::Nobody, Found::Nobody) => (self.likely_leg(), Found::Nobody),
                    (Found::Nobody, answer) => (Leg::Answer, answer),
                    (query, Found::Nobody) => (Leg::Query, query),
                    _ => (self.likely_leg(), Found::Ambiguous),
                }
            }
        }
    }

    /// Of a query that a server's socket has received: the client's attempt that was sent from the same address and port to somewhere
    /// else, by a way that nothing has told, since the entry of its flow is older than the trace. A Service translates the
    /// other end alone. Nobody's if the client may have meant several servers.
    pub fn client_by_source(&self, table: &Table) -> Found {
        let id = self.message.map(|message| message.id);
        let candidates: Vec<_> = table
            .at(View::Source, of_source(&self.flow), id)
            .filter(|known| self.may_be(known, &self.flow) && known.is_waiting() && known.is_way_unknown())
            .collect();
        if is_of_several(&candidates, |known| known.remote) {
            return Found::Ambiguous;
        }
        self.choose(candidates, |known| self.rank(Leg::Query, known))
    }

    /// The server's attempt that it is the answer of.
    pub fn server(&self, table: &Table) -> Found {
        let translated = self.connection.map(|connection| connection.reply.reversed());
        let flows = [translated, Some(self.flow.reversed())];
        let flows = flows.into_iter().flatten().map(|flow| (View::Server, flow));
        let candidates = self.candidates(flows, table);
        self.choose(candidates, |known| u8::from(!known.is_waiting()))
    }

    /// All attempts on a flow of which the entry of connection tracking is gone, that still wait; else the last one.
    pub fn waiting_on(&self, table: &Table) -> Result<Vec<Place>, Found> {
        let flows = [(View::Client, self.flow), (View::Translated, self.flow)];
        let candidates = self.nearest(self.candidates(flows, table));
        if is_of_several(&candidates, |known| known.netns) {
            return Err(Found::Ambiguous);
        }
        let waiting: Vec<_> =
            candidates.iter().filter(|known| known.is_waiting()).map(|known| known.place).collect();
        if !waiting.is_empty() {
            return Ok(waiting);
        }
        match candidates.iter().max_by_key(|known| (known.time, known.place)) {
            Some(last) if last.open.is_some() => Ok(vec![last.place]),
            Some(last) => Err(Found::Ended(last.place)),
            None => Err(Found::Nobody),
        }
    }

    /// Of a packet that bears nothing else: servers have the lower port.
    fn likely_leg(&self) -> Leg {
        if self.flow.source.port() < self.flow.destination.port() { Leg::Answer } else { Leg::Query }
    }

    fn of_client(&self, leg: Leg, table: &Table) -> Found {
        use View::{Client, Translated};
        let original = self.connection.map(|connection| connection.original);
        let by_entry = original.into_iter().map(|flow| (Client, flow));
        // An answer whose entry has gone is the first packet of an entry of its own.
        let (headers, entry) = match leg {
            Leg::Query | Leg::Syn => (self.flow, original),
            Leg::Answer | Leg::SynAck => (self.flow.reversed(), original.map(Flow::reversed)),
        };
        let translated = [original, entry].into_iter().flatten().map(|flow| (Translated, flow));
        let by_headers = [(Client, headers), (Translated, headers)].into_iter().chain(translated);
        let mut candidates = self.candidates(by_entry, table);
        if candidates.is_empty() {
            candidates = self.candidates(by_headers, table);
        }
        self.choose(candidates, |known| self.rank(leg, known))
    }

    /// Attempts at one of these addresses that it may belong to, each once.
    fn candidates<'t>(
        &self,
        flows: impl IntoIterator<Item = (View, Flow)>,
        table: &'t Table,
    ) -> Vec<Known<'t>> {
        let id = self.message.map(|message| message.id);
        let mut candidates: Vec<Known<'t>> = Vec::new();
        for (view, flow) in flows {
            for known in table.at(view, flow, id) {
                if self.may_be(&known, &flow) && candidates.iter().all(|other| other.place != known.place) {
                    candidates.push(known);
                }
            }
        }
        candidates
    }

    fn may_be(&self, known: &Known<'_>, flow: &Flow) -> bool {
        let asked = self.message.and_then(|message| message.question.as_ref());
        known.time <= self.time
            && asked.is_none_or(|asked| known.question == asked)
            && (self.netns == Some(known.netns) || !stays_in_namespace(flow))
    }

    /// Those of the packet's own namespace, if there are any; else all.
    fn nearest<'t>(&self, candidates: Vec<Known<'t>>) -> Vec<Known<'t>> {
        let is_near = |known: &Known<'t>| self.netns == Some(known.netns);
        if candidates.iter().any(is_near) {
            candidates.into_iter().filter(is_near).collect()
        } else {
            candidates
        }
    }

    /// The one that it is: of attempts of one query that of the highest rank, and of those the latest, as one that
    /// was sent again with the same id from the same socket cannot be told from the one before it.
    fn choose(&self, candidates: Vec<Known<'_>>, rank: impl Fn(&Known<'_>) -> u8) -> Found {
        let candidates = self.nearest(candidates);
        let Some(latest) = candidates.iter().max_by_key(|known| (known.time, known.place)) else {
            return Found::Nobody;
        };
        if is_of_several(&candidates, |known| known.netns) {
            return Found::Ambiguous;
        }
        let has_question = self.message.is_some_and(|message| message.question.is_some());
        let query = if has_question {
            let is_rival = |known: &Known<'_>| {
                known.is_waiting() && known.place.query != latest.place.query && known.socket != latest.socket
            };
            if candidates.iter().any(is_rival) {
                return Found::Ambiguous;
            }
            latest.place.query
        } else {
            // Several questions of one socket: the one that waits, if only one does.
            let waiting: Vec<_> = candidates.iter().copied().filter(Known::is_waiting).collect();
            let left = if waiting.is_empty() { &candidates } else { &waiting };
            if is_of_several(left, |known| known.place.query) {
                return Found::Ambiguous;
            }
            left.first().map_or(latest.place.query, |known| known.place.query)
        };
        let of_query = candidates.iter().filter(|known| known.place.query == query);
        match of_query.max_by_key(|known| (rank(known), known.time, known.place)) {
            Some(known) if known.open.is_some() => Found::Attempt(known.place),
            Some(known) => Found::Ended(known.place),
            None => Found::Nobody,
        }
    }

    /// How likely it is to be a packet of this attempt rather than of another of the same query.
    fn rank(&self, leg: Leg, known: &Known<'_>) -> u8 {
        let Some(attempt) = known.open else { return 0 };
        let is_first_drop = !self.is_drop || !has_dropped(attempt, leg);
        match leg {
            Leg::Query | Leg::Syn | Leg::SynAck => u8::from(is_first_drop),
            Leg::Answer if !known.is_waiting() => 0,
            Leg::Answer => 1 + u8::from(is_first_drop) + 2 * u8::from(!is_dead(attempt)),
        }
    }
}

fn is_of_several<T: PartialEq>(candidates: &[Known<'_>], of: impl Fn(&Known<'_>) -> T) -> bool {
    candidates.iter().zip(candidates.iter().skip(1)).any(|(one, next)| of(one) != of(next))
}

/// Whether a packet with these addresses does not leave its network namespace: a loopback address at either end, or a
/// client's link-local one, which says nothing beyond its link. (A server may be link-local and asked from everywhere:
/// NodeLocal DNSCache is.)
pub(super) fn stays_in_namespace(flow: &Flow) -> bool {
    let is_link_local = |address: SocketAddr| match address.ip() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    flow.source.ip().is_loopback() || flow.destination.ip().is_loopback() || is_link_local(flow.source)
}
