//! Bytes of connections that make no messages.

use super::{packets::*, tcp::*, told::*, *};

fn bytes(c: &Client, at: u64, direction: Direction) -> SocketMessage {
    let (source, destination) = match direction {
        Direction::Sent => (c.local, c.server),
        Direction::Received => (c.server, c.local),
    };
    c.seen(at, direction, source, destination)
}

#[test]
fn an_answer_may_be_among_the_bytes_that_were_skipped() {
    let t = tcp();
    let ask = || t.asks(0, 1, "a.").into();
    let skipped = |direction| Input::Skipped(bytes(&t, MS, direction));
    let stray = "stray StreamSkipped";
    let received = vec![ask(), skipped(Direction::Received)];
    expect("received", received.clone(), &[stray, "1 A a.: unknown, 1 lost"]);
    expect("sent", vec![ask(), skipped(Direction::Sent)], &[stray, "1 A a.: unanswered"]);
    let other = Input::Skipped(bytes(&t.another(4), MS, Direction::Received));
    expect("another's", vec![ask(), other], &[stray, "1 A a.: unanswered"]);
    let answered = vec![t.gets(2 * MS, answer(1, "a.")).into()];
    expect("answered", [received, answered].concat(), &[stray, "1 A a.: answered"]);
}

#[test]
fn what_is_not_dns_is_said_to_be_so() {
    let t = tcp();
    let inputs =
        vec![t.opens(0), t.is_open(10), Input::NotDns(bytes(&t, MS, Direction::Sent)), t.is_reset(2 * MS)];
    expect("not DNS", inputs, &["stray StreamNotDns"]);
}
