//! Names of addresses, while the trace goes on.

use std::sync::Arc;

use anyhow::Result;

use super::Trace;
use crate::{
    args::KubeArgs,
    identify::Teller,
    kube::{Kube, Learned},
    output::{NameSource, Status},
    source::live,
    tellers::Tellers,
};

/// Who tells them, if anybody does.
pub(super) struct Names {
    kube: Option<Kube>,
    /// Addresses that stay without one for want of room.
    pub left_out: u64,
}

impl Names {
    pub fn start(args: &KubeArgs, node: Option<Arc<str>>, tellers: &mut Tellers) -> Result<Self> {
        let start = || Kube::start(args.kubeconfig.clone(), node, tellers.admit(Teller::ApiServer));
        Ok(Self { kube: args.kube.then(start).transpose()?, left_out: 0 })
    }
}

impl Trace {
    /// Takes in what was learned since the last batch of events: what is sent from now on is told with it.
    pub(super) fn learn_names(&mut self) -> Result<()> {
        let Some(kube) = &mut self.names.kube else { return Ok(()) };
        for learned in kube.take() {
            let now = live::monotonic_now();
            match learned {
                Learned::Holders(changed) => {
                    for (address, holders) in changed {
                        self.pipeline.learn(address, holders, now);
                    }
                }
                Learned::LeftOut(left_out) => self.names.left_out = left_out,
                Learned::Failed(why) => {
                    self.sinks.status(&Status::SourceFailed { source: NameSource::ApiServer, why }, now)?;
                }
                Learned::Recovered => {
                    self.sinks.status(&Status::SourceRecovered { source: NameSource::ApiServer }, now)?;
                }
            }
        }
        Ok(())
    }
}
