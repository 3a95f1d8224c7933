//! What the programs count beside the records that they write.

use std::{
    collections::HashMap,
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Pod,
    maps::{MapData, PerCpuArray, PerCpuHashMap},
    programs::Program,
};
use dnstrace_ebpf::config::{Counters, Totals};
use zerocopy::FromBytes;

use super::{Capture, CaptureError, hooks::TABLE};

impl Capture {
    /// What each hook did so far, summed over the CPUs, in the order of the table.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn counters(&self) -> Result<[Counters; TABLE.len()], CaptureError> {
        const NAME: &str = "COUNTERS";
        let map: PerCpuArray<&MapData, [u8; size_of::<Counters>()]> = self.array(NAME)?;
        let mut sums = [Counters::default(); TABLE.len()];
        for (index, sum) in (0u32..).zip(sums.iter_mut()) {
            let cpus = map.get(&index, 0).map_err(|error| CaptureError::Map { name: NAME, error })?;
            for counters in cpus.iter().filter_map(|cpu| Counters::read_from_bytes(cpu).ok()) {
                sum.written += counters.written;
                sum.ring_full += counters.ring_full;
                sum.unreadable += counters.unreadable;
                sum.filtered += counters.filtered;
            }
        }
        Ok(sums)
    }

    /// Records of all hooks that did not fit into the ring so far: one system call.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn lost(&self) -> Result<u64, CaptureError> {
        const NAME: &str = "LOST";
        let map: PerCpuArray<&MapData, u64> = self.array(NAME)?;
        let cpus = map.get(&0, 0).map_err(|error| CaptureError::Map { name: NAME, error })?;
        Ok(cpus.iter().sum())
    }

    /// How often the kernel did not run a hook's programs because they were under way on that CPU, in the order of the
    /// table (`recursion_misses`; 0 where the kernel does not count it: before 5.12, and of kprobes before 6.7).
    pub fn skipped(&self) -> [u64; TABLE.len()] {
        let mut skipped = [0; TABLE.len()];
        for attached in self.attached() {
            let programs = attached.way.programs(&attached.row).into_iter();
            let misses = programs.filter_map(|name| misses(self.ebpf().program(&name)?));
            if let Some(count) = skipped.get_mut(attached.row.hook as usize) {
                *count = misses.sum();
            }
        }
        skipped
    }

    /// What happened in each network namespace so far, by its inode number.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn totals(&self) -> Result<HashMap<u32, Totals>, CaptureError> {
        const NAME: &str = "TOTALS";
        let error = |error| CaptureError::Map { name: NAME, error };
        let map = self.ebpf().map(NAME).ok_or(CaptureError::Object("map TOTALS"))?;
        let map: PerCpuHashMap<&MapData, u32, [u8; size_of::<Totals>()]> =
            PerCpuHashMap::try_from(map).map_err(error)?;
        let mut sums = HashMap::new();
        for entry in map.iter() {
            let (netns, cpus) = entry.map_err(error)?;
            let sum: &mut Totals = sums.entry(netns).or_default();
            for totals in cpus.iter().filter_map(|cpu| Totals::read_from_bytes(cpu).ok()) {
                sum.udp_sent += totals.udp_sent;
                sum.udp6_sent += totals.udp6_sent;
                sum.udp_received += totals.udp_received;
                sum.clashes_resolved += totals.clashes_resolved;
                sum.insert_failed += totals.insert_failed;
            }
        }
        Ok(sums)
    }

    fn array<V: Pod>(&self, name: &'static str) -> Result<PerCpuArray<&MapData, V>, CaptureError> {
        let map = self.ebpf().map(name).ok_or(CaptureError::Object(name))?;
        PerCpuArray::try_from(map).map_err(|error| CaptureError::Map { name, error })
    }
}

/// `recursion_misses` of a loaded program, as the kernel shows it of its file descriptor.
fn misses(program: &Program) -> Option<u64> {
    let fd = program.fd().ok()?.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let misses = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    misses.trim().parse().ok()
}
