//! A packet's way through the programs: a hook of a family (`udp`, `send`, `conntrack`, `drops`, `icmp`, `cgroup`)
//! fires, `kernel` reads the structs, `target` decides whether it is wanted, `packet` fills what packets have in common,
//! `ring` writes the record. `totals` counts for the comparison with the kernel's own counters.

mod cgroup;
mod conntrack;
mod drops;
mod icmp;
mod kernel;
mod packet;
mod ring;
mod send;
mod target;
mod totals;
mod udp;
