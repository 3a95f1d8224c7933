//! A node's own numbers and times into those of the whole trace.

use std::collections::{HashMap, HashSet};

use super::clock::Correction;
use crate::event::{
    ConfirmResult, Connection, Event, KernelTime, Packet, Refused, SocketMessage, Task, Tracking,
};

/// A node of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// From 0, which keeps its numbers.
    pub number: u8,
    /// Nanoseconds since the epoch, by its own clock, at its event time 0.
    pub epoch: i64,
    /// By the first node's clock, at the event time 0 of the whole trace.
    pub base: i64,
    /// How far its clock is ahead of the first node's; none if that is not to be corrected.
    pub clock: Option<Correction>,
}

/// Network namespaces by the numbers that they have here.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// By the node's number and the inode number there.
    names: HashMap<(u8, u32), u32>,
    taken: HashSet<u32>,
    last: u32,
}

impl Namespaces {
    /// What namespace `netns` of a node is called here. The first node that has a number keeps it; another one's is called by
    /// a small number instead, which no namespace has (theirs begin at about 4026531840: `PROC_DYNAMIC_FIRST`,
    /// fs/proc/generic.c).
    pub fn name(&mut self, node: u8, netns: u32) -> u32 {
        if let Some(known) = self.names.get(&(node, netns)) {
            return *known;
        }
        let mut name = netns;
        while !self.taken.insert(name) {
            self.last = self.last.wrapping_add(1);
            name = self.last;
        }
        self.names.insert((node, netns), name);
        name
    }
}

/// Where a node's number goes in 64-bit numbers: kernel addresses have all ones there, ids of cgroups all zeros.
const NODE_SHIFT: u32 = 56;

impl Node {
    /// A 64-bit number of this node: the address of a socket or an entry, the id of a cgroup.
    pub fn number(&self, number: u64) -> u64 {
        number ^ (u64::from(self.number) << NODE_SHIFT)
    }

    /// A time of this node by the clock of the whole trace.
    pub fn time(&self, time: KernelTime) -> KernelTime {
        let wall = time.0.saturating_add_signed(self.epoch);
        let ahead = self.clock.as_ref().map_or(0, |clock| clock.at(wall).ahead);
        // Not by way of the epoch: a time that is out of all bounds stays where it is.
        let shift = self.epoch.saturating_sub(self.base).saturating_sub(ahead);
        KernelTime(time.0.saturating_add_signed(shift))
    }

    /// All numbers and times of an event of this node.
    pub fn event(&self, event: &mut Event, namespaces: &mut Namespaces) {
        match event {
            Event::Message(seen) => self.message(seen, namespaces),
            Event::Cgroup(made) => {
                self.put_time(&mut made.time);
                self.put(&mut made.cgroup);
            }
            Event::Confirm(confirm) => {
                self.put_time(&mut confirm.time);
                self.put_time(&mut confirm.began);
                self.packet(&mut confirm.packet, namespaces);
                if let ConfirmResult::Merged { ct } = &mut confirm.result {
                    self.put(ct);
                }
            }
            Event::Clash(clash) => {
                self.put_time(&mut clash.time);
                self.put(&mut clash.loser);
                self.entry(&mut clash.winner);
            }
            Event::Eviction(eviction) => {
                self.put_time(&mut eviction.time);
                self.put_optional(&mut eviction.netns, namespaces);
                self.entry(&mut eviction.victim);
            }
            Event::Drop(drop) => {
                self.put_time(&mut drop.time);
                drop.arrived.iter_mut().for_each(|time| self.put_time(time));
                self.packet(&mut drop.packet, namespaces);
            }
            Event::Icmp(icmp) => {
                self.put_time(&mut icmp.time);
                self.packet(&mut icmp.packet, namespaces);
            }
            Event::SendFailure(failure) => {
                self.put_time(&mut failure.time);
                match &mut failure.message {
                    Refused::Sent { time, socket } => {
                        self.put_time(time);
                        self.put(socket);
                    }
                    Refused::Unsent(seen) => self.message(seen, namespaces),
                }
            }
            Event::Stream(bytes) => {
                self.put_time(&mut bytes.time);
                self.socket(&mut bytes.socket, &mut bytes.netns, namespaces);
                self.task(&mut bytes.task);
            }
            Event::Connection(change) => {
                self.put_time(&mut change.time);
                self.socket(&mut change.socket, &mut change.netns, namespaces);
                change.task.iter_mut().for_each(|task| self.task(task));
            }
            Event::Retransmission(again) => {
                self.put_time(&mut again.time);
                self.socket(&mut again.socket, &mut again.netns, namespaces);
            }
            Event::ConnectFailure(failure) => {
                self.put_time(&mut failure.time);
                self.socket(&mut failure.socket, &mut failure.netns, namespaces);
                self.task(&mut failure.task);
            }
            Event::Module { time, .. } => self.put_time(time),
            Event::Loss(loss) => {
                self.put_time(&mut loss.since);
                self.put_time(&mut loss.time);
            }
        }
    }

    fn message(&self, seen: &mut SocketMessage, namespaces: &mut Namespaces) {
        self.put_time(&mut seen.time);
        seen.arrived.iter_mut().for_each(|time| self.put_time(time));
        self.socket(&mut seen.socket, &mut seen.netns, namespaces);
        self.task(&mut seen.task);
    }

    fn packet(&self, packet: &mut Packet, namespaces: &mut Namespaces) {
        self.put_optional(&mut packet.netns, namespaces);
        if let Tracking::Connection(entry) = &mut packet.tracking {
            self.entry(entry);
        }
    }

    fn socket(&self, socket: &mut u64, netns: &mut u32, namespaces: &mut Namespaces) {
        self.put(socket);
        *netns = namespaces.name(self.number, *netns);
    }

    fn task(&self, task: &mut Task) {
        self.put(&mut task.cgroup);
    }

    fn entry(&self, entry: &mut Connection) {
        self.put(&mut entry.ct);
    }

    fn put_optional(&self, netns: &mut Option<u32>, namespaces: &mut Namespaces) {
        *netns = netns.map(|netns| namespaces.name(self.number, netns));
    }

    fn put(&self, number: &mut u64) {
        *number = self.number(*number);
    }

    fn put_time(&self, time: &mut KernelTime) {
        *time = self.time(*time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: u32 = 4_026_531_840;

    fn node(number: u8) -> Node {
        Node { number, epoch: 0, base: 0, clock: None }
    }

    #[test]
    fn namespaces_of_different_nodes_have_different_numbers() {
        let mut namespaces = Namespaces::default();
        let mut names = |number, netns| namespaces.name(number, netns);
        assert_eq!(names(0, HOST), HOST);
        assert_eq!(names(1, HOST), 1);
        assert_eq!(names(2, HOST), 2);
        assert_eq!(names(1, HOST + 400), HOST + 400);
        assert_eq!(names(0, HOST + 400), 3);
        assert_eq!((names(0, HOST), names(1, HOST)), (HOST, 1));
    }

    #[test]
    fn numbers_of_different_nodes_differ_and_the_first_keeps_its_own() {
        let socket = 0xffff_8881_0a2b_3c00;
        assert_eq!(node(0).number(socket), socket);
        assert_ne!(node(1).number(socket), node(2).number(socket));
        assert_ne!(node(1).number(4_711), 4_711);
    }

    #[test]
    fn times_move_as_far_as_they_can() {
        let at = |epoch, time| Node { epoch, ..node(0) }.time(KernelTime(time)).0;
        assert_eq!([at(5, 10), at(-5, 10), at(-20, 10), at(1, u64::MAX)], [15, 5, 0, u64::MAX]);
    }
}
