//! How the program ends: one exit code for each kind of ending, named in `--help`.

use crate::{capture::preflight::Refusal, identify::TargetError, source::Unreadable};

/// The kinds of ending that a script may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or ended by the user.
    Done = 0,
    /// Something failed that is none of the below.
    Failure = 1,
    /// The command line makes no sense. clap exits with it, too.
    Usage = 2,
    /// A capability is missing.
    NotPermitted = 3,
    /// The kernel is too old or lacks what tracing needs.
    KernelUnusable = 4,
    /// No such pod, or not exactly one.
    NoTarget = 5,
    /// A file cannot be read.
    Unreadable = 6,
    /// The labels of pods are not known, and are needed.
    NoLabels = 7,
}

impl Exit {
    /// The exit code for an error.
    pub fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<Refusal>() {
            Some(Refusal::MissingCapabilities(_)) => return Self::NotPermitted,
            Some(Refusal::KernelTooOld(_) | Refusal::NoBtf(_)) => return Self::KernelUnusable,
            None => {}
        }
        match error.downcast_ref::<TargetError>() {
            Some(TargetError::NoLabels(_)) => return Self::NoLabels,
            Some(_) => return Self::NoTarget,
            None => {}
        }
        if error.is::<crate::args::usage::UsageError>() {
            return Self::Usage;
        }
        if error.is::<Unreadable>() {
            return Self::Unreadable;
        }
        Self::Failure
    }
}
