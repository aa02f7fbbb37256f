//! Which image of an archive is meant. Pure.

use std::path::Path;

use super::{Saved, public_name};
use crate::source::error::{Error, Missing, Result};

/// The image that `wanted` chooses: a tag as the archive has it, or as people write it (`debian:12` is
/// `docker.io/library/debian:12`), or its last part if that is enough; or `@` and a number, from 0 on. Without it, the only
/// image. The tags of the result begin with the one that was chosen.
pub(super) fn one(
    image: &str,
    path: &Path,
    saved: Vec<Saved>,
    wanted: Option<&str>,
) -> Result<Saved> {
    let mut distinct: Vec<Saved> = Vec::new();
    for saved in &saved {
        let same = |other: &&mut Saved| {
            other.config == saved.config
                && other.layers.as_deref().unwrap_or_default()
                    == saved.layers.as_deref().unwrap_or_default()
        };
        match distinct.iter_mut().find(same) {
            Some(earlier) => {
                let tags = saved.repo_tags.iter().flatten().cloned();
                earlier.repo_tags.get_or_insert_default().extend(tags);
            }
            None => distinct.push(saved.clone()),
        }
    }
    let names = |images: &[Saved]| -> Vec<String> {
        let name = |one: &Saved| match &one.repo_tags {
            Some(tags) if !tags.is_empty() => tags.join(" = "),
            _ => {
                let number = saved.iter().position(|saved| saved.config == one.config);
                format!("@{}", number.unwrap_or_default())
            }
        };
        images.iter().map(name).collect()
    };
    let mut fitting = match wanted {
        None => distinct.clone(),
        Some(wanted) => match wanted.strip_prefix('@') {
            Some(number) => {
                let number = number.parse::<usize>().ok();
                number.and_then(|number| saved.get(number)).cloned().into_iter().collect()
            }
            None => tagged(&distinct, wanted),
        },
    };
    match (fitting.len(), wanted) {
        (1, _) => Ok(fitting.swap_remove(0)),
        (0, Some(wanted)) => Err(Error::Missing {
            image: image.to_owned(),
            what: match wanted.strip_prefix('@') {
                Some(number) => Missing::Number(number.to_owned()),
                None => Missing::Tag(wanted.to_owned()),
            },
            candidates: names(&distinct),
        }),
        _ => Err(Error::Ambiguous {
            image: image.to_owned(),
            candidates: names(&fitting),
            hint: format!("choose one with docker-archive:{}#TAG or #@NUMBER", path.display()),
        }),
    }
}

/// The images with a tag, which becomes their first.
fn tagged(images: &[Saved], wanted: &str) -> Vec<Saved> {
    let public = public_name(wanted);
    let rules: [&dyn Fn(&str) -> bool; 3] =
        [&|tag| tag == wanted, &|tag| public.is_some() && public_name(tag) == public, &|tag| {
            tag.rsplit_once(':').is_some_and(|(_, last)| last == wanted)
        }];
    for rule in rules {
        let with_first = |image: &Saved| {
            let mut image = image.clone();
            let tags = image.repo_tags.get_or_insert_default();
            let at = tags.iter().position(|tag| rule(tag))?;
            tags[..=at].rotate_right(1);
            Some(image)
        };
        let fitting: Vec<Saved> = images.iter().filter_map(with_first).collect();
        if !fitting.is_empty() {
            return fitting;
        }
    }
    Vec::new()
}
