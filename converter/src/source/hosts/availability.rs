//! Whether it is worth asking a host.
//!
//! Every image is tried several times with longer and longer pauses. Behind a host that is down, thousands of images
//! would do that one after another, and a round would take days. So when a few in a row have given up without any
//! answer in between, the others fail at once for a while; then one more has to give up before that is so again.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;

/// How many have to give up in a row.
const GIVE_UPS: u32 = 3;

/// How long a host is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// What is known about a host's answers.
#[derive(Debug, Default)]
pub(in crate::source) struct Availability(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    give_ups: u32,
    left_alone_until: Option<Instant>,
    avoided_until: Option<Instant>,
}

impl Availability {
    /// The host has answered.
    pub(in crate::source) fn answered(&self) {
        let mut known = lock(&self.0);
        known.give_ups = 0;
        known.left_alone_until = None;
    }

    /// All attempts to get an answer have failed.
    pub(in crate::source) fn gave_up(&self) {
        let mut known = lock(&self.0);
        known.give_ups += 1;
        if known.give_ups >= GIVE_UPS {
            known.give_ups = GIVE_UPS - 1;
            known.left_alone_until = Instant::now().checked_add(LEFT_ALONE);
        }
    }

    /// How long nothing should be asked; `None` if there is no reason not to.
    pub(in crate::source) fn left_alone(&self) -> Option<Duration> {
        left(lock(&self.0).left_alone_until)
    }

    /// A mirror does not work; there are others.
    pub(in crate::source) fn avoid(&self) {
        lock(&self.0).avoided_until = Instant::now().checked_add(LEFT_ALONE);
    }

    /// Whether another place should be asked, if there is one.
    pub(in crate::source) fn is_avoided(&self) -> bool {
        let known = lock(&self.0);
        left(known.avoided_until).or(left(known.left_alone_until)).is_some()
    }
}

fn left(until: Option<Instant>) -> Option<Duration> {
    until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_silence_in_a_row_counts() {
        let host = Availability::default();
        for _ in 0..3 {
            host.gave_up();
            host.gave_up();
            assert_eq!(host.left_alone(), None);
            host.answered();
        }
        for _ in 0..3 {
            host.gave_up();
        }
        assert!(host.left_alone().is_some_and(|left| left <= LEFT_ALONE));
        assert!(host.is_avoided());
        // A request that was under way comes back.
        host.answered();
        assert_eq!(host.left_alone(), None);
        assert!(!host.is_avoided());
        host.avoid();
        assert!(host.is_avoided());
        assert_eq!(host.left_alone(), None);
    }
}
