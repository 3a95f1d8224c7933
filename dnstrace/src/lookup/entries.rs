//! What is remembered of connection tracking's entries: who made them, which of them clashed, where flows go.
//!
//! What is forgotten for want of room turns no statement into a wrong one, and so is not counted: a winner is then an
//! entry of nobody known, an endpoint is not told, and whether an insertion failed by a clash is said to be unknown.

use std::net::SocketAddr;

use crate::{
    dns::Question,
    event::{Clash, Confirm, ConfirmResult, Connection, Flow, KernelTime},
};

use super::{
    Conntrack, InsertFailure, Insertion, Sight, Winner, WinnerQuery, open::SECOND, places::Place,
    recent::Recent,
};

/// How long a flow's endpoint is remembered when nothing is sent on it. The entry of a UDP flow in use lives for 120 s
/// after its last packet (`nf_conntrack_udp_timeout_stream`; 180 s before 5.0), so one that is still there is not
/// forgotten before; and when it has gone, the next packet's insertion is seen and tells anew.
const FLOW_LIFE: u64 = 180 * SECOND;
/// A packet whose entry could not be inserted is freed at once; by then the entry's address is not another's.
const FREED_WITHIN: u64 = SECOND;
/// Attempts that wait for the insertion of the one that they lost to: one for each other CPU at the most.
const LOSERS: usize = 64;

#[derive(Debug)]
pub(super) struct Entries {
    sight: Sight,
    /// Clashes whose insertion has not returned yet, by the address of the loser.
    clashes: Recent<u64, Clash>,
    /// Up to here clashes have been forgotten for want of room.
    clashes_forgotten: Option<KernelTime>,
    /// Who made an entry, by its address. The kernel uses addresses again: a tuple must agree, too.
    made: Recent<u64, Made>,
    /// Losers whose winner's insertion may not have returned yet, by the winner's address: two CPUs.
    losers: Recent<u64, Vec<Loser>>,
    /// Entries that could not be inserted, whose packets are about to be freed.
    failed: Recent<u64, Failed>,
    /// Where flows go, by the original tuple.
    ways: Recent<Flow, Way>,
}

/// The maker of an entry.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub original: Flow,
    pub reply: Flow,
    pub began: KernelTime,
    pub maker: Maker,
}

/// The attempt whose packet an entry was made for.
#[derive(Clone, Debug)]
pub(super) struct Maker {
    pub place: Place,
    pub question: Question,
    pub netns: u32,
    pub socket: u64,
}

/// An attempt that lost a clash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loser {
    pub place: Place,
    /// Of its step.
    pub time: KernelTime,
    pub original: Flow,
    pub reply: Flow,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    time: KernelTime,
    original: Flow,
}

/// Where a flow goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// The tuple of its answers.
    pub reply: Flow,
    pub endpoint: Option<SocketAddr>,
    /// The client's network namespace; none if its attempt was not seen.
    netns: Option<u32>,
    used: KernelTime,
}

/// What an insertion came to.
pub(super) struct Verdict {
    pub step: Conntrack,
    /// The entry that the packet goes on with, or would have gone on with.
    pub entry: Option<Connection>,
    /// The address of the winner. Its own insertion may not have returned yet, and the maker that is remembered be that
    /// of an earlier entry at this address.
    pub winner: Option<u64>,
}

impl Entries {
    /// What the trace can see from now on.
    pub fn see(&mut self, sight: Sight) {
        self.sight = sight;
    }

    pub fn new(room: usize, sight: Sight) -> Self {
        Self {
            sight,
            clashes: Recent::new(room),
            clashes_forgotten: None,
            made: Recent::new(room),
            losers: Recent::new(room),
            failed: Recent::new(room),
            ways: Recent::new(room),
        }
    }

    /// A clash. Its insertion's return tells what came of it.
    pub fn clash(&mut self, clash: Clash) {
        if let Some(forgotten) = self.clashes.put(clash.loser, clash) {
            self.clashes_forgotten = self.clashes_forgotten.max(Some(forgotten.time));
        }
    }

    /// What the insertion of `entry` came to. `loser` is the attempt whose packet it was, and `netns` its client's
    /// namespace, if known; `is_gap` whether events were lost since it began.
    pub fn judge(
        &mut self,
        confirm: &Confirm,
        entry: Connection,
        loser: Option<&Maker>,
        netns: Option<u32>,
        is_gap: bool,
    ) -> Verdict {
        let seen = self.clashes.take(&entry.ct);
        let seen = seen.filter(|clash| confirm.began <= clash.time && clash.time <= confirm.time);
        let (result, goes_on, winner) = match confirm.result {
            ConfirmResult::Inserted => (Insertion::Inserted, Some(entry), None),
            ConfirmResult::Unknown => (Insertion::Unknown, Some(entry), None),
            // Never with an entry.
            ConfirmResult::Untracked => (Insertion::Untracked, None, None),
            ConfirmResult::Merged { ct } => {
                let winner = match seen {
                    Some(clash) if clash.winner.ct == ct => Some(clash.winner),
                    _ => self.merged_with(ct, &entry),
                };
                let told = winner.map(|winner| self.winner(&winner, &entry, loser));
                (Insertion::Merged { winner: told }, winner, Some(ct))
            }
            ConfirmResult::ReplyOnly => {
                let winner = seen.map(|clash| clash.winner);
                let told = winner.map(|winner| self.winner(&winner, &entry, loser));
                (Insertion::ReplyOnly { winner: told }, Some(entry), winner.map(|winner| winner.ct))
            }
            ConfirmResult::Failed => {
                self.failed.put(entry.ct, Failed { time: confirm.time, original: entry.original });
                let winner = seen.map(|clash| clash.winner);
                let why = match winner {
                    Some(winner) => InsertFailure::Clash(self.winner(&winner, &entry, loser)),
                    None if self.sees_clashes_since(confirm.began) && !is_gap => InsertFailure::NoClash,
                    None => InsertFailure::Unknown,
                };
                (Insertion::Failed { why }, Some(entry), winner.map(|winner| winner.ct))
            }
        };
        self.note_way(confirm, &entry, &result, netns);
        Verdict {
            step: Conntrack { original: entry.original, reply: entry.reply, result },
            entry: goes_on,
            winner,
        }
    }

