//! What `cargo xtask test` runs in VMs.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    args::{Attach, Cgroup, EmulationThreads, TestArgs},
    kernel::Kernel,
    kernels,
};

/// The kernels that every change is tested on with the whole suite, once in each way of attaching, whichever is the
/// default. 6.1 has no fentry for a function with 7 arguments, `__udp6_lib_err`. Where thousands of lookups are made, the
/// second one makes one in 4 of them: emulated, they take minutes.
const WHOLE_SUITE: [(Kernel, Attach, u8); 2] =
    [(Kernel::V6_1, Attach::Kprobe, 1), (Kernel::V6_12, Attach::Fentry, 4)];
/// The others: that dnstrace attaches there, and a test of each kind.
const CORE_SUITE: [Kernel; 3] = [Kernel::V5_10, Kernel::V6_18, Kernel::V7_2];
/// Nodes with cgroup v1 differ in whose message it is, and in nothing else: the tests of pods run on one, too.
const CGROUP_V1: (Kernel, &str) = (Kernel::V6_1, "pods ");
/// The race at conntrack, briefly; `cargo xtask race` runs it for as long as one likes.
const RACE: (Kernel, Duration) = (Kernel::V6_1, Duration::from_secs(20));

/// One run of end-to-end tests in a VM.
#[derive(Debug)]
pub struct Run {
    pub kernel: Kernel,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Suite(Suite),
    Race { length: Duration },
}

/// A selection of the suite's tests, and the node they run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    pub cgroup: Cgroup,
    /// Only the short selection, a test of each kind.
    core: bool,
    /// How many of the lookups are made; none leaves it to the suite.
    one_in: Option<u8>,
    /// Only the tests whose name contains this.
    only: Option<String>,
    attach: Attach,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Suite(suite) => write!(f, "{suite}, on {}", self.kernel.series()),
            What::Race { .. } => write!(f, "race at conntrack, on {}", self.kernel.series()),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.core { "core of the end-to-end suite" } else { "end-to-end suite" })?;
        f.write_str(match self.cgroup {
            Cgroup::V1 => ", cgroup v1",
            Cgroup::V2 => ", cgroup v2",
        })?;
        write!(f, ", --attach {}", self.attach.name())
    }
}

/// What is to be run: all of it, or what the user picked.
pub fn runs(args: &TestArgs) -> Vec<Run> {
    let all_of_it = args.kernels.is_empty() && args.only.is_none() && !args.core;
    let mut runs: Vec<Run> =
        picked(args).into_iter().map(|(kernel, suite)| Run { kernel, what: What::Suite(suite) }).collect();
    if all_of_it {
        let core = Suite { core: true, ..Suite::of(args) };
        runs.extend(CORE_SUITE.map(|kernel| Run { kernel, what: What::Suite(core.clone()) }));
        let (kernel, only) = CGROUP_V1;
        let suite = Suite { cgroup: Cgroup::V1, only: Some(only.to_owned()), ..Suite::of(args) };
        runs.push(Run { kernel, what: What::Suite(suite) });
        let (kernel, length) = RACE;
        runs.push(Run { kernel, what: What::Race { length } });
    }
    runs
}

/// The selection of tests that the user picked, on the kernels that he picked.
fn picked(args: &TestArgs) -> Vec<(Kernel, Suite)> {
    let suite = Suite::of(args);
    let on = |kernels: &[Kernel]| kernels.iter().map(|&kernel| (kernel, suite.clone())).collect();
    match args.kernels.as_slice() {
        [] if args.core => on(&Kernel::ALL),
        [] => WHOLE_SUITE
            .map(|(kernel, attach, one_in)| {
                let (attach, one_in) = (args.attach.unwrap_or(attach), Some(one_in));
                (kernel, Suite { attach, one_in, ..suite.clone() })
            })
            .to_vec(),
        kernels => on(kernels),
    }
}

impl Suite {
    fn of(args: &TestArgs) -> Self {
        Self {
            cgroup: Cgroup::V2,
            core: args.core,
            one_in: None,
            only: args.only.clone(),
            attach: args.attach.unwrap_or(Attach::Auto),
        }
    }
}

impl Run {
    /// What each of its lines begins with where several runs are under way: no two of [`runs`] have the same.
    pub fn label(&self) -> String {
        let kernel = self.kernel.series();
        match &self.what {
            What::Suite(Suite { cgroup: Cgroup::V1, .. }) => format!("{kernel} v1"),
            What::Suite(Suite { cgroup: Cgroup::V2, .. }) => kernel.to_owned(),
            What::Race { .. } => format!("{kernel} race"),
        }
    }

    /// Roughly how long it takes, to start the longest ones first: some of the tests, a test of each kind, all.
    pub fn length(&self) -> u8 {
        match &self.what {
            What::Race { .. } | What::Suite(Suite { only: Some(_), .. }) => 0,
            What::Suite(Suite { core: true, .. }) => 1,
            What::Suite(_) => 2,
        }
    }

    /// The race needs CPUs that run at once; nothing else may depend on it.
    pub fn threads(&self) -> EmulationThreads {
        match self.what {
            What::Suite(_) => EmulationThreads::Single,
            What::Race { .. } => EmulationThreads::Multi,
        }
    }

