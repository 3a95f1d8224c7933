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
    let owners = statistics.owners();
    let mut text = String::new();
    if owners.len() > 1 || owners.refused() > 0 {
        let worst = statistics.worst_owners(SHOWN);
        text += &section("worst pods", worst.iter().map(|(key, owner)| (key.to_string(), &owner.asked)));
    }
    let worst = statistics.worst_names(SHOWN);
    text += &section("worst names", worst.iter().map(|(name, asking)| ((*name).clone(), *asking)));
    let (_, others) = statistics.other_names();
    if others.is_troubled() {
        text += &format!("  names that were too many to keep: {}\n", words(&others));
    }
    text
}

fn section<'a>(title: &str, rows: impl Iterator<Item = (String, &'a Asking)>) -> String {
    let rows: Vec<_> = rows.map(|(who, asking)| (escape(&who).into_owned(), words(asking))).collect();
    if rows.is_empty() {
        return String::new();
    }
    let width = rows.iter().map(|(who, _)| who.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|(who, words)| format!("  {who:<width$}  {words}\n"));
    format!("{title}:\n{}", lines.collect::<String>())
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
