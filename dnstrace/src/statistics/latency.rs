//! How long answers took.

use hdrhistogram::Histogram;

/// Upper ends of the buckets, in milliseconds; one more bucket holds what took longer. 5 and 10 s are the resolvers' own
/// time-outs.
pub const BOUNDS_MS: [u64; 12] = [1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];
/// The longest latency told apart from longer ones in quantiles: an hour, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;
/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// Latencies, as buckets and as quantiles.
#[derive(Clone, Debug)]
pub struct Latency {
    buckets: [u64; BOUNDS_MS.len() + 1],
    /// Of all, in nanoseconds.
    sum: u64,
    longest: u64,
    /// In microseconds; it grows with the longest. None only if the number of digits were wrong, which tests would see.
    quantiles: Option<Histogram<u32>>,
}

impl Default for Latency {
    /// With quantiles of two significant digits.
    fn default() -> Self {
        Self::with_digits(2)
    }
}

impl Latency {
    /// With quantiles of three significant digits, in some 60 KiB.
    pub fn precise() -> Self {
        Self::with_digits(3)
    }

    fn with_digits(digits: u8) -> Self {
        let quantiles = Histogram::new(digits).ok();
        Self { buckets: [0; BOUNDS_MS.len() + 1], sum: 0, longest: 0, quantiles }
    }

    /// Counts one, in nanoseconds.
    pub fn record(&mut self, latency: u64) {
        let bucket = BOUNDS_MS.partition_point(|bound| bound * MS < latency);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(latency);
        self.longest = self.longest.max(latency);
        if let Some(quantiles) = &mut self.quantiles {
            // It refuses what does not fit only if it could not grow, which it can up to here.
            _ = quantiles.record((latency / 1_000).clamp(1, LONGEST_US));
        }
    }

    pub fn absorb(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
        self.longest = self.longest.max(other.longest);
        if let (Some(quantiles), Some(more)) = (&mut self.quantiles, &other.quantiles) {
            _ = quantiles.add(more);
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// In nanoseconds; none if nothing was counted. A quantile is the upper end of its bucket, which may lie beyond the
    /// longest.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let quantiles = self.quantiles.as_ref().filter(|quantiles| !quantiles.is_empty())?;
        Some((quantiles.value_at_quantile(quantile) * 1_000).min(self.longest))
    }

    /// Nanoseconds.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// Of all, in nanoseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Each upper end in milliseconds, `None` for what is beyond the last one, with the count of what lies between
    /// it and the one before.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        BOUNDS_MS.into_iter().map(Some).chain([None]).zip(self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_holds_its_upper_end() {
        let mut latency = Latency::default();
        for ns in [MS, MS + 1, 5_000 * MS, 10_000 * MS, 10_000 * MS + 1] {
            latency.record(ns);
        }
        let counted: Vec<_> = latency.buckets().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Some(1), 1), (Some(5), 1), (Some(5_000), 1), (Some(10_000), 1), (None, 1)]);
        assert_eq!((latency.count(), latency.longest()), (5, 10_000 * MS + 1));
        assert_eq!(Latency::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(parts in prop::collection::vec(
            prop::collection::vec(any::<u64>().prop_map(|ns| ns >> 16), 0..20), 0..4,
        )) {
            let (mut whole, mut sum) = (Latency::default(), Latency::default());
            for part in &parts {
                let mut latency = Latency::default();
                for ns in part {
                    latency.record(*ns);
                    whole.record(*ns);
                }
                sum.absorb(&latency);
            }
            prop_assert_eq!(sum.count(), parts.iter().map(Vec::len).sum::<usize>() as u64);
            prop_assert!(sum.buckets().eq(whole.buckets()));
            prop_assert_eq!((sum.sum(), sum.longest()), (whole.sum(), whole.longest()));
            for quantile in [0.0, 0.5, 0.99, 1.0] {
                prop_assert_eq!(sum.quantile(quantile), whole.quantile(quantile));
            }
        }

        #[test]
        fn a_quantile_is_right_to_its_digits(mut all in prop::collection::vec(1_000u64..20_000_000_000, 1..60)) {
            let mut latency = Latency::precise();
            for ns in &all { latency.record(*ns); }
            all.sort_unstable();
            let median = all[(all.len() - 1) / 2] as f64;
            let told = latency.quantile(0.5).unwrap() as f64;
            prop_assert!((told - median).abs() <= median * 0.001 + 1_000.0, "{told} for {median}");
        }
    }
}
