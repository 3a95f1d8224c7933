//! A client's attempt where its server is traced, too: when the query was taken in there, and answered.
//!
//! What lies between is the server's own time; what is left is the network's. An attempt without an answer that the server
//! has answered was lost on its way back, and one that it never took in on its way there.

use crate::{
    dns::Message,
    event::{KernelTime, Transport},
};

use super::{
    Leg, Observation, ServerSide, Tracker,
    find::{Found, Sought, stays_in_namespace},
    places::{Place, View, of_source},
    table::Table,
};

impl Tracker {
    /// The newest attempt of the server's query `number` has just been taken in by its program: tells the attempt of the
    /// client that it is the other side of.
    pub(super) fn taken_in(&mut self, number: u64, observation: &Observation) {
        let Some(server) = self.table.newest_attempt(number) else { return };
        let Some(client) = self.client_of(observation) else { return };
        let seen = &observation.seen;
        let side = ServerSide {
            query: number,
            owner: observation.owner.clone(),
            task: seen.task.clone(),
            netns: seen.netns,
            received: seen.time,
            answered: None,
        };
        self.table.join(client, server, side);
    }

    fn client_of(&mut self, observation: &Observation) -> Option<Place> {
        let message = observation.decoded.message.as_ref()?;
        match observation.seen.flow.transport {
            Transport::Udp => self.client_of_datagram(observation, message),
            Transport::Tcp => self.client_of_stream(observation, message),
        }
    }

    fn client_of_datagram(&mut self, observation: &Observation, message: &Message) -> Option<Place> {
        let seen = &observation.seen;
        let sought = Sought {
            time: seen.time,
            netns: Some(seen.netns),
            flow: seen.flow,
            connection: None,
            message: Some(message),
            is_drop: false,
        };
        match sought.client(&self.table) {
            (Leg::Query, Found::Attempt(place)) => Some(place),
            (Leg::Query, Found::Nobody) => {
                let Found::Attempt(place) = sought.client_by_source(&self.table) else { return None };
                self.went_to(place, seen.flow);
                Some(place)
            }
            _ => None,
        }
    }

    /// Packets of a connection are known by its addresses, or as datagrams are where no translation was seen; the message by
    /// its id and question.
    fn client_of_stream(&mut self, observation: &Observation, message: &Message) -> Option<Place> {
        let seen = &observation.seen;
        let views = [View::Client, View::Translated];
        let by_addresses = views.iter().flat_map(|view| self.connections.at(*view, seen.flow));
        let mut connections: Vec<_> = by_addresses.map(|connection| connection.number).collect();
        let is_way_known = !connections.is_empty();
        if !is_way_known {
            let of_source = self.connections.at(View::Source, of_source(&seen.flow));
            connections.extend(of_source.filter(|other| other.is_way_unknown()).map(|other| other.number));
        }
        let attempts = connections.into_iter().flat_map(|number| self.table.carried_by(number));
        let mut places: Vec<_> = attempts
            .filter_map(|place| self.table.known(place))
            .filter(|known| known.time <= seen.time && known.is_waiting())
            .filter(|known| known.netns == seen.netns || !stays_in_namespace(&seen.flow))
            .filter(|known| known.id() == Some(message.id))
            .filter(|known| message.question.as_ref().is_none_or(|asked| asked == known.question))
            .map(|known| (known.place, known.connection))
            .collect();
        places.dedup();
        let [(place, connection)] = places[..] else { return None };
        if let (Some(number), false) = (connection, is_way_known) {
            self.connection_went_to(number, seen.flow);
        }
        Some(place)
    }
}

impl Table {
    /// The attempt that was added to a query last.
    fn newest_attempt(&self, number: u64) -> Option<Place> {
        let last = self.open.get(&number)?.query.attempts.len().checked_sub(1)?;
        Some(Place { query: number, attempt: last })
    }

    /// Two attempts are two sides of one. Of a datagram that came twice, the first counts.
    fn join(&mut self, client: Place, server: Place, side: ServerSide) {
        let Some(attempt) = self.attempt_mut(client) else { return };
        if attempt.server_side.is_none() {
            attempt.server_side = Some(Box::new(side));
            self.clients.insert(server, client);
        }
    }

    /// The server's attempt has been answered with this RCODE: tells the client's, if that is still under way.
    pub(super) fn answered_at_server(&mut self, server: Place, time: KernelTime, rcode: u16) {
        let Some(client) = self.clients.remove(&server) else { return };
        if let Some(side) = self.attempt_mut(client).and_then(|attempt| attempt.server_side.as_mut()) {
            side.answered = Some((time, rcode));
        }
    }
}
