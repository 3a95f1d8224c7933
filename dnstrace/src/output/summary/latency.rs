//! How long answers took: a line, and bars where that tells more.

use crate::{output::units, statistics::Latency};

/// What the bars tell apart, by the upper end in milliseconds: a cache's answer, one of the same network, one of elsewhere,
/// a slow one, and the first and second time-out of a resolver.
const ROWS: [(&str, u64); 7] = [
    ("up to 1 ms", 1),
    ("1 to 10 ms", 10),
    ("10 to 100 ms", 100),
    ("0.1 to 1 s", 1_000),
    ("1 to 5 s", 5_000),
    ("5 to 10 s", 10_000),
    ("over 10 s", u64::MAX),
];
/// Characters of the longest bar.
const LONGEST: u64 = 40;
/// For more than that somebody had to wait: nanoseconds.
const SLOW: u64 = 100_000_000;
/// Fewer answers are told by the quantiles alone.
const FEW: u64 = 20;

/// The quantiles and, if anybody had to wait, the distribution: where there is one.
pub(super) fn text(latency: &Latency) -> String {
    let Some(quantiles) = quantiles(latency) else { return String::new() };
    let bars = if latency.longest() > SLOW && latency.count() >= FEW { bars(latency) } else { String::new() };
    format!("latency: {quantiles}\n{bars}")
}

/// `p50 2.09 ms, p90 4.87 ms, p99 19.6 ms, max 19.6 ms`; none if nothing was answered.
pub(crate) fn quantiles(latency: &Latency) -> Option<String> {
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|quantile| latency.quantile(quantile).map(units::duration));
    Some(format!("p50 {}, p90 {}, p99 {}, max {}", p50?, p90?, p99?, units::duration(latency.longest())))
}

/// A line for each row from the first that holds something to the last: its range, a bar, its count.
fn bars(latency: &Latency) -> String {
    let rows = rows(latency);
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let is_empty = |(_, count): &&(&str, u64)| *count == 0;
    let before = rows.iter().take_while(is_empty).count();
    let after = rows.iter().rev().take_while(is_empty).count();
    let shown = rows.iter().skip(before).take(rows.len().saturating_sub(before + after));
    let digits = most.to_string().len();
    shown
        .map(|(range, count)| {
            format!("{range:>14} {count:>digits$} {}", "#".repeat(bar(*count, most))).trim_end().to_owned()
                + "\n"
        })
        .collect()
}

/// Counts of [`ROWS`].
pub(crate) fn rows(latency: &Latency) -> [(&'static str, u64); 7] {
    let mut rows = ROWS.map(|(range, _)| (range, 0));
    for (bound, count) in latency.buckets() {
        let row = ROWS.iter().position(|(_, end)| bound.unwrap_or(u64::MAX) <= *end);
        if let Some((_, sum)) = row.and_then(|row| rows.get_mut(row)) {
            *sum += count;
        }
    }
    rows
}

/// Nothing is no bar, anything at least the shortest.
fn bar(count: u64, most: u64) -> usize {
    let length = u128::from(count) * u128::from(LONGEST) / u128::from(most.max(1));
    usize::try_from(length).unwrap_or(0).max(usize::from(count > 0))
}
