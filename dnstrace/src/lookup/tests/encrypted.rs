//! Connections of DNS over TLS and HTTPS: what they carry cannot be seen, how they fare can.

use super::{packets::*, tcp::*, told::*, *};
use crate::event::TcpState::{Close, CloseWait, Established, LastAck, SynRecv, SynSent};

fn over(port: u16) -> Client {
    Client { server: SocketAddr::new("1.1.1.1".parse().unwrap(), port), ..tcp() }
}

#[test]
fn an_encrypted_connection_is_told_when_it_ends() {
    let t = over(853);
    let mut ended = t.change(30_000 * MS, LastAck, Close);
    (ended.bytes_acked, ended.bytes_received, ended.rtt_us) = (500, 4_000, Some(12_000));
    let inputs = vec![
        t.opens(0),
        t.syn().dropped(10, "NETFILTER_DROP"),
        t.sends_again(1_000 * MS, SynSent),
        t.is_open(1_001 * MS),
        t.sends_again(2_000 * MS, Established),
        t.turns(20_000 * MS, Established, CloseWait),
        Input::Change(ended),
    ];
    let out = run_all(inputs, Sight::default());
    assert_eq!(told(&out), ["connection 1 Tls: drop syn NETFILTER_DROP, again syn, again q; ClosedByPeer"]);
    let [Output::Connection(told)] = &out[..] else { panic!() };
    // Of what the kernel counts, the SYN and the FIN are no bytes.
    assert_eq!((told.bytes_acked, told.bytes_received, told.rtt_us), (498, 4_000, Some(12_000)));
    let at = |ms| KernelTime(ms * MS);
    assert_eq!((told.time, told.established, told.ended), (at(0), Some(at(1_001)), at(20_000)));
}

#[test]
fn one_that_is_open_at_the_end_or_older_than_the_trace_is_told_as_that() {
    let (tls, https) = (over(853), over(443));
    expect("open", vec![https.opens(0), https.is_open(MS)], &["connection 1 Https"]);
    let older = vec![tls.is_closed_by_peer(MS), tls.turns(2 * MS, LastAck, Close)];
    let out = run_all(older, Sight::default());
    assert_eq!(told(&out), ["connection 1 Tls; ClosedByPeer"]);
    let [Output::Connection(connection)] = &out[..] else { panic!() };
    assert!(!connection.seen_from_start && connection.established.is_none());
}

#[test]
fn one_that_cannot_be_opened_is_told_once() {
    let t = over(853);
    let refused = vec![t.opens(0), t.fails(MS, ECONNREFUSED), t.cannot_connect(MS + 1, ECONNREFUSED)];
    expect("refused", refused, &["connection 1 Tls: connect errno 111; Reset"]);
    let failed = "connection 1 Tls: connect errno 113; Failed { errno: 113 }";
    expect("no route", vec![t.cannot_connect(0, EHOSTUNREACH)], &[failed]);
}

#[test]
fn a_socket_used_again_ends_the_one_before_unseen() {
    let (t, u) = (over(853), Client { local: "10.244.1.7:50001".parse().unwrap(), ..over(853) });
    let inputs = vec![t.opens(0), t.is_open(MS), u.opens(2 * MS), u.is_open(3 * MS), u.closes(4 * MS)];
    expect("reused", inputs, &["connection 1 Tls", "connection 2 Tls; Closed"]);
}

#[test]
fn at_a_server_it_is_its_clients() {
    let t = over(853);
    let s = Client { local: t.server, server: t.local, netns: 9, socket: 3, ..t };
    let change = |at, from, to| {
        let mut change = s.change(at, from, to);
        change.encrypted = true;
        Input::Change(change)
    };
    let inputs = vec![change(0, SynRecv, Established), change(MS, Established, CloseWait)];
    expect("server", inputs, &["connection 1 at server Tls; ClosedByPeer"]);
}

#[test]
fn no_truncated_answer_is_asked_for_again_over_it() {
    let t = Client { server: SocketAddr::new(client().server.ip(), 853), ..tcp() };
    let inputs = [is_truncated(0, 1, "a."), vec![t.opens(2 * MS), t.fails(3 * MS, ECONNREFUSED)]].concat();
    expect("tls", inputs, &["connection 1 Tls: connect errno 111; Reset", "1 A a.: answered"]);
}
