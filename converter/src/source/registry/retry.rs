//! How often something is tried again, and after what pause.

use std::time::Duration;

/// How often and how patiently to try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// The number of attempts, the first included; at least 1.
    pub(crate) attempts: u32,
    /// The pause after the first failure; it doubles with each further one.
    pub(crate) first: Duration,
    /// The longest pause.
    pub(crate) longest: Duration,
}

impl Retry {
    /// The pause after `failures` failures in a row; `asked` is how long the peer asked us to wait in its
    /// last answer. Up to half of our own pause is random, so that the clients of a broken registry do not
    /// all come back at once. A pause that the peer asked for is capped, but otherwise never shortened.
    pub(crate) fn pause(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let own = self.first.saturating_mul(doubled).min(self.longest);
        let own = own.mul_f64(0.5 + fastrand::f64() / 2.0);
        asked.map_or(own, |asked| asked.min(self.longest).max(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let seconds = Duration::from_secs;
        let retry = Retry { attempts: 9, first: seconds(1), longest: seconds(60) };
        for (failures, asked, from, to) in [
            (1, None, 0.5, 1.0),
            (2, None, 1.0, 2.0),
            (6, None, 16.0, 32.0),
            (7, None, 30.0, 60.0),
            (u32::MAX, None, 30.0, 60.0),
            (1, Some(10), 10.0, 10.0),
            (1, Some(3600), 60.0, 60.0),
            (6, Some(0), 16.0, 32.0),
        ] {
            let pause = retry.pause(failures, asked.map(seconds)).as_secs_f64();
            assert!((from..=to).contains(&pause), "{failures} {asked:?}: {pause}");
        }
    }
}
