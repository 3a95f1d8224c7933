//! What a user reads, and that it is safe to.

use dnstrace::{
    event::KernelTime,
    lookup::Output,
    losses::Losses,
    output::{
        WallClock, escape, json, summary,
        table::{Column, Table},
    },
    statistics::Statistics,
};
use jiff::tz::TimeZone;

/// Everything that shows what a trace says.
pub struct Shown {
    clock: WallClock,
    tables: [Table; 3],
    statistics: Statistics,
}

impl Default for Shown {
    fn default() -> Self {
        let clock = WallClock { offset_ns: 1_700_000_000_000_000_000, zone: TimeZone::UTC };
        let table = || Table::new(clock.clone());
        let mut narrow = table();
        narrow.fit(Some(80));
        let tables = [narrow, table().with_columns(&Column::ALL), table().by_lookup(true)];
        Self { clock, tables, statistics: Statistics::default() }
    }
}

impl Shown {
    /// Shows them, each in every way.
    pub fn tell(&mut self, outputs: &[Output]) {
        for output in outputs {
            for table in &mut self.tables {
                is_safe(&table.lines(output));
            }
            is_json(&json::line(output, &self.clock).expect("every output has a line of JSON"));
            self.statistics.add(output);
        }
    }

    /// Shows what it came to.
    pub fn end(&self, begin: KernelTime, end: KernelTime, losses: &Losses) {
        is_safe(&summary::text(&self.statistics, begin, end, losses));
        let line = json::summary(&self.statistics, losses, [begin, end], true, &self.clock);
        is_json(&line.expect("the summary has a line of JSON"));
    }
}

/// Nothing in these lines steers a terminal.
pub fn is_safe(lines: &str) {
    assert!(lines.is_empty() || lines.ends_with('\n'), "{lines:?}");
    for line in lines.lines() {
        assert_eq!(escape(line), line);
    }
}

fn is_json(line: &str) {
    let value: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
    assert!(!line.contains('\n') && value["kind"].is_string(), "{line}");
}
