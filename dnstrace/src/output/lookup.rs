//! A lookup in one line.

use crate::{
    dns::{rcode, record_type},
    lookup::{Asked, Ending, Lookup},
};

use super::{escape, names, units};

/// Data of an answer that a line shows; the rest is counted. Likewise types.
const SHOWN: usize = 3;

/// The types that were asked for: `A+AAAA`.
pub(super) fn types(lookup: &Lookup) -> String {
    let decisive = lookup.names.get(lookup.decisive);
    let queries = decisive.map(|name| &name.queries[..]).unwrap_or_default();
    let types = queries.iter().take(SHOWN).map(|query| record_type(query.qtype));
    types.collect::<Vec<_>>().join("+")
}

/// The server that was asked first, and how many others: `10.96.0.10:53/udp +1`.
pub(super) fn servers(lookup: &Lookup) -> String {
    let Some(first) = lookup.servers.first() else { return "-".to_owned() };
    let address = format!("-> {}/{}", first.address, names::transport(first.transport));
    match lookup.servers.len() - 1 {
        0 => address,
        others => format!("{address} +{others}"),
    }
}

/// `NOERROR 10.96.3.4, fd00:96::304 [4 names tried: 6 of 8 queries in vain, 9.00 ms]`
pub(super) fn outcome(lookup: &Lookup) -> String {
    let status = match lookup.ending {
        Ending::Found => format!("NOERROR {}", data(lookup)),
        Ending::NoData => "NODATA".to_owned(),
        Ending::NxDomain => "NXDOMAIN".to_owned(),
        Ending::Failed(code) => rcode(code).into_owned(),
        Ending::Unanswered => "no answer".to_owned(),
        Ending::Pending => "no answer yet when the trace ended".to_owned(),
    };
    let mut words = vec![status];
    if lookup.names.len() > 1 {
        let waste = lookup.waste();
        let guess = if matches!(lookup.asked, Asked::Guessed(_)) { ", by a guess" } else { "" };
        words.push(format!(
            "[{} names tried{guess}: {} of {} queries in vain, {}]",
            lookup.names.len(),
            waste.queries,
            lookup.queries().count(),
            units::duration(waste.time)
        ));
    }
    if lookup.asks_others() == Some(true) {
        words.push("[resolv.conf names another server]".to_owned());
    }
    words.join(" ")
}

fn data(lookup: &Lookup) -> String {
    let mut parts: Vec<_> = lookup.data.iter().take(SHOWN).map(|data| escape(data).into_owned()).collect();
    let beyond = lookup.data.len().saturating_sub(SHOWN) + lookup.data_left_out as usize;
    if beyond > 0 {
        parts.push(format!("+{beyond} more"));
    }
    parts.join(", ")
}
