//! The tags of a repository (OCI distribution-spec, "Listing Tags").

use std::collections::HashSet;

use http::Method;
use layer_layout::RegistryReference;
use serde::Deserialize;
use url::Url;

use super::client::{PULL, RegistryClient, Request};
use super::document::fetch_once;
use super::{endpoint, link};
use crate::source::error::{Error, Part, Result};
use crate::source::failure::Failure;
use crate::source::options::Options;

/// How many tags are asked for at a time. Registries that give fewer say where the list goes on.
const PAGE: &str = "tags/list?n=1000";

/// The largest page that is read, in bytes: some registries give all tags at once.
const PAGE_LIMIT: u64 = 32 << 20;

/// The most pages.
const PAGES: usize = 10_000;

/// The most tags. The largest repositories have tens of thousands.
const TAGS: usize = 1_000_000;

#[derive(Deserialize)]
struct Page {
    /// Present, but null if there are none: that is how some registries say so.
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<Vec<String>>,
}

/// All tags of a repository, in the order in which the registry gives them, each once. The tag or digest of
/// `reference` does not matter. Left out are the tags that only lead from an image to its signatures and other
/// referrers (`sha256-<hex>`, with or without `.sig`, `.att`, `.sbom`), and what cannot be a tag.
///
/// `DUCC_<N>_PROXY` is asked in place of the registry; mirrors are not, because they know only what has been
/// fetched through them.
///
/// # Errors
/// If not the whole list can be had: a failed listing never looks like a short one.
pub async fn list_tags(reference: &RegistryReference, options: &Options) -> Result<Vec<String>> {
    let repository =
        format!("{}://{}/{}", reference.scheme(), reference.registry(), reference.repository());
    let endpoint = endpoint::for_tags(reference, options)?;
    let client = RegistryClient::open(&repository, &endpoint, PULL, options)?;
    let failed = |cause: Failure| Error::Fetch {
        image: repository.clone(),
        part: Part::Tags,
        cause: Box::new(cause),
    };
    let mut list = List::default();
    let mut target = PAGE.to_owned();
    for _ in 0..PAGES {
        let request = Request::new(Method::GET, &target);
        let fetched = client.repeat(|| fetch_once(&client, &request, PAGE_LIMIT)).await;
        let Some(answer) = fetched.map_err(failed)? else {
            let (image, part) = (repository.clone(), Part::Tags);
            return Err(Error::TooLarge { image, part, limit: PAGE_LIMIT });
        };
        let url = client.url(&target).map_err(failed)?;
        let headers = answer.headers.clone();
        let page: Page = serde_json::from_slice(&answer.text()).map_err(|error| {
            failed(Failure::protocol(&url, format!("not a list of tags: {error}")))
        })?;
        let grew = list.add(page.tags.unwrap_or_default());
        let Some(next) = link::next(&headers) else { return Ok(list.tags) };
        let next = next_page(&url, next).map_err(failed)?;
        if !grew || list.seen.len() > TAGS {
            break;
        }
        target = next.into();
    }
    let url = client.url(&target).map_err(failed)?;
    Err(failed(Failure::protocol(&url, "the list of tags does not come to an end")))
}

/// Where the list goes on. Only at the same host: nobody else knows the tags of this one, and the login is for
/// this one.
fn next_page(url: &Url, next: &str) -> Result<Url, Failure> {
    let next = url
        .join(next)
        .map_err(|_| Failure::protocol(url, format!("the next page {next:?} is not a URL")))?;
    if next.origin() != url.origin() {
        let reason = format!(
            "the list of tags goes on at another place, {}",
            next.origin().ascii_serialization()
        );
        return Err(Failure::protocol(url, reason));
    }
    Ok(next)
}

/// The tags so far.
#[derive(Default)]
struct List {
    tags: Vec<String>,
    seen: HashSet<String>,
}

impl List {
    /// Whether any of the tags is new.
    fn add(&mut self, page: Vec<String>) -> bool {
        let mut grew = false;
        for tag in page {
            if !self.seen.insert(tag.clone()) {
                continue;
            }
            grew = true;
            if !is_tag(&tag) {
                tracing::warn!(?tag, "the registry lists something that cannot be a tag");
            } else if !belongs_to_another(&tag) {
                self.tags.push(tag);
            }
        }
        grew
    }
}

/// The grammar of the OCI distribution-spec ("Pulling manifests").
fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.starts_with(word)
        && tag.len() <= 128
        && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

/// Whether a tag is that of the signatures, attestations or other referrers of an image: the referrers tag
/// schema of the OCI distribution-spec, and cosign's.
fn belongs_to_another(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix("sha256-") else { return false };
    let (hex, suffix) = rest.split_at_checked(64).unwrap_or((rest, ""));
    let is_hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    hex.len() == 64 && hex.bytes().all(is_hex) && matches!(suffix, "" | ".sig" | ".att" | ".sbom")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_tags_are_images() {
        let hex = "0123456789abcdef".repeat(4);
        for (tag, valid, image) in [
            ("1.0", true, true),
            ("_x-1", true, true),
            ("latest", true, true),
            ("-x", false, true),
            ("", false, true),
            ("a/../b", false, true),
            (&"x".repeat(128), true, true),
            (&"x".repeat(129), false, true),
            (&format!("sha256-{hex}"), true, false),
            (&format!("sha256-{hex}.sig"), true, false),
            (&format!("sha256-{hex}.att"), true, false),
            (&format!("sha256-{hex}.tar"), true, true),
            (&format!("sha256-{}", &hex[1..]), true, true),
            ("sha256-x", true, true),
        ] {
            assert_eq!(is_tag(tag), valid, "{tag:?}");
            assert_eq!(!belongs_to_another(tag), image, "{tag:?}");
        }
    }
}
