//! Threads that do the same to many things.
//!
//! What waits for a storage should wait for many things at a time, and what computes should use all processors.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So many threads as may work at a time. Work that is itself divided shares them.
pub struct Crew {
    /// Those that are not at work, without the threads that call.
    idle: AtomicUsize,
}

impl Crew {
    /// A crew of `threads`, the caller's among them.
    pub fn new(threads: usize) -> Self {
        Self { idle: AtomicUsize::new(threads.saturating_sub(1)) }
    }

    /// Does `work` for each of `items`, and gives what it returns in the order of the items. Neighbours are begun one
    /// after the other. After a failure nothing is begun any more.
    ///
    /// # Errors
    /// Those of `work`; of several, the one for the first of the items.
    pub fn each<T: Sync, R: Send, E: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        let next = AtomicUsize::new(0);
        let run = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(at) else { return done };
                let result = work(item);
                if result.is_err() {
                    next.store(items.len(), Ordering::Relaxed);
                }
                done.push((at, result));
            }
        };
        let helpers = self.take(items.len().saturating_sub(1));
        let mut results = std::thread::scope(|scope| {
            let helping: Vec<_> = (0..helpers).map(|_| scope.spawn(run)).collect();
            let mut results = run();
            for helper in helping {
                match helper.join() {
                    Ok(done) => results.extend(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            results
        });
        self.idle.fetch_add(helpers, Ordering::Relaxed);
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Takes as many threads as are idle, and no more than `wanted`.
    fn take(&self, wanted: usize) -> usize {
        let mut taken = 0;
        let take = |idle: usize| {
            taken = idle.min(wanted);
            Some(idle - taken)
        };
        let _ = self.idle.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let crew = Crew::new(4);
        let items: Vec<usize> = (0..1_000).collect();
        let doubled = crew.each(&items, |&item| Ok::<_, ()>(item * 2)).unwrap();
        assert!(doubled.iter().enumerate().all(|(at, &value)| value == at * 2));
        assert_eq!(crew.each(&[], |_: &u8| Ok::<_, ()>(())), Ok(Vec::new()));
    }

    #[test]
    fn all_of_the_crew_work_at_the_same_time() {
        let crew = Crew::new(3);
        let all = Barrier::new(3);
        // With fewer threads this would wait for ever.
        let met = crew.each(&[(); 3], |()| Ok::<_, ()>(all.wait().is_leader())).unwrap();
        assert_eq!(met.iter().filter(|&&leader| leader).count(), 1);
    }

    #[test]
    fn divided_work_shares_the_threads() {
        let crew = Crew::new(3);
        let (running, most) = (AtomicUsize::new(0), Mutex::new(0));
        let leaf = |_: &u8| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            let mut most = most.lock().unwrap();
            *most = now.max(*most);
            drop(most);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        let branch = |_: &u8| crew.each(&[0; 50], leaf);
        assert_eq!(crew.each(&[0; 10], branch).unwrap().len(), 10);
        assert!(*most.lock().unwrap() <= 3);
        assert_eq!(crew.idle.load(Ordering::Relaxed), 2, "all have come back");
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let crew = Crew::new(1);
        let begun = AtomicUsize::new(0);
        let result = crew.each(&[1, 2, 3, 4], |&item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if item == 2 { Err(item) } else { Ok(item) }
        });
        assert_eq!((result, begun.load(Ordering::Relaxed)), (Err(2), 2));
    }
}
