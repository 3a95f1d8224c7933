//! One lookup while it is under way: which query belongs to it, and what it comes to.

use std::sync::Arc;

use crate::{
    dns::{
        Message,
        rcodes::{NOERROR, NXDOMAIN},
    },
    event::KernelTime,
    identify::ResolverConfig,
    lookup::{
        Outcome, Query,
        open::{SECOND, SHORTEST_RETRY},
    },
};

use super::{
    Asked, AskedServer, Ending, Lookup, TriedName, TriedQuery,
    names::{Hypothesis, common_stem},
};

/// A resolver asks for the next name when it has the answers for the one before: at once, if its thread gets a CPU.
const NEXT_NAME: u64 = SECOND;
/// The types of a name are asked for at the same time, or one after the answer for the other (`single-request` of
/// glibc). Also for whatever another thread does: resolvers that have several (Go) do not wait either.
pub(super) const PAIR: u64 = SECOND / 10;
/// Data, and servers, that are kept; and endpoints behind them.
const DATA: usize = 32;
const SERVERS: usize = 16;
const ENDPOINTS: usize = 32;

/// What is known of a query under way, or that has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its program has this answer.
    Answered(KernelTime, Ending),
    /// It was last sent then.
    Waiting(KernelTime),
    /// The resolver has been told that it failed.
    Failed,
}

/// A query that begins, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    pub number: u64,
    pub name: &'a str,
    pub qtype: u16,
    pub qclass: u16,
    pub tid: u32,
    pub socket: u64,
    pub time: KernelTime,
}

/// How a query may belong to a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It asks for another type of the name that is tried.
    Pair,
    /// It tries the next name.
    Next,
}

#[derive(Debug)]
pub struct Group {
    pub lookup: Lookup,
    /// Of resolv.conf, if that was seen and the process is no server itself.
    config: Option<Arc<ResolverConfig>>,
    hypotheses: Vec<Hypothesis>,
    /// Whether it is a query by itself, whatever comes.
    is_single: bool,
    qclass: u16,
    /// Beside the queries of `lookup`, in the same order.
    members: Vec<Member>,
    /// Queries that have not ended yet.
    pub waiting: usize,
    /// When it is told, if nothing more comes.
    pub deadline: Option<KernelTime>,
}

/// Who sent a query.
#[derive(Debug)]
struct Member {
    tid: u32,
    socket: u64,
}

impl Group {
    /// A lookup that begins with this query. `is_single`: whether it is a query by itself.
    pub fn new(number: u64, query: &Query, beginning: &Beginning<'_>, is_single: bool) -> Self {
        let config = query.owner.resolver.clone().filter(|_| !is_single);
        let hypotheses =
            config.as_deref().map(|config| Hypothesis::all_for(beginning.name, config)).unwrap_or_default();
        let lookup = Lookup {
            number,
            asked: Asked::AsSent(beginning.name.to_owned()),
            owner: query.owner.clone(),
            task: query.task.clone(),
            netns: query.netns,
            names: Vec::new(),
            decisive: 0,
            ending: Ending::Pending,
            data: Vec::new(),
            data_left_out: 0,
            servers: Vec::new(),
            servers_left_out: 0,
            endpoints: Vec::new(),
            started: beginning.time,
            ended: beginning.time,
        };
        let mut group = Self {
            lookup,
            config,
            hypotheses,
            is_single,
            qclass: beginning.qclass,
            members: Vec::new(),
            waiting: 0,
            deadline: None,
        };
        group.add(beginning);
        group
    }

    /// How a query may belong to it that begins now, if it does. `standing` tells of queries under way.
    pub fn fit(&self, query: &Beginning<'_>, standing: &dyn Fn(u64) -> Option<Standing>) -> Option<Fit> {
        let current = self.lookup.names.last()?;
        if self.is_single || query.qclass != self.qclass || !self.is_of_types(query.qtype) {
            return None;
        }
        let is_own_thread = self.is_of_thread(query.tid);
        if !is_own_thread && self.is_bound_to_a_thread() {
            return None;
        }
        let standings = current.queries.iter().map(|tried| (tried, self.standing(tried, standing)));
        if current.name == query.name {
            let is_asked = current.queries.iter().any(|tried| tried.qtype == query.qtype);
            let mut standings = standings;
            let is_due =
                standings.any(|(tried, standing)| is_pair_due(tried, standing, query, is_own_thread));
            return (!is_asked && is_due).then_some(Fit::Pair);
        }
        let mut standings = standings;
        let is_due = standings.all(|(_, standing)| is_next_due(standing, query.time, is_own_thread));
        (is_due && self.comes_next(query.name)).then_some(Fit::Next)
    }

    /// Whether the thread is one of its own.
    pub fn is_of_thread(&self, tid: u32) -> bool {
        self.members.iter().any(|member| member.tid == tid)
    }

