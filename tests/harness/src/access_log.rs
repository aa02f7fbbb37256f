//! The requests a registry has had: its access log (Apache's combined format), parsed.
//!
//! Tests use it to distinguish a lazy start from a download: a layer's blob that was never requested was not fetched.

use regex::Regex;

use anyhow::{Context, Result};

/// A request that the registry answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// HTTP method, in capitals.
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// HTTP status.
    pub status: u16,
    /// Length of the answer's body in bytes.
    pub bytes: u64,
    /// The client's `User-Agent`.
    pub agent: String,
}

impl Request {
    /// `repository` and `sha256:…` if this is a successful read of a blob's content.
    pub fn fetched_blob(&self) -> Option<(&str, &str)> {
        let read = self.method == "GET" && matches!(self.status, 200 | 206);
        let (repository, digest) = self.path.strip_prefix("/v2/")?.split_once("/blobs/")?;
        (read && digest.starts_with("sha256:")).then_some((repository, digest))
    }

    /// Whether this reads a manifest or asks whether it exists.
    pub fn is_manifest(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD") && self.path.contains("/manifests/")
    }
}

/// All requests in `log`, oldest first; other lines are ignored.
pub fn parse(log: &str) -> Result<Vec<Request>> {
    let line = Regex::new(
        r#"^\S+ \S+ \S+ \[[^\]]+\] "([A-Z]+) (\S+) HTTP/[0-9.]+" (\d{3}) (\d+|-) "[^"]*" "([^"]*)"$"#,
    )?;
    log.lines()
        .filter_map(|text| line.captures(text))
        .map(|captures| {
            let (_, [method, path, status, bytes, agent]) = captures.extract();
            Ok(Request {
                method: method.to_owned(),
                path: path.to_owned(),
                status: status.parse().context("status in the registry's access log")?,
                bytes: if bytes == "-" {
                    0
                } else {
                    bytes.parse().context("bytes in the registry's access log")?
                },
                agent: agent.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_access_lines_and_nothing_else() {
        let log = concat!(
            "time=\"2026-01-01T00:00:00Z\" level=info msg=\"response completed\" http.request.method=GET\n",
            "127.0.0.1 - - [22/Nov/2026:07:00:00 +0000] \"GET /v2/a/b/blobs/sha256:12 HTTP/1.1\" 200 345 \"\" \"x/1 (y)\"\n",
            "127.0.0.1 - - [22/Nov/2026:07:00:00 +0000] \"HEAD /v2/a/b/manifests/1?ns=z HTTP/2.0\" 404 0 \"\" \"\"\n",
        );
        let requests = parse(log).unwrap();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].fetched_blob(), Some(("a/b", "sha256:12")));
        assert_eq!((requests[0].bytes, requests[0].agent.as_str()), (345, "x/1 (y)"));
        assert_eq!(
            (requests[1].fetched_blob(), requests[1].is_manifest(), requests[1].status),
            (None, true, 404)
        );
    }
}
