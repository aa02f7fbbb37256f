//! Whether a repository is usable, and whether it is to be asked: a circuit breaker without a clock or a file of its own.
//!
//! A question that is not answered in time makes the repository *silent*: it is asked nothing but whether it is there.
//! Any answer ends the silence, however late. But a repository whose root answers while everything below hangs would
//! then cost every layer the whole time-out; so when questions run into the time-out again and again, and none is
//! answered in between, each silence lasts at least twice as long as the one before.
//!
//! Errors that come quickly (not mounted, the client has crashed, I/O errors) make it *failing*: it is asked as usual,
//! because that costs nothing, and the next good answer makes it usable.

use std::time::{Duration, Instant};

/// The longest silence that is enforced although the repository's root answers.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// The state of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has not been asked anything yet.
    Unknown,
    /// The last answer was good.
    Usable,
    /// It answers with errors.
    Failing {
        /// Since when.
        since: Instant,
        /// The last error.
        reason: String,
    },
    /// It does not answer.
    Silent {
        /// Since when.
        since: Instant,
    },
}

impl State {
    /// One word for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Usable => "usable",
            Self::Failing { .. } => "failing",
            Self::Silent { .. } => "silent",
        }
    }

    /// Since when it has been unusable.
    pub fn unusable_since(&self) -> Option<Instant> {
        match self {
            Self::Unknown | Self::Usable => None,
            Self::Failing { since, .. } | Self::Silent { since } => Some(*since),
        }
    }
}

/// What an answer changed, to be told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that has not been told.
    None,
    /// It has become silent.
    Silenced,
    /// It has begun to answer with this error, or with this one instead of another.
    Failed(String),
    /// It is usable after having been unusable for so long.
    Recovered(Duration),
}

/// The state of a repository, and what led to it.
#[derive(Debug)]
pub(super) struct Health {
    state: State,
    /// The first pause between two time-outs; doubled from one to the next.
    pause: Duration,
    /// Questions that ran into the time-out since one was answered in time.
    time_outs: u32,
    /// The silence lasts at least until then.
    until: Option<Instant>,
}

impl Health {
    /// Of a repository that has not been asked anything. `pause` is the time between two attempts at a silent one.
    pub(super) fn new(pause: Duration) -> Self {
        Self { state: State::Unknown, pause, time_outs: 0, until: None }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Since when the repository has been silent. It is not to be asked anything then.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        match self.state {
            State::Silent { since } => Some(since),
            _ => None,
        }
    }

    /// A question was not answered in time.
    pub(super) fn timed_out(&mut self, now: Instant) -> Change {
        if self.silent_since().is_some() {
            // Asked before the silence began.
            return Change::None;
        }
        self.time_outs += 1;
        // The first time, any answer will do.
        self.until = (self.time_outs > 1).then(|| {
            let pause = self.pause.saturating_mul(1 << (self.time_outs - 1).min(16));
            now + pause.min(LONGEST_SILENCE)
        });
        self.state = State::Silent { since: self.state.unusable_since().unwrap_or(now) };
        Change::Silenced
    }

    /// An answer has come, in time for the asker of a question or, like that to a mere look at the root, not.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        result: Result<(), &str>,
        in_time: bool,
    ) -> Change {
        if in_time {
            (self.time_outs, self.until) = (0, None);
        }
        if self.until.is_some_and(|until| now < until) {
            return Change::None;
        }
        self.until = None;
        let since = self.state.unusable_since();
        let (state, change) = match result {
            Ok(()) => {
                let change = since
                    .map_or(Change::None, |since| Change::Recovered(now.duration_since(since)));
                (State::Usable, change)
            }
            Err(reason) => {
                let told =
                    matches!(&self.state, State::Failing { reason: old, .. } if old == reason);
                let since = since.unwrap_or(now);
                let state = State::Failing { since, reason: reason.to_owned() };
                (state, if told { Change::None } else { Change::Failed(reason.to_owned()) })
            }
        };
        self.state = state;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn any_answer_ends_the_first_silence() {
        for in_time in [false, true] {
            let (mut health, start) = (Health::new(PAUSE), Instant::now());
            assert_eq!(*health.state(), State::Unknown);
            assert_eq!(health.answered(start, Ok(()), true), Change::None);
            assert_eq!(health.timed_out(start), Change::Silenced);
            // A second question that was asked at the same time.
            assert_eq!(health.timed_out(start), Change::None);
            assert_eq!(health.silent_since(), Some(start));
            let change = health.answered(start + seconds(3), Ok(()), in_time);
            assert_eq!(change, Change::Recovered(seconds(3)));
            assert_eq!(*health.state(), State::Usable);
        }
    }

    #[test]
    fn silences_grow_while_only_the_root_answers() {
        let (mut health, mut now) = (Health::new(PAUSE), Instant::now());
        for silence in [0, 20, 40, 80, 160, 300, 300] {
            assert_eq!(health.timed_out(now), Change::Silenced);
            if silence > 0 {
                let early = now + seconds(silence - 1);
                assert_eq!(health.answered(early, Ok(()), false), Change::None);
                assert_eq!(health.answered(early, Err("not mounted"), false), Change::None);
                assert_eq!(health.silent_since(), Some(now));
            }
            let change = health.answered(now + seconds(silence), Ok(()), false);
            assert_eq!(change, Change::Recovered(seconds(silence)));
            now += seconds(1000);
        }
        // One answer in time, and the next silence is a first one again.
        health.answered(now, Ok(()), true);
        health.timed_out(now);
        assert_eq!(health.answered(now, Ok(()), false), Change::Recovered(seconds(0)));
    }

    #[test]
    fn errors_are_told_once() {
        let (mut health, start) = (Health::new(PAUSE), Instant::now());
        let at = |n: u64| start + seconds(n);
        let failed = |reason: &str| Change::Failed(reason.to_owned());
        assert_eq!(health.answered(at(0), Err("not mounted"), true), failed("not mounted"));
        assert_eq!(health.answered(at(1), Err("not mounted"), true), Change::None);
        assert_eq!(health.answered(at(2), Err("I/O error"), true), failed("I/O error"));
        assert_eq!(health.silent_since(), None);
        assert_eq!(health.state().unusable_since(), Some(at(0)));
        assert_eq!(health.timed_out(at(3)), Change::Silenced);
        assert_eq!(health.silent_since(), Some(at(0)), "since it was last usable");
        assert_eq!(health.answered(at(4), Err("I/O error"), false), failed("I/O error"));
        assert_eq!(health.answered(at(5), Ok(()), true), Change::Recovered(seconds(5)));
        assert_eq!(health.state().as_str(), "usable");
    }
}
