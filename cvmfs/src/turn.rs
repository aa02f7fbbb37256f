//! Publishers that let each other go first.
//!
//! Of two publishers that make a revision at the same time, the second makes its catalogs in vain. So a publisher that is
//! about to begin says so, and the others wait. That saves work, and nothing relies on it: whoever's turn it is, the
//! manifest is replaced on its condition. A publisher that cannot say anything goes on nevertheless, and one that was
//! killed is not waited for.
//!
//! In a directory the sign is a lock, which ends with its process. In a bucket it is a file that its holder writes again
//! and again. The others watch whether it changes, so nobody's clock matters. Neither is respected for longer than a turn
//! may take.

mod lock;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::lock::Lock;
use crate::Result;
use crate::storage::{Expected, Storage, Version};

/// The sign in a bucket. Neither clients nor stock tools read it.
const SIGN: &str = ".ducc-turn";
/// The lock in a directory.
const LOCK: &str = ".ducc-turn.lock";

/// The longest pause before a publisher looks again; each is a random part of it.
const POLL: Duration = Duration::from_millis(300);

/// How long things take.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// A holder writes its sign this often, …
    beat: Duration,
    /// … and counts as dead if it has not done so for this long.
    dead: Duration,
    /// A turn that takes longer is not respected any more.
    turn: Duration,
    /// How long a publisher waits for its turn. Then it goes on without.
    patience: Duration,
}

const TIMES: Times = Times {
    beat: Duration::from_secs(2),
    dead: Duration::from_secs(10),
    turn: Duration::from_secs(2 * 60),
    patience: Duration::from_secs(20 * 60),
};

/// A publisher's turn. It ends when this is dropped, a little later if the storage is slow.
#[derive(Debug, Default)]
pub struct Turn(Option<Held>);

#[derive(Debug)]
enum Held {
    Lock { _lock: Lock },
    Sign(Sign),
}

/// What the sign says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Said {
    /// Whose turn it is; `None` if nobody's.
    holder: Option<String>,
    /// How often the holder has written it.
    beat: u64,
}

impl Said {
    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("a text and a number can be written as JSON").into()
    }
}

impl Turn {
    /// Waits for a turn as long as the caller wants one.
    pub(crate) fn take(storage: &Storage, wants: &mut dyn FnMut() -> bool) -> Self {
        let (mut watched, mut watched_lock) = (None, None);
        Self::wait(TIMES.patience, wants, || match storage.local_directory() {
            Some(_) => {
                let lock = Lock::take(storage, LOCK, TIMES.turn, &mut watched_lock)?;
                Ok(lock.map(|lock| Held::Lock { _lock: lock }))
            }
            None => Ok(sign(storage, TIMES, &mut watched)?.map(Held::Sign)),
        })
    }

    fn wait(
        patience: Duration,
        wants: &mut dyn FnMut() -> bool,
        mut attempt: impl FnMut() -> Result<Option<Held>>,
    ) -> Self {
        let begun = Instant::now();
        loop {
            match attempt() {
                Ok(Some(held)) => return Self(Some(held)),
                Ok(None) if wants() && begun.elapsed() < patience => {
                    std::thread::sleep(POLL.mul_f64(fastrand::f64()));
                }
                Ok(None) => return Self(None),
                Err(error) => {
                    tracing::debug!(%error, "cannot tell other publishers that it is our turn");
                    return Self(None);
                }
            }
        }
    }

    /// Ends the turn, and waits until the others can see that.
    pub fn end(self) {
        if let Some(Held::Sign(mut sign)) = self.0 {
            sign.stop.take();
            if let Some(thread) = sign.thread.take() {
                // It has panicked, or it has ended.
                let _ = thread.join();
            }
        }
    }
}

/// The sign of a bucket; `None` if another publisher holds it. `watched` is what it said, and since when.
fn sign(
    storage: &Storage,
    times: Times,
    watched: &mut Option<(Bytes, Instant)>,
) -> Result<Option<Sign>> {
    let expected = match storage.read_file(SIGN)? {
        None => Expected::Absent,
        Some((content, version)) => {
            let is_silent = match watched {
                Some((before, since)) if *before == content => since.elapsed() >= times.dead,
                _ => {
                    *watched = Some((content.clone(), Instant::now()));
                    times.dead.is_zero()
                }
            };
            let said = serde_json::from_slice::<Said>(&content);
            let is_free = said.is_ok_and(|said| said.holder.is_none());
            if !is_free && !is_silent {
                return Ok(None);
            }
            Expected::Version(version)
        }
    };
    let said = Said { holder: Some(format!("{:016x}", fastrand::u64(..))), beat: 0 };
    let written = storage.replace_file(SIGN, said.to_bytes(), expected)?;
    Ok(written.map(|version| Sign::hold(storage.clone(), times, said, version)))
}

