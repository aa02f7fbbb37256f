//! Names that a stock server gives its revisions by itself, and takes away again.
//!
//! With `CVMFS_AUTO_TAG=true` a publish names the new revision `generic-YYYY-MM-DDThh:mm:ssZ`, in UTC, or
//! `generic_N-…` with the first free N from 1 on if that name is taken, so that people can go back to it. With
//! `CVMFS_AUTO_TAG_TIMESPAN`, whatever `CVMFS_AUTO_TAG` says, it first removes such names of revisions that are older.
//! The timespan is what GNU `date --date` understands ("3 weeks ago"), which the server runs, and so does this module.
//! Rule: `cvmfs_server publish` and `ingest` of CernVM-FS 2.12.

use std::process::Command;
use std::time::SystemTime;

use crate::history::{History, Tag, TagName};
use crate::{Error, Result};

/// What a stock server is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AutoTags {
    /// Whether new revisions are named (`CVMFS_AUTO_TAG`).
    pub named: bool,
    /// Since when revisions keep such names, in words of `date --date`; for ever without
    /// (`CVMFS_AUTO_TAG_TIMESPAN`).
    pub kept_since: Option<String>,
}

/// What a publish does with such names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tagging {
    named: bool,
    /// In seconds since 1970; 0 removes nothing.
    kept_since: i64,
}

impl AutoTags {
    /// What a publish has to do that begins now.
    ///
    /// # Errors
    /// If the timespan cannot be understood, so that the server would not publish either.
    pub(crate) fn now(&self) -> Result<Tagging> {
        let kept_since = match &self.kept_since {
            Some(timespan) => seconds(timespan)
                .map_err(|reason| Error::AutoTagTimespan { timespan: timespan.clone(), reason })?,
            None => 0,
        };
        Ok(Tagging { named: self.named, kept_since })
    }
}

/// The time that a text means to `date --date`, in seconds since 1970.
fn seconds(text: &str) -> Result<i64, String> {
    let mut date = Command::new("date");
    let said = date.arg(format!("--date={text}")).arg("+%s").output();
    let said = said.map_err(|error| format!("cannot run date: {error}"))?;
    let number = String::from_utf8_lossy(&said.stdout).trim().parse();
    number.map_err(|_| String::from_utf8_lossy(&said.stderr).trim().to_owned())
}

impl Tagging {
    /// Removes outdated names from the tags of a new revision and gives it one. `trunk` is its tag.
    pub(crate) fn apply(self, history: &mut History, trunk: &Tag, now: SystemTime) -> Result<()> {
        let is_outdated = |tag: &&Tag| {
            is_automatic(tag.name.as_str())
                && i64::try_from(tag.timestamp).is_ok_and(|timestamp| timestamp < self.kept_since)
        };
        let outdated: Vec<_> =
            history.tags().filter(is_outdated).map(|tag| tag.name.clone()).collect();
        for name in outdated {
            history.remove(&name)?;
        }
        if self.named {
            let name = free_name(history, now)?;
            history.insert(Tag { name, description: String::new(), ..trunk.clone() })?;
        }
        Ok(())
    }
}

fn free_name(history: &History, now: SystemTime) -> Result<TagName> {
    let now = jiff::Timestamp::try_from(now).unwrap_or_default();
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ");
    let mut name = format!("generic-{time}");
    let mut number = 1;
    while history.tag(&name).is_some() {
        name = format!("generic_{number}-{time}");
        number += 1;
    }
    Ok(name.parse()?)
}

