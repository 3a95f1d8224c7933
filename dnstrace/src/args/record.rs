//! A recording beside the trace.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::recording::Rotation;

/// Where to record, and how long to keep it.
#[derive(Clone, Debug, Default, Args)]
pub struct RecordArgs {
    /// Record the trace into this file (pcapng), which `dnstrace -r` tells again and Wireshark reads; a file that is there
    /// is overwritten.
    #[arg(short = 'w', long = "write", value_name = "FILE", value_parser = regular)]
    pub write: Option<PathBuf>,

    /// Go on in a new file at this size, after this time, or both: 100MiB, 1h, 100MiB,1h. FILE.pcapng becomes
    /// FILE-00001.pcapng and so on.
    #[arg(long, value_name = "SIZE,TIME", value_parser = rotation, requires = "write")]
    pub rotate: Option<Rotation>,

    /// Of these files keep the last N.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "rotate")]
    pub keep: Option<u32>,
}

/// The smallest file that a trace goes on behind: its beginning alone has some hundred bytes.
const SMALLEST: u64 = 4 << 10;
const SHORTEST: Duration = Duration::from_secs(1);

/// Standard output is for what is told.
fn regular(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("give a file".to_owned()),
        "-" => Err("a recording cannot be written to standard output: give a file".to_owned()),
        path => Ok(path.into()),
    }
}

/// A size, a time, or both.
fn rotation(text: &str) -> Result<Rotation, String> {
    let mut rotation = Rotation::default();
    for part in text.split(',').map(str::trim) {
        // A unit of bytes tells a size: M alone would be a month to some and a megabyte to others.
        if part.ends_with(['B', 'b']) {
            let bytes = parse_size::parse_size(part).map_err(|error| error.to_string())?;
            if bytes < SMALLEST || rotation.bytes.replace(bytes).is_some() {
                return Err("give one size of at least 4KiB".to_owned());
            }
        } else if part.ends_with(['s', 'm', 'h', 'd']) {
            let time = humantime::parse_duration(part).map_err(|error| error.to_string())?;
            if time < SHORTEST || rotation.time.replace(time).is_some() {
                return Err("give one time of at least 1s".to_owned());
            }
        } else {
            return Err("give a size (100MiB), a time (30s, 10m, 1h, 1d), or both (100MiB,1h)".to_owned());
        }
    }
    Ok(rotation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_is_a_size_a_time_or_both() {
        let (mib, hour) = (Some(100 << 20), Some(Duration::from_secs(3600)));
        assert_eq!(rotation("100MiB"), Ok(Rotation { bytes: mib, time: None }));
        assert_eq!(rotation("1h"), Ok(Rotation { bytes: None, time: hour }));
        assert_eq!(rotation("100MiB,1h"), Ok(Rotation { bytes: mib, time: hour }));
        assert_eq!(rotation("60m, 100MiB"), Ok(Rotation { bytes: mib, time: hour }));
        for wrong in ["", "100M", "100", "1KiB", "10ms", "1h,2h", "1MB,2MB", "x", "1h,"] {
            assert!(rotation(wrong).is_err(), "{wrong}");
        }
        assert!(regular("-").is_err() && regular("").is_err() && regular("a.pcapng").is_ok());
    }
}
