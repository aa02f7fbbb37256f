//! Where a list goes on: the `Link` header (RFC 8288), as the OCI distribution-spec uses it for tags and
//! referrers. Pure.

use http::HeaderMap;
use http::header::LINK;

/// The target of the link with the relation `next`, as it was written.
pub(super) fn next(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(next_in)
}

fn next_in(mut text: &str) -> Option<&str> {
    loop {
        let (_, rest) = text.split_once('<')?;
        let (target, rest) = rest.split_once('>')?;
        let (parameters, rest) = split_parameters(rest);
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel")
                && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        text = rest;
    }
}

/// The parameters of a link, and what follows the comma after them. Commas within quotes belong to a parameter.
fn split_parameters(text: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        for (headers, expected) in [
            (
                &[r#"</v2/a/tags/list?last=x&n=9>; rel="next""#][..],
                Some("/v2/a/tags/list?last=x&n=9"),
            ),
            (&["<?last=x>;rel=next"], Some("?last=x")),
            (&[r#"<b>; title="a, <c>"; REL="last Next""#], Some("b")),
            (&[r#"<a>; rel="prev", <b>; rel="next""#], Some("b")),
            (&[r#"<a>; rel="prev""#, r#"<b>; rel="next""#], Some("b")),
            (&[r#"<a>; rel="nextest""#], None),
            (&["<a>"], None),
            (&["a; rel=next", ""], None),
            (&["<a; rel=next"], None),
            (&[], None),
        ] {
            let mut map = HeaderMap::new();
            for header in headers {
                map.append(LINK, header.parse().unwrap());
            }
            assert_eq!(next(&map), expected, "{headers:?}");
        }
    }
}