    /// Whether a clash after `began` would be known.
    fn sees_clashes_since(&self, began: KernelTime) -> bool {
        self.sight.clashes && self.clashes_forgotten.is_none_or(|forgotten| forgotten < began)
    }

    /// The entry at this address, which an entry was merged with: one of them shares a tuple with the other.
    fn merged_with(&self, ct: u64, entry: &Connection) -> Option<Connection> {
        let made = self.made.get(&ct)?;
        let shares = made.original == entry.original || made.reply == entry.reply;
        shares.then_some(Connection { ct, original: made.original, reply: made.reply })
    }

    fn winner(&self, winner: &Connection, entry: &Connection, loser: Option<&Maker>) -> Winner {
        let made = self.made.get(&winner.ct).filter(|made| made.original == winner.original);
        Winner {
            original: winner.original,
            reply: winner.reply,
            query: made
                .map(|made| made.maker.as_winner(loser, winner.original.source == entry.original.source)),
        }
    }

    /// Remembers where the flow goes from now on.
    fn note_way(&mut self, confirm: &Confirm, entry: &Connection, result: &Insertion, netns: Option<u32>) {
        let reply = match result {
            Insertion::Inserted => Some(entry.reply),
            // The next packet finds the winner's entry, if that is of this flow.
            _ => {
                result.winner().filter(|winner| winner.original == entry.original).map(|winner| winner.reply)
            }
        };
        let Some(reply) = reply else {
            self.ways.take(&entry.original);
            return;
        };
        let endpoint = Connection { reply, ..*entry }.endpoint();
        self.ways.put(entry.original, Way { reply, endpoint, netns, used: confirm.time });
    }

    /// Where a client in this namespace reaches by a flow whose entry was made by an earlier packet.
    pub fn way(&mut self, flow: &Flow, netns: u32, now: KernelTime) -> Option<Way> {
        let way = self.ways.use_mut(flow)?;
        if way.netns.is_some_and(|client| client != netns) || now.since(way.used) > FLOW_LIFE {
            return None;
        }
        way.used = now;
        Some(*way)
    }

    /// Remembers who made the entry at this address, which is in the table now; none if that is not known. Returns
    /// those that lost to it a moment ago.
    pub fn made(&mut self, ct: u64, made: Option<Made>) -> Vec<Loser> {
        let losers = self.losers.take(&ct).unwrap_or_default();
        let Some(made) = made else {
            self.made.take(&ct);
            return Vec::new();
        };
        // It must have been there when they lost.
        let lost = |loser: &Loser| {
            made.began <= loser.time && (loser.original == made.original || loser.reply == made.reply)
        };
        let losers = losers.into_iter().filter(lost).collect();
        self.made.put(ct, made);
        losers
    }

    /// Remembers an attempt that lost against the entry at this address.
    pub fn await_maker(&mut self, ct: u64, loser: Loser) {
        let mut losers = self.losers.take(&ct).unwrap_or_default();
        if losers.len() < LOSERS {
            losers.push(loser);
        }
        self.losers.put(ct, losers);
    }

    /// Whether a packet that is freed now is one whose entry could not be inserted: then that has been told.
    pub fn take_failed(&mut self, entry: &Connection, now: KernelTime) -> bool {
        let is_it = self.failed.get(&entry.ct).is_some_and(|failed| {
            failed.original == entry.original && now.since(failed.time) <= FREED_WITHIN
        });
        if is_it {
            self.failed.take(&entry.ct);
        }
        is_it
    }

    /// An entry was thrown out.
    pub fn evicted(&mut self, victim: &Connection) {
        self.ways.take(&victim.original);
        if self.made.get(&victim.ct).is_some_and(|made| made.original == victim.original) {
            self.made.take(&victim.ct);
        }
    }

    /// Events were lost: an entry that is remembered may have gone, and its address or flow be another's.
    pub fn lost(&mut self) {
        self.made.clear();
        self.ways.clear();
    }

    /// Entries of its fullest memory, for tests of its bounds.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let all = [&self.clashes.len(), &self.made.len(), &self.losers.len(), &self.failed.len()];
        all.into_iter().copied().max().unwrap_or(0).max(self.ways.len())
    }
}

impl Maker {
    /// As the winner over `loser`; if that is not known, the same client port must do for the same socket.
    pub fn as_winner(&self, loser: Option<&Self>, same_source: bool) -> WinnerQuery {
        let same_socket = match loser {
            Some(loser) => (loser.netns, loser.socket) == (self.netns, self.socket),
            None => same_source,
        };
        WinnerQuery { number: self.place.query, question: self.question.clone(), same_socket }
    }
}
