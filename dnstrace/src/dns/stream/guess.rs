//! Whether bytes look like a message of DNS behind its length prefix.

use hickory_proto::{
    op::{Header, MessageType, Query, ResponseCode},
    rr::Name,
    serialize::binary::{BinDecodable as _, BinDecoder, DecodeError},
};

use crate::dns::plausible;

/// Octets of the prefix that tells a message's length (RFC 1035, section 4.2.2), and of a message's header.
pub const PREFIX: usize = 2;
const HEADER: usize = 12;

/// So many octets of a message are enough to judge it: a header, the longest name, the fixed part of a record.
const ENOUGH: usize = HEADER + 255 + 10;

/// What bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    Yes,
    No,
    /// There are too few to tell.
    More,
}

/// Whether a message may begin here that stands where one is due: its header can be one, its question, if it has
/// one, can be read.
pub fn may_begin(bytes: &[u8]) -> Guess {
    guess(bytes, |decoder, header| match header.counts.queries {
        0 => Ok(true),
        _ => Query::read(decoder).map(|_| true),
    })
}

/// Whether a message begins here, wherever this is. Beside what [`may_begin`] asks for it has one question; or none but
/// an answer, as the further messages of a zone transfer (RFC 5936, section 2.2); or it is a refusal of nothing but a
/// header. The class exists, and a query bears no error. Messages that cannot pass (those of DSO, RFC 8490, have no
/// question) are not missed for long: the next one will do.
pub fn begins(bytes: &[u8]) -> Guess {
    guess(bytes, |decoder, header| {
        let has_error = header.response_code != ResponseCode::NoError;
        match (header.message_type, header.counts.queries, header.counts.answers) {
            (MessageType::Query, ..) if has_error => Ok(false),
            (_, 1, _) => Ok(exists(Query::read(decoder)?.query_class().into())),
            (MessageType::Response, 0, 1..) => begins_record(decoder),
            (MessageType::Response, 0, 0) => Ok(has_error && length(bytes) == Some(HEADER)),
            _ => Ok(false),
        }
    })
}

/// What the prefix says that begins these bytes.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let (&prefix, _) = bytes.split_first_chunk::<PREFIX>()?;
    Some(u16::from_be_bytes(prefix).into())
}

fn guess(
    bytes: &[u8],
    judge: impl FnOnce(&mut BinDecoder<'_>, &Header) -> Result<bool, DecodeError>,
) -> Guess {
    let Some((&prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else { return Guess::More };
    let announced = u16::from_be_bytes(prefix);
    let length = usize::from(announced);
    if length < HEADER {
        return Guess::No;
    }
    let message = rest.get(..length).unwrap_or(rest);
    if message.len() < HEADER {
        return Guess::More;
    }
    let mut decoder = BinDecoder::new(message);
    let Ok(header) = Header::read(&mut decoder) else { return Guess::No };
    if !plausible(&header, announced.into()) {
        return Guess::No;
    }
    match judge(&mut decoder, &header) {
        Ok(true) => Guess::Yes,
        Err(_) if message.len() < length.min(ENOUGH) => Guess::More,
        Ok(false) | Err(_) => Guess::No,
    }
}

/// A record up to its data.
fn begins_record(decoder: &mut BinDecoder<'_>) -> Result<bool, DecodeError> {
    Name::read(decoder)?;
    let [_type, class] = [decoder.read_u16()?.unverified(), decoder.read_u16()?.unverified()];
    decoder.read_u32()?; // TTL
    decoder.read_u16()?; // RDLENGTH
    Ok(exists(class))
}

/// IN, CH, HS, NONE, ANY.
fn exists(class: u16) -> bool {
    matches!(class, 1 | 3 | 4 | 254 | 255)
}

/// Whether a call that does not begin with a message begins as one of the protocols do that are met on DNS's port: TLS,
/// HTTP, SSH.
pub fn is_other_protocol(bytes: &[u8]) -> bool {
    const WORDS: [&[u8]; 10] = [
        b"SSH-",
        b"HTTP/",
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"CONNECT ",
        b"PRI ",
    ];
    // A TLS record (RFC 8446, section 5.1): its type, then the version.
    matches!(bytes, [0x14..=0x17, 3, 0..=4, ..]) || WORDS.iter().any(|word| bytes.starts_with(word))
}
