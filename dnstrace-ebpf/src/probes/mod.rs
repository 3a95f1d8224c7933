//! A packet's way through the programs: a hook of a family (`udp`, `send`, `stream`, `connection`, `conntrack`,
//! `untracked`, `drops`, `icmp`, `cgroup`, `module`) fires, by kprobe or fentry (`entry`), `kernel` reads the structs,
//! `target` decides whether it is wanted, `packet` fills what packets have in common, `receive` knows where a program wants
//! its bytes, `ring` writes the record. `totals` counts for the comparison with the kernel's own counters.

mod cgroup;
mod connection;
mod conntrack;
mod drops;
mod entry;
mod icmp;
mod kernel;
mod module;
mod packet;
mod receive;
mod ring;
mod send;
mod stream;
mod target;
mod totals;
mod udp;
mod untracked;
