//! A query that did not go well, in the fewest words.

use crate::{dns::record_type, lookup::Query, statistics::ByWord};

use super::{answer, attempt, escape, names, summary::totals, units};

/// Who asked, what, and how it ended: `NOERROR in 5.001 s: 1 lost at conntrack insert`. Safe for a terminal.
pub(crate) fn sick(query: &Query) -> [String; 3] {
    let question = format!("{} {}", record_type(query.question.qtype), escape(&query.question.name));
    let ending = match (query.answer(), query.latency()) {
        (Some(answer), Some(latency)) => {
            format!("{} in {}", answer::status(&answer.message), units::duration(latency))
        }
        _ => attempt::ending(query).to_owned(),
    };
    let mut fates = ByWord::new();
    for attempt in &query.attempts {
        *fates.entry(names::fate(&attempt.fate)).or_default() += 1;
    }
    let fates = totals::fates(&fates);
    let verdict = if fates.is_empty() { ending } else { format!("{ending}: {fates}") };
    [escape(&query.owner.to_string()).into_owned(), question, verdict]
}
