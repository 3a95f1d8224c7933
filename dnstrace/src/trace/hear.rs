//! What others tell of pods, heard by the trace.

use std::time::Duration;

use anyhow::Result;

use super::Trace;
use crate::{
    identify::{Identifier, Selection, Target, TargetError, Teller},
    output::{NameSource, Status},
    source::live,
    tellers::{News, Tellers},
};

/// How long those are waited for who may know what the trace cannot begin without.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the user asked for. Where that cannot be found without those who know more, their first answer is waited for.
///
/// # Errors
/// As with [`Identifier::resolve`].
pub(super) async fn resolve(
    identifier: &mut Identifier,
    selection: &Selection,
    tellers: &mut Tellers,
) -> Result<Target, TargetError> {
    match identifier.resolve(selection) {
        Err(error) if may_be_told(&error) => {
            for (teller, news) in tellers.first(PATIENCE).await {
                learn(identifier, teller, &news);
            }
        }
        decided => return decided,
    }
    identifier.resolve(selection).map_err(|error| match error {
        TargetError::NoLabels(_) => {
            TargetError::NoLabels(tellers.failed().values().next().map(|failure| failure.why.clone()))
        }
        error => error,
    })
}

/// Whether this error may be for want of names or labels.
fn may_be_told(error: &TargetError) -> bool {
    match error {
        TargetError::NoNames(_)
        | TargetError::NoLabels(_)
        | TargetError::NoneSelected { .. }
        | TargetError::UnknownPod { .. }
        | TargetError::UnknownNamespace { .. }
        | TargetError::UnknownContainer { .. } => true,
        TargetError::NoPods | TargetError::NotRunning { .. } | TargetError::AmbiguousPod { .. } => false,
    }
}

fn learn(identifier: &mut Identifier, teller: Teller, news: &News) {
    if let News::Pods(pods) = news {
        identifier.learn(teller, pods);
    }
}

impl Trace {
    /// Takes in what somebody tells.
    pub(super) fn hear(&mut self, teller: Teller, news: News) -> Result<()> {
        learn(self.pipeline.owners(), teller, &news);
        match news {
            News::Pods(_) if self.failures_said.remove(&teller) => {
                let status = Status::SourceRecovered { source: source(teller) };
                self.sinks.status(&status, live::monotonic_now())
            }
            News::Pods(_) | News::Failed(_) => Ok(()),
        }
    }

    /// Asks for what is missing, and says who cannot tell it.
    pub(super) fn ask_tellers(&mut self) -> Result<()> {
        let owners = self.pipeline.owners();
        if owners.take_question() {
            self.tellers.ask();
        }
        let is_nameless = owners.is_nameless();
        for (teller, failure) in self.tellers.failed() {
            if (failure.is_asked_for || is_nameless) && self.failures_said.insert(*teller) {
                let status = Status::SourceFailed { source: source(*teller), why: failure.why.clone() };
                self.sinks.status(&status, live::monotonic_now())?;
            }
        }
        Ok(())
    }
}

fn source(teller: Teller) -> NameSource {
    match teller {
        Teller::Runtime => NameSource::ContainerRuntime,
        Teller::ApiServer => NameSource::ApiServer,
    }
}
