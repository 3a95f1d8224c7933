//! What holds of whatever comes.

use proptest::prelude::*;

use super::*;

proptest! {
    /// Whatever comes in whatever order: every message is accounted for exactly once, as an attempt, an answer
    /// or a stray, and no finer clock changes a word.
    #[test]
    fn every_message_is_accounted_for_once(
        steps in proptest::collection::vec((0u64..4_000, 0u16..3, 0u8..3, 0u32..2, any::<bool>()), 0..80),
    ) {
        let mut time = 0;
        let mut feed = Vec::new();
        for (step, id, name, who, response) in steps {
            time += step * MS;
            let c = Client { netns: who, pid: who, ..client() };
            let name = format!("{name}.");
            feed.push(if response { c.gets(time, answer(id, &name)) } else { c.asks(time, id, &name) });
        }
        let count = feed.len();
        let end = time + 100_000 * MS;
        let out = run(feed.clone(), end);
        let mut accounted = strays(&out).len();
        for query in queries(&out) {
            accounted += query.attempts.len() + query.attempts_left_out as usize;
            accounted += query.attempts.iter().filter(|a| a.answer().is_some()).count();
        }
        prop_assert_eq!(accounted, count);

        let mut tracker = Tracker::new(Limits::default());
        let mut ticked = Vec::new();
        let mut now = 0;
        for observation in feed {
            while now < observation.seen.time.0 {
                tracker.advance(KernelTime(now), &mut ticked);
                now += 333 * MS;
            }
            tracker.message(observation, &mut ticked);
        }
        tracker.finish(KernelTime(end), &mut ticked);
        prop_assert_eq!(format!("{out:?}"), format!("{ticked:?}"));
    }
}
