//! Does the jobs of a schedule, each in a thread of its own.

use std::{
    any::Any,
    collections::HashMap,
    sync::mpsc::{self, Sender},
    thread::{self, ScopedJoinHandle},
};

use super::schedule::Schedule;

/// Why a job has no result.
pub type NoResult = String;

/// Does all jobs, as many at a time as the schedule says, and hands each with its result to `ended` as it ends. A job
/// that panics has ended without a result.
///
/// QEMU ends with the thread that started it: a thread that has ended, in whatever way, leaves no VM.
pub fn run<T: Clone + Send, R: Send>(
    mut schedule: Schedule<T>,
    work: impl Fn(&T) -> R + Sync,
    mut ended: impl FnMut(&T, Result<R, NoResult>),
) {
    let work = &work;
    thread::scope(|scope| {
        let (endings, ended_jobs) = mpsc::channel();
        let mut running: HashMap<usize, (T, ScopedJoinHandle<'_, R>)> = HashMap::new();
        let mut started = 0;
        loop {
            while let Some(job) = schedule.start() {
                started += 1;
                let ending = Ending { number: started, told: endings.clone() };
                let its_own = job.clone();
                let thread = thread::Builder::new().spawn_scoped(scope, move || {
                    let _ending = ending;
                    work(&its_own)
                });
                match thread {
                    Ok(thread) => drop(running.insert(started, (job, thread))),
                    Err(error) => {
                        schedule.ended();
                        ended(&job, Err(format!("cannot start a thread: {error}")));
                    }
                }
            }
            if !schedule.is_busy() {
                return;
            }
            // `endings` is here, so that this waits for a job to end and for nothing else.
            let Ok(number) = ended_jobs.recv() else { return };
            if let Some((job, thread)) = running.remove(&number) {
                schedule.ended();
                ended(&job, thread.join().map_err(|panic| panic_message(&*panic)));
            }
        }
    });
}

/// Tells that a job has ended, in whatever way.
struct Ending {
    number: usize,
    told: Sender<usize>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listens if the thread could not be started after all.
        let _ = self.told.send(self.number);
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", words.unwrap_or("without a word"))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::{Duration, Instant},
    };

    use super::*;

    fn schedule(jobs: &[u32], at_a_time: usize) -> Schedule<u32> {
        Schedule::new(jobs.iter().copied(), at_a_time, |&job| job == 0, |_| ())
    }

    fn results(
        schedule: Schedule<u32>,
        work: impl Fn(&u32) -> u32 + Sync,
    ) -> Vec<(u32, Result<u32, NoResult>)> {
        let mut results = Vec::new();
        run(schedule, work, |&job, result| results.push((job, result)));
        results.sort_by_key(|(job, _)| *job);
        results
    }

    #[test]
    fn two_jobs_run_at_once() {
        let arrived = AtomicUsize::new(0);
        let work = |job: &u32| {
            let pair = arrived.fetch_add(1, Ordering::SeqCst) / 2;
            let started = Instant::now();
            while arrived.load(Ordering::SeqCst) < 2 * (pair + 1) {
                assert!(started.elapsed() < Duration::from_secs(60), "nobody came beside");
                thread::yield_now();
            }
            job * 10
        };
        let expected = [(1, Ok(10)), (2, Ok(20)), (3, Ok(30)), (4, Ok(40))];
        assert_eq!(results(schedule(&[1, 2, 3, 4], 2), work), expected);
    }

    #[test]
    fn never_more_at_once_than_allowed() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |job: &u32| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            assert!(*job != 0 || now == 1, "beside the one that is alone");
            thread::sleep(Duration::from_millis(5));
            running.fetch_sub(1, Ordering::SeqCst);
            *job
        };
        let results = results(schedule(&[0, 1, 2, 3, 4, 5], 2), work);
        assert!(results.iter().all(|(_, result)| result.is_ok()), "{results:?}");
        assert!(most.load(Ordering::SeqCst) <= 2, "{most:?}");
    }

    #[test]
    fn panic_is_a_failure_and_the_others_go_on() {
        let work = |job: &u32| {
            assert!(*job != 2, "job {job}");
            *job
        };
        let expected = [(1, Ok(1)), (2, Err("panicked: job 2".to_owned())), (3, Ok(3))];
        for at_a_time in [1, 2] {
            assert_eq!(results(schedule(&[1, 2, 3], at_a_time), work), expected);
        }
    }
}
