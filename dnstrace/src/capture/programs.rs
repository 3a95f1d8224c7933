//! One hook's programs onto the kernel: by kprobe, fentry or raw tracepoint.

use aya::{
    Btf, Ebpf,
    programs::{FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint},
};
use clap::ValueEnum;

use super::hooks::{Kind, Row};

/// How the programs get to the kernel's functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AttachMode {
    /// The way that costs less: fentry for what is built into the kernel, where the kernel allows it; else kprobe.
    #[default]
    Auto,
    /// kprobe for every function.
    Kprobe,
    /// fentry for what is built into the kernel, or nothing at all if the kernel has none; kprobe for modules and for
    /// single functions that it refuses.
    Fentry,
}

/// How a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Kprobe,
    /// With a kretprobe.
    KprobePair,
    Fentry,
    /// With an fexit.
    FentryPair,
    RawTracepoint,
}

impl Way {
    /// As the user reads it, and JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kprobe => "kprobe",
            Self::KprobePair => "kprobe_pair",
            Self::Fentry => "fentry",
            Self::FentryPair => "fentry_pair",
            Self::RawTracepoint => "raw_tracepoint",
        }
    }

    /// Names in the eBPF object of the programs of a row that is attached this way.
    pub(super) fn programs(self, row: &Row) -> Vec<String> {
        let program = row.program;
        match self {
            Self::Kprobe | Self::RawTracepoint => vec![program.to_owned()],
            Self::KprobePair => vec![program.to_owned(), format!("{program}_return")],
            Self::Fentry => vec![format!("{program}_fentry")],
            Self::FentryPair => vec![format!("{program}_fentry"), format!("{program}_fexit")],
        }
    }
}

/// What attaches programs of one object.
pub(super) struct Attacher<'a> {
    pub ebpf: &'a mut Ebpf,
    /// The kernel's BTF, if fentry is wanted and can be had.
    pub fentry: Option<&'a Btf>,
}

impl Attacher<'_> {
    /// Attaches a row's programs to this function or tracepoint.
    ///
    /// # Errors
    /// What the kernel said, in one line.
    pub fn attach(&mut self, row: &Row, target: &str) -> Result<Way, String> {
        if row.kind == Kind::RawTracepoint {
            let program: &mut RawTracePoint = program(self.ebpf, row.program)?;
            program.load().and_then(|()| program.attach(target).map(drop)).map_err(chain)?;
            return Ok(Way::RawTracepoint);
        }
        // What is a module's has no fentry programs: aya looks for functions in the kernel's own BTF alone.
        let has_fentry = self.ebpf.program(&format!("{}_fentry", row.program)).is_some();
        // Of functions with more than six arguments (`__udp6_lib_err`) the kernel takes fentry since 6.6 only.
        match self.fentry {
            Some(btf) if has_fentry => {
                self.by_fentry(row, target, btf).or_else(|_| self.by_kprobe(row, target))
            }
            _ => self.by_kprobe(row, target),
        }
    }

    fn by_kprobe(&mut self, row: &Row, target: &str) -> Result<Way, String> {
        // The return first: an entry without its return would wait for it.
        if row.kind == Kind::Call {
            attach_kprobe(program(self.ebpf, &format!("{}_return", row.program))?, target).map_err(chain)?;
        }
        attach_kprobe(program(self.ebpf, row.program)?, target).map_err(chain)?;
        Ok(if row.kind == Kind::Call { Way::KprobePair } else { Way::Kprobe })
    }

    fn by_fentry(&mut self, row: &Row, target: &str, btf: &Btf) -> Result<Way, String> {
        let (entry, exit) = (format!("{}_fentry", row.program), format!("{}_fexit", row.program));
        if row.kind == Kind::Call {
            let program: &mut FExit = program(self.ebpf, &exit)?;
            program.load(target, btf).and_then(|()| program.attach().map(drop)).map_err(chain)?;
        }
        let program: &mut FEntry = program(self.ebpf, &entry)?;
        if let Err(error) = program.load(target, btf).and_then(|()| program.attach().map(drop)) {
            self.forget_exit(row, &exit)?;
            return Err(chain(error));
        }
        Ok(if row.kind == Kind::Call { Way::FentryPair } else { Way::Fentry })
    }

    /// Takes back the program at the return, for which there is no entry.
    fn forget_exit(&mut self, row: &Row, exit: &str) -> Result<(), String> {
        if row.kind != Kind::Call {
            return Ok(());
        }
        let program: &mut FExit = program(self.ebpf, exit)?;
        program.unload().map_err(chain)
    }
}

/// The program of this name, as what the table says it is.
fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or("the eBPF object has no such program")?;
    program.try_into().map_err(chain)
}

fn attach_kprobe(program: &mut KProbe, function: &str) -> Result<(), ProgramError> {
    program.load()?;
    program.attach(function, 0)?;
    Ok(())
}

/// An error with its causes, in one line.
fn chain(error: ProgramError) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    // A refusal of the verifier brings its log, whose end says why.
    let mut lines = line.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(first), Some(last)) => format!("{first} ... {last}"),
        (first, _) => first.unwrap_or_default().to_owned(),
    }
}
