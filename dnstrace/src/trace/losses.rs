//! What a trace under way has lost.

use anyhow::Result;

use super::Trace;
use crate::{
    capture::hooks::TABLE,
    identify::Roots,
    losses::{HookLosses, Losses},
};

impl Trace {
    /// What was lost, with what the kernel's own counters say of it.
    pub(super) fn losses(&mut self) -> Result<Losses> {
        let losses = self.own_losses()?;
        let compared = self.baseline.compare(&Roots::default().proc, || self.live.capture.totals())?;
        Ok(Losses { kernel_gaps: compared.gaps, namespaces_unchecked: compared.unchecked, ..losses })
    }

    /// What was lost, by hook in the kernel and by cause in userspace.
    pub(super) fn own_losses(&mut self) -> Result<Losses> {
        let hooks = TABLE
            .iter()
            .zip(self.live.capture.counters()?)
            .zip(self.live.capture.skipped())
            .filter(|((_, counters), skipped)| counters.ring_full + counters.unreadable + skipped > 0)
            .map(|((row, counters), skipped)| HookLosses {
                hook: row.name().into(),
                ring_full: counters.ring_full,
                unreadable: counters.unreadable,
                skipped,
            })
            .collect();
        let (out_of_order, undecoded_records) = self.live.faults();
        let losses = Losses {
            hooks,
            undecoded_records,
            out_of_order,
            owners_forgotten: self.pipeline.owners().forgotten(),
            names_left_out: self.names.left_out,
            lines_not_written: self.sinks.printer().not_written(),
            ..Losses::default()
        };
        Ok(self.pipeline.add_losses(losses))
    }
}
