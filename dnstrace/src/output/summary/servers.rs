//! Servers and the endpoints behind them: how much was asked, how much came to nothing, how long answers took.

use std::{cmp::Reverse, net::SocketAddr};

use crate::{
    event::Transport,
    output::{attempt::bracketed, names, step, units},
    statistics::{Asked, OfServer, Statistics, Tally as _, is_error},
};

use super::{plural, totals};

/// Servers, and endpoints of one, that are shown; the rest is counted.
const SHOWN: usize = 8;
/// Kinds of trouble that a row names.
const TROUBLES: usize = 3;

/// One healthy server is one line; else a table, the worst first.
pub(super) fn text(statistics: &Statistics) -> String {
    let servers = statistics.servers();
    let others = statistics.other_servers();
    match servers.as_slice() {
        [] => String::new(),
        [only] if is_well(&only.all) && others.attempts == 0 => one(only),
        servers => table(servers, others),
    }
}

/// `server: 10.96.0.10:53/udp, 2 endpoints: 18 attempts answered, p50 2.09 ms, p99 19.6 ms`
fn one(server: &OfServer) -> String {
    let endpoints = match server.endpoints.as_slice() {
        [] => String::new(),
        [(endpoint, asked)] => format!(
            " {}{}",
            step::endpoint(*endpoint, server.server),
            bracketed(asked.peer.endpoint.as_deref())
        ),
        several => format!(", {} endpoints", several.len()),
    };
    let asked = &server.all;
    let attempts = plural(asked.attempts, "attempt", "attempts");
    let answered = match asked.latency.count() {
        count if count == asked.attempts => "answered".to_owned(),
        count => format!("of which {count} answered"),
    };
    let within = quantiles(asked).map(|[p50, p99]| format!(", p50 {p50}, p99 {p99}")).unwrap_or_default();
    format!(
        "server: {}{}{endpoints}: {attempts} {answered}{within}\n",
        address(server.server, server.transport),
        bracketed(asked.peer.remote.as_deref())
    )
}

fn table(servers: &[OfServer], mut others: Asked) -> String {
    let mut rows = vec![["servers:", "asked", "lost", "p50", "p99", ""].map(str::to_owned)];
    for server in servers.iter().take(SHOWN) {
        let name = bracketed(server.all.peer.remote.as_deref());
        rows.push(row(format!("  {}{name}", address(server.server, server.transport)), &server.all));
        rows.extend(endpoints(server));
    }
    for server in servers.iter().skip(SHOWN) {
        others.absorb(&server.all);
    }
    if others.attempts > 0 {
        rows.push(row("  all others".to_owned(), &others));
    }
    aligned(&rows)
}

/// A row for each endpoint.
fn endpoints(server: &OfServer) -> Vec<[String; 6]> {
    let shown = server.endpoints.iter().take(SHOWN);
    let named = |endpoint: SocketAddr, asked: &Asked| {
        let name = bracketed(asked.peer.endpoint.as_deref());
        format!("    {}{name}", step::endpoint(endpoint, server.server))
    };
    let mut rows: Vec<_> = shown.map(|(endpoint, asked)| row(named(*endpoint, asked), asked)).collect();
    let mut others = Asked::default();
    for (_, asked) in server.endpoints.iter().skip(SHOWN) {
        others.absorb(asked);
    }
    if others.attempts > 0 {
        rows.push(row("    other endpoints".to_owned(), &others));
    }
    rows
}

fn row(what: String, asked: &Asked) -> [String; 6] {
    let [p50, p99] = quantiles(asked).unwrap_or_else(|| ["-".to_owned(), "-".to_owned()]);
    [what, asked.attempts.to_string(), asked.lost.to_string(), p50, p99, trouble(asked)]
}

/// `3 unanswered, 2 SERVFAIL, 1 rejected`: the most frequent first; empty if all is well.
pub(crate) fn trouble(asked: &Asked) -> String {
    let errors = asked.answers.iter().filter(|(status, _)| is_error(status));
    let mut parts = totals::fates_of(&asked.fates);
    parts.extend(errors.map(|(status, count)| (*count, *status)));
    // Stable: of equals the surest first.
    parts.sort_by_key(|(count, _)| Reverse(*count));
    let further = if parts.len() > TROUBLES { ", ..." } else { "" };
    let parts = parts.iter().take(TROUBLES).map(|(count, words)| format!("{count} {words}"));
    parts.collect::<Vec<_>>().join(", ") + further
}

/// p50 and p99; none if nothing was answered.
pub(crate) fn quantiles(asked: &Asked) -> Option<[String; 2]> {
    let at = |quantile| asked.latency.quantile(quantile).map(units::duration);
    Some([at(0.5)?, at(0.99)?])
}

pub(crate) fn is_well(asked: &Asked) -> bool {
    asked.lost == 0 && asked.errors() == 0
}

/// `10.96.0.10:53/udp`
pub(crate) fn address(server: SocketAddr, transport: Transport) -> String {
    format!("{server}/{}", names::transport(transport))
}

/// The first column to the left, the last one as it is, the others to the right.
fn aligned(rows: &[[String; 6]]) -> String {
    let mut widths = [0; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [first, second, third, fourth, fifth, _] = widths;
    let line = |[what, asked, lost, p50, p99, trouble]: &[String; 6]| {
        let line = format!(
            "{what:<first$}  {asked:>second$}  {lost:>third$}  {p50:>fourth$}  {p99:>fifth$}  {trouble}"
        );
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
