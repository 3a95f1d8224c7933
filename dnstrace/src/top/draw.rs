//! A screen out of a view.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Text},
    widgets::{Paragraph, Row, Sparkline, Table},
};

use super::View;
use crate::{
    output::{escape, summary_words as words},
    statistics::{Asked, Asking},
};

/// Rows of servers, and of pods and names, with their heading.
const SERVERS: u16 = 6;
const WORST: u16 = 6;
/// Columns of the sparkline.
const SPARKS: u16 = 30;

/// Draws all of it; what does not fit is cut off.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let [head, servers, worst, newest, foot] = Layout::vertical([
        Constraint::Length(5),
        Constraint::Length(SERVERS),
        Constraint::Length(WORST),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, view, head);
    draw_servers(frame, view, servers);
    let [pods, names] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(worst);
    let (most, _) = view.statistics.owners().worst(usize::from(WORST));
    draw_worst(frame, "WORST PODS", most.iter().map(|(key, owner)| (key.to_string(), &owner.asked)), pods);
    let (most, _) = view.statistics.names().worst(usize::from(WORST));
    draw_worst(frame, "WORST NAMES", most.iter().map(|(name, asking)| ((*name).clone(), *asking)), names);
    draw_newest(frame, view, newest);
    let losses = view.losses.text();
    frame.render_widget(Paragraph::new(losses.lines().next().unwrap_or_default()), foot);
}

/// Totals, latency, fates, conntrack, and the rate.
fn draw_head(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let counts = view.statistics.counts();
    let [text, sparks] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(SPARKS)]).spacing(2).areas(area);
    let latency =
        words::quantiles(view.statistics.latency()).unwrap_or_else(|| "nothing answered".to_owned());
    let (fates, conntrack) = (words::fates(&counts.fates), words::conntrack(&counts.conntrack));
    let or_well = |words: String, well: &str| if words.is_empty() { well.to_owned() } else { words };
    let lines = vec![
        Line::styled(
            format!(
                "dnstrace {}: {} queries; q quits",
                words::duration(view.now.since(view.begin)),
                counts.queries
            ),
            heading(),
        ),
        Line::raw(words::by_ending(counts)),
        Line::raw(format!("latency: {latency}")),
        Line::raw(format!("attempts: {}", or_well(fates, "all answered"))),
        Line::raw(format!("conntrack: {}", or_well(conntrack, "no trouble"))),
    ];
    frame.render_widget(Paragraph::new(Text::from(lines)), text);
    let [label, bars] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(sparks);
    let rate = view.per_second.last().copied().unwrap_or(0);
    frame.render_widget(Paragraph::new(format!("{rate} queries a second")).right_aligned(), label);
    let shown = view.per_second.len().saturating_sub(usize::from(bars.width));
    frame.render_widget(Sparkline::default().data(view.per_second.iter().skip(shown).copied()), bars);
}

/// Servers with their endpoints, the worst first.
fn draw_servers(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let mut rows = Vec::new();
    for server in view.statistics.servers() {
        rows.push(server_row(words::address(server.server, server.transport), &server.all));
        if server.endpoints.len() > 1 {
            let endpoints = server.endpoints.iter();
            rows.extend(endpoints.map(|(endpoint, asked)| {
                server_row(format!("  {}", words::endpoint(*endpoint, server.server)), asked)
            }));
        }
    }
    let widths = [
        Constraint::Length(27),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let head = Row::new(["SERVER", "ASKED", "LOST", "P50", "P99", ""]).style(heading());
    frame.render_widget(Table::new(rows, widths).header(head).column_spacing(1), area);
}

fn server_row(what: String, asked: &Asked) -> Row<'static> {
    let [p50, p99] = words::server_quantiles(asked).unwrap_or_else(|| ["-".to_owned(), "-".to_owned()]);
    Row::new([what, asked.attempts.to_string(), asked.lost.to_string(), p50, p99, words::trouble(asked)])
}

fn draw_worst<'a>(
    frame: &mut Frame<'_>,
    title: &'static str,
    worst: impl Iterator<Item = (String, &'a Asking)>,
    area: Rect,
) {
    let rows = worst.filter(|(_, asking)| asking.is_troubled()).map(|(who, asking)| {
        Row::new([
            escape(&who).into_owned(),
            format!("{}/{}", asking.failed, asking.queries),
            asking.lost.to_string(),
            words::duration(asking.longest),
        ])
    });
    let widths = [Constraint::Fill(1), Constraint::Length(8), Constraint::Length(5), Constraint::Length(7)];
    let head = Row::new([title, "FAILED", "LOST", "LONGEST"]).style(heading());
    frame.render_widget(Table::new(rows, widths).header(head).column_spacing(1), area);
}

fn draw_newest(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let rows = view.newest.iter().map(|sick| {
        Row::new([sick.time.clone(), sick.who.clone(), sick.question.clone(), sick.verdict.clone()])
    });
    let widths = [Constraint::Length(8), Constraint::Fill(2), Constraint::Fill(3), Constraint::Fill(3)];
    let head = Row::new(["NEWEST", "", "", ""]).style(heading());
    frame.render_widget(Table::new(rows, widths).header(head).column_spacing(1), area);
}

fn heading() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}
