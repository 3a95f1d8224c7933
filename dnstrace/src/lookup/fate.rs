//! What became of each attempt, judged when its query ends.
//!
//! An answer that the program read decides, whatever befell a copy. Else the cause is told rather than what follows
//! from it: a query that was rejected was dropped as well, and the system call that sent it may have failed for that.
//!
//! TCP sends again what was lost. So there a loss decides only if nothing was sent again after it, and how the
//! connection ended decides before it, unless the program itself gave up.

use crate::event::{DropPlace, IcmpError, KernelTime, Transport};

use super::{
    Attempt, ConnectionEnd, Conntrack, Dropped, Fate, InsertFailure, Insertion, Leg, Outcome, Step, What,
    gaps::Gaps,
    open::{OpenQuery, SHORTEST_RETRY},
};

/// `ETIMEDOUT`: nothing that TCP sent was acknowledged.
const ETIMEDOUT: u16 = 110;
/// A segment that is sent again is told (`tcp_retransmit_skb`) when it is under way already: its own loss may come
/// before by so many nanoseconds.
const TOLD_AFTER: u64 = 1_000_000;

/// What a step says of its attempt, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    ConnectFailed,
    /// By the peer, or as the network said.
    ConnectionLost,
    LostAtConntrack,
    Rejected,
    /// An ICMP error was sent; whether it arrived is another step's word.
    RejectionSent,
    Dropped,
    SendFailed,
    AnswerDropped,
    AnsweredLate,
    Evicted,
    /// The program or its kernel ended the connection, as no answer came.
    GaveUp,
}

/// Says of each attempt that never got an answer what became of it.
/// `closed` is how and when the query ended if it was not answered.
pub(super) fn judge(open: &mut OpenQuery, closed: (Outcome, KernelTime), gaps: &Gaps) {
    let OpenQuery { query, skipped, .. } = open;
    let answered = query.answer().map(|answer| answer.time);
    let mut next = None;
    for (index, attempt) in query.attempts.iter_mut().enumerate().rev() {
        let time = attempt.time;
        doubt_insertions(attempt, gaps);
        if attempt.answer().is_some() {
            // Of no concern: the packet itself went on.
            attempt
                .steps
                .retain(|step| !matches!(&step.what, What::Dropped(dropped) if is_copy(&dropped.place)));
        }
        if matches!(attempt.fate, Fate::Open) {
            // A retry over TCP is not answered by the truncated answer before it.
            let is_retry = attempt.conversation.transport == Transport::Tcp
                && answered.is_some_and(|answered| answered <= time);
            let (outcome, ended) = if is_retry { closed } else { (query.outcome, query.ended) };
            let waited = next.unwrap_or(ended).since(time);
            let stretches = skipped.iter().filter(|attempt| **attempt == index).count();
            let lost = gaps.lost(time, ended).saturating_add(u64::try_from(stretches).unwrap_or(u64::MAX));
            attempt.fate = match decided(attempt) {
                // It may have been closed because the answer had come.
                Some(Fate::ConnectionLost { .. }) if lost > 0 => Fate::Unknown { waited, lost },
                Some(fate) => fate,
                None if lost > 0 => Fate::Unknown { waited, lost },
                None => match (outcome, next) {
                    (_, Some(_)) if waited >= SHORTEST_RETRY => Fate::Unanswered { waited },
                    (Outcome::Answered { .. }, _) => Fate::NotAwaited,
                    (Outcome::Unanswered, _) => Fate::Unanswered { waited: ended.since(time) },
                    (Outcome::Pending, _) => Fate::Open,
                },
            };
        }
        next = Some(time);
    }
}

/// The fate that the steps tell, if they do.
fn decided(attempt: &Attempt) -> Option<Fate> {
    let verdicts = attempt.steps.iter().enumerate();
    let verdicts = verdicts.filter_map(|(index, step)| Some((verdict(step, attempt)?, index)));
    // Of several with one verdict the first: of two drops of one packet the second is of a copy.
    let (verdict, step) = verdicts.min()?;
    Some(match verdict {
        Verdict::ConnectFailed => Fate::ConnectFailed { step },
        Verdict::ConnectionLost | Verdict::GaveUp => Fate::ConnectionLost { step },
        Verdict::LostAtConntrack => Fate::LostAtConntrack { step },
        Verdict::Rejected | Verdict::RejectionSent => Fate::Rejected { step },
        Verdict::Dropped => Fate::Dropped { step },
        Verdict::SendFailed => Fate::SendFailed { step },
        Verdict::AnswerDropped => Fate::AnswerDropped { step },
        Verdict::AnsweredLate => {
            let came = attempt.steps.get(step).map_or(attempt.time, |step| match &step.what {
                What::Dropped(dropped) => dropped.arrived.unwrap_or(step.time),
                _ => step.time,
            });
            Fate::AnsweredLate { after: came.since(attempt.time), step }
        }
        Verdict::Evicted => Fate::Evicted { step },
    })
}

