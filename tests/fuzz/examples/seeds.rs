//! Writes the seeds of each target into a folder of its name: `seeds DIRECTORY`.

use std::{env, fs, io, path::PathBuf};

use dnstrace_fuzz::{TARGETS, seeds};

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: seeds DIRECTORY"))?;
    for (target, _) in TARGETS {
        let folder = PathBuf::from(&directory).join(target);
        fs::create_dir_all(&folder)?;
        for (number, seed) in seeds::of(target).iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