    /// Takes in a query that belongs to it.
    pub fn join(&mut self, query: &Beginning<'_>, fit: Fit) {
        if fit == Fit::Next {
            match &self.config {
                Some(config) => self.hypotheses.retain_mut(|made| made.moves_to(query.name, config)),
                None => self.guess(query.name),
            }
        }
        self.add(query);
    }

    /// A query of it has ended, and was told at `now`. What it has waited for in vain so far says when it is over.
    pub fn ended(&mut self, query: &Query, now: KernelTime) {
        let ending = ending_of(query);
        let mut tried = self.lookup.names.iter_mut().flat_map(|name| &mut name.queries);
        let Some(tried) = tried.find(|tried| tried.number == query.number) else { return };
        (tried.ended, tried.ending) = (query.ended, ending);
        self.waiting = self.waiting.saturating_sub(1);
        self.add_servers(query);
        if ending == Ending::Found {
            self.add_data(query);
        }
        self.deadline = (self.waiting == 0).then(|| now.plus(self.patience()));
    }

    /// What it came to. `is_cut`: whether it is told before its time, so that silence says nothing.
    pub fn finish(mut self, is_cut: bool) -> Lookup {
        let endings: Vec<_> = self.lookup.names.iter().map(TriedName::ending).collect();
        let found = endings.iter().position(|ending| *ending == Ending::Found);
        let worst = endings.iter().enumerate().max_by_key(|(_, ending)| **ending);
        self.lookup.decisive = found.or(worst.map(|(index, _)| index)).unwrap_or(0);
        self.lookup.ending = endings.get(self.lookup.decisive).copied().unwrap_or(Ending::Pending);
        let needed = self.lookup.names.iter().skip(self.lookup.decisive).flat_map(|name| &name.queries);
        self.lookup.ended = needed.map(|tried| tried.ended).max().unwrap_or(self.lookup.started);
        if endings.last() == Some(&Ending::NxDomain) && !is_cut {
            self.rule_out_those_that_go_on();
        }
        if let Some(config) = &self.config {
            let mut names: Vec<_> = self.hypotheses.iter().map(|made| made.asked(config)).collect();
            names.dedup();
            self.lookup.asked =
                if names.len() == 1 { Asked::Known(names.remove(0)) } else { Asked::OneOf(names) };
        }
        self.lookup
    }

    fn add(&mut self, query: &Beginning<'_>) {
        let tried = TriedQuery {
            number: query.number,
            qtype: query.qtype,
            started: query.time,
            ended: query.time,
            ending: Ending::Pending,
        };
        match self.lookup.names.last_mut() {
            Some(current) if current.name == query.name => current.queries.push(tried),
            _ => self.lookup.names.push(TriedName { name: query.name.to_owned(), queries: vec![tried] }),
        }
        self.members.push(Member { tid: query.tid, socket: query.socket });
        self.waiting += 1;
        self.deadline = None;
    }

    fn guess(&mut self, name: &str) {
        let Some(current) = self.lookup.names.last() else { return };
        if let Some(stem) = common_stem(&current.name, name) {
            self.lookup.asked = Asked::Guessed(stem.to_owned());
        }
    }

    /// Whether its resolver may try this name next.
    fn comes_next(&self, name: &str) -> bool {
        let Some(config) = &self.config else { return self.may_be_guessed(name) };
        self.hypotheses.iter().any(|made| made.clone().moves_to(name, config))
    }

    /// Likewise without a resolv.conf: what was common to the names so far must stay so.
    fn may_be_guessed(&self, name: &str) -> bool {
        let Some(current) = self.lookup.names.last() else { return false };
        let stem = common_stem(&current.name, name);
        match &self.lookup.asked {
            Asked::Guessed(known) => stem == Some(known),
            _ => stem.is_some(),
        }
    }

    /// Whether a query of this type can be of it: addresses are asked for beside each other, all else alone.
    fn is_of_types(&self, qtype: u16) -> bool {
        let mut types = self.lookup.queries().map(|tried| tried.qtype);
        if is_address(qtype) { types.all(is_address) } else { types.all(|known| known == qtype) }
    }

    /// glibc and musl resolve a name in one thread, and ask for both types from one socket. Go asks from two.
    fn is_bound_to_a_thread(&self) -> bool {
        self.members.iter().enumerate().any(|(index, member)| {
            let mut others = self.members.iter().skip(index + 1);
            others.any(|other| (other.tid, other.socket) == (member.tid, member.socket))
        })
    }

    fn standing(&self, tried: &TriedQuery, standing: &dyn Fn(u64) -> Option<Standing>) -> Standing {
        standing(tried.number).unwrap_or(match tried.ending {
            Ending::Unanswered | Ending::Pending => Standing::Failed,
            ending => Standing::Answered(tried.ended, ending),
        })
    }