fn verdict(step: &Step, attempt: &Attempt) -> Option<Verdict> {
    if is_made_good(step, attempt) {
        return None;
    }
    match &step.what {
        What::Conntrack(Conntrack { result: Insertion::Failed { .. }, .. }) => Some(Verdict::LostAtConntrack),
        What::IcmpReceived { leg: Leg::Query | Leg::Syn, error } if is_refusal(*error) => {
            Some(Verdict::Rejected)
        }
        What::IcmpSent { leg: Leg::Query | Leg::Syn, error } if is_refusal(*error) => {
            Some(Verdict::RejectionSent)
        }
        What::Dropped(dropped) if is_copy(&dropped.place) => None,
        What::Dropped(dropped) if matches!(dropped.leg, Leg::Query | Leg::Syn) => Some(Verdict::Dropped),
        What::Dropped(dropped) if is_late(dropped, step, attempt) => Some(Verdict::AnsweredLate),
        What::Dropped(_) => Some(Verdict::AnswerDropped),
        What::SendFailed { .. } => Some(Verdict::SendFailed),
        What::Evicted => Some(Verdict::Evicted),
        What::ConnectFailed { .. } => Some(Verdict::ConnectFailed),
        What::ConnectionEnded(_) if attempt.conversation.id.is_none() => Some(Verdict::ConnectFailed),
        What::ConnectionEnded(end) => Some(match end {
            ConnectionEnd::Closed | ConnectionEnd::Aborted | ConnectionEnd::Failed { errno: ETIMEDOUT } => {
                Verdict::GaveUp
            }
            ConnectionEnd::ClosedByPeer | ConnectionEnd::Reset | ConnectionEnd::Failed { .. } => {
                Verdict::ConnectionLost
            }
        }),
        What::Retransmitted { .. } => None,
        What::Conntrack(_) | What::IcmpSent { .. } | What::IcmpReceived { .. } => None,
    }
}

/// Whether an answer was dropped because the program no longer waited for it: there was no such socket any more in
/// its namespace, or the socket was closed with the answer unread. An answer that comes from another address than
/// the one that was asked finds no socket even if the program waits.
fn is_late(dropped: &Dropped, step: &Step, attempt: &Attempt) -> bool {
    if dropped.leg != Leg::Answer {
        return false;
    }
    if dropped.arrived.is_some() {
        return !is_refused_by_socket(&dropped.place);
    }
    let at_client = step.netns.is_none_or(|netns| netns == attempt.conversation.netns);
    at_client && dropped.untranslated.is_none() && is_no_socket(&dropped.place)
}

/// Whether a packet was for a port that no socket has. Kernels before 5.17 say so by the function.
pub(super) fn is_no_socket(place: &DropPlace) -> bool {
    match place.reason.as_deref() {
        // A TCP socket that its program has closed is there for a while, and takes nothing.
        Some(reason) => matches!(reason, "NO_SOCKET" | "TCP_ABORT_ON_DATA" | "TCP_CLOSE"),
        None => matches!(
            place.function.as_deref(),
            Some(
                "__udp4_lib_rcv"
                    | "__udp6_lib_rcv"
                    | "udp_unicast_rcv_skb"
                    | "udp6_unicast_rcv_skb"
                    | "tcp_v4_rcv"
                    | "tcp_v6_rcv"
            )
        ),
    }
}

/// Whether a socket that was there would not have the packet for a wrong checksum, which may be found as late as when
/// the program reads.
fn is_refused_by_socket(place: &DropPlace) -> bool {
    match place.reason.as_deref() {
        Some(reason) => matches!(reason, "UDP_CSUM" | "SOCKET_FILTER"),
        None => matches!(
            place.function.as_deref(),
            Some("udp_recvmsg" | "udpv6_recvmsg" | "__first_packet_length")
        ),
    }
}

/// Whether a packet had no room in the buffer of its socket: it has never been in there, although it was about to be
/// put in (`__udp_enqueue_schedule_skb`).
pub(super) fn is_overflow(place: &DropPlace) -> bool {
    match place.reason.as_deref() {
        Some(reason) => matches!(reason, "SOCKET_RCVBUFF" | "PROTO_MEM"),
        None => matches!(
            place.function.as_deref(),
            Some(
                "udp_queue_rcv_one_skb"
                    | "__udp_queue_rcv_skb"
                    | "udpv6_queue_rcv_one_skb"
                    | "__udp_enqueue_schedule_skb"
            )
        ),
    }
}

