//! The memory budget once more, compiled with shuttle's threads and locks in place of the real ones. Its tests run here
//! in many interleavings: a lost wake-up or a deadlock in one of them is found and told with a schedule that repeats it.
//!
//! Shuttle and not loom: what the budget relies on is that all threads see its two counters change in the same order
//! (`SeqCst`), which loom does not model.

mod sync {
    use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
    use shuttle::{Config, MaxSteps, Runner};

    pub(super) use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    pub(super) use shuttle::sync::{Condvar, Mutex, MutexGuard, mpsc};
    pub(super) use shuttle::thread;
    pub(super) use std::sync::PoisonError;

    /// The same interleavings each time.
    const SEED: u64 = 8;
    const RANDOM: usize = 1000;
    const PRIORITIZED: usize = 500;
    /// Preemptions at the worst moments that one schedule has.
    const PREEMPTIONS: usize = 3;

    /// Runs a test of several threads in interleavings that are chosen by chance.
    pub(super) fn explore(test: fn()) {
        run(RandomScheduler::new_from_seed(SEED, RANDOM), test);
        run(PctScheduler::new_from_seed(SEED, PREEMPTIONS, PRIORITIZED), test);
    }

    /// Runs a test in all interleavings that there are. It must not wait in a loop.
    pub(super) fn explore_all(test: fn()) {
        run(DfsScheduler::new(None, false), test);
    }

    fn run(scheduler: impl Scheduler + 'static, test: fn()) {
        let mut config = Config::new();
        // The order `Relaxed` is that of a statistic alone.
        config.silence_warnings = true;
        config.max_steps = MaxSteps::FailAfter(100_000);
        Runner::new(scheduler, config).run(test);
    }
}

#[path = "budget.rs"]
#[expect(clippy::duplicate_mod, reason = "compiled a second time on purpose, with another `sync`")]
mod budget;
