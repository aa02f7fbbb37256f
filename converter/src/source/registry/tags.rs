//! The tags of a repository (OCI distribution-spec, "Listing Tags"), page by page (RFC 8288, `Link` with `rel="next"`).

use http::Method;
use http::header::{HeaderMap, LINK};
use layer_layout::RegistryReference;
use serde::Deserialize;
use url::Url;

use super::client::{PULL, RegistryClient, Request};
use super::document::fetch_once;
use crate::source::error::{Error, Part, Result};
use crate::source::failure::Failure;
use crate::source::options::Options;

/// The longest page that is read, in bytes.
const PAGE_LIMIT: u64 = 8 << 20;

/// The most pages that are read, so that a registry cannot go on for ever.
const MOST_PAGES: usize = 10_000;

/// A page.
#[derive(Deserialize)]
struct Page {
    /// Some registries write `null` where there are none.
    tags: Option<Vec<String>>,
}

/// All tags of the repository of `reference`, in the registry's order.
///
/// # Errors
/// If the registry does not give all of them.
pub async fn list_tags(reference: &RegistryReference, options: &Options) -> Result<Vec<String>> {
    let image = reference.to_string();
    let client = RegistryClient::open(reference, PULL, options)?;
    let fetch =
        |cause| Error::Fetch { image: image.clone(), part: Part::Tags, cause: Box::new(cause) };
    let mut tags = Vec::new();
    let mut target = "tags/list".to_owned();
    for _ in 0..MOST_PAGES {
        let request = Request::new(Method::GET, &target);
        let page = client.repeat(|| fetch_once(&client, &request, PAGE_LIMIT)).await;
        let Some((headers, bytes)) = page.map_err(fetch)? else {
            return Err(Error::TooLarge { image, part: Part::Tags, limit: PAGE_LIMIT });
        };
        let url = client.url(&target).map_err(fetch)?;
        let broken = |reason: String| fetch(Failure::protocol(&url, reason));
        let page: Page = serde_json::from_slice(&bytes)
            .map_err(|error| broken(format!("this is no list of tags: {error}")))?;
        tags.extend(page.tags.unwrap_or_default());
        target = match next(&headers, &url).map_err(broken)? {
            None => return Ok(tags),
            Some(next) if next == target => {
                return Err(broken("the next page of tags is the same page".to_owned()));
            }
            Some(next) => next,
        };
    }
    let url = client.url(&target).map_err(fetch)?;
    Err(fetch(Failure::protocol(&url, format!("there are more than {MOST_PAGES} pages of tags"))))
}

/// The URL of the next page, which is at the same registry.
fn next(headers: &HeaderMap, url: &Url) -> Result<Option<String>, String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    for link in links.flat_map(|links| links.split(',')) {
        let Some((target, parameters)) =
            link.trim().strip_prefix('<').and_then(|link| link.split_once('>'))
        else {
            continue;
        };
        let is_next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim().replace('"', "");
            parameter.eq_ignore_ascii_case("rel=next")
        });
        if is_next {
            let next = url.join(target).map_err(|error| format!("bad link {target:?}: {error}"))?;
            if next.origin() != url.origin() {
                return Err(format!("the next page of tags is at another host, {next}"));
            }
            return Ok(Some(next.into()));
        }
    }
    Ok(None)
}
