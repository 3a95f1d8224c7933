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

/// Rows of the totals; of servers, and of pods and names, with their heading.
const HEAD: u16 = 5;
const SERVERS: u16 = 6;
const WORST: u16 = 6;
/// Rows of the newest, with their heading, that come before others.
const NEWEST: u16 = 4;
/// Columns of the sparkline, at the most and at the least.
const SPARKS: u16 = 30;
const FEWEST_SPARKS: u16 = 10;
/// Between two columns of text.
const GAP: u16 = 2;
/// Fewer columns are not shared by pods and names.
const TWO_TABLES: u16 = 70;

/// Draws all of it; a small screen has the parts that matter most, and what does not fit into them is cut off.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let [head, servers, worst, newest, said, foot] = areas(frame.area(), !view.said.is_empty());
    draw_head(frame, view, head);
    draw_servers(frame, view, servers);
    draw_worst(frame, view, worst);
    draw_newest(frame, view, newest);
    frame.render_widget(Paragraph::new(escape(&view.said)), said);
    let losses = view.losses.text();
    frame.render_widget(Paragraph::new(losses.lines().next().unwrap_or_default()), foot);
}

/// Totals, servers, pods and names, newest, what was said, losses.
fn areas(screen: Rect, is_said: bool) -> [Rect; 6] {
    let said = u16::from(is_said);
    let room = screen.height.saturating_sub(HEAD + said + 1);
    let servers = if room >= SERVERS + NEWEST { SERVERS } else { 0 };
    let worst = if room >= SERVERS + WORST + NEWEST { WORST } else { 0 };
    let newest = room.saturating_sub(servers + worst);
    Layout::vertical([HEAD, servers, worst, newest, said, 1].map(Constraint::Length)).areas(screen)
}

/// Totals, latency, fates, conntrack, and the rate where they leave room for it.
fn draw_head(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let text = Text::from(totals(view));
    let left = area.width.saturating_sub(columns(text.width()) + GAP);
    let sparks = if left < FEWEST_SPARKS { 0 } else { left.min(SPARKS) };
    let [totals, sparks] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(sparks)]).spacing(GAP).areas(area);
    frame.render_widget(Paragraph::new(text), if sparks.width == 0 { area } else { totals });
    let [label, bars] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(sparks);
    let rate = view.per_second.last().copied().unwrap_or(0);
    frame.render_widget(Paragraph::new(format!("{rate} a second")).right_aligned(), label);
    let shown = view.per_second.len().saturating_sub(usize::from(bars.width));
    frame.render_widget(Sparkline::default().data(view.per_second.iter().skip(shown).copied()), bars);
}

fn totals(view: &View) -> Vec<Line<'static>> {
    let counts = view.statistics.counts();
    let latency =
        words::quantiles(view.statistics.latency()).unwrap_or_else(|| "nothing answered".to_owned());
    let (fates, conntrack) = (words::fates(&counts.fates), words::conntrack(&counts.conntrack));
    let or_well = |words: String, well: &str| if words.is_empty() { well.to_owned() } else { words };
    let first = format!(
        "dnstrace {}: {} queries; q quits",
        words::duration(view.now.since(view.begin)),
        counts.queries
    );
    vec![
        Line::styled(first, heading()),
        Line::raw(words::by_ending(counts)),
        Line::raw(format!("latency: {latency}")),
        Line::raw(format!("attempts: {}", or_well(fates, "all answered"))),
        Line::raw(format!("conntrack: {}", or_well(conntrack, "no trouble"))),
    ]
}

/// Servers with their endpoints, the worst first.
fn draw_servers(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let mut rows = Vec::new();
    let servers = view.statistics.servers();
    for server in &servers {
        rows.push((words::address(server.server, server.transport), &server.all));
        if server.endpoints.len() > 1 {
            rows.extend(server.endpoints.iter().map(|(endpoint, asked)| {
                (format!("  {}", words::endpoint(*endpoint, server.server)), asked)
            }));
        }
    }
    // As wide as the addresses need, while there is room for the rest.
    let widest =
        rows.iter().take(usize::from(SERVERS)).map(|(what, _)| what.chars().count()).max().unwrap_or(0);
    let widths = [
        Constraint::Length(columns(widest).max(20).min(area.width.saturating_sub(34))),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let head = Row::new(["SERVER", "ASKED", "LOST", "P50", "P99", ""]).style(heading());
    let rows = rows.into_iter().map(|(what, asked)| server_row(what, asked));
    frame.render_widget(Table::new(rows, widths).header(head).column_spacing(1), area);
}

fn server_row(what: String, asked: &Asked) -> Row<'static> {
    let [p50, p99] = words::server_quantiles(asked).unwrap_or_else(|| ["-".to_owned(), "-".to_owned()]);
    Row::new([what, asked.attempts.to_string(), asked.lost.to_string(), p50, p99, words::trouble(asked)])
}

/// Pods and names in trouble; on a narrow screen pods alone.
fn draw_worst(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let names = u16::from(area.width >= TWO_TABLES);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(names)]).spacing(GAP * names).areas(area);
    let (most, _) = view.statistics.owners().worst(usize::from(WORST));
    draw_asking(frame, "WORST PODS", most.iter().map(|(key, owner)| (key.to_string(), &owner.asked)), left);
    let (most, _) = view.statistics.names().worst(usize::from(WORST));
    draw_asking(frame, "WORST NAMES", most.iter().map(|(name, asking)| ((*name).clone(), *asking)), right);
}

fn draw_asking<'a>(
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

/// As ratatui counts them.
fn columns(characters: usize) -> u16 {
    u16::try_from(characters).unwrap_or(u16::MAX)
}

fn heading() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}
