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
    /// What sees most: kprobe, and fentry only where the kernel takes no kprobe.
    #[default]
    Auto,
    /// kprobe for every function.
    Kprobe,
    /// fentry for what is built into the kernel, kprobe for modules and for single functions that it refuses. Costs
    /// less, but a kernel that preempts skips calls on a busy CPU; those are counted.
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

    pub(super) fn is_fentry(self) -> bool {
        matches!(self, Self::Fentry | Self::FentryPair)
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
    ebpf: &'a mut Ebpf,
    mode: AttachMode,
    /// The kernel's BTF as aya wants it, read when it is needed: that takes as long as a few dozen kprobes.
    btf: Option<Btf>,
    /// The kernel has fentry, and keeps a program from running twice at a time on a CPU.
    guards_fentry: bool,
}

impl<'a> Attacher<'a> {
    pub fn new(ebpf: &'a mut Ebpf, mode: AttachMode, guards_fentry: bool) -> Self {
        Self { ebpf, mode, btf: None, guards_fentry }
    }

    /// Attaches a row's programs to this function or tracepoint. Returns how, and why not in the way that was tried
    /// first.
    ///
    /// # Errors
    /// What the kernel said, in one line.
    pub fn attach(&mut self, row: &Row, target: &str) -> Result<(Way, Option<String>), String> {
        if row.kind == Kind::RawTracepoint {
            let program: &mut RawTracePoint = program(self.ebpf, row.program)?;
            program.load().and_then(|()| program.attach(target).map(drop)).map_err(chain)?;
            return Ok((Way::RawTracepoint, None));
        }
        // What is a module's has no fentry programs: aya looks for functions in the kernel's own BTF alone.
        let has_fentry =
            self.guards_fentry && self.ebpf.program(&format!("{}_fentry", row.program)).is_some();
        match self.mode {
            // Of functions with more than six arguments (`__udp6_lib_err`) the kernel takes fentry since 6.6 only.
            AttachMode::Fentry if has_fentry => match self.by_fentry(row, target) {
                Ok(way) => Ok((way, None)),
                Err(why) => Ok((self.by_kprobe(row, target)?, Some(why))),
            },
            AttachMode::Auto if has_fentry => match self.by_kprobe(row, target) {
                Ok(way) => Ok((way, None)),
                Err(why) => match self.by_fentry(row, target) {
                    Ok(way) => Ok((way, Some(why))),
                    Err(_) => Err(why),
                },
            },
            _ => Ok((self.by_kprobe(row, target)?, None)),
        }
    }

    fn by_kprobe(&mut self, row: &Row, target: &str) -> Result<Way, String> {
        if row.kind == Kind::Entry {
            attach_kprobe(program(self.ebpf, row.program)?, target).map_err(chain)?;
            return Ok(Way::Kprobe);
        }
        // The return first: an entry without its return would wait for it.
        let exit = format!("{}_return", row.program);
        attach_kprobe(program(self.ebpf, &exit)?, target).map_err(chain)?;
        if let Err(error) = attach_kprobe(program(self.ebpf, row.program)?, target) {
            let program: &mut KProbe = program(self.ebpf, &exit)?;
            program.unload().map_err(chain)?;
            return Err(chain(error));
        }
        Ok(Way::KprobePair)
    }

    fn by_fentry(&mut self, row: &Row, target: &str) -> Result<Way, String> {
        let btf = match &self.btf {
            Some(btf) => btf,
            None => self.btf.insert(Btf::from_sys_fs().map_err(|error| error.to_string())?),
        };
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
    match program.load() {
        // It was attached to a module that has been unloaded since.
        Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
        Err(error) => return Err(error),
    }
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
