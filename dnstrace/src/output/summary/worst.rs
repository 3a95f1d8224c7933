//! The pods and names that fared worst.

use crate::{
    output::{escape, units},
    statistics::{Asking, Statistics},
};

use super::plural;

/// Pods, and names, that are shown.
const SHOWN: usize = 5;

/// Nothing if no query failed and no attempt was lost. A single pod is not told apart from the totals.
pub(super) fn text(statistics: &Statistics) -> String {
    let (pods, other_pods) = statistics.owners().worst(SHOWN);
    let pods: Vec<_> = pods.iter().map(|(key, owner)| (key.to_string(), &owner.asked)).collect();
    let (names, other_names) = statistics.names().worst(SHOWN);
    let names: Vec<_> = names.iter().map(|(name, asking)| ((*name).clone(), *asking)).collect();
    let is_one_pod = pods.len() == 1 && other_pods.asked.queries == 0;
    let pods = if is_one_pod { String::new() } else { section("pods", &pods, &other_pods.asked) };
    pods + &section("names", &names, &other_names)
}

fn section(what: &str, all: &[(String, &Asking)], others: &Asking) -> String {
    let troubled = all.iter().filter(|(_, asking)| asking.is_troubled());
    let mut rows: Vec<_> = troubled.map(|(who, asking)| (escape(who).into_owned(), words(asking))).collect();
    if rows.is_empty() {
        return String::new();
    }
    if others.is_troubled() {
        rows.push(("all others".to_owned(), words(others)));
    }
    let width = rows.iter().map(|(who, _)| who.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|(who, words)| format!("  {who:<width$}  {words}\n"));
    format!("worst {what}:\n{}", lines.collect::<String>())
}

/// `19 queries, 2 failed, 3 attempts lost, 12.004 s waited, for one 10.003 s`
pub(crate) fn words(asking: &Asking) -> String {
    let mut parts = vec![plural(asking.queries, "query", "queries")];
    if asking.failed > 0 {
        parts.push(format!("{} failed", asking.failed));
    }
    if asking.lost > 0 {
        parts.push(format!("{} lost", plural(asking.lost, "attempt", "attempts")));
    }
    parts.push(format!("{} waited", units::duration(asking.waited)));
    if asking.queries > 1 {
        parts.push(format!("for one {}", units::duration(asking.longest)));
    }
    parts.join(", ")
}
