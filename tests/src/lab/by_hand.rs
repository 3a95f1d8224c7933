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
    cgroup::Hierarchies,
    clients::{Client, Clients},
    default_lab::Lab,
    enter::{self, EnterArgs, Namespace},
    node::Node,
    pod::Pod,
};

/// How a command in the lab learns what pods there are.
const VARIABLE: &str = "E2E_LAB";

/// Builds the test clients beside this program, where the VM finds them: there, compiling takes half a minute
#[derive(Debug, Args)]
pub struct ClientsArgs {
    /// Root directory below which Debian's package musl-dev is unpacked, should it not be installed
    #[arg(long, value_name = "DIRECTORY")]
    musl_in: Vec<PathBuf>,
}

/// What the node is like.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Put cgroup v1 in the place of v2, for all the VM
    #[arg(long)]
    cgroup_v1: bool,
}

impl NodeArgs {
    /// Makes the node.
    pub fn start(&self) -> Result<Node> {
        match self.cgroup_v1 {
            true => Node::with_hierarchies(Hierarchies::remount_as_v1()?),
            false => Node::new(),
        }
    }
}

/// Builds a small node (two client pods, cluster DNS with two endpoints, Service) and runs a command in it
///
/// The current network namespace becomes the node, so it must have no interface but `lo`: a VM without network device,
/// or `unshare --net --mount`. The command finds the pods shop/cart-7d4f and shop/web-0 with `e2e exec`:
///
///   e2e lab -- sh -c 'e2e exec cart-7d4f -- dig +search api.shop; e2e exec web-0 -- lookup-musl api.shop'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct LabArgs {
    #[command(flatten)]
    node: NodeArgs,
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

/// Runs `e2e clients`: prints the path of each.
pub fn clients(args: &ClientsArgs) -> Result<()> {
    let clients = Clients::with_musl_in(&args.musl_in)?;
    for client in Client::ALL {
        println!("{}", clients.path(client)?.display());
    }
    Ok(())
}

/// Runs `e2e lab`: returns the command's exit code.
pub fn lab(args: &LabArgs) -> Result<ExitCode> {
    let (program, rest) = args.argv.split_first().context("no command")?;
    let started = Instant::now();
    let lab = Lab::start(args.node.start()?)?;
    eprintln!("lab: built in {:.1} s", started.elapsed().as_secs_f64());
    let clients = Clients::new()?;
    for client in Client::ALL {
        if let Err(error) = clients.path(client) {
            eprintln!("lab: no {}: {error:#}", client.name());
        }
    }
    let places = serde_json::to_string(&lab.pods().flat_map(places).collect::<Vec<_>>())?;
    let status = Command::new(program)
        .args(rest)
        .env(VARIABLE, places)
        .env("PATH", path_with(clients.directories())?)
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

/// PATH with this program and the clients before the rest.
fn path_with(clients: &[PathBuf]) -> Result<OsString> {
    let own = std::env::current_exe().context("this program has no path")?;
    let own = own.parent().context("this program has no directory")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let rest = std::env::split_paths(&path).collect::<Vec<_>>();
    Ok(std::env::join_paths([own.to_owned()].iter().chain(clients).chain(&rest))?)
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
