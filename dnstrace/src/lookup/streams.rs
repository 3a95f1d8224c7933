//! Messages over TCP: which connection carries them, and answers of more than one message.

use std::net::SocketAddr;

use crate::{
    dns::{Decoded, Message},
    event::{Direction, KernelTime, SocketMessage, Transport},
    identify::Owner,
};

use super::{
    Attempt, Carrier, Conversation, Observation, Output, Role, StrayReason, Tracker,
    connections::{Ends, Traced},
    known::Known,
    open::{AFTER_CONNECTION, settling},
    places::Place,
    table::Table,
    tracker::{answer_of, stray},
};

impl Tracker {
    /// The number of the connection of a message at this socket. One that was not seen to open is older than the trace.
    pub(super) fn connection_of(
        &mut self,
        conversation: &Conversation,
        socket: u64,
        time: KernelTime,
        out: &mut Vec<Output>,
    ) -> u64 {
        let Conversation { netns, local, remote, role, .. } = *conversation;
        let ends = Ends { netns, socket, local, remote };
        if local.port() == 0 {
            // It goes with a SYN: no connection that has closed at this socket is its own.
            self.forget_closed(&ends, out);
        }
        self.connection_at(ends, role, time, out)
    }

    /// The number of the connection at this socket: another flow is another connection.
    pub(super) fn connection_at(
        &mut self,
        ends: Ends,
        role: Role,
        time: KernelTime,
        out: &mut Vec<Output>,
    ) -> u64 {
        let known = self.connections.at_socket(ends.netns, ends.socket);
        if let Some(number) = known.filter(|known| known.is_between(&ends)).map(|known| known.number) {
            self.learn_ends(number, ends.local, role);
            self.connections.use_again(number);
            if let Some(connection) = self.connections.get_mut(number) {
                connection.touched = time;
            }
            return number;
        }
        self.add_connection(Traced::new(ends, role, time), out)
    }

    /// Learns the port of a connection, if it was not known, and who is its client. What was sent with the SYN (TCP Fast
    /// Open) was sent before it had one.
    pub(super) fn learn_ends(&mut self, number: u64, local: SocketAddr, role: Role) {
        let Some(connection) = self.connections.get(number) else { return };
        let had_port = connection.local.port() != 0;
        self.connections.learn(number, local, role);
        if !had_port {
            for place in self.table.carried_by(number) {
                self.table.learn_port(place, local);
            }
        }
    }

    /// Adds a connection, in the place of what was at its socket before. Returns its number.
    pub(super) fn add_connection(&mut self, connection: Traced, out: &mut Vec<Output>) -> u64 {
        let before = self.connections.at_socket(connection.netns, connection.socket);
        if let Some(before) = before.map(|before| before.number) {
            self.conclude_given_up(before, out);
            if let Some(before) = self.connections.remove(before) {
                // Its end was not seen, or it is told.
                let touched = before.touched;
                self.tell_connection(before, touched, out);
            }
        }
        if let Some(forgotten) = self.connections.take_for_room() {
            self.table.totals.connections += u64::from(forgotten.end.is_none());
            let touched = forgotten.touched;
            self.tell_connection(forgotten, touched, out);
        }
        self.connections.add(connection)
    }

    /// Puts a query on its connection: the first one tells how that was opened.
    pub(super) fn board(&mut self, number: u64, attempt: &mut Attempt) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        attempt.carrier = Some(connection.carrier());
        attempt.endpoint = connection.endpoint;
        if !connection.encrypted {
            attempt.steps = std::mem::take(&mut connection.steps);
            attempt.steps_left_out = std::mem::take(&mut connection.steps_left_out);
        }
        connection.queries = connection.queries.saturating_add(1);
    }

    /// Notes the query that went over a connection last.
    pub(super) fn note_last(&mut self, number: u64, query: u64) {
        if let Some(connection) = self.connections.get_mut(number) {
            connection.last_query = Some(query);
        }
    }

    /// Whether a message at `socket` can be for this attempt: over TCP it comes on the attempt's own connection.
    pub(super) fn may_come_on(&self, known: &Known<'_>, socket: u64) -> bool {
        let Some(number) = known.connection else { return true };
        let now = self.connections.at_socket(known.netns, socket);
        known.socket == socket && now.is_none_or(|connection| connection.number == number)
    }

    /// Takes in a response that goes on with an answer, or is one of many that a group gives. Whether it was one.
    pub(super) fn goes_on(
        &mut self,
        observation: &Observation,
        conversation: &Conversation,
        message: &Message,
    ) -> bool {
        match conversation.transport {
            Transport::Tcp => self.transfer_goes_on(observation, conversation, message),
            Transport::Udp => self.group_answers(observation, conversation, message),
        }
    }

    fn transfer_goes_on(
        &mut self,
        observation: &Observation,
        conversation: &Conversation,
        message: &Message,
    ) -> bool {
        let socket = observation.seen.socket;
        let of_transfer = |known: &Known<'_>| {
            self.may_come_on(known, socket) && self.table.is_transfer(known.place, message)
        };
        let attempts = self.table.of_conversation(conversation);
        let Some(place) = attempts.iter().rev().find(|known| of_transfer(known)).map(|known| known.place)
        else {
            return false;
        };
        self.table.transfer_goes_on(place, message, observation.seen.time);
        true
    }

    fn group_answers(
        &mut self,
        observation: &Observation,
        conversation: &Conversation,
        message: &Message,
    ) -> bool {
        let asked = self.table.asked_group(&observation.seen, message, conversation.role);
        let asked: Vec<(Place, bool)> = asked.iter().map(|known| (known.place, known.is_waiting())).collect();
        for (place, is_waiting) in &asked {
            if *is_waiting {
                self.table.settle(*place, answer_of(observation, message));
            } else {
                self.table.count_further(*place);
            }
        }
        !asked.is_empty()
    }

    /// Bytes of a connection between which messages cannot be told apart.
    pub fn stream_skipped(&mut self, seen: SocketMessage, owner: Owner, out: &mut Vec<Output>) {
        self.advance(seen.time, out);
        let answers = match seen.direction {
            Direction::Received => Role::Client,
            Direction::Sent => Role::Server,
        };
        if let Some(connection) = self.connections.at_socket(seen.netns, seen.socket) {
            self.table.doubt(connection.number, answers);
        }
        stray(unread(seen, owner), StrayReason::StreamSkipped, out);
    }

    /// A connection that does not speak DNS.
    pub fn stream_not_dns(&mut self, seen: SocketMessage, owner: Owner, out: &mut Vec<Output>) {
        self.advance(seen.time, out);
        stray(unread(seen, owner), StrayReason::StreamNotDns, out);
    }
}

