//! A packet's way through the programs: a hook of a family (`udp`, `cgroup`) fires, `kernel` reads the
//! structs, `target` decides whether it is wanted, `ring` writes the record.

mod cgroup;
mod kernel;
mod ring;
mod target;
mod udp;
