//! Which of the core's outputs the user wants to see. Pure, and after correlation: a query is judged whole, with all its
//! attempts and its end.
//!
//! Criteria of different kinds must all hold, of the values of one kind any. They are made for queries; what is told
//! beside these ([`crate::lookup::Stray`] and others) is shown if it has what each criterion asks for: a connection has no
//! name, a dropped packet no latency. A lookup is asked like a query, by all names and types that were tried for it.

mod facts;
mod hidden;
mod pattern;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lookup::{Health, Output};

use facts::Facts;
pub use hidden::Hidden;
pub use pattern::{NamePattern, PatternError, RcodePattern, ServerPattern, TypePattern};

/// What to show. The default shows everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    pub names: Vec<NamePattern>,
    pub types: Vec<TypePattern>,
    pub rcodes: Vec<RcodePattern>,
    pub servers: Vec<ServerPattern>,
    /// Only what took longer, or was never answered.
    pub slower_than: Option<Duration>,
    /// Only what did not fare well ([`Health`]).
    pub failed: bool,
}

/// One kind of criterion, by the option that sets it. In the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Criterion {
    Name,
    Type,
    Rcode,
    Server,
    SlowerThan,
    Failed,
}

impl Criterion {
    /// The option's name, without the dashes.
    pub fn option(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Type => "type",
            Self::Rcode => "rcode",
            Self::Server => "server",
            Self::SlowerThan => "slower-than",
            Self::Failed => "failed",
        }
    }
}

impl Filter {
    /// The first criterion that hides this output; none if it is to be shown.
    pub fn hides(&self, output: &Output) -> Option<Criterion> {
        // Who looks for some queries must hear that there may be more of them.
        if self.is_open() || matches!(output, Output::Loss(_)) {
            return None;
        }
        let facts = Facts::of(output);
        let holds = [
            (Criterion::Name, self.takes_name(&facts)),
            (Criterion::Type, self.takes_type(&facts)),
            (Criterion::Rcode, self.takes_rcode(&facts)),
            (Criterion::Server, self.takes_server(&facts)),
            (Criterion::SlowerThan, self.takes_time(&facts)),
            (Criterion::Failed, !self.failed || output.health() != Health::Well),
        ];
        holds.into_iter().find(|(_, holds)| !holds).map(|(criterion, _)| criterion)
    }

    /// Whether it shows everything.
    fn is_open(&self) -> bool {
        let Self { names, types, rcodes, servers, slower_than, failed } = self;
        names.is_empty()
            && types.is_empty()
            && rcodes.is_empty()
            && servers.is_empty()
            && slower_than.is_none()
            && !failed
    }

    fn takes_name(&self, facts: &Facts<'_>) -> bool {
        let matches = |pattern: &NamePattern| facts.names.iter().any(|name| pattern.matches(name));
        self.names.is_empty() || self.names.iter().any(matches)
    }

    fn takes_type(&self, facts: &Facts<'_>) -> bool {
        let matches = |pattern: &TypePattern| facts.types.contains(&pattern.0);
        self.types.is_empty() || self.types.iter().any(matches)
    }

    fn takes_rcode(&self, facts: &Facts<'_>) -> bool {
        let matches = |pattern: &RcodePattern| facts.status.is_some_and(|status| pattern.matches(status));
        self.rcodes.is_empty() || self.rcodes.iter().any(matches)
    }

    fn takes_server(&self, facts: &Facts<'_>) -> bool {
        let matches = |pattern: &ServerPattern| facts.servers.iter().any(|server| pattern.matches(*server));
        self.servers.is_empty() || self.servers.iter().any(matches)
    }

    fn takes_time(&self, facts: &Facts<'_>) -> bool {
        let Some(limit) = self.slower_than else { return true };
        facts.took.is_some_and(|took| u128::from(took) > limit.as_nanos())
    }
}
