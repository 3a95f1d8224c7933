//! A response in a few words.

use crate::{
    dns::{Defect, Message, Record, rcode, record_type},
    lookup::Answer,
};

use super::escape;

/// Records of an answer that a line shows; the rest is counted.
const SHOWN: usize = 3;

/// RCODE, with NODATA apart from NOERROR: the word that a table shows.
pub(super) fn status(message: &Message) -> String {
    if message.is_nodata() { "NODATA".to_owned() } else { rcode(message.rcode).into_owned() }
}

/// A wait in the socket's buffer that is worth a word, in nanoseconds: a program that has other things to do for some
/// milliseconds is none of the troubles of DNS.
const LONG_WAIT: u64 = 10_000_000;

/// How long the answer waited in the socket's buffer for its program, if that is worth a word: nanoseconds.
pub(super) fn long_wait(answer: &Answer) -> Option<u64> {
    answer.arrived.map(|arrived| answer.time.since(arrived)).filter(|wait| *wait > LONG_WAIT)
}

/// What the answer says, for the end of a line: its records, and what is odd about it.
pub(super) fn words(answer: &Answer) -> String {
    let mut words = Vec::new();
    let records = records(&answer.message);
    if !records.is_empty() {
        words.push(records);
    }
    if answer.message.flags.truncated {
        words.push("[truncated: TC]".to_owned());
    }
    if let Some(defect) = &answer.defect {
        words.push(format!("[{}]", self::defect(defect)));
    }
    words.join(" ")
}

/// The data of the records that were asked for; aliases on the way named by their target.
fn records(message: &Message) -> String {
    let wanted = message.question.as_ref().map(|question| question.qtype);
    let (direct, others): (Vec<&Record>, Vec<&Record>) =
        message.answers.iter().partition(|record| Some(record.rtype) == wanted);
    let mut parts: Vec<String> =
        direct.iter().take(SHOWN).map(|record| escape(&record.data).into_owned()).collect();
    if direct.len() > SHOWN {
        parts.push(format!("+{} more", direct.len() - SHOWN));
    }
    let aliases = others
        .iter()
        .take(SHOWN)
        .map(|record| format!("{} {}", record_type(record.rtype), escape(&record.data)));
    let aliases: Vec<_> = aliases.collect();
    match (parts.is_empty(), aliases.is_empty()) {
        (_, true) => parts.join(", "),
        (true, false) => aliases.join(", "),
        (false, false) => format!("{} ({})", parts.join(", "), aliases.join(", ")),
    }
}

/// A defect in words.
pub(super) fn defect(defect: &Defect) -> String {
    match defect {
        Defect::NotDns => "not DNS".to_owned(),
        Defect::Cut { missing } => format!("{missing} bytes not captured"),
        Defect::Malformed(why) => format!("malformed: {}", escape(why)),
    }
}
