//! Whether an object that is there is the one that its name says.
//!
//! Objects are named by their content and never change, so one that is there need not be written again. But who can write in
//! a storage can put other bytes under the name, and a disk can. The size is compared in any case. Reading all of what is
//! there would cost what is saved, so a sample is read, and everything as soon as one of the sample is found damaged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::hash::{ObjectId, ObjectKind};

/// One of so many objects is read.
const SAMPLE: u32 = 32;

/// Which objects are read before they are relied on. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Inspection(Arc<AtomicBool>);

impl Inspection {
    /// From now on all.
    pub(super) fn read_all(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether an object that is there has to be read. Those that are not content of files are few, and whole trees hang on
    /// them.
    pub(super) fn wants(&self, object: ObjectId) -> bool {
        let is_content = matches!(object.kind, ObjectKind::File | ObjectKind::Chunk);
        !is_content || self.0.load(Ordering::Relaxed) || fastrand::u32(..SAMPLE) == 0
    }

    /// Tells that an object is damaged, after which all are read.
    fn damaged(&self, object: ObjectId, storage: &str) {
        tracing::warn!(
            %object,
            storage,
            "an object in the storage is damaged; it is stored anew, and everything that is there already is read from now on \
             (`ducc repository check --data` looks at the rest)"
        );
        self.read_all();
    }

    /// Takes note of what came of putting an object. Returns whether it was written.
    pub(super) fn note(&self, object: ObjectId, storage: &str, put: Put) -> bool {
        if put == Put::Damaged {
            self.damaged(object, storage);
        }
        put != Put::There
    }

    /// The size of an object if it is sound.
    pub(super) fn sound(
        &self,
        object: ObjectId,
        storage: &str,
        size: Option<u64>,
        is_sound: bool,
    ) -> Option<u64> {
        if !is_sound {
            self.damaged(object, storage);
        }
        size.filter(|_| is_sound)
    }
}

/// What came of putting an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It was not there, or cut off.
    New,
    /// It is there.
    There,
    /// Other bytes of the same number were there.
    Damaged,
}
