//! The one failure of a VM that is not its own.

use anyhow::Result;

use super::watch::Failure;
use crate::process::say;

/// Runs it, and once more should the emulator have failed it as it sometimes does with a thread for each CPU
/// ([`Failure::is_stale_breakpoint`]). Any other failure, and the same one again, is the result.
pub fn once_more_after_stale_breakpoint<T>(mut run: impl FnMut() -> Result<T>) -> Result<T> {
    match run() {
        Err(error) if error.downcast_ref().is_some_and(Failure::is_stale_breakpoint) => {
            say(format_args!("{error:#}"));
            say("a known fault of the emulator with a thread for each CPU, not of what is tested: once more");
            run()
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{
        super::kernel_log::{FaultKind, KernelFault},
        *,
    };

    fn died_of(kind: FaultKind) -> anyhow::Error {
        Failure::Kernel { fault: KernelFault { kind, line: String::new() }, log: String::new() }.into()
    }

    /// The result after runs that end in this way one after another, and how many there were.
    fn repeated<const N: usize>(results: [Result<u8>; N]) -> (Result<u8>, usize) {
        let mut runs = 0;
        let mut results = results.into_iter();
        let result = once_more_after_stale_breakpoint(|| {
            runs += 1;
            results.next().expect("no further run")
        });
        (result, runs)
    }

    #[test]
    fn emulators_fault_is_given_one_more_chance() {
        let fault = || Err(died_of(FaultKind::StaleBreakpoint));
        let (result, runs) = repeated([fault(), Ok(7)]);
        assert_eq!((result.ok(), runs), (Some(7), 2));
        let (result, runs) = repeated([fault(), fault(), Ok(7)]);
        assert_eq!((result.ok(), runs), (None, 2));
    }

    #[test]
    fn nothing_else_is_repeated() {
        assert_eq!(repeated([Ok(1), Ok(0)]).1, 1, "a result is a result");
        for error in [died_of(FaultKind::Panic), died_of(FaultKind::Oops), anyhow!("int3: no verdict")] {
            assert_eq!(repeated([Err(error), Ok(7)]).1, 1);
        }
    }
}
