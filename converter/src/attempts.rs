//! How often something is done again because another publisher was faster.
//!
//! There is one policy for all that is published or removed. An image, a group of images or a removal may be overtaken at
//! several places: when a group is put on top of another publisher's revision, when an image has to be prepared again
//! because somebody has removed what it stands on, when a plan of what to remove is not true any more. All of these count
//! together, so loops within each other do not multiply.
//!
//! That two publishers replace the manifest at the same time does not count here: `cvmfs_repository` lets one of them do
//! so again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// So many attempts, and no more. Publishers take turns ([`Repository::turn`](crate::repository::Repository::turn)), so
/// only those that do not see each other's signs overtake each other at all.
const LIMIT: u32 = 20;

/// The attempts at one thing. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Attempts(Arc<AtomicU32>);

/// Others were faster each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "other publishers have changed the repository {0} times just before this could be done; what is published is \
     complete, so run this again when fewer are at work"
)]
pub struct Outpaced(u32);

impl Attempts {
    /// Counts an attempt that was overtaken, before another one.
    ///
    /// # Errors
    /// If that was the last one.
    pub fn again(&self) -> Result<(), Outpaced> {
        let made = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        if made < LIMIT { Ok(()) } else { Err(Outpaced(made)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_within_each_other_count_together() {
        let attempts = Attempts::default();
        let mut made = 0;
        let mut outer = || {
            loop {
                let within = attempts.clone();
                for _ in 0..7 {
                    made += 1;
                    within.again()?;
                }
            }
        };
        let given_up: Result<(), Outpaced> = outer();
        assert_eq!((given_up, made), (Err(Outpaced(LIMIT)), LIMIT));
        let text = Outpaced(LIMIT).to_string();
        assert!(text.contains("20 times") && text.contains("run this again"), "{text}");
    }
}
