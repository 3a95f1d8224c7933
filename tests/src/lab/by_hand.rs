//! `e2e lab -- COMMAND` builds the default lab around a command; `e2e exec POD -- PROGRAM` inside that command runs a
//! program in one of its pods.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    default_lab::Lab,
    enter::{self, EnterArgs, Namespace},
    pod::Pod,
};

/// How a command in the lab learns what pods there are.
const VARIABLE: &str = "E2E_LAB";

/// Builds a small node (two client pods, cluster DNS with two endpoints, Service) and runs a command in it
///
/// The current network namespace becomes the node, so it must have no interface but `lo`: a VM without network device,
/// or `unshare --net --mount`. The command finds the pods shop/cart-7d4f and shop/web-0 with `e2e exec`:
///
///   e2e lab -- sh -c 'e2e exec cart-7d4f -- dig +search api.shop'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct LabArgs {
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    argv: Vec<OsString>,
}

/// Inside `e2e lab`: runs a program in a pod of the lab
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The pod's name
    pod: String,
    /// The container; the pod's first one if not given
    #[arg(short, long)]
    container: Option<String>,
    /// The program and its arguments
    #[arg(required = true, last = true)]
    argv: Vec<OsString>,
}

/// What `e2e exec` needs to know of a container.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    pod: String,
    container: String,
    holder: u32,
    namespaces: Vec<Namespace>,
    cgroup: Vec<PathBuf>,
}

/// Runs `e2e lab`: returns the command's exit code.
pub fn lab(args: &LabArgs) -> Result<ExitCode> {
    let (program, rest) = args.argv.split_first().context("no command")?;
    let started = Instant::now();
    let lab = Lab::start()?;
    eprintln!("lab: built in {:.1} s", started.elapsed().as_secs_f64());
    let places = serde_json::to_string(&lab.pods().flat_map(places).collect::<Vec<_>>())?;
    let status = Command::new(program)
        .args(rest)
        .env(VARIABLE, places)
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ensure!(code.is_some(), "the command ended by {status}");
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs `e2e exec`: never returns but with an error.
pub fn exec(args: ExecArgs) -> Result<std::convert::Infallible> {
    let places = std::env::var(VARIABLE).context("`e2e exec` works only inside `e2e lab -- COMMAND`")?;
    let places: Vec<Place> = serde_json::from_str(&places)?;
    let known =
        places.iter().map(|place| format!("{} -c {}", place.pod, place.container)).collect::<Vec<_>>();
    let place = places
        .into_iter()
        .find(|place| {
            place.pod == args.pod
                && args.container.as_ref().is_none_or(|container| *container == place.container)
        })
        .with_context(|| format!("no such pod or container; there are: {}", known.join(", ")))?;
    enter::enter(&EnterArgs {
        cgroup: place.cgroup,
        pid: Some(place.holder),
        namespaces: place.namespaces,
        argv: args.argv,
    })
}

fn places(pod: &Pod) -> impl Iterator<Item = Place> {
    pod.containers.iter().map(|container| Place {
        pod: pod.name.clone(),
        container: container.name.clone(),
        holder: pod.netns().pid(),
        namespaces: pod.netns().namespaces(),
        cgroup: container.directories().to_owned(),
    })
}
