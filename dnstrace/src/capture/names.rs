//! What the running kernel calls the numbers in its records: drop reasons, functions, netfilter hooks.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use dnstrace_ebpf::wire::NO_REASON;

use crate::event::{DropPlace, Names, NetfilterHook, TableFull};

use super::{btf::Btf, kallsyms::Addresses};

const KALLSYMS: &str = "/proc/kallsyms";
const CONNTRACK_COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

const MODULES: &str = "/proc/modules";
/// For so long a function that was looked up is taken for what it was: only the unloading of a module, and another one
/// in its place, makes it another.
const TRUST: Duration = Duration::from_secs(1);

/// The names of the running kernel.
#[derive(Debug)]
pub struct KernelNames {
    /// `enum skb_drop_reason` without `SKB_DROP_REASON_`.
    reasons: HashMap<u32, Arc<str>>,
    /// Read when the first drop is seen: most traces need none.
    addresses: Addresses,
    /// The modules that were there then, and when that was last found to be still so.
    modules: Option<String>,
    checked: Option<Instant>,
    /// What was looked up.
    functions: HashMap<u64, Option<Arc<str>>>,
}

/// Addresses whose function is remembered at the most.
const FUNCTIONS: usize = 4096;

impl KernelNames {
    pub fn new(btf: &Btf) -> Self {
        let reasons = btf.enum_values("skb_drop_reason").into_iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("SKB_DROP_REASON_").or_else(|| name.strip_prefix("SKB_"))?;
            Some((u32::try_from(value).ok()?, Arc::from(name)))
        });
        Self::with_reasons(reasons.collect())
    }

    fn with_reasons(reasons: HashMap<u32, Arc<str>>) -> Self {
        Self {
            reasons,
            addresses: Addresses::default(),
            modules: None,
            checked: None,
            functions: HashMap::new(),
        }
    }

    /// The function around a code address.
    fn function(&mut self, address: u64) -> Option<Arc<str>> {
        let fresh = self.checked.is_some_and(|checked| checked.elapsed() < TRUST);
        if let (true, Some(known)) = (fresh, self.functions.get(&address)) {
            return known.clone();
        }
        self.refresh();
        if self.functions.len() >= FUNCTIONS {
            self.functions.clear();
        }
        let look_up = || self.addresses.lookup(address).map(|location| Arc::from(location.function));
        self.functions.entry(address).or_insert_with(look_up).clone()
    }

    /// Reads the list of symbols anew if there are other modules than when it was read: an address in a module that
    /// came since would be taken for one in whatever stood before it.
    fn refresh(&mut self) {
        let modules = loaded(&fs::read_to_string(MODULES).unwrap_or_default());
        self.checked = Some(Instant::now());
        if self.modules.as_ref() != Some(&modules) {
            self.addresses = Addresses::load(Path::new(KALLSYMS)).unwrap_or_default();
            self.functions.clear();
            self.modules = Some(modules);
        }
    }

    fn reason(&self, reason: u32) -> Option<Arc<str>> {
        /// `SKB_DROP_REASON_SUBSYS_SHIFT`, include/net/dropreason.h, since 6.4.
        const SUBSYSTEM: u32 = 16;
        if reason == NO_REASON {
            return None;
        }
        let named = self.reasons.get(&reason).cloned();
        Some(named.unwrap_or_else(|| match reason >> SUBSYSTEM {
            0 => format!("reason {reason}").into(),
            subsystem => format!("subsystem {subsystem} reason {}", reason & 0xffff).into(),
        }))
    }
}

impl Names for KernelNames {
    fn drop_place(&mut self, reason: u32, location: u64, frames: &[u64]) -> DropPlace {
        // A return address is that of the next instruction: one byte back is in the call.
        let callers: Vec<_> = frames.iter().map(|frame| self.function(frame.wrapping_sub(1))).collect();
        let function = who_freed(self.function(location), &callers);
        let callers = callers.iter().map(|function| function.as_deref().unwrap_or_default());
        let hook = function.as_deref().and_then(|function| netfilter_hook(function, callers));
        DropPlace { reason: self.reason(reason), function, hook }
    }

