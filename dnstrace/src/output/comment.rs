//! Comments for the packets of a recording, in the words of the table: a line each, escaped.

use crate::{
    event::Task,
    identify::Owner,
    lookup::{Attempt, Query, Stray},
};

use super::{Nodes, attempt, escape, table::row};

/// Whose packet it is: `shop/cart-7d4f, container cart, dig[249]`.
pub fn who(owner: &Owner, task: &Task) -> String {
    let name = owner.container.as_ref().filter(|_| owner.pod.is_some()).and_then(|c| c.name.as_deref());
    let container = name.map(|name| format!("container {}, ", escape(name))).unwrap_or_default();
    format!("{}, {container}{}", escape(&owner.to_string()), process(task))
}

/// What became of the message that asked: the query's end, and what befell this attempt, the query's `index`th.
pub fn asked(query: &Query, index: usize, attempt: &Attempt, nodes: &Nodes) -> Vec<String> {
    let unfolded = attempt::unfold_one(query, index, attempt, nodes);
    let lines = unfolded.lines().map(|line| line.trim_start().to_owned());
    std::iter::once(ending(query)).chain(lines).collect()
}

/// Which query a message answers.
pub fn answered(query: &Query) -> Vec<String> {
    vec![format!("answer to {}", ending(query))]
}

/// What a message is that is no part of a query.
pub fn stray(stray: &Stray) -> Vec<String> {
    vec![row::stray_words(stray)]
}

/// `query 7: NOERROR 192.0.2.80, latency 1.17 ms`
fn ending(query: &Query) -> String {
    let (latency, last) = row::ending(query);
    match query.latency() {
        Some(_) => format!("query {}: {last}, latency {latency}", query.number),
        None => format!("query {}: {last}", query.number),
    }
}

/// `dig[249]`
fn process(task: &Task) -> String {
    format!("{}[{}]", escape(&task.comm), task.pid)
}
