//! When images that are ready are published. Pure.

use std::time::Duration;

/// How images are grouped into revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grouping {
    /// So many images that are ready are published at once.
    pub images: usize,
    /// No image that is ready waits longer than this.
    pub interval: Duration,
}

impl Default for Grouping {
    fn default() -> Self {
        Self { images: 100, interval: Duration::from_secs(300) }
    }
}

/// Where the images of a round are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Whereabouts {
    /// Ready to be published.
    pub(super) ready: usize,
    /// Being prepared in the batch.
    pub(super) inside: usize,
    /// Waiting to be prepared.
    pub(super) outside: usize,
    /// Whether there may be more of which nothing is known yet.
    pub(super) more: bool,
    /// Whether the batch is to end as soon as it is empty.
    pub(super) draining: bool,
}

impl Grouping {
    /// Whether it is time to publish what is ready; the first of it has been ready for `waiting`.
    pub(super) fn is_due(&self, whereabouts: &Whereabouts, waiting: Duration) -> bool {
        let Whereabouts { ready, inside, outside, more, draining } = *whereabouts;
        let nothing_else_comes = inside == 0 && (draining || (outside == 0 && !more));
        ready > 0 && (ready >= self.images || waiting >= self.interval || nothing_else_comes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_end_by_number_by_time_and_when_nothing_else_comes() {
        let grouping = Grouping { images: 10, interval: Duration::from_secs(60) };
        let busy = Whereabouts { ready: 3, inside: 2, outside: 5, more: true, draining: false };
        for (whereabouts, seconds, due) in [
            (busy, 0, false),
            (busy, 60, true),
            (Whereabouts { ready: 10, ..busy }, 0, true),
            (Whereabouts { ready: 0, ..busy }, 1000, false),
            (Whereabouts { inside: 0, ..busy }, 0, false),
            (Whereabouts { inside: 0, outside: 0, ..busy }, 0, false),
            (Whereabouts { inside: 0, outside: 0, more: false, ..busy }, 0, true),
            (Whereabouts { inside: 0, draining: true, ..busy }, 0, true),
            (Whereabouts { draining: true, ..busy }, 0, false),
            (Whereabouts::default(), 1000, false),
        ] {
            let waiting = Duration::from_secs(seconds);
            assert_eq!(grouping.is_due(&whereabouts, waiting), due, "{whereabouts:?} {seconds}");
        }
    }
}