    fn table_full(&mut self, netns: Option<u32>) -> TableFull {
        let own = fs::metadata("/proc/self/ns/net").map(|metadata| metadata.ino()).ok();
        TableFull {
            // The file tells of the reader's own namespace.
            count: if netns.map(u64::from) == own { number(CONNTRACK_COUNT) } else { None },
            max: number(CONNTRACK_MAX),
        }
    }
}

/// Name, state and address of each module, of the lines of `/proc/modules`: `nf_nat 57344 2 nft_chain_nat,xt_MASQUERADE,
/// Live 0xffffffffc0a01000`. Without the use count, which changes all the time.
fn loaded(modules: &str) -> String {
    let parts = |line: &str| {
        let mut parts = line.split_whitespace();
        let (name, state, address) = (parts.next()?, parts.nth(3)?, parts.next()?);
        Some(format!("{name} {state} {address}\n"))
    };
    modules.lines().filter_map(parts).collect()
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The function that a packet died in, by the one that the tracepoint names and those on the stack from the innermost.
/// Before 6.0 the compiler may split the function that frees in two, and the one part then names the other as its caller
/// ("net: skb: prevent the split of kfree_skb_reason() by gcc"; seen on Debian's 5.10 for arm64).
fn who_freed(named: Option<Arc<str>>, callers: &[Option<Arc<str>>]) -> Option<Arc<str>> {
    let frees = |function: &Option<Arc<str>>| {
        let name = function.as_deref().and_then(|name| name.split('.').next());
        matches!(name, Some("kfree_skb" | "kfree_skb_reason"))
    };
    if !frees(&named) {
        return named;
    }
    let mut callers =
        callers.iter().skip_while(|function| !frees(function)).skip_while(|function| frees(function));
    callers.next().cloned().unwrap_or(named)
}

/// The hook that a packet was in that died in `function`, by the functions on the stack from the innermost: the one
/// that called `nf_hook_slow`. None if it did not die in netfilter (`nf_hook_slow`, `nft_do_chain`): a packet that dies
/// elsewhere may have come through netfilter further out. None also after it had waited in an NFQUEUE (`nf_reinject`).
fn netfilter_hook<'a>(function: &str, callers: impl Iterator<Item = &'a str>) -> Option<NetfilterHook> {
    if !function.starts_with("nf_") && !function.starts_with("nft_") {
        return None;
    }
    let mut outside = callers.skip_while(|function| !function.starts_with("nf_hook_slow"));
    outside.next()?;
    // `nf_hook_slow_list` calls `nf_hook_slow`, hence two. Further out are other hooks that the packet had passed.
    outside.take(2).find_map(hook_of)
}

