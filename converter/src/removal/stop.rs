//! Ending a removal before its time.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Error, Result};

/// A wish to end, and whether that is possible at the moment: a change that is under way is finished.
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicBool,
    changing: AtomicBool,
}

impl Stop {
    /// Lets no further change begin.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Whether a change of the repository is under way. If not, and the end was [asked for](Self::ask), there will be
    /// none any more.
    pub fn is_changing(&self) -> bool {
        self.changing.load(Ordering::SeqCst)
    }

    /// Fails if the end was asked for.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check(&self) -> Result<()> {
        if self.asked.load(Ordering::SeqCst) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Makes a change unless the end was asked for.
    pub(super) fn change<T>(&self, change: impl FnOnce() -> Result<T>) -> Result<T> {
        // In this order, so that one of both sees the other: this the wish, or who asks the change.
        self.changing.store(true, Ordering::SeqCst);
        let result = self.check().and_then(|()| change());
        self.changing.store(false, Ordering::SeqCst);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_begins_after_the_end_was_asked_for() {
        let stop = Stop::default();
        let during = stop.change(|| {
            assert!(stop.is_changing());
            stop.ask();
            Ok(1)
        });
        assert_eq!((during.unwrap(), stop.is_changing()), (1, false));
        assert!(matches!(stop.change(|| Ok(2)), Err(Error::Interrupted)));
        assert!(!stop.is_changing());
    }
}