    /// Whether the VM tells afterwards how the hooks are attached, to be compared with docs/kernels.md.
    pub fn tells_hooks(&self) -> bool {
        matches!(&self.what, What::Suite(suite) if suite.only.is_none() || suite.core)
    }

    pub fn script(&self) -> Result<String> {
        Ok(match &self.what {
            What::Suite(suite) if self.tells_hooks() => {
                format!("{}; code=$?; {}; exit $code", suite.command()?, kernels::SCRIPT)
            }
            What::Suite(suite) => suite.command()?,
            What::Race { length } => format!("e2e race --seconds {}", length.as_secs()),
        })
    }
}

impl Suite {
    fn command(&self) -> Result<String> {
        let one_in = self.one_in.filter(|&one_in| one_in > 1).map(|one_in| one_in.to_string());
        let mut words = vec!["e2e", "suite"];
        if self.core {
            words.push("--core");
        }
        if let Some(one_in) = &one_in {
            words.extend(["--one-in", one_in]);
        }
        if let Some(filter) = &self.only {
            words.extend(["--only", filter]);
        }
        words.extend(["--attach", self.attach.name()]);
        shlex::try_join(words).context("the filter has a NUL byte")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    /// What `cargo xtask test` runs with these options, as it is announced and as the VM is told.
    fn runs_of(line: &str) -> Vec<(String, String)> {
        let words = ["xtask", "test"].into_iter().chain(line.split_whitespace());
        let Command::Test(args) = Cli::parse_from(words).command else { panic!("not the test command") };
        let command = |run: &Run| run.script().unwrap().split("; ").next().unwrap().to_owned();
        runs(&args).iter().map(|run| (run.to_string(), command(run))).collect()
    }

    fn pairs(runs: &[(&str, &str)]) -> Vec<(String, String)> {
        runs.iter().map(|(shown, script)| ((*shown).to_owned(), (*script).to_owned())).collect()
    }

    #[test]
    fn every_test_runs_on_every_kernel() {
        let whole = "end-to-end suite, cgroup v2";
        let core = "core of the end-to-end suite, cgroup v2, --attach auto, on";
        let all = [
            (&*format!("{whole}, --attach kprobe, on 6.1"), "e2e suite --attach kprobe"),
            (&*format!("{whole}, --attach fentry, on 6.12"), "e2e suite --one-in 4 --attach fentry"),
            (&*format!("{core} 5.10"), "e2e suite --core --attach auto"),
            (&*format!("{core} 6.18"), "e2e suite --core --attach auto"),
            (&*format!("{core} 7.2"), "e2e suite --core --attach auto"),
            ("end-to-end suite, cgroup v1, --attach auto, on 6.1", "e2e suite --only 'pods ' --attach auto"),
            ("race at conntrack, on 6.1", "e2e race --seconds 20"),
        ];
        assert_eq!(runs_of(""), pairs(&all));
    }

    #[test]
    fn some_tests_run_if_they_are_picked() {
        let scripts = |line: &str| runs_of(line).into_iter().map(|(_, script)| script).collect::<Vec<_>>();
        assert_eq!(scripts("--kernel 6.12"), ["e2e suite --attach auto"]);
        assert_eq!(
            scripts("--kernel 6.18 --core --only drops --attach fentry"),
            ["e2e suite --core --only drops --attach fentry"]
        );
        assert_eq!(scripts("--core"), ["e2e suite --core --attach auto"; Kernel::ALL.len()]);
        assert_eq!(
            scripts("--only drops"),
            ["e2e suite --only drops --attach kprobe", "e2e suite --one-in 4 --only drops --attach fentry"]
        );
        assert_eq!(
            scripts("--only drops --attach auto"),
            ["e2e suite --only drops --attach auto", "e2e suite --one-in 4 --only drops --attach auto"]
        );
    }

    #[test]
    fn every_kernel_tells_its_hooks() {
        let kernels = runs(&test_args()).into_iter().filter(Run::tells_hooks).map(|run| run.kernel);
        let kernels: Vec<_> = kernels.collect();
        assert!(Kernel::ALL.iter().all(|kernel| kernels.contains(kernel)), "{kernels:?}");
    }

    #[test]
    fn labels_tell_runs_apart() {
        let labels: Vec<_> = runs(&test_args()).iter().map(Run::label).collect();
        assert_eq!(labels, ["6.1", "6.12", "5.10", "6.18", "7.2", "6.1 v1", "6.1 race"]);
    }

    #[test]
    fn whole_suites_are_the_longest() {
        let mut runs = runs(&test_args());
        runs.sort_by_key(|run| std::cmp::Reverse(run.length()));
        let first: Vec<_> = runs.iter().take(4).map(Run::label).collect();
        assert_eq!(first, ["6.1", "6.12", "5.10", "6.18"]);
    }

    #[test]
    fn only_the_race_has_cpus_that_run_at_once() {
        let multi = |run: &Run| run.threads() == EmulationThreads::Multi;
        let runs = runs(&test_args());
        let racing: Vec<_> = runs.iter().filter(|run| multi(run)).map(ToString::to_string).collect();
        assert_eq!(racing, ["race at conntrack, on 6.1"]);
    }

    fn test_args() -> TestArgs {
        let Command::Test(args) = Cli::parse_from(["xtask", "test"]).command else {
            panic!("not the test command")
        };
        args
    }
}
