//! What an ordinary user's tree lacks.
//!
//! Without privileges the kernel lets nobody give files away, make device nodes or set the attributes of
//! the system. Such an image is still worth having (Apptainer runs it), so what is missing is counted and
//! told once instead of failing. Whether something is permitted is the kernel's answer, not a look at the
//! user ID: containers and user namespaces have many kinds of root.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts of what could not be kept.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Shortfalls {
    /// Names whose owner or group could not be set.
    pub(super) owners: u64,
    /// Of those, files whose setuid or setgid bit was dropped with it.
    pub(super) set_id_bits: u64,
    /// Device nodes that could not be made.
    pub(super) devices: u64,
    /// Extended attributes by name.
    pub(super) xattrs: BTreeMap<String, u64>,
}

impl Shortfalls {
    pub(super) fn add(&mut self, other: Self) {
        self.owners += other.owners;
        self.set_id_bits += other.set_id_bits;
        self.devices += other.devices;
        for (name, count) in other.xattrs {
            *self.xattrs.entry(name).or_default() += count;
        }
    }

    /// One line per kind, for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |count: u64, what: String| {
            if count > 0 {
                lines.push(format!("{count} {what}"));
            }
        };
        say(self.owners, "names have your user and group instead of their own".to_owned());
        say(self.set_id_bits, "of them lost their setuid or setgid bit".to_owned());
        say(self.devices, "device nodes are missing".to_owned());
        for (name, &count) in &self.xattrs {
            say(count, format!("names lack the extended attribute {name}"));
        }
        lines
    }
}

/// The counts of a whole transaction; its threads add to them.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Shortfalls>);

impl Tally {
    pub(super) fn add(&self, shortfalls: Shortfalls) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(shortfalls);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }
}
