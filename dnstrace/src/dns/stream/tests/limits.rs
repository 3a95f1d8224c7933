//! What is kept is bounded, and what is given up is counted.

use super::*;

fn limited(connections: usize, waiting: usize) -> Line {
    let mut line = Line::received();
    line.streams = Streams::new(StreamLimits { connections, waiting });
    line
}

#[test]
fn the_connection_that_was_quiet_for_longest_is_forgotten_first() {
    let bytes = framed(&query(1, "a."));
    let mut line = limited(2, 1 << 20);
    for socket in [1, 2, 1, 3] {
        line.socket = socket;
        line.call(&bytes[..2]);
    }
    assert_eq!(line.said(), ["skipped 2/2"]);
    assert_eq!(line.streams.connections.len(), 2);
    assert!(line.streams.connections.contains(&(NETNS, 1)));
    assert_eq!(line.streams.totals(), StreamTotals { forgotten: 1, skipped: 2, not_dns: 0 });
}

#[test]
fn connections_that_say_nothing_are_bounded_too() {
    let mut line = limited(3, 1 << 20);
    for socket in 0..10 {
        line.socket = socket;
        line = line.opened();
    }
    assert_eq!(line.streams.connections.len(), 3);
    assert_eq!(line.streams.totals().forgotten, 7);
}

#[test]
fn bytes_that_wait_are_bounded_over_all_connections() {
    let bytes = framed(&answer(1, "a.", 60_000));
    let mut line = limited(100, 100_000);
    for socket in 0..5 {
        line.socket = socket;
        line.seq = 1;
        for part in bytes[..40_000].chunks(4096) {
            line.call(part);
            assert!(line.streams.kept <= 100_000);
        }
    }
    assert_eq!(line.said(), [(); 3].map(|()| format!("1 a 39998/{}", bytes.len() - 2)));
    assert_eq!(line.streams.totals().forgotten, 3);
    for socket in 0..5 {
        line.socket = socket;
        line.end();
    }
    assert_eq!(line.streams.kept, 0);
}

#[test]
fn a_zone_transfer_keeps_no_more_than_a_message() {
    let bytes = framed(&answer(1, "a.", 50_000));
    let mut line = Line::received();
    let stream: Vec<u8> = bytes.iter().copied().cycle().take(40 * bytes.len()).collect();
    for part in stream.chunks(4096) {
        line.call(part);
        assert!(line.streams.kept < 2 * 65_536, "{}", line.streams.kept);
    }
    assert_eq!(line.said().len(), 40);
    assert_eq!(line.streams.kept, 0);
}

#[test]
fn a_long_search_keeps_next_to_nothing() {
    let mut line = Line::received();
    for _ in 0..100 {
        line.call(&[0xff; 4096]);
        assert!(line.streams.kept <= 256);
    }
}

#[test]
fn what_is_offered_again_and_again_is_kept_once() {
    let mut line = Line::sent();
    for _ in 0..1000 {
        line.call(&[0, 29, 0]).not_taken(3);
        assert!(line.streams.kept < 20);
    }
}
