//! What the table knows of an attempt, under way or of an ended query.

use std::net::SocketAddr;

use crate::{
    dns::Question,
    event::{Flow, KernelTime},
};

use super::{
    Attempt, Conversation, Fate, What,
    places::{Place, View},
    table::Table,
};

/// An attempt as others see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub place: Place,
    pub time: KernelTime,
    pub netns: u32,
    pub socket: u64,
    /// The other end, as the traced socket has it.
    pub remote: SocketAddr,
    pub question: &'a Question,
    /// The number of the TCP connection that it went over; none over UDP.
    pub connection: Option<u64>,
    /// The attempt itself; none if its query has ended.
    pub open: Option<&'a Attempt>,
}

impl Known<'_> {
    /// Its DNS id, while its query is under way.
    pub fn id(&self) -> Option<u16> {
        self.open?.conversation.id
    }

    /// Whether nothing has told where its query goes: neither a translation nor that there is none.
    pub fn is_way_unknown(&self) -> bool {
        self.open.is_some_and(|attempt| {
            let is_told = attempt.steps.iter().any(|step| matches!(step.what, What::Conntrack(_)));
            attempt.endpoint.is_none() && !is_told
        })
    }

    /// Whether it may still be answered.
    pub fn is_waiting(&self) -> bool {
        self.open.is_some_and(|attempt| matches!(attempt.fate, Fate::Open))
    }
}

impl Table {
    /// What is known of the attempt there.
    pub fn known(&self, place: Place) -> Option<Known<'_>> {
        if let Some(open) = self.open.get(&place.query) {
            let attempt = open.query.attempts.get(place.attempt)?;
            return Some(Known {
                place,
                time: attempt.time,
                netns: attempt.conversation.netns,
                socket: attempt.socket,
                remote: attempt.conversation.remote,
                question: &open.query.question,
                connection: attempt.carrier.map(|carrier| carrier.connection),
                open: Some(attempt),
            });
        }
        let ended = self.ended.get(&place.query)?;
        let attempt = ended.attempts.get(place.attempt)?;
        Some(Known {
            place,
            time: attempt.time,
            netns: attempt.netns,
            socket: attempt.socket,
            remote: attempt.remote,
            question: &ended.question,
            connection: attempt.connection,
            open: None,
        })
    }

    /// Attempts whose packets bear these addresses, and this id if one is given.
    pub fn at(&self, view: View, flow: Flow, id: Option<u16>) -> impl Iterator<Item = Known<'_>> {
        self.places.at(view, flow, id).filter_map(|place| self.known(place))
    }

    /// Attempts of this very conversation, under way and ended, the newest last.
    pub fn of_conversation(&self, conversation: &Conversation) -> Vec<Known<'_>> {
        self.in_conversation(conversation.view(), conversation)
    }

    /// Attempts that were translated to its other end, likewise.
    pub fn translated_to(&self, conversation: &Conversation) -> Vec<Known<'_>> {
        self.in_conversation(View::Translated, conversation)
    }

    fn in_conversation(&self, view: View, conversation: &Conversation) -> Vec<Known<'_>> {
        let all = self.at(view, conversation.flow(), conversation.id);
        let mut all: Vec<_> = all.filter(|known| known.netns == conversation.netns).collect();
        all.sort_by_key(|known| (known.time, known.place));
        all
    }

    /// The attempt itself, if its query is under way.
    pub fn attempt_mut(&mut self, place: Place) -> Option<&mut Attempt> {
        self.open.get_mut(&place.query)?.query.attempts.get_mut(place.attempt)
    }

    /// Whether this query has ended without an answer.
    pub fn ended_unanswered(&self, number: u64) -> bool {
        self.ended.get(&number).is_some_and(|ended| !ended.answered)
    }
}
