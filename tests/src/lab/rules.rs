//! Rules, routes and settings that a scenario needs for a while: dropped, they are gone.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result};

use super::{
    iptables::Family,
    kube_proxy::KubeProxy,
    netns::Holder,
    node::{Node, set_sysctl},
    process::run_with_input,
};

/// Where a rule or a route is put.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    Node,
    /// A pod's network namespace, or any other.
    Netns(&'a Holder),
}

impl Place<'_> {
    /// Runs a program of the node there, to its end, with `input`. Its standard output, or an error.
    pub fn run(self, argv: &[&str], input: &str) -> Result<String> {
        match self {
            Self::Node => run_with_input(argv, input),
            Self::Netns(holder) => holder.run_with_input(argv, input),
        }
    }
}

/// An nftables table of its own.
#[derive(Debug)]
pub struct NftTable<'a> {
    place: Place<'a>,
    name: String,
}

impl<'a> NftTable<'a> {
    /// Loads `table ip NAME { BODY }`.
    pub fn load(place: Place<'a>, name: &str, body: &str) -> Result<Self> {
        place.run(&["nft", "-f", "-"], &format!("table ip {name} {{\n{body}\n}}\n"))?;
        Ok(Self { place, name: name.to_owned() })
    }

    /// Deletes the rules of a chain; the chain stays where it is hooked in.
    pub fn empty_chain(&self, chain: &str) -> Result<()> {
        self.place.run(&["nft", "flush", "chain", "ip", &self.name, chain], "").map(drop)
    }
}

impl Drop for NftTable<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.place.run(&["nft", "delete", "table", "ip", &self.name], "") {
            eprintln!("the table {} was not removed: {error:#}", self.name);
        }
    }
}

/// A rule before all others of an iptables chain of the node.
#[derive(Debug)]
pub struct IptablesRule {
    proxy: Arc<KubeProxy>,
    family: Family,
    /// Chain and rule, as after `-I`.
    rule: Vec<String>,
}

impl IptablesRule {
    /// `rule` begins with the chain: `FORWARD -d 198.51.100.2 -j DROP`.
    pub fn insert(node: &Node, family: Family, rule: &str) -> Result<Self> {
        let inserted = Self {
            proxy: Arc::clone(node.proxy()),
            family,
            rule: rule.split_whitespace().map(str::to_owned).collect(),
        };
        inserted.iptables("-I")?;
        Ok(inserted)
    }

    fn iptables(&self, action: &str) -> Result<()> {
        let rule = self.rule.iter().map(String::as_str);
        let args: Vec<_> = std::iter::once(action).chain(rule).collect();
        self.proxy.iptables(self.family, &args).map(drop)
    }
}

impl Drop for IptablesRule {
    fn drop(&mut self) {
        if let Err(error) = self.iptables("-D") {
            eprintln!("the rule {:?} was not removed: {error:#}", self.rule);
        }
    }
}

/// Routes, or other things that `ip` adds and deletes by the same words.
#[derive(Debug)]
pub struct Routes<'a> {
    place: Place<'a>,
    routes: Vec<String>,
}

impl<'a> Routes<'a> {
    /// Each is what follows `ip route add`: `blackhole 198.51.100.4`.
    pub fn add(place: Place<'a>, routes: &[&str]) -> Result<Self> {
        let routes = Self { place, routes: routes.iter().map(|route| (*route).to_owned()).collect() };
        routes.each("add")?;
        Ok(routes)
    }

    fn each(&self, action: &str) -> Result<()> {
        let batch: String = self.routes.iter().map(|route| format!("route {action} {route}\n")).collect();
        self.place.run(&["ip", "-batch", "-"], &batch).map(drop)
    }
}

impl Drop for Routes<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.each("del") {
            eprintln!("the routes {:?} were not removed: {error:#}", self.routes);
        }
    }
}

/// A sysctl of the node with another value.
#[derive(Debug)]
pub struct Sysctl {
    name: String,
    before: String,
}

impl Sysctl {
    /// `name` is its path below `/proc/sys`.
    pub fn set(name: &str, value: &str) -> Result<Self> {
        let path = Path::new("/proc/sys").join(name);
        let before = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        set_sysctl(name, value)?;
        Ok(Self { name: name.to_owned(), before: before.trim().to_owned() })
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        if let Err(error) = set_sysctl(&self.name, &self.before) {
            eprintln!("{} was not set back: {error:#}", self.name);
        }
    }
}
