//! Which of a repository's tags an entry means.

use std::sync::Arc;

use jiff::Timestamp;
use layer_layout::RegistryReference;
use semver::Version;
use tokio::task::JoinSet;

use super::tags::{Created, Question, Tags};
use crate::source;
use crate::wish::list::Selection;

/// How many images of one entry are asked about at a time. Registries have their own limit on top.
const AT_A_TIME: usize = 8;

/// The chosen images, and what a user should know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) images: Vec<RegistryReference>,
    pub(super) remarks: Vec<String>,
}

/// Chooses. With a range the images come with the highest version first, otherwise in the order of their tags.
pub(super) async fn select<T: Tags>(
    tags: &Arc<T>,
    repository: &Question,
    selection: &Selection,
    listed: &[String],
    now: Timestamp,
) -> source::Result<Chosen> {
    let mut candidates = candidates(&repository.reference, selection, listed);
    if let Some(range) = &selection.range {
        let in_range = |version: &Version| range.matches(version);
        candidates.retain(|candidate| candidate.version.as_ref().is_some_and(in_range));
        // The sort is stable, so of two tags of one version the first in the alphabet comes first.
        candidates.sort_by(|one, other| other.version.cmp(&one.version));
    }
    let newest = selection.newest.map_or(usize::MAX, std::num::NonZeroUsize::get);
    if selection.max_age.is_none() && (selection.range.is_some() || selection.newest.is_none()) {
        candidates.truncate(newest);
        return Ok(chosen(candidates, Vec::new()));
    }
    let oldest = selection.max_age.map(|age| {
        // A time that is too long ago to be written down is long enough ago.
        now.checked_sub(age.duration()).unwrap_or(Timestamp::MIN)
    });
    let mut remarks = Remarks::default();
    let by_version = selection.range.is_some();
    let mut dated = Vec::new();
    // By version, the first that are young enough are the newest, and nobody has to be asked about the rest.
    let (step, enough) =
        if by_version { (AT_A_TIME.min(newest), newest) } else { (usize::MAX, usize::MAX) };
    let mut rest = candidates.into_iter();
    while dated.len() < enough {
        let next: Vec<_> = rest.by_ref().take(step).collect();
        if next.is_empty() {
            break;
        }
        for (candidate, created) in ask(tags, repository, next).await? {
            match created {
                Created::At(time) if oldest.is_some_and(|oldest| time < oldest) => {}
                Created::At(time) => dated.push((candidate, Some(time))),
                Created::Unknown => {
                    remarks.undated.push(candidate.tag.clone());
                    dated.push((candidate, None));
                }
                Created::NoImage(reason) => remarks.no_images.push((candidate.tag, reason)),
            }
        }
    }
    if !by_version {
        // Those without a time are the oldest: of images that all have one, the newest are the newest.
        dated.sort_by(|(_, one), (_, other)| other.cmp(one));
    }
    dated.truncate(newest);
    let mut candidates: Vec<_> = dated.into_iter().map(|(candidate, _)| candidate).collect();
    if !by_version {
        candidates.sort_by(|one, other| one.tag.cmp(&other.tag));
    }
    Ok(chosen(candidates, remarks.texts()))
}

/// A tag that may be meant.
#[derive(Debug)]
struct Candidate {
    tag: String,
    reference: RegistryReference,
    version: Option<Version>,
}

fn chosen(candidates: Vec<Candidate>, remarks: Vec<String>) -> Chosen {
    Chosen { images: candidates.into_iter().map(|it| it.reference).collect(), remarks }
}

/// The tags that the patterns allow, each once, in the order of the alphabet.
fn candidates(
    repository: &RegistryReference,
    selection: &Selection,
    listed: &[String],
) -> Vec<Candidate> {
    let mut listed: Vec<&String> = listed.iter().collect();
    listed.sort_unstable();
    listed.dedup();
    let meant = |tag: &str| {
        let wanted = selection.globs.is_empty() || selection.globs.iter().any(|it| it.matches(tag));
        wanted && !selection.exclude.iter().any(|it| it.matches(tag)) && !is_attachment(tag)
    };
    let candidate = |tag: &String| {
        Some(Candidate {
            // What is no tag by the distribution-spec's grammar cannot be asked for.
            reference: tagged(repository, tag)?,
            version: version(tag),
            tag: tag.clone(),
        })
    };
    listed.into_iter().filter(|tag| meant(tag)).filter_map(candidate).collect()
}

