//! The Kubernetes API, for those who ask for it (`--kube`): which Services and pods hold which addresses.
//!
//! [`access`] finds the API server as kubectl does, [`connection`] speaks to it, [`watch`] follows a resource, [`objects`]
//! reads what it says. All that in a thread of its own: however large the cluster, however slow the server, the trace only
//! ever takes what is there, in portions. It only lists and watches; what fails is told in a line, and tried again.

mod access;
mod connection;
mod objects;
mod telling;
mod tls;
mod watch;

use std::{path::PathBuf, sync::Arc, thread};

use anyhow::{Context as _, Result};
use tokio::{
    runtime,
    sync::mpsc::{self, Receiver, Sender},
    task::LocalSet,
};

pub use access::{Access, Places};

use self::{objects::Resource, telling::Telling, watch::Watcher};
use crate::{directory::Changed, stderr, tellers::Voice};

/// Portions on their way to the trace. Beyond that the thread waits, and with it the API server.
const ON_THE_WAY: usize = 8;

/// The Kubernetes API, as the trace hears of it.
#[derive(Debug)]
pub struct Kube {
    learned: Receiver<Learned>,
}

/// What was learned.
#[derive(Debug)]
pub enum Learned {
    /// Who holds addresses from now on.
    Holders(Vec<Changed>),
    /// Addresses that found no room, so far.
    LeftOut(u64),
    /// Some of it cannot be learned, and why, in a line that says what to do. Not escaped. It is tried again.
    Failed(String),
    /// It can be again.
    Recovered,
}

/// Why something could not be learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// In a line that says what to do. Not escaped.
    Trouble {
        line: String,
        /// Whether that is so whatever is asked for.
        is_common: bool,
    },
    /// What was known is too old to go on from: all is to be listed anew.
    Expired,
}

impl Failure {
    /// With all that is asked for.
    fn trouble(line: String) -> Self {
        Self::Trouble { line, is_common: true }
    }
}

impl Kube {
    /// Begins to ask, as the kubeconfig says, or the one that kubectl would take; of pods, for those of the node, of which
    /// `voice` tells. Does not wait for anything.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(kubeconfig: Option<PathBuf>, node: Option<Arc<str>>, voice: Voice) -> Result<Self> {
        let places = Places::of_environment(kubeconfig);
        let (sender, learned) = mpsc::channel(ON_THE_WAY);
        thread::Builder::new()
            .name("kube".to_owned())
            .spawn(move || {
                if let Err(error) = ask(places, node, sender, voice) {
                    stderr::say(format_args!("the Kubernetes API is not asked: {error}"));
                }
            })
            .context("cannot start a thread for the Kubernetes API")?;
        Ok(Self { learned })
    }

    /// What has been learned since the last time; the rest, if it is much, the next time.
    pub fn take(&mut self) -> Vec<Learned> {
        let mut taken = Vec::new();
        while taken.len() < ON_THE_WAY
            && let Ok(learned) = self.learned.try_recv()
        {
            taken.push(learned);
        }
        taken
    }
}

/// Asks until nobody listens any more.
fn ask(places: Places, node: Option<Arc<str>>, sender: Sender<Learned>, voice: Voice) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let pods = node.map(|node| (Resource::Pods, Some(node.to_string())));
    let resources = [(Resource::Services, None), (Resource::EndpointSlices, None)];
    // All pods of a cluster are too many to ask for.
    let resources: Vec<_> = pods.into_iter().chain(resources).collect();
    // The first speaks for all where they have the same trouble.
    let Some((speaker, _)) = resources.first() else { return Ok(()) };
    let telling = Telling::new(sender, voice, *speaker);
    let tasks = LocalSet::new();
    for (resource, node) in resources {
        let (places, telling) = (places.clone(), telling.clone());
        tasks.spawn_local(Watcher { resource, places, node, telling }.follow());
    }
    runtime.block_on(tasks);
    Ok(())
}
