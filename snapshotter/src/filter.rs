//! containerd's filter language, which `List` takes.
//!
//! Rule: containerd, `pkg/filters`, as every released version behaves. A filter is a list of selectors joined
//! by `,`, all of which must match; of several filters one has to match. A selector is a field path, and
//! optionally an operator with a value: `kind==active,labels."containerd.io/gc.root"~=/^2026/`.
//! Regular expressions are those of the `regex` crate, which agrees with Go's RE2 except for `\Q…\E`.

mod scan;

use regex::Regex;

use self::scan::Scanner;
use crate::error::{Error, Result};
use crate::snapshot::{Info, shown};

/// Any number of filters. They match what any of them matches, or everything if there are none.
#[derive(Debug)]
pub struct Filters(Vec<Vec<Selector>>);

#[derive(Debug)]
struct Selector {
    field: Field,
    test: Test,
}

#[derive(Debug, PartialEq, Eq)]
enum Field {
    Name,
    Parent,
    Kind,
    Label(String),
    /// A field that no snapshot has.
    Unknown,
}

#[derive(Debug)]
enum Test {
    Present,
    Equal(Vec<u8>),
    NotEqual(Vec<u8>),
    /// `None`: an expression that does not compile matches nothing.
    Matches(Option<Regex>),
}

impl Filters {
    /// Parses the filters of one request. An empty string is a filter that matches everything.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the place of the first thing that does not fit.
    pub fn parse<S: AsRef<str>>(filters: &[S]) -> Result<Self> {
        filters.iter().map(|text| parse_filter(text.as_ref())).collect::<Result<_>>().map(Self)
    }

    /// Whether `info` matches.
    pub fn matches(&self, info: &Info) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|selectors| selectors.iter().all(|s| s.matches(info)))
    }

    /// The parent that every match must have, if the filters say so. containerd's query after a remote `Prepare`
    /// does, and then not all records have to be read.
    pub fn parent(&self) -> Option<&str> {
        let [selectors] = self.0.as_slice() else { return None };
        selectors.iter().find_map(|selector| match (&selector.field, &selector.test) {
            (Field::Parent, Test::Equal(value)) => std::str::from_utf8(value).ok(),
            _ => None,
        })
    }
}

impl Field {
    fn from_path(path: Vec<Vec<u8>>) -> Self {
        match path.first().map(Vec::as_slice) {
            Some(b"name") => Self::Name,
            Some(b"parent") => Self::Parent,
            Some(b"kind") => Self::Kind,
            Some(b"labels") if path.len() > 1 => {
                String::from_utf8(path[1..].join(&b'.')).map_or(Self::Unknown, Self::Label)
            }
            _ => Self::Unknown,
        }
    }

    fn value<'a>(&self, info: &'a Info) -> Option<&'a str> {
        match self {
            Self::Name => Some(&info.name),
            Self::Parent => Some(&info.parent),
            Self::Kind => Some(info.kind.as_str()),
            Self::Label(key) => info.labels.get(key).map(String::as_str),
            Self::Unknown => None,
        }
    }
}

impl Selector {
    fn matches(&self, info: &Info) -> bool {
        let value = self.field.value(info);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some_and(|value| value.as_bytes() == wanted),
            Test::NotEqual(unwanted) => value.is_none_or(|value| value.as_bytes() != unwanted),
            // As in containerd, a missing field is matched as an empty text.
            Test::Matches(regex) => {
                regex.as_ref().is_some_and(|regex| regex.is_match(value.unwrap_or_default()))
            }
        }
    }
}

fn parse_filter(text: &str) -> Result<Vec<Selector>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parse = || {
        let mut scanner = Scanner::new(text);
        let mut selectors = vec![selector(&mut scanner)?];
        while !scanner.at_end() {
            scanner.comma()?;
            selectors.push(selector(&mut scanner)?);
        }
        Ok(selectors)
    };
    parse().map_err(|error: scan::SyntaxError| {
        let (text, at) = (shown(text), error.at);
        Error::InvalidArgument(format!("filter {text}: {} at byte {at}", error.expected))
    })
}

fn selector(scanner: &mut Scanner<'_>) -> scan::Result<Selector> {
    let mut path = vec![scanner.field()?];
    while scanner.dot() {
        path.push(scanner.field()?);
    }
    let field = Field::from_path(path);
    let test = if scanner.at_end() || scanner.at_comma() {
        Test::Present
    } else {
        match scanner.operator()? {
            "==" => Test::Equal(scanner.value(false)?),
            "!=" => Test::NotEqual(scanner.value(false)?),
            _ => {
                let pattern = String::from_utf8(scanner.value(true)?).ok();
                Test::Matches(pattern.and_then(|pattern| Regex::new(&pattern).ok()))
            }
        }
    };
    Ok(Selector { field, test })
}

#[cfg(test)]
mod tests;
