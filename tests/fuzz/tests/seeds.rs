//! The targets hold for what the fuzzer begins with, and for what it once found.

use std::{fs, path::Path};

use dnstrace_fuzz::{TARGETS, seeds};

#[test]
fn every_target_holds_for_its_seeds() {
    for (target, check) in TARGETS {
        let seeds = seeds::of(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        seeds.iter().for_each(|seed| check(seed));
    }
}

/// Damaged as a fuzzer would do it first: cut off, and each byte changed.
#[test]
fn every_target_holds_for_damaged_seeds() {
    for (target, check) in TARGETS {
        for seed in seeds::of(target) {
            let step = seed.len() / 64 + 1;
            for at in (0..seed.len()).step_by(step) {
                check(&seed[..at]);
                let mut changed = seed.clone();
                changed[at] = !changed[at];
                check(&changed);
            }
        }
    }
}

#[test]
fn what_was_found_stays_mended() {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
    let mut checked = 0;
    for (target, check) in TARGETS {
        for file in fs::read_dir(found.join(target)).into_iter().flatten() {
            check(&fs::read(file.unwrap().path()).unwrap());
            checked += 1;
        }
    }
    let files = fs::read_dir(&found).unwrap().flatten().filter(|entry| entry.path().is_dir());
    let all: usize = files.map(|directory| fs::read_dir(directory.path()).unwrap().count()).sum();
    assert_eq!(checked, all, "a folder of {} is of no target", found.display());
}
