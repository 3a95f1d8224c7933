//! A running dnstrace, and what it said.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use jsonschema::Validator;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

/// What dnstrace prints on stderr once it sees everything.
const ATTACHED: &str = "hooks attached";
/// It attaches in about two seconds under emulation; this is for a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(60);

/// How every dnstrace attaches; not set, it chooses.
static ATTACH: OnceLock<String> = OnceLock::new();

/// How dnstrace says that it did not see everything: what is lost for certain, and calls that the kernel did not let its
/// programs look at (which kernels before 6.7 do not count of kprobes: there the first says it).
const LOSSES: [&str; 2] = ["LOST: ", "calls not looked at"];
/// Whether one has said so.
static HAS_LOST: AtomicBool = AtomicBool::new(false);

/// From now on counts what is said of losses.
pub fn forget_losses() {
    HAS_LOST.store(false, Ordering::Relaxed);
}

/// Whether a dnstrace has said since that it did not see everything.
pub fn has_told_of_losses() -> bool {
    HAS_LOST.load(Ordering::Relaxed)
}

/// Has every dnstrace that is started from now on attach in this way. Only the first call counts.
pub fn attach_by(way: &str) {
    ATTACH.get_or_init(|| way.to_owned());
}

/// The options that say so.
pub fn attach_options() -> Vec<&'static str> {
    ATTACH.get().map(|way| vec!["--attach", way.as_str()]).unwrap_or_default()
}

/// dnstrace at work. Dropped, it is killed.
pub struct Tracer {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What it left.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Tracer {
    /// Starts `dnstrace ARGS` and waits until it has attached.
    pub fn start(args: &[&str]) -> Result<Self> {
        Self::started(Command::new("dnstrace").args(attach_options()).args(args))
    }

