//! What a round did, in words.

use std::fmt::Write;

use ducc::round::{FailedImage, RoundReport};

/// How lines begin that tell what kept a round from doing all of its work, other than single images.
pub(crate) const ERROR: &str = "error: ";

/// The report in lines: the figures first, and last each image that is not as it should be, with the reason.
pub(crate) fn lines(report: &RoundReport) -> Vec<String> {
    let mut lines = vec![figures(report)];
    lines.extend(report.remarks.iter().map(|remark| format!("note: {remark}")));
    for image in &report.converted {
        let remarks = image.remarks.iter();
        lines.extend(remarks.map(|remark| format!("note: {}: {remark}", image.name)));
    }
    lines.extend(report.waiting.iter().map(|image| failed("still failing", image)));
    lines.extend(report.failed.iter().map(|image| failed("failed", image)));
    lines.extend(report.errors.iter().map(|error| format!("{ERROR}{error}")));
    lines
}

fn figures(report: &RoundReport) -> String {
    let mut text = format!(
        "{}: {} images: {} unchanged, {} published, {} failed, {} waiting for another try",
        report.repository,
        report.images,
        report.unchanged,
        report.converted.len(),
        report.failed.len(),
        report.waiting.len(),
    );
    if report.interrupted > 0 {
        let _ = write!(text, ", {} not reached", report.interrupted);
    }
    let _ = write!(text, " ({:.1} s)", report.seconds);
    text
}

fn failed(what: &str, image: &FailedImage) -> String {
    let failure = &image.failure;
    let tolerated = if image.may_fail { " (ignored)" } else { "" };
    let since = if failure.count > 1 {
        format!("; {} times since {}", failure.count, shown(failure.first))
    } else {
        String::new()
    };
    format!("{what}{tolerated}: {}: {}{since}", failure.name, failure.reason)
}

/// A point in time, to the second.
pub(crate) fn shown(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use ducc::round::ConvertedImage;
    use ducc::state::Failure;
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    #[test]
    fn the_last_lines_name_what_failed() {
        let now = Timestamp::UNIX_EPOCH;
        let failure = |name: &str, count| FailedImage {
            failure: Failure {
                name: name.to_owned(),
                reason: "it is gone".to_owned(),
                count,
                first: now,
                last: now,
                next: now + SignedDuration::from_mins(5),
            },
            may_fail: count == 1,
        };
        let mut report = RoundReport::new("r.example.org".to_owned(), now);
        (report.images, report.unchanged, report.seconds) = (4, 1, 2.25);
        report.converted.push(ConvertedImage {
            name: "r.io/a:1".to_owned(),
            layers_fetched: 1,
            bytes_in: 7,
            remarks: vec!["it is old".to_owned()],
        });
        report.failed.push(failure("r.io/b:1", 1));
        report.waiting.push(failure("r.io/c:1", 3));
        assert_eq!(
            lines(&report),
            [
                "r.example.org: 4 images: 1 unchanged, 1 published, 1 failed, 1 waiting for another try (2.2 s)",
                "note: r.io/a:1: it is old",
                "still failing: r.io/c:1: it is gone; 3 times since 1970-01-01T00:00:00Z",
                "failed (ignored): r.io/b:1: it is gone",
            ]
        );
    }
}
