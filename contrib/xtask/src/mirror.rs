//! The machine's own Debian mirror, read from apt's sources in both of their formats (sources.list(5)).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The address of the first Debian archive among the machine's sources, without a slash at its end.
pub(crate) fn of_this_machine() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no release: the tests run on Debian")?
        .trim_matches('"');
    let mut files = vec![Path::new("/etc/apt/sources.list").to_path_buf()];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files
        .iter()
        .filter_map(|file| {
            let text = fs::read_to_string(file).ok()?;
            match file.extension()?.to_str()? {
                "sources" => from_stanzas(&text, codename),
                "list" => from_lines(&text, codename),
                _ => None,
            }
        })
        .next()
        .with_context(|| {
            format!("no source of Debian {codename} in /etc/apt/sources.list or sources.list.d")
        })
}

/// One-line style: `deb [options] URI SUITE COMPONENT…`.
fn from_lines(text: &str, codename: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        (suite == codename && words.any(|component| component == "main")).then(|| trimmed(uri))
    })
}

/// Deb822 style: stanzas of `Field: value` with continuation lines.
fn from_stanzas(text: &str, codename: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).find_map(|stanza| {
        let field = |name: &str| -> Vec<&str> {
            let mut words = Vec::new();
            let mut inside = false;
            for line in stanza {
                let continued = line.starts_with([' ', '\t']);
                if !continued {
                    let (key, value) = line.split_once(':').unwrap_or((line, ""));
                    inside = key.eq_ignore_ascii_case(name);
                    if inside {
                        words.extend(value.split_whitespace());
                    }
                } else if inside {
                    words.extend(line.split_whitespace());
                }
            }
            words
        };
        let wanted = field("Types").contains(&"deb")
            && field("Suites").contains(&codename)
            && field("Components").contains(&"main")
            && !field("Enabled").contains(&"no");
        let uris = field("URIs");
        wanted.then(|| uris.first().map(|uri| trimmed(uri))).flatten()
    })
}

fn trimmed(uri: &str) -> String {
    uri.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_sources() {
        let cases = [
            (
                "deb http://deb.example.org/debian bookworm main",
                Some("http://deb.example.org/debian"),
            ),
            (
                "deb [arch=amd64 signed-by=/k] http://x/debian/ bookworm contrib main # y",
                Some("http://x/debian"),
            ),
            ("deb-src http://x/debian bookworm main", None),
            ("# deb http://x/debian bookworm main", None),
            ("deb http://x/debian-security bookworm-security main", None),
            (
                "deb https://y/apt stable main\ndeb\thttp://x/debian bookworm main",
                Some("http://x/debian"),
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(from_lines(text, "bookworm").as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn deb822_sources() {
        let debian = "Types: deb\n# a comment\nURIs: http://x/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n";
        let security = "Types: deb\nURIs: http://x/debian-security\nSuites: bookworm-security\nComponents: main\n";
        let folded = "types: deb deb-src\nuris:\n http://y/debian\nsuites:\n bookworm\ncomponents: main contrib\n";
        let cases = [
            (debian.to_owned(), Some("http://x/debian")),
            (security.to_owned(), None),
            (format!("{security}\n{debian}"), Some("http://x/debian")),
            (folded.to_owned(), Some("http://y/debian")),
            (format!("Enabled: no\n{debian}"), None),
        ];
        for (text, wanted) in cases {
            assert_eq!(from_stanzas(&text, "bookworm").as_deref(), wanted, "{text}");
        }
    }
}
