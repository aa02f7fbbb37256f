//! Images that could not be published: why, since when, and when they are tried again.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Error, Result, State};

/// The pause after the first failure. It doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// An image that could not be published, and is not mended yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Public name of the image.
    pub name: String,
    /// What went wrong the last time, with its causes.
    pub reason: String,
    /// How often in a row.
    pub count: u32,
    /// When it failed first.
    pub first: Timestamp,
    /// When it failed last.
    pub last: Timestamp,
    /// When it is tried again.
    pub next: Timestamp,
}

/// When an image that has failed `count` times in a row, the last time at `now`, is tried again.
pub fn next_try(count: u32, now: Timestamp) -> Timestamp {
    let doublings = count.saturating_sub(1).min(30);
    let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

impl Failure {
    /// The failure of an image at `now`, after those `before`.
    pub(super) fn after(before: Option<Self>, name: &str, reason: &str, now: Timestamp) -> Self {
        let count = before.as_ref().map_or(0, |failure| failure.count).saturating_add(1);
        Self {
            name: name.to_owned(),
            reason: reason.to_owned(),
            count,
            first: before.map_or(now, |failure| failure.first),
            last: now,
            next: next_try(count, now),
        }
    }
}

impl State {
    /// What is known of an image's failures, if it is not mended.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn failure(&self, name: &str) -> Result<Option<Failure>> {
        Ok(self.select("WHERE name = ?1", [name])?.pop())
    }

    /// Remembers a failure in place of those before.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn put_failure(&self, failure: &Failure) -> Result<()> {
        let values = (
            &failure.name,
            &failure.reason,
            failure.count,
            failure.first.to_string(),
            failure.last.to_string(),
            failure.next.to_string(),
        );
        let statement = "INSERT OR REPLACE INTO failure VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.run(|database| database.execute(statement, values).map(drop))
    }

    /// Forgets the failures of an image that is mended, or that nobody wants any more.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn clear_failure(&self, name: &str) -> Result<()> {
        let statement = "DELETE FROM failure WHERE name = ?1";
        self.run(|database| database.execute(statement, [name]).map(drop))
    }

    /// All images that are not mended, by name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn failures(&self) -> Result<Vec<Failure>> {
        self.select("ORDER BY name", [])
    }

    fn select(&self, which: &str, parameters: impl rusqlite::Params) -> Result<Vec<Failure>> {
        type Row = (String, String, u32, String, String, String);
        let rows: Vec<Row> = self.run(|database| {
            let mut statement = database.prepare(&format!(
                "SELECT name, reason, count, first, last, next FROM failure {which}"
            ))?;
            let rows = statement.query_map(parameters, |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
            })?;
            rows.collect()
        })?;
        let time = |text: String| {
            text.parse()
                .map_err(|_| Error::Content { path: self.path.clone(), what: "points in time" })
        };
        rows.into_iter()
            .map(|(name, reason, count, first, last, next)| {
                let (first, last, next) = (time(first)?, time(last)?, time(next)?);
                Ok(Failure { name, reason, count, first, last, next })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Memory;
    use super::*;

    #[test]
    fn pauses_double_up_to_a_day() {
        let now = Timestamp::UNIX_EPOCH;
        for (count, minutes) in [(1, 5), (2, 10), (3, 20), (9, 1280), (10, 1440), (u32::MAX, 1440)]
        {
            let pause = next_try(count, now).duration_since(now);
            assert_eq!(pause, SignedDuration::from_mins(minutes), "{count}");
        }
    }

    #[test]
    fn failures_are_counted_until_mended() {
        let place = tempfile::tempdir().unwrap();
        let state = Memory::at(&State::path(place.path(), "r"));
        let at = |minute| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        state.add_failure("r.io/b:1", "gone", at(0));
        state.add_failure("r.io/a:1", "gone", at(1));
        let again = state.add_failure("r.io/a:1", "slow", at(60));
        assert_eq!((again.count, again.first, again.next), (2, at(1), at(70)));
        let failures = state.ask(State::failures);
        assert_eq!(failures.len(), 2);
        assert_eq!(failures[0], again);
        state.ask(|state| state.clear_failure("r.io/a:1"));
        let again = state.add_failure("r.io/a:1", "gone", at(200));
        assert_eq!((again.count, again.first), (1, at(200)));
    }
}
