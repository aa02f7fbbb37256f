//! How much memory content may take on its way into the storage.
//!
//! Memory for content is reserved before it is used, in one go for everything that is needed until the object is stored,
//! its compressed form included. Nobody waits for a reservation while holding another one that the workers do not have
//! yet, and the workers free theirs without waiting for anybody, so there can be no deadlock. Requests are served in
//! order, so that small ones do not overtake a large one for ever.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The memory that all uploads share.
#[derive(Debug)]
pub(super) struct Budget {
    total: u64,
    used: AtomicU64,
    peak: AtomicU64,
    /// How many requests wait: it tells without the lock that none does.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    freed: Condvar,
}

/// Requests that wait, in their order.
#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: VecDeque<u64>,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(total: u64) -> Arc<Self> {
        Arc::new(Self {
            total,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
            freed: Condvar::new(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many bytes are free. A request for more than the whole budget is granted when nothing else is
    /// reserved, because it cannot do with less.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Reservation {
        let mut queue = self.queue();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push_back(number);
        // Before checking what is free: `free` reads this after freeing, so one of the two sees the other.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while queue.waiting.front() != Some(&number) || !self.take(bytes) {
            queue = self.freed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.waiting.pop_front();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(queue);
        // The next one may fit, too.
        self.wake();
        Reservation { budget: Arc::clone(self), bytes }
    }

    /// Takes so many bytes if they are free.
    fn take(&self, bytes: u64) -> bool {
        let fitting = |used| (used == 0 || used + bytes <= self.total).then_some(used + bytes);
        match self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fitting) {
            Ok(used) => {
                self.peak.fetch_max(used + bytes, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }

    fn free(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        self.wake();
    }

    /// Wakes the requests that wait.
    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // A request that is about to wait holds the lock until it sleeps.
            drop(self.queue());
            self.freed.notify_all();
        }
    }

    /// The most bytes that were reserved at one time.
    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Reservation {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Reservation {
    /// Adds so many bytes if they are free and no request waits.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let grown = self.budget.waiting.load(Ordering::SeqCst) == 0 && self.budget.take(bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Gives back what is above `bytes`.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        if surplus > 0 {
            self.bytes -= surplus;
            self.budget.free(surplus);
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
                let waiting = budget.queue().waiting.len();
                let (budget, sender) = (&budget, sender.clone());
                scope.spawn(move || {
                    let reservation = budget.reserve(bytes);
                    sender.send(name).unwrap();
                    drop(reservation);
                });
                while budget.queue().waiting.len() == waiting {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            assert!(order.try_recv().is_err(), "small would fit but was not the first");
            drop(first);
        });
        drop(sender);
        assert_eq!(order.iter().collect::<Vec<_>>(), ["large", "small"]);
        assert_eq!(budget.peak(), 9);
        assert_eq!(budget.used.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_reservation_grows_into_what_is_free() {
        let budget = Budget::new(10);
        let mut reservation = budget.reserve(5);
        assert!(!reservation.grow(6));
        assert!(reservation.grow(5));
        assert!(!reservation.grow(1));
        assert_eq!(reservation.bytes(), 10);
        reservation.shrink(1);
        assert!(reservation.grow(9));
        drop(reservation);
        assert_eq!(budget.used.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn what_is_larger_than_all_comes_alone() {
        let budget = Budget::new(10);
        let mut large = budget.reserve(25);
        large.shrink(10);
        assert_eq!(budget.used.load(Ordering::SeqCst), 10);
        large.shrink(11);
        drop(large);
        assert_eq!(budget.used.load(Ordering::SeqCst), 0);
        assert_eq!(budget.peak(), 25);
    }
}
