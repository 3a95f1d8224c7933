//! Whole screens.

use insta::assert_snapshot;
use jiff::tz::TimeZone;
use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::{
    losses::HookLosses,
    output::{
        WallClock,
        tests::{summaries, zoo},
    },
};

const SECOND: u64 = 1_000_000_000;

fn view(statistics: Statistics, losses: Losses) -> View {
    let mut newest = Newest::new(WallClock { offset_ns: 1_700_000_000 * 1_000_000_000, zone: TimeZone::UTC });
    for output in zoo::all() {
        newest.add(&output);
    }
    let per_second = (0..50).map(|second| second % 17).collect();
    let (begin, now) = (KernelTime(0), KernelTime(600 * SECOND));
    View { statistics, losses, begin, now, per_second, newest: newest.all(), said: String::new() }
}

fn screen(view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, view)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn a_small_terminal_shows_what_matters() {
    assert_snapshot!(screen(&view(summaries::sick(), Losses::default()), 80, 24));
}

#[test]
fn a_larger_terminal_shows_more() {
    let hooks = vec![HookLosses { hook: "ip_send_skb".into(), ring_full: 3, unreadable: 0, skipped: 0 }];
    assert_snapshot!(screen(&view(summaries::many(), Losses { hooks, ..Losses::default() }), 120, 40));
}

#[test]
fn nothing_seen_yet_is_a_screen_as_well() {
    let empty =
        View { newest: Vec::new(), per_second: Vec::new(), ..view(Statistics::default(), Losses::default()) };
    assert_snapshot!(screen(&empty, 80, 24));
}

#[test]
fn what_was_said_has_a_line_of_its_own() {
    let said = "dnstrace: \u{1b}[2Jso far, and the trace goes on: [9 lines are said at the end]".to_owned();
    let view = View { said, ..view(summaries::sick(), Losses::default()) };
    let screen = screen(&view, 80, 24);
    let last: Vec<_> = screen.lines().rev().take(2).map(|line| line.trim_matches(['"', ' '])).collect();
    let line = "dnstrace: \\u{1b}[2Jso far, and the trace goes on: [9 lines are said at the end]";
    assert_eq!(last, ["nothing was lost", line]);
}

#[test]
fn a_tiny_terminal_shows_what_matters_most() {
    let long = view(summaries::sick(), Losses::default());
    assert_snapshot!([screen(&long, 40, 10), screen(&long, 60, 18)].join("\n"));
}

#[test]
fn no_size_is_too_small() {
    let view = view(summaries::many(), Losses::default());
    for (width, height) in [(1, 1), (3, 40), (120, 2), (20, 7)] {
        screen(&view, width, height);
    }
}

#[test]
fn no_cell_steers_the_terminal() {
    let screen = screen(&view(summaries::many(), Losses::default()), 200, 60);
    assert!(!screen.contains('\x1b') && screen.contains("\\u{1b}"), "{screen}");
}
