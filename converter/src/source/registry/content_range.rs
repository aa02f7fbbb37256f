//! The header `Content-Range` of an answer that holds the rest of a blob (RFC 9110, section 14.4).

/// What an answer with status 206 holds: the bytes from `first` to `last`, both included, of `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) first: u64,
    pub(super) last: u64,
    /// `None` where the server wrote `*`.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    /// Reads the header; `None` if it is anything else, including the form for an unsatisfied range.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| {
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()
        };
        let total = if total == "*" { None } else { Some(number(total)?) };
        let (first, last) = (number(first)?, number(last)?);
        let consistent = first <= last && total.is_none_or(|total| last < total);
        (unit.eq_ignore_ascii_case("bytes") && consistent).then_some(Self { first, last, total })
    }

    /// Whether this begins the rest, from `offset`, of a blob of `size` bytes.
    pub(super) fn is_rest(&self, offset: u64, size: u64) -> bool {
        self.first == offset && self.last < size && self.total.is_none_or(|total| total == size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_rfc_allows() {
        let range = |first, last, total| Some(ContentRange { first, last, total });
        for (text, expected) in [
            ("bytes 0-9/10", range(0, 9, Some(10))),
            ("Bytes 5-9/10", range(5, 9, Some(10))),
            ("bytes 5-9/*", range(5, 9, None)),
            ("bytes */10", None),
            ("bytes 5-4/10", None),
            ("bytes 5-10/10", None),
            ("bytes 5-/10", None),
            ("bytes -5/10", None),
            ("bytes +5-9/10", None),
            ("bytes 5-9", None),
            ("lines 5-9/10", None),
            ("bytes=5-9/10", None),
            ("bytes 0-99999999999999999999/*", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_rest_begins_where_it_was_asked_for() {
        for (text, rest) in [
            ("bytes 4-9/10", true),
            ("bytes 4-9/*", true),
            ("bytes 4-7/10", true),
            ("bytes 0-9/10", false),
            ("bytes 5-9/10", false),
            ("bytes 4-10/11", false),
            ("bytes 4-10/*", false),
        ] {
            assert_eq!(ContentRange::parse(text).unwrap().is_rest(4, 10), rest, "{text:?}");
        }
    }
}
