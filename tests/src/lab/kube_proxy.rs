//! Loads kube-proxy's rules into the node's netfilter and keeps them as the Services change.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, bail};

use super::{
    iptables::{Family, base_rules, service_rules},
    process::{run, run_with_input},
    service::ServiceSpec,
};

/// The two back ends of iptables. Debian's `iptables` is a link made at installation, so the programs are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    Nft,
    Legacy,
}

impl Backend {
    fn program(self, family: Family, suffix: &str) -> String {
        let ip = match family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let backend = match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        };
        format!("{ip}tables-{backend}{suffix}")
    }
}

/// The node's kube-proxy.
#[derive(Debug)]
pub struct KubeProxy {
    backend: Backend,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    services: Vec<ServiceSpec>,
    /// The chains now loaded, of IPv4 and of IPv6.
    chains: [BTreeSet<String>; 2],
}

impl KubeProxy {
    /// Loads the base rules, by the nft back end or, where the kernel lacks what that needs, the legacy one.
    pub fn start() -> Result<Self> {
        let mut failures = Vec::new();
        for backend in [Backend::Nft, Backend::Legacy] {
            match Family::BOTH
                .into_iter()
                .try_for_each(|family| restore(backend, family, &base_rules(family)))
            {
                Ok(()) => return Ok(Self { backend, state: Mutex::default() }),
                Err(error) => failures.push(format!("{backend:?}: {error:#}")),
            }
        }
        bail!("no iptables back end works here:\n{}", failures.join("\n"))
    }

    /// Changes the list of Services and loads the rules that follow.
    pub fn update(&self, change: impl FnOnce(&mut Vec<ServiceSpec>)) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.services);
        for (index, family) in Family::BOTH.into_iter().enumerate() {
            let rules = service_rules(family, &state.services, &state.chains[index]);
            restore(self.backend, family, &rules.text)?;
            state.chains[index] = rules.chains;
        }
        Ok(())
    }

    /// Runs `iptables ARGS` (or `ip6tables`) of the back end in use: for rules that a scenario adds, such as
    /// `["-P", "FORWARD", "DROP"]`.
    pub fn iptables(&self, family: Family, args: &[&str]) -> Result<String> {
        let program = self.backend.program(family, "");
        run(&[&[program.as_str(), "-w"], args].concat())
    }
}

impl Drop for KubeProxy {
    fn drop(&mut self) {
        // Nothing else has rules in a lab's namespace: what a scenario added goes too.
        let empty = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n\
                     *nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                     :POSTROUTING ACCEPT [0:0]\nCOMMIT\n";
        for family in Family::BOTH {
            let program = self.backend.program(family, "-restore");
            if let Err(error) = run_with_input(&[&program], empty) {
                eprintln!("the rules of {family:?} were not removed: {error:#}");
            }
        }
    }
}

fn restore(backend: Backend, family: Family, rules: &str) -> Result<()> {
    let program = backend.program(family, "-restore");
    run_with_input(&[&program, "--noflush"], rules).map(drop)
}
