//! Whose turn it is to be prepared: of the images that wait, the one that comes first in the round.
//!
//! Registries do not answer in the order in which they are asked. In a queue, an image with a high priority whose registry is
//! slow would come after all others that have changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// As many slots as there may be images at a time. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Slots(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits, by its place in the round and, if that is the same, its arrival.
    waiting: BTreeMap<(usize, u64), oneshot::Sender<Slot>>,
    arrivals: u64,
}

/// One slot, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Slots);

impl Slots {
    pub(super) fn new(number: usize) -> Self {
        let state = State { free: number, waiting: BTreeMap::new(), arrivals: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for the image at a place in the round, when it is its turn.
    pub(super) async fn acquire(&self, place: usize) -> Slot {
        let turn = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Slot(self.clone());
            }
            let (sender, turn) = oneshot::channel();
            state.arrivals += 1;
            let key = (place, state.arrivals);
            state.waiting.insert(key, sender);
            turn
        };
        turn.await.expect("nobody is forgotten who waits")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state();
            let next = state.waiting.pop_first();
            state.free += usize::from(next.is_none());
            next
        };
        if let Some((_, sender)) = next {
            // To who does not wait any more it is handed in vain, and so is dropped again.
            let _ = sender.send(Self(self.0.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_of_those_who_wait_is_next() {
        let slots = Slots::new(1);
        let held = slots.acquire(9).await;
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut waiting = Vec::new();
        for place in [5, 3, 7, 3, 1] {
            let (slots, told) = (slots.clone(), told.clone());
            waiting.push(tokio::spawn(async move {
                let _slot = slots.acquire(place).await;
                told.send(place).unwrap();
                tokio::task::yield_now().await;
            }));
            tokio::task::yield_now().await;
        }
        // One that is given up takes no slot along.
        waiting[4].abort();
        tokio::task::yield_now().await;
        drop(held);
        for task in waiting.into_iter().take(4) {
            task.await.unwrap();
        }
        drop(told);
        let mut found = Vec::new();
        while let Some(place) = order.recv().await {
            found.push(place);
        }
        assert_eq!(found, [3, 3, 5, 7]);
        let state = slots.state();
        assert_eq!((state.free, state.waiting.len()), (1, 0));
    }
}
