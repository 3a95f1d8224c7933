//! What became of each attempt, judged when its query ends.

use super::{Fate, Outcome, Query, open::SHORTEST_RETRY};

/// Says of each attempt that never got an answer what became of it.
pub(super) fn judge(query: &mut Query) {
    let (outcome, ended) = (query.outcome, query.ended);
    let mut next = None;
    for attempt in query.attempts.iter_mut().rev() {
        let time = attempt.time;
        if matches!(attempt.fate, Fate::Open) {
            let waited = next.unwrap_or(ended).since(time);
            attempt.fate = match (outcome, next) {
                (_, Some(_)) if waited >= SHORTEST_RETRY => Fate::Unanswered { waited },
                (Outcome::Answered { .. }, _) => Fate::NotAwaited,
                (Outcome::Unanswered, _) => Fate::Unanswered { waited: ended.since(time) },
                (Outcome::Pending, _) => Fate::Open,
            };
        }
        next = Some(time);
    }
}
