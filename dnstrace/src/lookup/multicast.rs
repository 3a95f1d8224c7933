//! Queries to a multicast group: multicast DNS (RFC 6762) and LLMNR (RFC 4795), where the user wants their ports.
//!
//! Whoever has the name answers, from an address of its own: to the socket that asked, or, in multicast DNS, to the
//! group again, without an id or a question.

use crate::{
    dns::{Message, Question},
    event::SocketMessage,
};

use super::{Conversation, Role, known::Known, places::Place, table::Table};

const ANY: u16 = 255;

/// Whether it is between a client and a group.
pub(super) fn is_of_group(conversation: &Conversation) -> bool {
    let server = match conversation.role {
        Role::Client => conversation.remote,
        Role::Server => conversation.local,
    };
    server.ip().is_multicast()
}

impl Table {
    /// Attempts of this socket to a group that `message` answers.
    pub fn asked_group(&self, seen: &SocketMessage, message: &Message, role: Role) -> Vec<Known<'_>> {
        let range = (seen.netns, seen.socket, Place::FIRST)..=(seen.netns, seen.socket, Place::LAST);
        let attempts = self.groups.range(range).filter_map(|(.., place)| self.known(*place));
        attempts
            .filter(|known| {
                known.open.is_some_and(|attempt| {
                    attempt.conversation.role == role
                        && answers(message, known.question, &attempt.conversation)
                })
            })
            .collect()
    }

    /// Counts a further message that answers this attempt. Whether it has been answered at all.
    pub fn count_further(&mut self, place: Place) -> bool {
        let answer = self.attempt_mut(place).and_then(|attempt| attempt.answer_mut());
        if let Some(answer) = answer {
            answer.further_messages = answer.further_messages.saturating_add(1);
            return true;
        }
        false
    }
}

/// Whether a response is one to this question, asked in this conversation. A response of multicast DNS has neither its id
/// nor a question (RFC 6762, 6 and 18.1), but a record that is asked for.
fn answers(message: &Message, question: &Question, conversation: &Conversation) -> bool {
    match &message.question {
        Some(asked) => Some(message.id) == conversation.id && asked == question,
        None => message.answers.iter().any(|record| {
            record.name.eq_ignore_ascii_case(&question.name)
                && (record.rtype == question.qtype || question.qtype == ANY)
        }),
    }
}