/// Callers of `nf_hook_slow`, 5.10 to 7.2: `NF_HOOK` is inline, so they are the functions it stands in or is inlined
/// into. br_netfilter calls it for bridged packets, as if they were routed.
fn hook_of(function: &str) -> Option<NetfilterHook> {
    // A part that the compiler split off (`br_nf_forward_ip.part.0`) is the function.
    Some(match function.split('.').next()? {
        "ip_rcv"
        | "ip_list_rcv"
        | "ip_sublist_rcv"
        | "ipv6_rcv"
        | "ipv6_list_rcv"
        | "ip6_sublist_rcv"
        | "ip6_sublist_rcv_finish"
        | "br_nf_pre_routing"
        | "br_nf_pre_routing_ipv6" => NetfilterHook::Prerouting,
        "ip_local_deliver" | "ip6_input" => NetfilterHook::Input,
        "ip_forward" | "ip6_forward" | "br_nf_forward_ip" | "br_nf_forward" => NetfilterHook::Forward,
        "__ip_local_out" | "ip_local_out" | "__ip6_local_out" | "ip6_local_out" | "ip6_xmit"
        | "raw_sendmsg" | "rawv6_sendmsg" => NetfilterHook::Output,
        "ip_output" | "ip_mc_output" | "ip6_output" | "br_nf_post_routing" => NetfilterHook::Postrouting,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_is_whose_function_called_netfilter() {
        let hook = |frames: &[&str]| {
            let function = if frames[0].starts_with("kfree_skb") { frames[1] } else { frames[0] };
            netfilter_hook(function, frames.iter().copied())
        };
        assert_eq!(
            hook(&["kfree_skb_reason", "nf_hook_slow", "ip_forward", "ip_rcv"]),
            Some(NetfilterHook::Forward)
        );
        assert_eq!(
            hook(&["nft_do_chain", "nft_do_chain_inet", "nf_hook_slow", "__ip_local_out", "ip_send_skb"]),
            Some(NetfilterHook::Output)
        );
        assert_eq!(hook(&["nf_hook_slow", "br_nf_forward_ip.part.0"]), Some(NetfilterHook::Forward));
        // Not in netfilter at all, although netfilter functions are further out.
        assert_eq!(hook(&["kfree_skb_reason", "ip_forward", "ip_rcv"]), None);
        assert_eq!(hook(&["__udp4_lib_rcv", "ip_local_deliver", "nf_hook_slow", "br_nf_pre_routing"]), None);
        let ingress =
            ["nft_do_chain", "nf_hook_slow", "__netif_receive_skb_core", "process_backlog", "ip_output"];
        assert_eq!(hook(&ingress), None);
        assert_eq!(hook(&["nf_hook_slow", "nf_reinject", "nfqnl_recv_verdict"]), None);
    }

    #[test]
    fn who_freed_is_never_a_part_of_what_frees() {
        let name = |name: &str| (!name.is_empty()).then(|| Arc::<str>::from(name));
        let freed = |named: &str, callers: &[&str]| {
            let callers: Vec<_> = callers.iter().map(|caller| name(caller)).collect();
            who_freed(name(named), &callers).as_deref().map(str::to_owned)
        };
        let split = ["kfree_skb.part.0", "kfree_skb", "__udp4_lib_rcv", "udp_rcv"];
        assert_eq!(freed("kfree_skb", &split).as_deref(), Some("__udp4_lib_rcv"));
        assert_eq!(freed("nf_hook_slow", &["kfree_skb", "ip_forward"]).as_deref(), Some("nf_hook_slow"));
        // Its caller has no name, or is not known at all.
        assert_eq!(freed("kfree_skb", &["kfree_skb", ""]), None);
        assert_eq!(freed("kfree_skb", &[]).as_deref(), Some("kfree_skb"));
        assert_eq!(freed("", &split), None);
    }

    #[test]
    fn modules_are_the_same_while_only_their_use_changes() {
        let one = "nf_nat 57344 2 nft_chain_nat,xt_nat, Live 0xffffffffc0a01000\nveth 40960 0 - Live 0xffffffffc09f0000 (E)\n";
        let other = "nf_nat 57344 1 nft_chain_nat, Live 0xffffffffc0a01000\nveth 40960 0 - Live 0xffffffffc09f0000 (E)\n";
        assert_eq!(loaded(one), loaded(other));
        assert_eq!(loaded(one), "nf_nat Live 0xffffffffc0a01000\nveth Live 0xffffffffc09f0000\n");
        assert_ne!(loaded(one), loaded(&one.replace("Live", "Loading")));
    }

    #[test]
    fn reasons_have_the_kernels_names_or_their_numbers() {
        let names = KernelNames::with_reasons(HashMap::from([(7, "NETFILTER_DROP".into())]));
        assert_eq!(names.reason(7).as_deref(), Some("NETFILTER_DROP"));
        assert_eq!(names.reason(8).as_deref(), Some("reason 8"));
        assert_eq!(names.reason(3 << 16 | 5).as_deref(), Some("subsystem 3 reason 5"));
        assert_eq!(names.reason(NO_REASON), None);
    }
}
