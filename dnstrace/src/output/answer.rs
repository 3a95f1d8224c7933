//! A response in a few words.

use crate::{
    dns::{Defect, Message, Record, rcode, record_type},
    lookup::Answer,
};

use super::escape;

/// Records of an answer that a line shows; the rest is counted.
const SHOWN: usize = 3;

/// RCODE, with NODATA apart from NOERROR: the word that a table shows.
pub(crate) fn status(message: &Message) -> String {
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
    match answer.further_messages {
        0 => {}
        1 => words.push("[and 1 further message]".to_owned()),
        many => words.push(format!("[and {many} further messages]")),
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

/// Bytes of a beginning that are shown.
const EXCERPT: usize = 24;

/// How something that is not DNS begins, so that it can be known: `"GET / HTTP/1.1"`, `a TLS handshake`, `05 01 00`.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    // A record of type handshake, of TLS 1.0 to 1.3 (RFC 8446, 5.1).
    if matches!(bytes, [22, 3, 0..=4, ..]) {
        return "a TLS handshake".to_owned();
    }
    let shown = bytes.get(..EXCERPT).unwrap_or(bytes);
    let line = shown.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    match str::from_utf8(line) {
        Ok(text) if !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            format!("\"{text}\"")
        }
        _ if shown.is_empty() => "nothing that was captured".to_owned(),
        _ => shown.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn what_is_not_dns_is_shown_harmlessly() {
        let cases: [(&[u8], &str); 6] = [
            (b"GET /index.html HTTP/1.1\r\nHost: x\r\n", "\"GET /index.html HTTP/1.1\""),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian-2", "\"SSH-2.0-OpenSSH_9.2p1 De\""),
            (&[22, 3, 1, 2, 0, 1], "a TLS handshake"),
            (&[5, 1, 0], "05 01 00"),
            (b"a\x1b[31m", "61 1b 5b 33 31 6d"),
            (b"", "nothing that was captured"),
        ];
        for (bytes, words) in cases {
            assert_eq!(excerpt(bytes), words);
        }
    }
}
