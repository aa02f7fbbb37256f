//! How much memory content may take on its way into the storage.
//!
//! Whoever wants to hold content reserves first, at once for all that it will need until the object is stored,
//! its compressed form included. Nobody waits for a reservation while holding another that workers do not know of,
//! and those get free without anybody's help, so there can be no deadlock. Requests are served in their order: a large
//! one is not passed by small ones for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The memory that all sessions share.
#[derive(Debug)]
pub(super) struct Budget {
    total: u64,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    peak: u64,
    next: u64,
    waiting: VecDeque<u64>,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl State {
    fn fits(&self, bytes: u64, total: u64) -> bool {
        self.used == 0 || self.used + bytes <= total
    }

    fn take(&mut self, bytes: u64) {
        self.used += bytes;
        self.peak = self.peak.max(self.used);
    }
}

impl Budget {
    pub(super) fn new(total: u64) -> Arc<Self> {
        Arc::new(Self { total, state: Mutex::default(), freed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves so many bytes if they are free and nobody waits.
    pub(super) fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let mut state = self.state();
        let free = state.waiting.is_empty() && state.fits(bytes, self.total);
        free.then(|| state.take(bytes)).map(|()| Reservation { budget: Arc::clone(self), bytes })
    }

    /// Waits until so many bytes are free. More than there are in all are granted when nothing else is
    /// reserved: they were asked for by somebody who cannot do with less.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Reservation {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.waiting.push_back(number);
        while state.waiting.front() != Some(&number) || !state.fits(bytes, self.total) {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.pop_front();
        state.take(bytes);
        // The next in the row may fit in, too.
        self.wake(state);
        Reservation { budget: Arc::clone(self), bytes }
    }

    /// Wakes those who wait. That takes a system call, and mostly nobody does.
    fn wake(&self, state: MutexGuard<'_, State>) {
        let nobody = state.waiting.is_empty();
        drop(state);
        if !nobody {
            self.freed.notify_all();
        }
    }

    /// The most bytes that were reserved at one time.
    pub(super) fn peak(&self) -> u64 {
        self.state().peak
    }
}

#[cfg(test)]
impl Reservation {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Reservation {
    /// Gives back what is above `bytes`.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        if surplus > 0 {
            self.bytes -= surplus;
            let mut state = self.budget.state();
            state.used -= surplus;
            self.budget.wake(state);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_to_ask_is_the_first_served() {
        let budget = Budget::new(9);
        let first = budget.reserve(6);
        let (sender, order) = mpsc::channel();
        thread::scope(|scope| {
            for (name, bytes) in [("large", 9), ("small", 1)] {
                let waiting = budget.state().waiting.len();
                let (budget, sender) = (&budget, sender.clone());
                scope.spawn(move || {
                    let reservation = budget.reserve(bytes);
                    sender.send(name).unwrap();
                    drop(reservation);
                });
                while budget.state().waiting.len() == waiting {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            assert!(order.try_recv().is_err(), "small would fit but was not the first");
            drop(first);
        });
        drop(sender);
        assert_eq!(order.iter().collect::<Vec<_>>(), ["large", "small"]);
        assert_eq!(budget.peak(), 9);
        assert_eq!(budget.state().used, 0);
    }

    #[test]
    fn who_does_not_wait_gets_what_is_free() {
        let budget = Budget::new(10);
        let first = budget.try_reserve(7).unwrap();
        assert!(budget.try_reserve(4).is_none());
        let second = budget.try_reserve(3).unwrap();
        assert!(budget.try_reserve(1).is_none());
        drop((first, second));
        let large = budget.try_reserve(11).unwrap();
        assert!(budget.try_reserve(1).is_none());
        drop(large);
        assert_eq!(budget.state().used, 0);
    }

    #[test]
    fn what_is_larger_than_all_comes_alone() {
        let budget = Budget::new(10);
        let mut large = budget.reserve(25);
        large.shrink(10);
        assert_eq!(budget.state().used, 10);
        large.shrink(11);
        drop(large);
        assert_eq!(budget.state().used, 0);
        assert_eq!(budget.peak(), 25);
    }
}
