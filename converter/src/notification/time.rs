//! Times as DUCC writes them.

use jiff::{Timestamp, Zoned};

/// The present in local time: ` 5 Mar 2024 - 14:03:22.123`.
pub(super) fn now() -> String {
    show(&Timestamp::now().to_zoned(jiff::tz::TimeZone::system()))
}

/// Rule: the Go layout `_2 Jan 2006 - 15:04:05.000`.
fn show(time: &Zoned) -> String {
    time.strftime("%e %b %Y - %H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_padded_with_a_blank() {
        for (time, shown) in [
            ("2024-03-05T14:03:22.123456Z", " 5 Mar 2024 - 14:03:22.123"),
            ("2026-12-31T00:00:00Z", "31 Dec 2026 - 00:00:00.000"),
        ] {
            let time: Timestamp = time.parse().unwrap();
            assert_eq!(show(&time.to_zoned(jiff::tz::TimeZone::UTC)), shown);
        }
    }
}
