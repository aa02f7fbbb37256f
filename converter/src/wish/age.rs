//! Ages, as wish lists write them: `36h`, `90d`, `6w`, `2y`.

use std::str::FromStr;
use std::time::Duration;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// A length of time above zero. Weeks have 7 days and years 365.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(Duration);

/// Why a text is no age.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no age: expected a number above 0 and h, d, w or y, for instance 90d")]
pub struct AgeError(String);

impl Age {
    /// The age as a duration.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Age {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let unit = |text: &str| match text {
            "h" => Some(HOUR),
            "d" => Some(DAY),
            "w" => Some(7 * DAY),
            "y" => Some(365 * DAY),
            _ => None,
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = text.split_at(digits);
        // Six digits of years are still a number of seconds, and no schema has to know how large a u64 may be.
        let sound = digits <= 6 && !number.starts_with('0');
        let number = number.parse::<u64>().ok().filter(|_| sound);
        number
            .and_then(|number| number.checked_mul(unit(rest)?))
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or_else(|| AgeError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form() {
        for (text, seconds) in [
            ("1h", Some(3600)),
            ("90d", Some(90 * 86_400)),
            ("6w", Some(42 * 86_400)),
            ("2y", Some(730 * 86_400)),
            ("999999y", Some(999_999 * 365 * 86_400)),
            ("0d", None),
            ("090d", None),
            ("90", None),
            ("d", None),
            ("", None),
            ("-1d", None),
            ("1.5d", None),
            ("1 d", None),
            ("1m", None),
            ("1000000d", None),
            ("99999999999999999999d", None),
        ] {
            let age = text.parse::<Age>().ok().map(|age| age.duration().as_secs());
            assert_eq!(age, seconds, "{text:?}");
        }
    }
}
