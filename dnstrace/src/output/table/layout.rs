//! How wide each column is. On a terminal they fit its width. Without one a long cell takes the room that is left free in the
//! columns behind it; where that does not suffice, its column is wider from the next line on.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::column::{Column, Cut, Description, Side};

/// Between two columns.
const GAP: usize = 2;
/// Kept free for the last column at least: `NOERROR` and the beginning of an address.
const LAST_LEAST: usize = 12;
/// And where there is room, a seventh of the terminal up to this.
const LAST_MOST: usize = 36;
const ELLIPSIS: &str = "…";
/// What the usual columns can do without where even their least widths do not fit, in this order.
const DISPENSABLE: [Column; 2] = [Column::Process, Column::Peer];

/// The columns of a table, and how wide they have to be.
#[derive(Debug)]
pub(super) struct Layout {
    places: Vec<Place>,
    /// Columns may be left out: the user has not named them.
    is_usual: bool,
    /// Width of the terminal; none if there is none.
    terminal: Option<usize>,
}

#[derive(Debug)]
struct Place {
    column: Column,
    /// Width of the widest cell so far, up to the column's `most`.
    needed: usize,
}

impl Place {
    fn description(&self) -> Description {
        self.column.description()
    }

    fn natural(&self) -> usize {
        self.description().start.max(self.needed)
    }

    /// The width that it is pressed to: first by what it does not need, then further.
    fn floor(&self, hard: bool) -> usize {
        let Description { least, .. } = self.description();
        let floor = if hard { least } else { least.max(self.needed) };
        floor.min(self.natural())
    }
}

/// Where the columns stand on one line.
struct Fitted {
    /// Of each place; none if it is left out.
    widths: Vec<Option<usize>>,
    /// What a line may take beyond that.
    spare: usize,
}

impl Layout {
    pub fn new(columns: &[Column], is_usual: bool) -> Self {
        let place = |column: &Column| Place { column: *column, needed: column.description().title.len() };
        Self { places: columns.iter().map(place).collect(), is_usual, terminal: None }
    }

    /// Fits lines into a terminal of this width, from now on; none if there is none. Whether that is new.
    pub fn set_terminal(&mut self, width: Option<usize>) -> bool {
        let is_new = self.terminal != width;
        self.terminal = width;
        is_new
    }

    /// The columns that the terminal has no room for.
    pub fn left_out(&self) -> Vec<Column> {
        let widths = self.fit().widths;
        let left_out = self.places.iter().zip(widths).filter(|(_, width)| width.is_none());
        left_out.map(|(place, _)| place.column).collect()
    }

    /// A line with its newline. `paint` colours what stands in a column, which changes no width.
    pub fn line(
        &mut self,
        cell: impl Fn(Column) -> String,
        paint: impl Fn(Column, String) -> String,
    ) -> String {
        let texts: Vec<String> = self.places.iter().map(|place| cell(place.column)).collect();
        let needed: Vec<usize> = texts.iter().map(|text| text.width()).collect();
        if self.terminal.is_some() {
            self.grow(&needed);
        }
        let Fitted { widths, mut spare } = self.fit();
        // By how much the cells so far are longer than their columns.
        let mut excess = 0_usize;
        let shown = self.places.iter().zip(texts).zip(widths);
        let mut shown =
            shown.filter_map(|((place, text), width)| Some((place.column, text, width?))).peekable();
        let mut line = String::new();
        while let Some((column, text, width)) = shown.next() {
            let description = column.description();
            let is_last = shown.peek().is_none();
            let text =
                if is_last { text } else { shortened(text, width.saturating_add(spare), description.cut) };
            let over = text.width().saturating_sub(width);
            spare = spare.saturating_sub(over);
            let room = width.saturating_sub(text.width());
            let made_up = if self.terminal.is_none() && !is_last { room.min(excess) } else { 0 };
            excess = excess - made_up + if is_last { 0 } else { over };
            let padding = " ".repeat(room - made_up);
            match (description.side, is_last) {
                (Side::Right, _) => line.push_str(&padding),
                (Side::Left, _) => {}
            }
            line.push_str(&paint(column, text));
            if !is_last {
                if description.side == Side::Left {
                    line.push_str(&padding);
                }
                line.push_str(&" ".repeat(GAP));
            }
        }
        line.push('\n');
        if self.terminal.is_none() && excess > 0 {
            self.grow(&needed);
        }
        line
    }