impl Table {
    /// Attempts over this connection whose queries are under way.
    pub fn carried_by(&self, connection: u64) -> Vec<Place> {
        let range = (connection, Place::FIRST)..=(connection, Place::LAST);
        self.carried.range(range).map(|(_, place)| *place).collect()
    }

    /// Those of them that wait for their answer.
    pub fn waiting_over(&self, connection: u64) -> Vec<Place> {
        let mut places = self.carried_by(connection);
        places.retain(|place| self.known(*place).is_some_and(|known| known.is_waiting()));
        places
    }

    /// Those of a server that were answered a moment ago.
    pub fn answered_over(&self, connection: u64) -> Vec<Place> {
        let mut places = self.carried_by(connection);
        places.retain(|place| {
            let attempt = self.known(*place).and_then(|known| known.open);
            attempt.is_some_and(|attempt| {
                attempt.conversation.role == Role::Server && attempt.answer().is_some()
            })
        });
        places
    }

    /// Learns the port that an attempt's socket got when the query was on its way.
    /// Learns how the connection of an attempt was opened, if that was after it.
    pub(super) fn learn_opening(&mut self, place: Place, opened: &Carrier) {
        let carrier = self.attempt_mut(place).and_then(|attempt| attempt.carrier.as_mut());
        if let Some(carrier) = carrier
            && carrier.established.is_none()
        {
            *carrier = Carrier { queries_before: carrier.queries_before, ..*opened };
        }
    }

    fn learn_port(&mut self, place: Place, local: SocketAddr) {
        let Some(attempt) = self.attempt_mut(place) else { return };
        attempt.conversation.local = local;
        let conversation = attempt.conversation;
        if let Some(id) = conversation.id {
            self.places.add(place, conversation.view(), conversation.flow(), id);
        }
    }

    /// Notes that the answers to what waits over this connection, to sockets of this role, may have been skipped.
    fn doubt(&mut self, connection: u64, role: Role) {
        for place in self.waiting_over(connection) {
            if let Some(open) = self.open.get_mut(&place.query)
                && open.query.role == role
                && !open.skipped.contains(&place.attempt)
            {
                open.skipped.push(place.attempt);
            }
        }
    }

    /// Whether this message is a further one of the zone transfer that this attempt is answered with.
    fn is_transfer(&self, place: Place, message: &Message) -> bool {
        let Some(open) = self.open.get(&place.query) else { return false };
        let is_asked = message.question.as_ref().is_none_or(|asked| *asked == open.query.question);
        is_asked && open.transfer.as_ref().is_some_and(|transfer| transfer.attempt == place.attempt)
    }

    fn transfer_goes_on(&mut self, place: Place, message: &Message, time: KernelTime) {
        self.count_further(place);
        let Some(open) = self.open.get_mut(&place.query) else { return };
        let Some(transfer) = &mut open.transfer else { return };
        transfer.goes_on(message);
        self.wait_for_transfer(place, time);
    }

    /// Waits for what is still to come of a transfer.
    pub fn wait_for_transfer(&mut self, place: Place, time: KernelTime) {
        let Some(open) = self.open.get(&place.query) else { return };
        let Some(attempt) = open.query.attempts.get(place.attempt) else { return };
        let wait = if open.is_transferring() { self.limits.timeout } else { settling(attempt) };
        self.postpone(place.query, time.plus(wait));
    }

    /// The connection of a transfer has ended, at `time`: no more of it comes. Returns the attempts of those that broke
    /// off.
    pub fn end_transfers(&mut self, connection: u64, time: KernelTime) -> Vec<Place> {
        let mut broken_off = Vec::new();
        for place in self.carried_by(connection) {
            let open = self.open.get(&place.query).filter(|open| open.is_transferring());
            let Some(transfer) = open.and_then(|open| open.transfer.as_ref()) else { continue };
            if transfer.attempt == place.attempt {
                if transfer.has_broken_off() {
                    broken_off.push(place);
                }
                self.postpone(place.query, time.plus(AFTER_CONNECTION));
            }
        }
        broken_off
    }
}

fn unread(seen: SocketMessage, owner: Owner) -> Observation {
    Observation { seen, decoded: Decoded { message: None, defect: None }, owner }
}
