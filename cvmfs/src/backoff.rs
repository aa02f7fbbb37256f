//! How publishers that were overtaken let each other go first.
//!
//! A publisher that tries again at once is in the others' way, and they in its. So each waits for a random part of a
//! time that doubles with every attempt (exponential back-off with full jitter). The time is measured in attempts: on a
//! slow storage, where an attempt takes longer, publishers have to be further apart.

use std::time::{Duration, Instant};

/// An attempt counts as at least this long, …
const SHORTEST: Duration = Duration::from_millis(20);
/// … and as at most this long.
const LONGEST: Duration = Duration::from_secs(4);
/// After this many attempts the time no longer doubles. It then is enough for sixteen publishers to go one after the
/// other.
const DOUBLINGS: u32 = 4;
/// How long a publisher tries.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// The attempts of one publisher at one revision.
pub(crate) struct Backoff {
    begun: Instant,
    attempt_begun: Instant,
    attempts: u32,
}

impl Backoff {
    /// Begins the first attempt.
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { begun: now, attempt_begun: now, attempts: 1 }
    }

    /// The attempts so far.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Waits and begins the next attempt, because another publisher was faster. `false` if it has taken too long
    /// already.
    pub(crate) fn again(&mut self) -> bool {
        if self.begun.elapsed() >= PATIENCE {
            return false;
        }
        let limit = limit(self.attempts, self.attempt_begun.elapsed());
        std::thread::sleep(limit.mul_f64(fastrand::f64()));
        self.attempts += 1;
        self.attempt_begun = Instant::now();
        true
    }
}

/// The longest time to wait after so many attempts, of which the last took this long.
fn limit(attempts: u32, took: Duration) -> Duration {
    took.clamp(SHORTEST, LONGEST) * (1 << attempts.min(DOUBLINGS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_doubles_up_to_a_limit() {
        for (attempts, took, expected) in [
            (1, 0, 40),
            (1, 100, 200),
            (3, 100, 800),
            (4, 100, 1600),
            (100, 100, 1600),
            (9, 9000, 64_000),
        ] {
            let limit = limit(attempts, Duration::from_millis(took));
            assert_eq!(limit.as_millis(), expected, "{attempts} attempts of {took} ms");
        }
    }

    /// One of several publishers in a simulation: when its attempt begins, and how many it has begun for this revision.
    #[derive(Clone, Copy)]
    struct Simulated {
        begins: Duration,
        attempts: u32,
    }

    #[test]
    fn eight_publishers_that_want_more_than_there_is_time_for_get_equal_shares() {
        const ATTEMPT: Duration = Duration::from_secs(1);
        const REVISIONS: u32 = 800;
        let mut random = fastrand::Rng::with_seed(8);
        let mut publishers = [Simulated { begins: Duration::ZERO, attempts: 1 }; 8];
        let mut newest = Duration::ZERO;
        let (mut most, mut turns) = (0, [0; 8]);
        while turns.iter().sum::<u32>() < REVISIONS {
            let first = publishers.iter_mut().enumerate().min_by_key(|(_, next)| next.begins);
            let (who, next) = first.unwrap();
            let ends = next.begins + ATTEMPT;
            if next.begins < newest {
                let wait = limit(next.attempts, ATTEMPT).mul_f64(random.f64());
                *next = Simulated { begins: ends + wait, attempts: next.attempts + 1 };
                continue;
            }
            newest = ends;
            most = most.max(next.attempts);
            turns[who] += 1;
            // Preparing the next revision takes twice as long as publishing it.
            let work = (4 * ATTEMPT).mul_f64(random.f64());
            *next = Simulated { begins: ends + work, attempts: 1 };
        }
        assert!(most < 60, "one publisher has tried {most} times");
        assert!(turns.iter().all(|&turns| turns > 50), "{turns:?} of {REVISIONS} revisions");
        assert!(newest < REVISIONS * ATTEMPT * 2, "{newest:?}");
    }
}