/// Whether what was dropped is a copy; the packet itself went on. The copy that a packet socket (tcpdump) should have got:
/// `packet_rcv` and `tpacket_rcv`, net/packet/af_packet.c; the reason since 6.12. And the copies of a frame that a
/// bridge floods, as it does not know where its destination is, to everybody whom it is not for (`ip_rcv_core`;
/// kernels before 5.17 do not tell them from damaged packets).
pub(super) fn is_copy(place: &DropPlace) -> bool {
    matches!(place.reason.as_deref(), Some("PACKET_SOCK_ERROR" | "OTHERHOST"))
        || matches!(place.function.as_deref(), Some("packet_rcv" | "tpacket_rcv"))
}

/// Whether an ICMP error says that the packet did not get through. Redirects and source quench say something else.
pub(super) fn is_refusal(error: IcmpError) -> bool {
    match error {
        // Unreachable; time exceeded; parameter problem.
        IcmpError::V4 { kind, .. } => matches!(kind, 3 | 11 | 12),
        // Likewise, and packet too big.
        IcmpError::V6 { kind, .. } => matches!(kind, 1..=4),
    }
}

/// Whether its query is known not to have reached anyone.
pub(super) fn is_dead(attempt: &Attempt) -> bool {
    attempt.steps.iter().filter_map(|step| verdict(step, attempt)).any(|verdict| {
        matches!(
            verdict,
            Verdict::ConnectFailed
                | Verdict::ConnectionLost
                | Verdict::LostAtConntrack
                | Verdict::Rejected
                | Verdict::RejectionSent
                | Verdict::Dropped
                | Verdict::SendFailed
                | Verdict::GaveUp
        )
    })
}

/// Whether TCP has made good what the step tells: it has sent again what was lost, or the connection was opened all the
/// same.
fn is_made_good(step: &Step, attempt: &Attempt) -> bool {
    let Some(carrier) = attempt.carrier else { return false };
    let leg = match &step.what {
        What::Dropped(dropped) => dropped.leg,
        What::IcmpReceived { leg, .. } | What::IcmpSent { leg, .. } => *leg,
        What::Conntrack(_) => Leg::Syn,
        _ => return false,
    };
    let is_of_opening = matches!(leg, Leg::Syn | Leg::SynAck);
    let again = if is_of_opening { Leg::Syn } else { leg };
    let is_again = |later: &Step| {
        later.time > step.time.plus(TOLD_AFTER)
            && matches!(later.what, What::Retransmitted { leg } if leg == again)
    };
    (is_of_opening && carrier.established.is_some()) || attempt.steps.iter().any(is_again)
}

/// Whether what was dropped is a segment that had come before: nothing was lost with it (`tcp_data_queue`,
/// `tcp_validate_incoming`, `tcp_ofo_queue`; kernels without reasons free it unseen, by `__kfree_skb`).
pub(super) fn is_seen_before(place: &DropPlace) -> bool {
    matches!(
        place.reason.as_deref(),
        Some("TCP_OLD_DATA" | "TCP_OLD_SEQUENCE" | "TCP_OFOMERGE" | "TCP_OLD_ACK" | "TCP_RFC7323_PAWS")
    )
}

/// Whether this packet of it was dropped.
pub(super) fn has_dropped(attempt: &Attempt, leg: Leg) -> bool {
    let is_it = |step: &Step| matches!(&step.what, What::Dropped(dropped) if dropped.leg == leg && !is_copy(&dropped.place));
    attempt.steps.iter().any(is_it)
}

/// A step beyond what is kept takes the last one's place if it decides more than all that are kept.
pub(super) fn keep_what_decides(attempt: &mut Attempt, step: Step) {
    let best = attempt.steps.iter().filter_map(|step| verdict(step, attempt)).min();
    let decides = verdict(&step, attempt).is_some_and(|new| best.is_none_or(|best| new < best));
    if decides && let Some(last) = attempt.steps.last_mut() {
        *last = step;
    }
}

/// That there was no clash is not known where events were lost at that time.
fn doubt_insertions(attempt: &mut Attempt, gaps: &Gaps) {
    for step in &mut attempt.steps {
        if let What::Conntrack(Conntrack {
            result: Insertion::Failed { why: why @ InsertFailure::NoClash },
            ..
        }) = &mut step.what
            && gaps.lost(step.time, step.time) > 0
        {
            *why = InsertFailure::Unknown;
        }
    }
}
