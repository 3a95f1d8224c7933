//! Where VMs run: each in a slot, which is a folder of `.cache` and a lock. Other xtasks of this repository keep to
//! them, too, so that never more VMs run than the machine can bear.

use std::{
    fs::{self, File},
    path::PathBuf,
    sync::OnceLock,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// The folders, and the locks with `.lock` behind. A VM emulates its CPUs in one thread, so that two run on the two
/// cores of a small machine as fast as one.
const SLOTS: [&str; 2] = ["vm", "vm-2"];
/// Who waits for a slot holds this one, so that a test that starts VM after VM does not overtake for ever.
const QUEUE: &str = "vm-queue";
/// A VM has 4 GiB, as a rule; two of them and a build want this much.
const MEMORY_FOR_TWO: u64 = 10 << 30;
/// How often the slots are looked at by who waits for one.
const PAUSE: Duration = Duration::from_millis(100);

/// What a VM wants of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `.cache/vm`, where people look for what it left.
    First,
    /// Whichever is free.
    Any,
    /// The first, and no VM beside it.
    Alone,
}

impl Place {
    /// The sets of slots that will do, the best first. The VM runs in the first of its set and locks them all.
    fn sets(self, at_a_time: usize) -> &'static [&'static [usize]] {
        match self {
            _ if at_a_time < SLOTS.len() => &[&[0, 1]],
            Self::First => &[&[0]],
            // The first one is left to people, who have no other.
            Self::Any => &[&[1], &[0]],
            Self::Alone => &[&[0, 1]],
        }
    }
}

/// A slot that is this VM's until the value is dropped.
#[derive(Debug)]
pub struct Slot {
    /// Its folder, which may hold what the last VM left.
    pub directory: PathBuf,
    _locks: Vec<File>,
}

impl Slot {
    /// Waits for one, and says so.
    pub fn take(workspace: &Workspace, place: Place) -> Result<Self> {
        let sets = place.sets(at_a_time());
        let _queue = workspace.lock(QUEUE, "the VMs that wait for a slot")?;
        let mut waiting = false;
        loop {
            for set in sets {
                if let Some(slot) = Self::try_take(workspace, set)? {
                    return Ok(slot);
                }
            }
            if !waiting {
                crate::process::say("waiting for another VM to end");
                waiting = true;
            }
            thread::sleep(PAUSE);
        }
    }

    fn try_take(workspace: &Workspace, set: &[usize]) -> Result<Option<Self>> {
        let mut locks = Vec::new();
        for &slot in set {
            match workspace.try_lock(SLOTS[slot])? {
                Some(lock) => locks.push(lock),
                None => return Ok(None),
            }
        }
        let directory = set.first().map(|&slot| workspace.cache(SLOTS[slot])).context("a set has a slot")?;
        Ok(Some(Self { directory, _locks: locks }))
    }
}

/// How many VMs this machine runs at a time. Found out once: VMs that run take of the memory.
pub fn at_a_time() -> usize {
    static AT_A_TIME: OnceLock<usize> = OnceLock::new();
    *AT_A_TIME.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        fitting(cores, available_memory(&meminfo).unwrap_or(0))
    })
}

/// How many VMs fit on so many cores and into so many bytes of memory.
fn fitting(cores: usize, memory: u64) -> usize {
    if memory < MEMORY_FOR_TWO { 1 } else { cores.clamp(1, SLOTS.len()) }
}

/// The bytes that programs can still have, by the text of `/proc/meminfo`.
fn available_memory(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let directory = tempfile::tempdir().unwrap();
        let workspace = Workspace::at(directory.path());
        (directory, workspace)
    }

    /// The folder of the slot that such a VM gets now, of a machine for so many.
    fn taken(workspace: &Workspace, place: Place, at_a_time: usize) -> Option<(String, Slot)> {
        let slots = place.sets(at_a_time).iter().map(|set| Slot::try_take(workspace, set).unwrap());
        let slot = slots.flatten().next()?;
        Some((slot.directory.file_name()?.to_str()?.to_owned(), slot))
    }

    #[test]
    fn machine_bears_so_many() {
        assert_eq!(fitting(2, 23 * GIB), 2);
        assert_eq!(fitting(64, 500 * GIB), 2);
        assert_eq!(fitting(1, 23 * GIB), 1);
        assert_eq!(fitting(2, 10 * GIB - 1), 1);
        assert_eq!(fitting(2, 0), 1, "unknown");
    }

    #[test]
    fn memory_is_what_is_available() {
        let meminfo =
            "MemTotal:       24613740 kB\nMemFree:          411000 kB\nMemAvailable:   20000000 kB\n";
        assert_eq!(available_memory(meminfo), Some(20_000_000 * 1024));
        assert_eq!(available_memory("MemTotal: 5 kB\n"), None);
        assert_eq!(available_memory("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn two_vms_have_two_folders_and_a_third_waits() {
        let (_directory, workspace) = workspace();
        let (first, hold) = taken(&workspace, Place::Any, 2).unwrap();
        let (second, _hold) = taken(&workspace, Place::First, 2).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("vm-2", "vm"));
        assert!(taken(&workspace, Place::Any, 2).is_none());
        drop(hold);
        assert!(taken(&workspace, Place::First, 2).is_none(), "people have the first one");
        assert_eq!(taken(&workspace, Place::Any, 2).unwrap().0, "vm-2");
    }

    #[test]
    fn nobody_runs_beside_who_is_alone() {
        let (_directory, workspace) = workspace();
        let (folder, alone) = taken(&workspace, Place::Alone, 2).unwrap();
        assert_eq!(folder, "vm");
        for place in [Place::First, Place::Any, Place::Alone] {
            assert!(taken(&workspace, place, 2).is_none(), "{place:?}");
        }
        drop(alone);
        let (_, _beside) = taken(&workspace, Place::Any, 2).unwrap();
        assert!(taken(&workspace, Place::Alone, 2).is_none());
        assert!(taken(&workspace, Place::First, 2).is_some(), "a lock that was in vain is given back");
    }

    #[test]
    fn small_machine_runs_one_at_a_time() {
        let (_directory, workspace) = workspace();
        for place in [Place::First, Place::Any, Place::Alone] {
            let (folder, _slot) = taken(&workspace, place, 1).unwrap();
            assert_eq!(folder, "vm", "{place:?}");
            assert!(taken(&workspace, Place::Any, 1).is_none(), "{place:?}");
        }
    }
}
