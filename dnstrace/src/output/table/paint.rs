//! Colours: what is sick stands out, what is well stays plain, what explains steps back. Text is painted when it has been
//! escaped: no name can bring colours of its own.

use anstyle::{AnsiColor, Effects, Style};

use crate::lookup::Health;

/// Colours, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Paint {
    pub is_on: bool,
}

impl Paint {
    /// How something fared.
    pub fn verdict(self, text: String, health: Health) -> String {
        match health {
            Health::Well => text,
            Health::Troubled => self.styled(&text, AnsiColor::Yellow.on_default()),
            Health::Failed => self.styled(&text, AnsiColor::Red.on_default()),
        }
    }

    /// Each of the lines below a row's own.
    pub fn continuation(self, lines: &str) -> String {
        if !self.is_on {
            return lines.to_owned();
        }
        let dimmed = Style::new().effects(Effects::DIMMED);
        lines.lines().map(|line| self.styled(line, dimmed) + "\n").collect()
    }

    fn styled(self, text: &str, style: Style) -> String {
        if self.is_on { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
