//! DNS messages.

use dnstrace::dns::{Decoded, Defect, Message, decode};
use hickory_proto::op;

/// See the table in the crate's documentation. Two bytes say how many of the message were not captured, one where it is cut
/// off for a comparison; the rest is the message.
pub fn check(data: &[u8]) {
    let Some(([low, high, cut], payload)) = data.split_first_chunk() else { return };
    let missing = u32::from(u16::from_le_bytes([*low, *high]));
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).saturating_add(missing);
    let whole = decode(payload, length);
    is_sound(&whole, missing);
    let shorter = payload.get(..payload.len() * usize::from(*cut) / 256).unwrap_or_default();
    is_beginning(&decode(shorter, length), &whole);
    if missing == 0 {
        agrees_with_hickory(payload, &whole);
    }
}

fn is_sound(decoded: &Decoded, missing: u32) {
    match (&decoded.message, &decoded.defect) {
        (None, defect) => assert!(defect.is_some(), "neither a message nor why there is none"),
        (Some(_), Some(Defect::NotDns)) => panic!("a message that is not DNS: {decoded:?}"),
        (Some(message), None) => assert_eq!(message.answers.len(), usize::from(message.counts.answers)),
        (Some(message), Some(_)) => assert!(message.answers.len() <= usize::from(message.counts.answers)),
    }
    if let Some(Defect::Cut { missing: told }) = decoded.defect {
        assert_eq!(told, missing);
    }
    let Some(message) = &decoded.message else { return };
    let asked = message.question.iter().map(|question| &question.name);
    for name in asked.chain(message.answers.iter().map(|record| &record.name)) {
        assert!(name.ends_with('.') && name.bytes().all(|octet| octet.is_ascii_graphic()), "{name:?}");
    }
}

/// Less of a message tells less of the same: compression points backwards alone.
fn is_beginning(shorter: &Decoded, whole: &Decoded) {
    let Some(begun) = &shorter.message else { return };
    let Some(Message { id, question, answers, .. }) = &whole.message else {
        panic!("{shorter:?} is the beginning of {whole:?}");
    };
    assert_eq!(begun.id, *id);
    assert!(begun.question.is_none() || begun.question == *question, "{shorter:?} of {whole:?}");
    assert!(answers.starts_with(&begun.answers), "{shorter:?} of {whole:?}");
}

/// What its library takes for a whole message has no defect here.
fn agrees_with_hickory(payload: &[u8], decoded: &Decoded) {
    let (Ok(theirs), Some(ours)) = (op::Message::from_vec(payload), &decoded.message) else { return };
    assert_eq!(decoded.defect, None, "{theirs:?}");
    assert_eq!((theirs.metadata.id, theirs.answers.len()), (ours.id, ours.answers.len()));
}
