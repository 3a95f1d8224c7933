//! What search lists cost, and whom pods ask beside what their resolv.conf says.

use std::net::IpAddr;

use crate::{
    identify::{Likeness, ResolverConfig},
    output::{escape, units},
    statistics::{Expansions, OwnerKey, Resolution, Statistics},
};

use super::plural;

/// Names, and pods, that are shown.
const SHOWN: usize = 5;

/// Nothing if no lookup tried a name in vain and all ask whom they should.
pub(super) fn text(statistics: &Statistics) -> String {
    search_lists(statistics) + &resolutions(statistics)
}

/// `search lists cost 812 of 1204 queries and 1.900 s`, and the worst: `  shop/cart-7d4f  api  5 of 6 queries, 9.00 ms`
fn search_lists(statistics: &Statistics) -> String {
    let counts = statistics.counts();
    let lookups = counts.lookups;
    if lookups.wasted_queries == 0 {
        return String::new();
    }
    let guessed = match lookups.guessed_queries {
        0 => String::new(),
        guessed => {
            format!(" ({} by a guess, as resolv.conf was not seen)", plural(guessed, "query", "queries"))
        }
    };
    let mut text = format!(
        "search lists cost {} of {} and {}{guessed}:\n",
        lookups.wasted_queries,
        plural(counts.queries, "query", "queries"),
        units::duration(lookups.wasted_ns)
    );
    let worst = statistics.worst_expansions(SHOWN);
    let names: Vec<_> = worst.iter().map(|((owner, name), _)| who(owner) + "  " + &escape(name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, (_, expansions)) in names.iter().zip(&worst) {
        text += &format!("  {name:<width$}  {}\n", cost(expansions));
    }
    let rest = statistics.expansions_beyond(&worst);
    if rest.lookups > 0 {
        text += &format!("  other pods and names: {}\n", cost(&rest));
    }
    text
}

fn cost(expansions: &Expansions) -> String {
    format!(
        "{}: {} of {} in vain, {}",
        plural(expansions.lookups, "lookup", "lookups"),
        expansions.wasted,
        plural(expansions.queries, "query", "queries"),
        units::duration(expansions.time)
    )
}

/// A line for each pod that asks somebody else than its resolv.conf says, or has the node's.
fn resolutions(statistics: &Statistics) -> String {
    let odd = statistics.resolutions();
    let mut text = String::new();
    for (owner, resolution) in odd.iter().take(SHOWN) {
        text += &format!("{}: {}\n", who(owner), resolution_words(resolution));
    }
    let beyond = odd.len().saturating_sub(SHOWN) as u64 + statistics.resolutions_refused();
    if beyond > 0 {
        text += &format!("{} likewise\n", plural(beyond, "further pod", "further pods"));
    }
    text
}

/// `asked 8.8.8.8:53 (12 times), which its resolv.conf does not name (10.96.0.10)`
fn resolution_words(resolution: &Resolution) -> String {
    let resolver = resolution.resolver.as_deref();
    let mut words = Vec::new();
    if resolver.is_some_and(|resolver| resolver.likeness == Likeness::Node) {
        words.push(format!(
            "its resolv.conf is the node's ({}), as for dnsPolicy Default",
            nameservers(resolver)
        ));
    }
    let times = |count: u64| if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let mut others: Vec<_> = resolution
        .others
        .iter()
        .map(|(address, attempts)| format!("{address} ({})", times(*attempts)))
        .collect();
    if resolution.further > 0 {
        others.push(format!("further ones ({})", times(resolution.further)));
    }
    if !others.is_empty() {
        let named = nameservers(resolver);
        words.push(format!("asked {}, not named by its resolv.conf ({named})", others.join(", ")));
    }
    words.join("; ")
}

fn nameservers(resolver: Option<&ResolverConfig>) -> String {
    let nameservers = resolver.map(|resolver| &resolver.nameservers[..]).unwrap_or_default();
    match nameservers {
        [] => "no nameserver".to_owned(),
        some => some.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn who(owner: &OwnerKey) -> String {
    escape(&owner.to_string()).into_owned()
}
