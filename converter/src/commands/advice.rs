//! What to do about an error of the engine of CernVM-FS repositories, which tells facts only.

use std::borrow::Cow;

use cvmfs_repository::{Activity, CollectionStop, Distrust, Error, TagError};

/// An error with its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// An error with its causes and, if that is known, what to do about it.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    match error.chain().find_map(of_engine).and_then(advice) {
        Some(advice) => format!("{error:#}; {advice}"),
        None => format!("{error:#}"),
    }
}

/// Whether what failed did so because there is no repository.
pub(crate) fn is_no_such_repository(error: &anyhow::Error) -> bool {
    let of_repository = error.downcast_ref::<ducc::repository::Error>();
    of_repository.is_some_and(ducc::repository::Error::is_no_such_repository)
}

/// The engine's error, if it is one or holds one.
fn of_engine<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let of_repository = || error.downcast_ref::<ducc::repository::Error>()?.of_engine();
    let of_image = || error.downcast_ref::<ducc::Error>()?.of_engine();
    let of_removal = || match error.downcast_ref::<ducc::removal::Error>()? {
        ducc::removal::Error::Repository(error) => error.of_engine(),
        _ => None,
    };
    error.downcast_ref().or_else(of_repository).or_else(of_image).or_else(of_removal)
}

/// What to do about an error of the engine.
fn advice(error: &Error) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match error {
        Error::NoSuchRepository(_) => "`ducc repository create` makes one",
        Error::RepositoryExists(_) => "choose another place",
        Error::Untrusted { reason, .. } => return about_distrust(reason).map(Cow::Borrowed),
        Error::UnknownSchema { .. } => {
            "if it is older, publishing once with the stock server renews it"
        }
        Error::OldSchema { .. } => {
            "let `cvmfs_server` of release 2.12 publish into the repository once (`cvmfs_server migrate` tells \
             whether it has to be migrated)"
        }
        Error::NoKey { .. } => "--keys names another directory",
        Error::KeyExists(_) => "move it away if it is no longer needed",
        Error::ConditionsIgnored(_) => "update the S3 server",
        Error::Busy { activity: Activity::ServerTransaction, fqrn } => {
            return Some(Cow::Owned(format!(
                "`cvmfs_server publish {fqrn}` or `cvmfs_server abort {fqrn}` ends it"
            )));
        }
        Error::Busy { .. } => "try again when it is done",
        Error::CollectionStopped(CollectionStop::TakenOver) => {
            "run this one again when that has ended"
        }
        Error::CollectionStopped(CollectionStop::TooSlow) => "run the garbage collection again",
        Error::Collected | Error::Conflict(_) | Error::Superseded { .. } => "publish again",
        Error::RolledBack { .. } => {
            "somebody has put an old revision back: find out who can write there; if it was you who restored the storage, \
             --accept-rollback goes on from it"
        }
        Error::Unnamed { .. } => "say which with ?name=NAME behind the storage",
        Error::Outpaced { .. } => "publish when fewer are at work",
        Error::Occupied { .. } => "remove it",
        Error::Tag(TagError::Exists(_)) => "remove it first, or choose another name",
        Error::Tag(TagError::Missing(_)) => "`ducc repository tag` lists them",
        Error::Tag(TagError::Reserved(_)) => "choose another name",
        _ => return None,
    }))
}

/// What to do about something that is not trusted.
pub(crate) fn about_distrust(reason: &Distrust) -> Option<&'static str> {
    match reason {
        Distrust::Expired(_) => {
            Some("`ducc repository resign` signs a new one with the master key")
        }
        Distrust::OtherRepository { .. } => {
            Some("if the one that is there is meant, say so with ?name=NAME behind the storage")
        }
        Distrust::Unlisted(_) => Some("sign the whitelist again with `ducc repository resign`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn advice_stands_behind_the_causes() {
        let error = || Error::NoSuchRepository("/srv/x".to_owned());
        let expected = "there is no repository in /srv/x; `ducc repository create` makes one";
        let of_repository = || ducc::repository::Error::from(error());
        let of_image = ducc::Error::from(of_repository());
        for error in [error().into(), of_repository().into(), anyhow::Error::from(of_image)] {
            assert_eq!(explain(&error), expected);
            let error = Err::<(), _>(error).context("cannot convert it").unwrap_err();
            assert_eq!(explain(&error), format!("cannot convert it: {expected}"));
        }
    }

    #[test]
    fn other_errors_are_told_as_they_are() {
        assert_eq!(explain(&anyhow::anyhow!("no")), "no");
        assert_eq!(explain(&Error::Stopped("it has stopped".to_owned()).into()), "it has stopped");
    }

    #[test]
    fn commands_that_help_are_named() {
        let fqrn = || "x.example.org".parse().unwrap();
        for (error, expected) in [
            (
                Error::Untrusted {
                    what: "the whitelist".to_owned(),
                    reason: Distrust::Expired("2026-01-01".to_owned()),
                },
                "it expired on 2026-01-01 UTC; `ducc repository resign`",
            ),
            (Error::Tag(TagError::Missing("v1".to_owned())), "no tag v1; `ducc repository tag`"),
            (
                Error::NoKey { path: "/k".into(), reason: "it is not there", need: "publishing" },
                "publishing needs it; --keys",
            ),
            (
                Error::Busy { fqrn: fqrn(), activity: Activity::ServerTransaction },
                "on this stock server; `cvmfs_server publish x.example.org`",
            ),
            (
                Error::RolledBack { fqrn: fqrn(), found: 3, evidence: "there was 4".to_owned() },
                "there was 4; somebody has put an old revision back",
            ),
            (
                Error::Unnamed {
                    storage: "/srv/x".to_owned(),
                    claimed: fqrn(),
                    known: vec![fqrn(), fqrn()],
                },
                "keys of x.example.org, x.example.org; say which with ?name=",
            ),
            (
                Error::Busy { fqrn: fqrn(), activity: Activity::Collection },
                "another garbage collection of x.example.org; try again",
            ),
        ] {
            let text = explain(&error.into());
            assert!(text.contains(expected), "{text}");
        }
    }
}
