//! Insertion into connection tracking: what it came to for an attempt's packet, and what it tells of where that goes.

use crate::{
    dns::Decoded,
    event::{Clash, Confirm, ConfirmResult, Connection, Flow, KernelTime, Transport},
};

use super::{
    Conntrack, Conversation, Insertion, Leg, Output, Role, Step, Tracker, What,
    befall::stray,
    entries::{Loser, Made, Maker},
    find::{Found, Sought},
    places::{Place, View},
};

impl Tracker {
    /// Two entries clashed; the insertion under way tells what came of it.
    pub fn clash(&mut self, clash: Clash, out: &mut Vec<Output>) {
        self.advance(clash.time, out);
        self.entries.clash(clash);
    }

    /// A packet's entry was to be inserted. `decoded` is its excerpt.
    pub fn confirm(&mut self, confirm: Confirm, decoded: Decoded, out: &mut Vec<Output>) {
        self.advance(confirm.time, out);
        if confirm.packet.flow.transport == Transport::Tcp {
            return self.segment_confirmed(&confirm, out);
        }
        let Some(entry) = confirm.packet.tracking.connection().copied() else {
            return self.untracked(&confirm, &decoded);
        };
        if decoded.message.as_ref().is_some_and(|message| message.response) {
            // An answer whose own entry has gone: a flow of its own to connection tracking. It says nothing of the
            // query's entry, and should the answer be dropped for it, that drop tells.
            return;
        }
        let sought = Sought::of(confirm.began, &confirm.packet, decoded.message.as_ref());
        let (_, found) = sought.client(&self.table);
        let attempt = match found {
            Found::Attempt(place) => Some(place),
            Found::Ended(_) | Found::Ambiguous | Found::Nobody => None,
        };
        let maker = attempt.and_then(|place| self.maker(place));
        let is_gap = self.gaps.lost(confirm.began, confirm.time) > 0;
        let netns = maker.as_ref().map(|maker| maker.netns);
        let verdict = self.entries.judge(&confirm, entry, maker.as_ref(), netns, is_gap);
        if let (Some(netns), Insertion::Inserted) = (netns, &verdict.step.result) {
            self.find_behind(netns, &entry);
        }
        if matches!(verdict.step.result, Insertion::Inserted | Insertion::ReplyOnly { .. }) {
            self.made(&confirm, &entry, maker);
        }
        let has_failed = matches!(verdict.step.result, Insertion::Failed { .. });
        if let (Some(place), Some(ct)) = (attempt, verdict.winner) {
            let (original, reply) = (entry.original, entry.reply);
            self.entries.await_maker(ct, Loser { place, time: confirm.time, original, reply });
        }
        let step =
            Step { time: confirm.time, netns: confirm.packet.netns, what: What::Conntrack(verdict.step) };
        match attempt {
            Some(place) => {
                self.table.add_step(place, step);
                if let Some(entry) = verdict.entry {
                    self.learn(place, &entry, has_failed);
                }
            }
            // That the packets of others are inserted is nothing to tell.
            None if has_failed => stray(step, confirm.packet.flow, decoded, found, out),
            None => {}
        }
    }

    /// A packet that a rule keeps out of connection tracking.
    fn untracked(&mut self, confirm: &Confirm, decoded: &Decoded) {
        if confirm.result != ConfirmResult::Untracked {
            return;
        }
        let sought = Sought::of(confirm.time, &confirm.packet, decoded.message.as_ref());
        // That the packets of others are not tracked is nothing to tell.
        if let (Leg::Query, Found::Attempt(place)) = sought.client(&self.table) {
            let flow = confirm.packet.flow;
            let entry = Conntrack { original: flow, reply: flow.reversed(), result: Insertion::Untracked };
            let step = Step { time: confirm.time, netns: confirm.packet.netns, what: What::Conntrack(entry) };
            self.table.add_step(place, step);
        }
    }

    /// Remembers who made an entry that is in the table now, and tells those that lost to it.
    pub(super) fn made(&mut self, confirm: &Confirm, entry: &Connection, maker: Option<Maker>) {
        let made = maker.map(|maker| Made {
            original: entry.original,
            reply: entry.reply,
            began: confirm.began,
            maker,
        });
        for loser in self.entries.made(entry.ct, made.clone()) {
            if let Some(made) = &made {
                self.tell_loser(loser, entry, made);
            }
        }
    }

    /// Completes or corrects the step of one that lost, whose insertion returned before the winner's did.
    fn tell_loser(&mut self, loser: Loser, entry: &Connection, made: &Made) {
        let Some(own) = self.maker(loser.place) else { return };
        let query = made.maker.as_winner(Some(&own), true);
        let Some(attempt) = self.table.attempt_mut(loser.place) else { return };
        let mut steps = attempt.steps.iter_mut().filter(|step| step.time == loser.time);
        let Some(told) = steps.find_map(|step| match &mut step.what {
            What::Conntrack(own) if own.original == loser.original => Some(own),
            _ => None,
        }) else {
            return;
        };
        told.result.complete(entry, query);
        if matches!(told.result, Insertion::Merged { .. }) {
            self.learn(loser.place, entry, false);
        }
    }

    /// Where an attempt's packet goes by its entry, or would have gone.
    fn learn(&mut self, place: Place, entry: &Connection, has_failed: bool) {
        if let Some(attempt) = self.table.attempt_mut(place) {
            let endpoint = entry.endpoint();
            // Another namespace's entry begins with what this one's has made of the addresses.
            if endpoint.is_some() || entry.original == attempt.conversation.flow() {
                attempt.endpoint = endpoint;
            }
        }
        if !has_failed {
            self.table.add_translated(place, entry.reply);
        }
    }

    /// Queries that a client in this namespace sent on a flow before its first packet made the entry: they go by it, if they
    /// get so far, without an insertion of their own. Their server finds them by it; where they went is told once something
    /// has come back ([`Self::proven_way`]).
    fn find_behind(&mut self, netns: u32, entry: &Connection) {
        let candidates = self.table.places.at(View::Client, entry.original, None);
        let behind: Vec<_> = candidates.filter(|place| self.is_behind(*place, netns)).collect();
        for place in behind {
            self.table.add_translated(place, entry.reply);
        }
    }

    /// Whether an attempt of this namespace waits of which it is not known where it goes.
    fn is_behind(&self, place: Place, netns: u32) -> bool {
        self.table.known(place).is_some_and(|known| known.netns == netns && known.is_way_unknown())
    }

    /// The socket that received a client's query is where it went, by an entry that nobody saw.
    pub(super) fn went_to(&mut self, place: Place, received: Flow) {
        if let Some(attempt) = self.table.attempt_mut(place) {
            attempt.endpoint = Some(received.destination);
        }
        self.table.add_translated(place, received.reversed());
    }

    /// An attempt is answered now: if nothing told where it went, the entry did that its flow has by now.
    pub(super) fn proven_way(&mut self, place: Place, now: KernelTime) {
        let Some(attempt) = self.table.attempt_mut(place) else { return };
        let Conversation { role, netns, .. } = attempt.conversation;
        let flow = attempt.conversation.flow();
        if role == Role::Client && self.is_behind(place, netns) {
            let way = self.entries.way(&flow, netns, now);
            if let Some(attempt) = self.table.attempt_mut(place) {
                attempt.endpoint = way.and_then(|way| way.endpoint);
            }
        }
    }

    fn maker(&self, place: Place) -> Option<Maker> {
        let known = self.table.known(place)?;
        Some(Maker { place, question: known.question.clone(), netns: known.netns, socket: known.socket })
    }
}