/// Whether a tag has such a name: `generic-` or `generic_N-` and a time, which other tools give to the millisecond.
fn is_automatic(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("generic") else { return false };
    let Some((number, time)) = rest.split_once('-') else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = number.is_empty() || number.strip_prefix('_').is_some_and(is_number);
    let (time, fraction) = match time.strip_suffix('Z') {
        Some(time) => time.split_once('.').map_or((time, None), |(time, it)| (time, Some(it))),
        None => return false,
    };
    let like = |(byte, like): (u8, u8)| match like {
        b'0' => byte.is_ascii_digit(),
        like => byte == like,
    };
    const FORM: &str = "0000-00-00T00:00:00";
    numbered
        && time.len() == FORM.len()
        && time.bytes().zip(FORM.bytes()).all(like)
        && fraction.is_none_or(|fraction| fraction.len() <= 3 && is_number(fraction))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::hash::Algorithm;
    use crate::history::TRUNK;

    /// 2026-12-01T13:30:00Z.
    const NOW: u64 = 1_796_131_800;
    const NAME: &str = "generic-2026-12-01T13:30:00Z";

    /// A database with these tags, and what they name: seconds before now.
    fn history(tags: &[(&str, u64)]) -> History {
        let mut history = History::create(&"test.example.org".parse().unwrap());
        history.move_trunk(Algorithm::Sha1.hash(b"x"), 16_384, 7, NOW);
        let trunk = history.tag(TRUNK).unwrap().clone();
        for (name, before) in tags {
            let (name, timestamp) = (name.parse().unwrap(), NOW - before);
            history.insert(Tag { name, timestamp, ..trunk.clone() }).unwrap();
        }
        history
    }

    fn names_after(tags: &[(&str, u64)], tagging: Tagging) -> Vec<String> {
        let mut history = history(tags);
        let trunk = history.tag(TRUNK).unwrap().clone();
        let now = UNIX_EPOCH + Duration::from_millis(NOW * 1000 + 999);
        tagging.apply(&mut history, &trunk, now).unwrap();
        let is_trunk = |name: &&str| *name == TRUNK;
        history
            .tags()
            .map(|tag| tag.name.as_str())
            .filter(|it| !is_trunk(it))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn revisions_get_names_that_are_free() {
        let named = Tagging { named: true, kept_since: 0 };
        assert_eq!(names_after(&[], named), [NAME]);
        let second = "generic_1-2026-12-01T13:30:00Z";
        assert_eq!(names_after(&[(NAME, 0)], named), [NAME, second]);
        let third = "generic_2-2026-12-01T13:30:00Z";
        assert_eq!(names_after(&[(NAME, 0), (second, 0)], named), [NAME, second, third]);
        assert_eq!(names_after(&[], Tagging::default()), [""; 0]);
        let mut history = history(&[]);
        let trunk = history.tag(TRUNK).unwrap().clone();
        named.apply(&mut history, &trunk, UNIX_EPOCH + Duration::from_secs(NOW)).unwrap();
        let tag = history.tag(NAME).unwrap();
        assert_eq!((tag.revision, tag.root, tag.description.as_str()), (7, trunk.root, ""));
    }

    #[test]
    fn only_outdated_names_of_this_kind_go() {
        let day = 24 * 3600;
        for (name, days, stays) in [
            ("generic-2026-11-01T00:00:00Z", 30, false),
            ("generic-2026-11-01T00:00:00Z", 6, true),
            ("generic_12-2026-11-01T00:00:00Z", 30, false),
            ("generic-2026-11-01T00:00:00.123Z", 30, false),
            ("generic-2026-11-01T00:00:00.1234Z", 30, true),
            ("generic-2026-11-01T00:00:00", 30, true),
            ("generic-2026-11-01T00:00:00Z-kept", 30, true),
            ("generic_-2026-11-01T00:00:00Z", 30, true),
            ("generic-2026-11-1T00:00:00Z", 30, true),
            ("generic", 30, true),
            ("v1", 30, true),
        ] {
            for named in [true, false] {
                let kept_since = (NOW - 7 * day).cast_signed();
                let left = names_after(&[(name, days * day)], Tagging { named, kept_since });
                assert_eq!(left.iter().any(|it| it == name), stays, "{name}");
                assert_eq!(left.iter().any(|it| it == NAME), named, "{name}");
            }
            let never = Tagging::default();
            assert_eq!(names_after(&[(name, days * day)], never), [name], "{name}");
        }
    }

    #[test]
    fn timespans_are_those_of_date() {
        let of = |text: &str| AutoTags { named: false, kept_since: Some(text.to_owned()) }.now();
        let now = jiff::Timestamp::now().as_second();
        for (text, ago) in [("3 days ago", 3), ("2 weeks ago", 14), ("now", 0)] {
            let since = of(text).unwrap().kept_since;
            // A day may be an hour longer or shorter.
            assert!((now - since - ago * 24 * 3600).abs() < 2 * 3600, "{text}: {since}");
        }
        assert_eq!(of("2026-12-01 13:30:00 UTC").unwrap().kept_since, NOW.cast_signed());
        let error = of("some time ago").unwrap_err().to_string();
        assert!(error.contains("CVMFS_AUTO_TAG_TIMESPAN"), "{error}");
        assert!(error.contains("\"some time ago\"") && error.contains("invalid date"), "{error}");
        assert_eq!(AutoTags::default().now().unwrap(), Tagging::default());
    }
}