/// A sign that is held, and the thread that writes it.
#[derive(Debug)]
struct Sign {
    /// Its end ends the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sign {
    fn hold(storage: Storage, times: Times, mut said: Said, mut version: Version) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let begun = Instant::now();
        let hold = move || {
            while stopped.recv_timeout(times.beat) == Err(RecvTimeoutError::Timeout) {
                if begun.elapsed() >= times.turn {
                    return;
                }
                said.beat += 1;
                let expected = Expected::Version(version);
                match storage.replace_file(SIGN, said.to_bytes(), expected) {
                    Ok(Some(written)) => version = written,
                    // Another publisher has taken this one for dead.
                    Ok(None) | Err(_) => return,
                }
            }
            let free = Said::default().to_bytes();
            // If that fails, the others find out by themselves.
            let _ = storage.replace_file(SIGN, free, Expected::Version(version));
        };
        let thread = std::thread::Builder::new().name("turn".to_owned()).spawn(hold).ok();
        Self { stop: Some(stop), thread }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREVER: Duration = Duration::from_secs(3600);
    const PATIENT: Times = Times { beat: FOREVER, dead: FOREVER, turn: FOREVER, patience: FOREVER };

    struct Place {
        _directory: tempfile::TempDir,
        storage: Storage,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let storage = Storage::local(directory.path());
            Self { _directory: directory, storage }
        }

        /// Waits for the sign as in a bucket, and gives up when it has looked so many times.
        fn take(&self, times: Times, looks: usize) -> Turn {
            let (mut watched, mut looked) = (None, 0);
            let mut wants = || {
                looked += 1;
                looked < looks
            };
            Turn::wait(times.patience, &mut wants, || {
                Ok(sign(&self.storage, times, &mut watched)?.map(Held::Sign))
            })
        }

        fn said(&self) -> Said {
            serde_json::from_slice(&self.storage.read_file(SIGN).unwrap().unwrap().0).unwrap()
        }
    }

    #[test]
    fn a_turn_is_waited_for_until_it_ends() {
        let place = Place::new();
        let first = place.take(PATIENT, 1);
        assert!(first.0.is_some());
        assert!(place.take(PATIENT, 3).0.is_none(), "two at a time");
        first.end();
        assert_eq!(place.said().holder, None);
        let next = place.take(PATIENT, 1);
        assert!(next.0.is_some());
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| place.take(PATIENT, usize::MAX));
            drop(next);
            waiting.join().unwrap()
        });
        assert!(waiting.0.is_some(), "dropping ends it, too");
    }

    #[test]
    fn who_is_dead_is_not_waited_for_for_ever() {
        let place = Place::new();
        let dead = Said { holder: Some("killed".to_owned()), beat: 7 };
        place.storage.replace_file(SIGN, dead.to_bytes(), Expected::Any).unwrap();
        assert!(place.take(PATIENT, 3).0.is_none(), "it may live");
        let turn = place.take(Times { dead: Duration::from_millis(50), ..PATIENT }, usize::MAX);
        assert!(turn.0.is_some());
        assert_ne!(place.said().holder, dead.holder);
        // If it lives after all, it does not end the other's turn.
        assert!(place.take(PATIENT, 3).0.is_none());
    }

    #[test]
    fn a_holder_shows_that_it_lives() {
        let place = Place::new();
        let turn = place.take(Times { beat: Duration::from_millis(1), ..PATIENT }, 1);
        let deadline = Instant::now() + Duration::from_secs(60);
        while place.said().beat < 3 {
            assert!(Instant::now() < deadline, "{:?}", place.said());
            std::thread::yield_now();
        }
        turn.end();
        assert_eq!(place.said().holder, None);
    }

    #[test]
    fn a_turn_that_takes_too_long_is_not_shown_any_more() {
        let place = Place::new();
        let short = Times { beat: Duration::from_millis(1), turn: Duration::ZERO, ..PATIENT };
        let turn = place.take(short, 1);
        let Some(Held::Sign(sign)) = &turn.0 else { panic!("no turn") };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !sign.thread.as_ref().unwrap().is_finished() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert_eq!(place.said().beat, 0);
    }

    #[test]
    fn nonsense_in_the_file_keeps_nobody_waiting_for_ever() {
        let place = Place::new();
        place.storage.replace_file(SIGN, Bytes::from_static(b"?"), Expected::Any).unwrap();
        assert!(place.take(PATIENT, 2).0.is_none());
        assert!(place.take(Times { dead: Duration::ZERO, ..PATIENT }, 1).0.is_some());
    }

    #[test]
    fn in_a_directory_the_sign_is_a_lock() {
        let place = Place::new();
        let mut once = || false;
        let first = Turn::take(&place.storage, &mut once);
        assert!(matches!(first.0, Some(Held::Lock { .. })));
        assert!(Turn::take(&place.storage, &mut once).0.is_none());
        drop(first);
        assert!(Turn::take(&place.storage, &mut once).0.is_some());
    }

    #[test]
    fn who_cannot_say_anything_goes_on() {
        let place = Place::new();
        let nowhere = Storage::local(&place._directory.path().join("nowhere"));
        assert!(Turn::take(&nowhere, &mut || panic!("it has waited")).0.is_none());
    }
}
