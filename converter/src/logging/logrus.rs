//! Log lines as DUCC writes them: `time="…" level=error msg="…" key=value`. Its tests and its admins look for
//! `level=error`.

use std::fmt::{self, Write};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A line with the present time. Rule: the text format of Go's logrus, where it does not write to a terminal.
pub(super) fn line(level: Level, message: &str, fields: &[(&str, String)]) -> String {
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::system());
    line_at(&now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(), level, message, fields)
}

fn line_at(time: &str, level: Level, message: &str, fields: &[(&str, String)]) -> String {
    let mut line = format!("time=\"{time}\" level={} msg={}", name(level), quoted(message));
    for (key, value) in fields {
        // Writing to a string cannot fail.
        let _ = write!(line, " {key}={}", quoted(value));
    }
    line
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// In quotes, unless it has none but these characters.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

/// Formats events as such lines.
pub(super) struct Logrus;

impl<S, N> FormatEvent<S, N> for Logrus
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(writer, "{}", line(*event.metadata().level(), &fields.message, &fields.others))
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_logrus_s() {
        let fields = [("image", "r.io/a:1".to_owned()), ("count", "2".to_owned())];
        let time = "2026-01-02T03:04:05+01:00";
        assert_eq!(
            line_at(time, Level::ERROR, "it said \"no\"", &fields),
            r#"time="2026-01-02T03:04:05+01:00" level=error msg="it said \"no\"" image="r.io/a:1" count=2"#
        );
        assert_eq!(
            line_at(time, Level::WARN, "stopping", &[]),
            r#"time="2026-01-02T03:04:05+01:00" level=warning msg=stopping"#
        );
    }
}
