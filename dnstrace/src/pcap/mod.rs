//! Captures of others: pcap and pcapng, as tcpdump and Wireshark write them.
//!
//! A capture knows packets, not sockets: it is read as the clients' sockets would have seen it, a query sent and an answer
//! received, so that the core makes of it what it makes of a trace. Whose sockets they are, and what befell packets that do not
//! show up again, it cannot know.
//!
//! A packet's way: [`container`] (blocks of the file) -> [`link`] -> [`ip`] -> [`copies`] (out) and [`fragments`] (together) ->
//! [`transport`] (what is of concern, by [`watch`]) -> the order of time -> messages of UDP, and [`tcp`] for the rest;
//! [`assembly`] leads it, [`hosts`]
//! tells clients apart, [`capture`] makes a source of it.

mod assembly;
mod capture;
mod container;
mod copies;
mod fragments;
mod hosts;
mod input;
mod interface;
mod ip;
mod link;
mod pipe;
mod tcp;
#[cfg(test)]
mod tests;
mod transport;
mod watch;

pub use capture::Capture;
pub use watch::Watch;