/// The image with a tag; `None` if it is no tag.
fn tagged(repository: &RegistryReference, tag: &str) -> Option<RegistryReference> {
    let (scheme, registry) = (repository.scheme(), repository.registry());
    let text = format!("{scheme}://{registry}/{}:{tag}", repository.repository());
    let reference: RegistryReference = text.parse().ok()?;
    (reference.tag() == Some(tag) && !reference.is_wildcard()).then_some(reference)
}

/// Whether a tag belongs to something that is attached to an image: cosign's `sha256-<hex>.sig`, `.att` and `.sbom`,
/// and the fallback tag of the referrers API, `sha256-<hex>` (OCI distribution-spec, "Referrers Tag Schema").
fn is_attachment(tag: &str) -> bool {
    const HEX: usize = 64;
    let Some(rest) = tag.strip_prefix("sha256-") else { return false };
    let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    digits == HEX && (rest.len() == HEX || rest[HEX..].starts_with('.'))
}

/// The version that a tag stands for, with or without a `v` before it.
fn version(tag: &str) -> Option<Version> {
    Version::parse(tag.strip_prefix(['v', 'V']).unwrap_or(tag)).ok()
}

/// Asks when images were made, some at a time; the answers come in the order of the questions.
async fn ask<T: Tags>(
    tags: &Arc<T>,
    repository: &Question,
    candidates: Vec<Candidate>,
) -> source::Result<Vec<(Candidate, Created)>> {
    let mut answers: Vec<Option<Created>> = candidates.iter().map(|_| None).collect();
    let mut questions = candidates.iter().enumerate();
    // Whatever is still under way when an error is returned ends with the set.
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_A_TIME
            && let Some((index, candidate)) = questions.next()
        {
            let reference = candidate.reference.clone();
            let question = Question { reference, ..repository.clone() };
            let tags = Arc::clone(tags);
            running.spawn(async move { (index, tags.created(&question).await) });
        }
        match running.join_next().await {
            None => break,
            Some(Ok((index, answer))) => answers[index] = Some(answer?),
            Some(Err(error)) => {
                // Nobody aborts the tasks, so this one panicked, and so does who waits for it.
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    let answered = |(candidate, answer): (_, Option<_>)| Some((candidate, answer?));
    Ok(candidates.into_iter().zip(answers).filter_map(answered).collect())
}

#[derive(Default)]
struct Remarks {
    undated: Vec<String>,
    no_images: Vec<(String, String)>,
}

impl Remarks {
    fn texts(self) -> Vec<String> {
        let mut texts = Vec::new();
        if let Some(first) = self.undated.first() {
            texts.push(format!(
                "{} of the images do not say when they were made (for instance {first}); they count as not too \
                 old, and as the oldest of those that are",
                self.undated.len()
            ));
        }
        if let Some((first, reason)) = self.no_images.first() {
            texts.push(format!(
                "{} of the tags are not of images and are left out (for instance {first}: {reason})",
                self.no_images.len()
            ));
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_are_no_images() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for (tag, attachment) in [
            (format!("sha256-{hex}"), true),
            (format!("sha256-{hex}.sig"), true),
            (format!("sha256-{hex}.att"), true),
            (format!("sha256-{hex}.sbom"), true),
            (format!("sha256-{hex}-slim"), false),
            (format!("sha256-{hex}0"), false),
            ("sha256-abc".to_owned(), false),
            ("latest".to_owned(), false),
        ] {
            assert_eq!(is_attachment(&tag), attachment, "{tag}");
        }
    }

    #[test]
    fn versions_of_tags() {
        for (tag, expected) in [
            ("1.2.3", Some("1.2.3")),
            ("v1.2.3", Some("1.2.3")),
            ("V1.2.3-rc.1", Some("1.2.3-rc.1")),
            ("1.2", None),
            ("12", None),
            ("latest", None),
            ("vv1.2.3", None),
            ("1.02.3", None),
        ] {
            assert_eq!(version(tag).map(|it| it.to_string()).as_deref(), expected, "{tag}");
        }
    }
}