    /// Starts a command line of dnstrace and waits until it has attached.
    pub fn started(command: &mut Command) -> Result<Self> {
        let mut tracer = Self::spawn(command)?;
        let started = Instant::now();
        while !fs::read_to_string(&tracer.stderr)?.contains(ATTACHED) {
            ensure!(started.elapsed() < PATIENCE, "{command:?} does not attach");
            if tracer.child.try_wait()?.is_some() {
                bail!("{command:?} ended early: {:?}", tracer.said()?);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(tracer)
    }

    /// Starts a command line with dnstrace in it, its output into files: nobody has to empty a pipe.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = |stream: &str| {
            std::env::temp_dir().join(format!("dnstrace-{}-{number}.{stream}", std::process::id()))
        };
        let (stdout, stderr) = (path("out"), path("err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, stdout, stderr })
    }

    /// Ends it with a signal and returns what it said.
    pub fn end(mut self, signal: Signal) -> Result<Said> {
        // What was just sent is on its way: the reader holds events back for 50 ms to put them in order.
        thread::sleep(Duration::from_millis(300));
        self.signal(signal)?;
        self.said()
    }

    /// What it has said so far; how it ends is not known yet.
    pub fn so_far(&self) -> Result<Said> {
        Ok(Said {
            status: ExitStatus::default(),
            stdout: fs::read_to_string(&self.stdout)?,
            stderr: fs::read_to_string(&self.stderr)?,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(nix::unistd::Pid::from_raw(self.child.id().cast_signed()), signal)?)
    }

    /// Waits for its own end.
    pub fn said(&mut self) -> Result<Said> {
        let status = self.child.wait()?;
        let said = Said {
            status,
            stdout: fs::read_to_string(&self.stdout)?,
            stderr: fs::read_to_string(&self.stderr)?,
        };
        if LOSSES.iter().any(|loss| said.stderr.contains(loss)) {
            HAS_LOST.store(true, Ordering::Relaxed);
        }
        Ok(said)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.stdout);
        let _ = fs::remove_file(&self.stderr);
    }
}

/// JSON lines of a whole trace.
#[derive(Debug, Default)]
pub struct Lines {
    pub queries: Vec<Value>,
    pub messages: Vec<Value>,
    /// What befell packets that belong to no query under way.
    pub packets: Vec<Value>,
    /// TCP connections that have something to tell beside their queries.
    pub connections: Vec<Value>,
    /// What programs asked for: each client query is in one of them.
    pub lookups: Vec<Value>,
    /// What was lost, as it happened.
    pub losses: Vec<Value>,
    /// How the trace itself fared.
    pub statuses: Vec<Value>,
    pub summary: Value,
}

impl Said {
    /// Traces what `traffic` does, with `-o json`, and returns the lines; nothing may have been lost.
    pub fn lines_of<T>(args: &[&str], traffic: impl FnOnce() -> Result<T>) -> Result<(Lines, T)> {
        let (said, done) = Self::of(&[&["-o", "json"], args].concat(), traffic)?;
        ensure!(said.stderr.contains("nothing was lost"), "{}\n{}", said.losses(), said.stderr);
        Ok((said.lines()?, done))
    }

    /// Traces what `traffic` does.
    pub fn of<T>(args: &[&str], traffic: impl FnOnce() -> Result<T>) -> Result<(Self, T)> {
        let tracer = Tracer::start(args)?;
        let done = traffic()?;
        let said = tracer.end(Signal::SIGINT)?;
        ensure!(said.status.success(), "{said:?}");
        Ok((said, done))
    }

    /// The lines that tell losses, in one: the summary of a run shows one line of each failure.
    fn losses(&self) -> String {
        let lines = self.stderr.lines().filter(|line| LOSSES.iter().any(|loss| line.contains(loss)));
        lines.collect::<Vec<_>>().join("; ")
    }

    /// What was printed as JSON.
    pub fn lines(&self) -> Result<Lines> {
        let mut lines = Lines::default();
        for line in self.stdout.lines() {
            let value: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            let kind = value["kind"].as_str().unwrap_or_default();
            if let Err(error) = schema(kind)?.validate(&value) {
                bail!("not what the schema says: {error} at {}: {line}", error.instance_path());
            }
            match value["kind"].as_str() {
                Some("query") => lines.queries.push(value),
                Some("message") => lines.messages.push(value),
                Some("packet") => lines.packets.push(value),
                Some("connection") => lines.connections.push(value),
                Some("lookup") => lines.lookups.push(value),
                Some("loss") => lines.losses.push(value),
                Some("status") => lines.statuses.push(value),
                Some("summary") => lines.summary = value,
                other => bail!("a line of kind {other:?}: {line}"),
            }
        }
        ensure!(lines.summary.is_object(), "no summary in:\n{}", self.stdout);
        Ok(lines)
    }
}

/// What every line of a kind has to be: `dnstrace schema`, of the program under test, less the other kinds (each line would be
/// tried against all of them).
fn schema(kind: &str) -> Result<&'static Validator> {
    static SCHEMA: OnceLock<BTreeMap<String, Validator>> = OnceLock::new();
    let kinds = match SCHEMA.get() {
        Some(kinds) => kinds,
        None => {
            let kinds = kinds()?;
            SCHEMA.get_or_init(|| kinds)
        }
    };
    kinds.get(kind).with_context(|| format!("the schema has no lines of kind {kind:?}"))
}

fn kinds() -> Result<BTreeMap<String, Validator>> {
    let output = Command::new("dnstrace").arg("schema").output().context("cannot start dnstrace schema")?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let schema: Value = serde_json::from_slice(&output.stdout).context("dnstrace schema is no JSON")?;
    let of_kind = |lines: &Value| {
        let kind = lines["properties"]["kind"]["const"].as_str().context("lines without a kind")?;
        let mut only = schema.clone();
        only["oneOf"] = Value::Array(vec![lines.clone()]);
        Ok((kind.to_owned(), jsonschema::options().should_validate_formats(true).build(&only)?))
    };
    schema["oneOf"].as_array().context("a schema without kinds")?.iter().map(of_kind).collect()
}

impl Lines {
    /// Queries that a process of this name sent.
    pub fn asked_by<'a>(&'a self, comm: &'a str) -> impl Iterator<Item = &'a Value> {
        self.queries.iter().filter(move |query| query["role"] == "client" && query["comm"] == comm)
    }

    /// Queries that servers took in.
    pub fn served(&self) -> impl Iterator<Item = &Value> {
        self.queries.iter().filter(|query| query["role"] == "server")
    }
}
