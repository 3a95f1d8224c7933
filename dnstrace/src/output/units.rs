//! Times and durations as text.

use jiff::{Timestamp, fmt::temporal::DateTimePrinter, tz::TimeZone};

use crate::event::KernelTime;

/// Kernel time to wall-clock time: how far the wall clock was ahead when the trace began, and in which zone the
/// user reads it.
#[derive(Clone, Debug)]
pub struct WallClock {
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, nanoseconds.
    pub offset_ns: i64,
    pub zone: TimeZone,
}

impl WallClock {
    fn timestamp(&self, time: KernelTime) -> Timestamp {
        let nanoseconds = i128::from(time.0) + i128::from(self.offset_ns);
        Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::MAX)
    }

    /// Local time of day with microseconds: `23:04:11.020113`.
    pub fn time_of_day(&self, time: KernelTime) -> String {
        self.timestamp(time).to_zoned(self.zone.clone()).strftime("%H:%M:%S.%6f").to_string()
    }

    /// RFC 3339 in UTC with nanoseconds: `2026-11-20T23:04:11.020113417Z`.
    pub fn rfc3339(&self, time: KernelTime) -> String {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));
        PRINTER.timestamp_to_string(&self.timestamp(time))
    }
}

/// A duration for eyes, four digits at the most: `412 us`, `1.20 ms`, `5.004 s`.
pub(crate) fn duration(nanoseconds: u64) -> String {
    // Rounded to the microsecond first, so that no rounding carries over a unit's border unseen.
    let us = nanoseconds.saturating_add(500) / 1_000;
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => {
            let ms = us as f64 / 1e3;
            match us {
                0..9_995 => format!("{ms:.2} ms"),
                9_995..99_950 => format!("{ms:.1} ms"),
                _ => format!("{ms:.0} ms"),
            }
        }
        _ => format!("{:.3} s", us as f64 / 1e6),
    }
}

/// Seconds from `origin` to `time`, with microseconds: `+5.003418`; `-3.051204` if it is the earlier one.
pub(super) fn offset(time: KernelTime, origin: KernelTime) -> String {
    let sign = if time < origin { '-' } else { '+' };
    let us = time.0.abs_diff(origin.0) / 1_000;
    format!("{sign}{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// An amount of bytes for eyes: `412 B`, `1.2 kB`, `48 MB`.
pub(super) fn bytes(count: u64) -> String {
    let mut amount = count as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB"] {
        // What would be rounded up to 1000 is told in the next unit.
        if amount < 999.5 {
            break;
        }
        amount /= 1e3;
        unit = larger;
    }
    if unit == "B" || amount >= 9.95 { format!("{amount:.0} {unit}") } else { format!("{amount:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        let cases = [
            (0, "0 us"),
            (999_400, "999 us"),
            (999_500, "1.00 ms"),
            (1_204_000, "1.20 ms"),
            (9_994_000, "9.99 ms"),
            (9_996_000, "10.0 ms"),
            (123_456_000, "123 ms"),
            (999_400_000, "999 ms"),
            (1_000_000_000, "1.000 s"),
            (5_004_102_000, "5.004 s"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(duration(nanoseconds), text);
        }
        let origin = KernelTime(7_000_000_000);
        assert_eq!(offset(KernelTime(12_003_418_999), origin), "+5.003418");
        assert_eq!(offset(KernelTime(3_948_796_000), origin), "-3.051204");
        assert_eq!(offset(origin, origin), "+0.000000");
    }

    #[test]
    fn bytes_read_well_at_every_size() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_249, "1.2 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (48_000_000, "48 MB"),
            (u64::MAX, "18446744 TB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn wall_clock_is_kernel_time_and_offset() {
        let clock = WallClock { offset_ns: 1_700_000_000_000_000_000, zone: TimeZone::UTC };
        assert_eq!(clock.time_of_day(KernelTime(20_113_417)), "22:13:20.020113");
        assert_eq!(clock.rfc3339(KernelTime(20_113_417)), "2023-11-14T22:13:20.020113417Z");
        assert_eq!(clock.rfc3339(KernelTime(0)), "2023-11-14T22:13:20.000000000Z");
    }
}
