//! The live table: a line a query; a sick one unfolds into its attempts and what befell them.

mod column;
mod layout;
mod paint;
pub(super) mod row;

use crate::{
    event::KernelTime,
    lookup::{Health, Output, Query, Role},
};

use super::{Nodes, WallClock, attempt, connection, step::Scene};

pub use column::{Column, Description};
use layout::Layout;
use paint::Paint;
use row::Row;

/// The table. Without a terminal its columns grow where long cells do not fit otherwise, so that lines below each other stay
/// readable; on one they fit its width: long names are shortened, the answer never is.
#[derive(Debug)]
pub struct Table {
    clock: WallClock,
    nodes: Nodes,
    layout: Layout,
    paint: Paint,
    /// Whether a line is a lookup, in the place of its healthy queries.
    by_lookup: bool,
}

impl Table {
    /// With the usual columns, without colours.
    pub fn new(clock: WallClock) -> Self {
        Self {
            clock,
            nodes: Nodes::default(),
            layout: Layout::new(&Column::usual(), true),
            paint: Paint::default(),
            by_lookup: false,
        }
    }

    /// Says which network namespaces are the nodes' own, so that they are called so.
    #[must_use]
    pub fn on(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }

    /// Shows these columns, in this order, however narrow the terminal.
    #[must_use]
    pub fn with_columns(self, columns: &[Column]) -> Self {
        Self { layout: Layout::new(columns, false), ..self }
    }

    /// In colours or without.
    #[must_use]
    pub fn in_colours(self, is_on: bool) -> Self {
        Self { paint: Paint { is_on }, ..self }
    }

    /// Shows a line a lookup instead of its healthy queries, if that is wanted.
    #[must_use]
    pub fn by_lookup(self, by_lookup: bool) -> Self {
        Self { by_lookup, ..self }
    }

    /// Fits the lines from now on into a terminal of so many cells; none if there is none. Whether that is new: then the
    /// header no longer fits.
    pub fn fit(&mut self, width: Option<usize>) -> bool {
        self.layout.set_terminal(width)
    }

    /// Titles of columns that the terminal has no room for.
    pub fn left_out(&self) -> Vec<&'static str> {
        self.layout.left_out().into_iter().map(|column| column.description().title).collect()
    }

    /// The line above the table.
    pub fn header(&mut self) -> String {
        self.layout.line(|column| column.description().title.to_owned(), |_, text| text)
    }

    /// The lines of one output of the core, each with its newline.
    pub fn lines(&mut self, output: &Output) -> String {
        let (row, below) = match output {
            Output::Query(query) if self.by_lookup && is_told_by_lookup(query) => return String::new(),
            Output::Query(query) => {
                let below = attempt::is_sick(query).then(|| attempt::unfold(query, &self.nodes));
                (Row::of_query(query), below.unwrap_or_default())
            }
            Output::Stray(stray) => (Row::of_stray(stray), String::new()),
            Output::Packet(packet) => (Row::of_packet(packet, &self.nodes), String::new()),
            Output::Connection(tcp) => {
                let scene = Scene::of_connection(&self.nodes, tcp);
                (Row::of_connection(tcp, &scene), connection::unfold(tcp, &scene))
            }
            Output::Lookup(lookup) if self.by_lookup => (Row::of_lookup(lookup), String::new()),
            Output::Lookup(_) => return String::new(),
            Output::Loss(loss) => {
                let what = format!("{} events (ring full; try a larger --ring)", loss.events);
                return self.lost(loss.since, loss.time, &what);
            }
        };
        let (paint, health) = (self.paint, output.health());
        let (clock, nodes) = (&self.clock, &self.nodes);
        let painted =
            |column, text| if column == Column::Answer { paint.verdict(text, health) } else { text };
        let line = self.layout.line(|column| column.cell(&row, clock, nodes), painted);
        line + &paint.continuation(&below)
    }

    /// The line in the place of so many outputs that were not written, whose times are `since` to `until`.
    pub fn not_written(&self, outputs: u64, since: KernelTime, until: KernelTime) -> String {
        self.lost(since, until, &format!("{outputs} queries and others, not printed (not read in time)"))
    }

    fn lost(&self, since: KernelTime, until: KernelTime, what: &str) -> String {
        let [since, until] = [since, until].map(|time| self.clock.time_of_day(time));
        self.paint.verdict(format!("{until}  LOST since {since}: {what}"), Health::Failed) + "\n"
    }
}

/// Whether a query has nothing to tell that the line of its lookup does not.
fn is_told_by_lookup(query: &Query) -> bool {
    query.role == Role::Client && !attempt::is_sick(query)
}
