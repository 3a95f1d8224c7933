//! The pipeline with a recorder beside it.

use std::{net::IpAddr, sync::Arc};

use super::{Recorder, Telling, recorder::News};
use crate::{
    directory::Holder,
    event::{Event, KernelTime},
    identify::{Owners, Wanted},
    lookup::{Limits, Output, Sight},
    losses::Losses,
    pipeline::Pipeline,
};

/// A pipeline whose every step is recorded, or not.
pub struct Recorded<O> {
    pipeline: Pipeline<Telling<O>>,
    recorder: Option<Recorder>,
}

impl<O: Owners> Recorded<O> {
    /// See [`Pipeline::new`].
    pub fn new(owners: O, wanted: Wanted, limits: Limits, sight: Sight, recorder: Option<Recorder>) -> Self {
        let owners = Telling::new(owners, recorder.is_some());
        let mut pipeline = Pipeline::new(owners, wanted, limits, sight);
        if recorder.is_some() {
            pipeline.keep_heard();
            pipeline.book().keep_news();
        }
        Self { pipeline, recorder }
    }

    /// See [`Pipeline::see`].
    pub fn see(&mut self, sight: Sight) {
        if let Some(recorder) = &mut self.recorder {
            recorder.see(sight);
        }
        self.pipeline.see(sight);
    }

    /// See [`Pipeline::event`].
    pub fn event(&mut self, event: Event) -> Vec<Output> {
        if let Some(recorder) = &mut self.recorder {
            recorder.event(&event);
        }
        let outputs = self.pipeline.event(event);
        self.record(&outputs);
        outputs
    }

    /// See [`Pipeline::advance`].
    pub fn advance(&mut self, now: KernelTime) -> Vec<Output> {
        if let Some(recorder) = &mut self.recorder {
            recorder.advance(now);
        }
        let outputs = self.pipeline.advance(now);
        self.record(&outputs);
        outputs
    }

    /// See [`Pipeline::finish`].
    pub fn finish(&mut self, now: KernelTime) -> Vec<Output> {
        let outputs = self.pipeline.finish(now);
        self.record(&outputs);
        outputs
    }

    /// From `since` on an address is held by these.
    pub fn learn(&mut self, address: IpAddr, holders: Arc<[Holder]>, since: KernelTime) {
        self.pipeline.book().learn(address, holders, since);
    }

    /// Who tells whose messages they are.
    pub fn owners(&mut self) -> &mut O {
        &mut self.pipeline.owners().inner
    }

    /// After [`Self::finish`]: the losses of the source, with what was given up in here, and not recorded.
    pub fn add_losses(&mut self, of_source: Losses) -> Losses {
        let unrecorded_events = self.recorder.as_mut().map_or(0, Recorder::finish);
        self.pipeline.add_losses(Losses { unrecorded_events, ..of_source })
    }

    /// The recording's end, if there is one.
    pub fn end(&mut self, time: KernelTime, losses: &Losses) {
        if let Some(recorder) = &mut self.recorder {
            recorder.end(time, losses);
        }
    }

    fn record(&mut self, outputs: &[Output]) {
        let Some(recorder) = &mut self.recorder else { return };
        let news =
            News { owners: self.pipeline.owners().take_news(), names: self.pipeline.book().take_news() };
        if recorder.tell(news, self.pipeline.take_heard(), outputs) {
            self.pipeline.owners().forget();
            self.pipeline.book().forget();
        }
    }
}
