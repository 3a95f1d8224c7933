//! The shape of the table: columns, widths and colours.

use insta::assert_snapshot;
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr as _;

use super::{clock, zoo};
use crate::{
    dns::Question,
    lookup::{Health, Output, Query},
    output::{
        Nodes,
        table::{Column, Table},
    },
};

/// Something of every kind.
fn some() -> Vec<Output> {
    let queries = vec![zoo::five_seconds(), zoo::healthy().swap_remove(0), zoo::out().swap_remove(0)];
    let long = zoo::tcp::odd();
    let encrypted = zoo::tcp::connections().swap_remove(0);
    [
        zoo::outputs([queries, long].concat()),
        zoo::packets(vec![zoo::strays().swap_remove(0)]),
        zoo::tcp::lines(vec![encrypted]),
        vec![zoo::tcp::strays().swap_remove(1)],
    ]
    .concat()
}

fn everything() -> Vec<Output> {
    [zoo::all(), zoo::tcp::all()].concat()
}

fn table() -> Table {
    Table::new(clock()).on(Nodes::one(Some(zoo::NODE)))
}

fn shown(mut table: Table, outputs: &[Output]) -> String {
    table.header() + &outputs.iter().map(|output| table.lines(output)).collect::<String>()
}

fn fitted(width: usize) -> Table {
    let mut table = table();
    table.fit(Some(width));
    table
}

/// Lines of the table, without what is unfolded below.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with("    "))
}

/// What stands in one column alone.
fn cell(column: Column, output: &Output) -> String {
    let line = table().with_columns(&[column]).lines(output);
    line.lines().next().unwrap().to_owned()
}

#[test]
fn wide_has_every_column() {
    assert_snapshot!(shown(table().with_columns(&Column::ALL), &some()));
}

#[test]
fn columns_are_those_that_were_named() {
    let columns = [Column::Name, Column::Answer, Column::Tries, Column::Latency];
    assert_snapshot!(shown(table().with_columns(&columns), &some()));
}

#[test]
fn a_narrow_terminal_shortens_names_and_no_answer() {
    assert_snapshot!(shown(fitted(140), &some()));
}

#[test]
fn a_very_narrow_terminal_does_without_process_and_peer() {
    let mut narrow = fitted(80);
    assert_eq!(narrow.left_out(), ["PROCESS", "PEER"]);
    assert_eq!(fitted(100).left_out(), ["PROCESS"]);
    assert!(fitted(108).left_out().is_empty() && table().left_out().is_empty());
    narrow.fit(None);
    assert!(narrow.left_out().is_empty(), "the window is wide again");
    assert_snapshot!(shown(fitted(80), &some()));
    // Who names columns gets them.
    let mut named = table().with_columns(&Column::usual());
    named.fit(Some(20));
    assert!(named.left_out().is_empty());
}

#[test]
fn a_new_width_is_told_once() {
    let mut table = table();
    assert!(!table.fit(None) && table.fit(Some(120)) && !table.fit(Some(120)) && table.fit(Some(80)));
}

#[test]
fn a_wide_terminal_shortens_nothing() {
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let queries = zoo::outputs(zoo::healthy());
    assert_eq!(words(shown(fitted(300), &queries)), words(shown(table(), &queries)));
}

/// Where the answer begins on a line of a query of this name.
fn answer_begins(table: &mut Table, name: &str) -> usize {
    let query = Query {
        question: Question { name: name.to_owned(), ..zoo::healthy()[0].question.clone() },
        ..zoo::healthy().swap_remove(0)
    };
    let line = table.lines(&zoo::outputs(vec![query])[0]);
    line.find("NOERROR").unwrap()
}

#[test]
fn without_a_terminal_a_long_cell_takes_the_room_behind_it_before_it_moves_others() {
    let mut table = table().with_columns(&[Column::Name, Column::Peer, Column::Answer]);
    let header = table.header().find("ANSWER").unwrap();
    // The name is three cells too long, and the peer leaves one free.
    for (name, further) in
        [("a.", 0), (&*"b".repeat(37), 0), (&*"b".repeat(39), 2), ("a.", 3), (&*"b".repeat(39), 3)]
    {
        assert_eq!(answer_begins(&mut table, name), header + further, "{name}");
    }
}

#[test]
fn what_is_sick_is_in_colours() {
    let coloured = shown(table().in_colours(true), &some());
    assert_snapshot!(coloured.replace('\x1b', "<ESC>"));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), shown(table(), &some()));
}

#[test]
fn colours_tell_how_it_fared() {
    for output in everything() {
        let line = table().in_colours(true).lines(&output);
        let row = line.lines().next().unwrap_or_default();
        let colour = match output.health() {
            Health::Well => None,
            Health::Troubled => Some("\x1b[33m"),
            Health::Failed => Some("\x1b[31m"),
        };
        assert_eq!(row.find('\x1b').map(|at| &row[at..at + 5]), colour, "{row}");
    }
}

#[test]
fn every_column_is_described_once() {
    for column in Column::ALL {
        let description = column.description();
        assert!(description.title.bytes().all(|byte| byte.is_ascii_uppercase()), "{}", description.title);
        assert!(!description.meaning.is_empty());
        let of_title = Column::ALL.iter().filter(|other| other.description().title == description.title);
        assert_eq!(of_title.count(), 1, "{}", description.title);
    }
}

proptest! {
    /// Whatever the width, the answer is there, whole; where all columns fit, it begins on the same line of the terminal.
    #[test]
    fn no_answer_is_shortened(width in 1usize..250, which in any::<prop::sample::Index>()) {
        let all = everything();
        let output = &all[which.index(all.len())];
        let mut table = fitted(width);
        let text = table.header() + &table.lines(output);
        let answer = cell(Column::Answer, output);
        for row in rows(&text).skip(1) {
            prop_assert!(row.ends_with(&answer), "{row}");
            let before = row.width() - answer.width();
            prop_assert!(width < 74 || before + 12 <= width, "{before} of {width}: {row}");
        }
    }

    /// Only our own colours, whatever strangers are called, however it is cut.
    #[test]
    fn no_name_brings_colours(
        name in any::<String>(), comm in "(\\x1b\\[3[0-9]m|\u{9b}|.){0,12}", width in 1usize..200, wide in any::<bool>(),
        which in any::<prop::sample::Index>(),
    ) {
        let queries = [zoo::out(), zoo::back(), zoo::healthy()].concat();
        let mut query: Query = queries[which.index(queries.len())].clone();
        query.question.name = name + "\x1b[31m";
        query.task.comm = comm;
        let output = Output::Query(query.into());
        let table = if wide { table().with_columns(&Column::ALL) } else { table() };
        let mut table = table.in_colours(true);
        table.fit(Some(width));
        let text = table.lines(&output);
        let health = output.health();
        let mut plain = text.clone();
        for ours in ["\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"] {
            plain = plain.replace(ours, "");
        }
        super::fates::harmless(&plain)?;
        let painted = usize::from(health != Health::Well) + text.lines().count() - 1;
        prop_assert_eq!(text.matches('\x1b').count(), 2 * painted, "{}", text);
    }
}