    /// Makes the columns as wide as these cells.
    fn grow(&mut self, needed: &[usize]) {
        for (place, needed) in self.places.iter_mut().zip(needed) {
            place.needed = place.needed.max((*needed).min(place.description().most));
        }
    }

    fn fit(&self) -> Fitted {
        let mut widths: Vec<_> = self.places.iter().map(|place| Some(place.natural())).collect();
        let Some(terminal) = self.terminal else { return Fitted { widths, spare: usize::MAX } };
        let last = (terminal / 7).clamp(LAST_LEAST, LAST_MOST);
        if self.is_usual {
            self.leave_out(&mut widths, terminal);
        }
        for hard in [false, true] {
            self.press(&mut widths, terminal.saturating_sub(last), hard);
        }
        Fitted { spare: terminal.saturating_sub(last).saturating_sub(before_last(&widths)), widths }
    }

    /// Leaves out what can be done without, until the rest fits at its least width.
    fn leave_out(&self, widths: &mut [Option<usize>], terminal: usize) {
        for column in DISPENSABLE {
            let least = |(place, width): (&Place, &Option<usize>)| width.map(|_| place.floor(true));
            let pressed: Vec<_> = self.places.iter().zip(widths.iter()).map(least).collect();
            if before_last(&pressed).saturating_add(LAST_LEAST) <= terminal {
                return;
            }
            let of_column =
                self.places.iter().zip(widths.iter_mut()).filter(|(place, _)| place.column == column);
            of_column.for_each(|(_, width)| *width = None);
        }
    }

    /// Takes from the widest, cell by cell, until those before the last fit into `room` or none can give more.
    fn press(&self, widths: &mut [Option<usize>], room: usize, hard: bool) {
        let mut excess = before_last(widths).saturating_sub(room);
        while excess > 0 {
            let shown = self.places.iter().zip(widths.iter_mut());
            let shown = shown.filter_map(|(place, width)| Some((place.floor(hard), width.as_mut()?)));
            // The last one has what is left, whatever its width.
            let given = shown.rev().skip(1).filter(|(floor, width)| **width > *floor);
            let widest = given.max_by_key(|(_, width)| **width);
            let Some((_, width)) = widest else { return };
            *width -= 1;
            excess -= 1;
        }
    }
}

/// What the columns before the last one take, gaps included.
fn before_last(widths: &[Option<usize>]) -> usize {
    let mut shown = widths.iter().flatten().rev();
    shown.next();
    shown.map(|width| width + GAP).sum()
}

/// `text` in at most `room` cells, if it may be cut.
fn shortened(text: String, room: usize, cut: Cut) -> String {
    if text.width() <= room {
        return text;
    }
    let kept = room.saturating_sub(ELLIPSIS.width());
    match cut {
        Cut::Never => text,
        // The arrow before the address that is gone goes with it.
        Cut::End => format!("{}{ELLIPSIS}", beginning(text.chars(), kept).trim_end_matches([' ', '-', '>'])),
        Cut::Middle => {
            let tail = kept / 2;
            let head = beginning(text.chars(), kept - tail);
            let tail: String = beginning(text.chars().rev(), tail).chars().rev().collect();
            format!("{head}{ELLIPSIS}{tail}")
        }
    }
}

/// As many of these characters as fit into `room`.
fn beginning(characters: impl Iterator<Item = char>, room: usize) -> String {
    let mut left = room;
    characters
        .take_while(|character| {
            let width = character.width().unwrap_or(0);
            let fits = width <= left;
            left = left.saturating_sub(width);
            fits
        })
        .collect()
}