    /// How long to wait for the next query, now that all have ended.
    fn patience(&self) -> u64 {
        let Some(current) = self.lookup.names.last() else { return 0 };
        let goes_on = match &self.config {
            Some(config) => self.hypotheses.iter().any(|made| made.goes_on(config)),
            None => !self.is_single && current.name.matches('.').count() > 1,
        };
        let is_alone = current.queries.len() == 1 && current.queries.iter().all(|one| is_address(one.qtype));
        match current.ending() {
            Ending::Found if is_alone && !self.is_single => PAIR,
            Ending::Found => 0,
            _ if goes_on => NEXT_NAME,
            _ if is_alone && !self.is_single => PAIR,
            _ => 0,
        }
    }

    /// The last name does not exist, and no other one was tried: the program cannot have asked for what makes every
    /// resolver try another one.
    fn rule_out_those_that_go_on(&mut self) {
        let Some(config) = &self.config else { return };
        if self.hypotheses.iter().any(|made| !made.must_go_on(config)) {
            self.hypotheses.retain(|made| !made.must_go_on(config));
        }
    }

    fn add_servers(&mut self, query: &Query) {
        for attempt in query.attempts.iter().filter(|attempt| attempt.conversation.id.is_some()) {
            let (address, transport) = (attempt.conversation.remote, attempt.conversation.transport);
            let servers = &mut self.lookup.servers;
            let mut known = servers.iter_mut();
            if let Some(server) = known.find(|s| (s.address, s.transport) == (address, transport)) {
                server.attempts = server.attempts.saturating_add(1);
            } else if servers.len() < SERVERS {
                let config = query.owner.resolver.as_deref();
                let nameserver = config.and_then(|config| config.nameserver(address));
                servers.push(AskedServer { address, transport, attempts: 1, nameserver });
            } else {
                self.lookup.servers_left_out = self.lookup.servers_left_out.saturating_add(1);
            }
            let endpoints = &mut self.lookup.endpoints;
            let new = attempt.endpoint.filter(|endpoint| !endpoints.contains(endpoint));
            endpoints.extend(new.filter(|_| endpoints.len() < ENDPOINTS));
        }
    }

    fn add_data(&mut self, query: &Query) {
        let found = self.lookup.names.iter().find(|name| name.ending() == Ending::Found);
        if found.is_some_and(|name| name.name != query.question.name) {
            return;
        }
        let Some(message) = query.answer().map(|answer| &answer.message) else { return };
        let wanted = message.answers.iter().filter(|record| record.rtype == query.question.qtype);
        for record in wanted {
            if self.lookup.data.len() < DATA {
                self.lookup.data.push(record.data.clone());
            } else {
                self.lookup.data_left_out = self.lookup.data_left_out.saturating_add(1);
            }
        }
    }
}

/// Whether another type of a name may be asked for now, by one that was.
fn is_pair_due(tried: &TriedQuery, standing: Standing, query: &Beginning<'_>, is_own_thread: bool) -> bool {
    let is_beside = query.time.since(tried.started) <= PAIR;
    match standing {
        _ if is_beside => true,
        _ if !is_own_thread => false,
        Standing::Answered(when, _) => query.time.since(when) <= PAIR,
        Standing::Waiting(since) => query.time.since(since) >= SHORTEST_RETRY,
        Standing::Failed => query.time.since(tried.ended) <= NEXT_NAME,
    }
}

/// Whether the next name may be tried now, by a query for the one before.
fn is_next_due(standing: Standing, now: KernelTime, is_own_thread: bool) -> bool {
    let gap = if is_own_thread { NEXT_NAME } else { PAIR };
    match standing {
        Standing::Answered(_, Ending::Found) => false,
        Standing::Answered(when, _) => now.since(when) <= gap,
        // The resolver has given it up: its thread does something else.
        Standing::Waiting(since) => is_own_thread && now.since(since) >= SHORTEST_RETRY,
        Standing::Failed => is_own_thread,
    }
}

/// Addresses, and what is asked for beside them (RFC 9460).
fn is_address(qtype: u16) -> bool {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    const SVCB: u16 = 64;
    const HTTPS: u16 = 65;
    matches!(qtype, A | AAAA | SVCB | HTTPS)
}

fn ending_of(query: &Query) -> Ending {
    match (query.outcome, query.answer()) {
        (_, Some(answer)) => ending(&answer.message),
        (Outcome::Unanswered, None) => Ending::Unanswered,
        (_, None) => Ending::Pending,
    }
}

/// What an answer says.
pub(in crate::lookup) fn ending(message: &Message) -> Ending {
    match message.rcode {
        NXDOMAIN => Ending::NxDomain,
        NOERROR if message.is_nodata() || message.counts.answers == 0 => Ending::NoData,
        NOERROR => Ending::Found,
        code => Ending::Failed(code),
    }
}
