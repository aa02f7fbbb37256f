//! The log on standard error: one line for each event, whatever its texts hold.
//!
//! Image references, keys and labels come from clients and from the authors of images. So all values are escaped (see
//! `layer_layout::text`), and long ones are cut.

use std::fmt::{self, Write};

use layer_layout::text::one_line;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{Config, LogFormat, LogLevel};

/// The longest text of a field, in characters. Reasons and advice are shorter.
const LONGEST: usize = 1024;

/// The field that says what has happened.
const MESSAGE: &str = "message";

/// How much is logged, to be changed while the daemon runs.
#[derive(Debug)]
pub struct Level(reload::Handle<Targets, Registry>);

impl Level {
    /// Logs as much as this from now on.
    pub fn set(&self, level: LogLevel) {
        // Fails only if there is no log any more.
        let _ = self.0.reload(targets(level));
    }
}

fn targets(level: LogLevel) -> Targets {
    let level = LevelFilter::from_level(level.into());
    // Other crates log only warnings and errors.
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("cvmfs_snapshotter", level)
}

/// Starts logging as configured.
pub fn start(config: &Config) -> Level {
    let (targets, handle) = reload::Layer::new(targets(config.log_level));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .event_format(Lines(config.log_format))
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(targets).with(lines).init();
    Level(handle)
}

struct Lines(LogFormat);

impl<S, N> FormatEvent<S, N> for Lines
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
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = fields.line(self.0, &time, *event.metadata().level());
        writeln!(writer, "{}", one_line(&line))
    }
}

/// The fields of one event, in their order: name, value, and whether a line of text shows it in quotes.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value, bool)>);

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.push((field.name(), value.into(), true));
    }

    fn line(self, format: LogFormat, time: &str, level: tracing::Level) -> String {
        match format {
            LogFormat::Text => self.text(time, level),
            LogFormat::Json => self.json(time, level),
        }
    }

    fn text(self, time: &str, level: tracing::Level) -> String {
        let mut line = format!("{time} {level:>5}");
        for (name, value, is_quoted) in self.0 {
            // Writing to a string cannot fail.
            let _ = match value {
                Value::String(message) if name == MESSAGE => write!(line, " {message}"),
                Value::String(text) if !is_quoted => write!(line, " {name}={text}"),
                // Texts are quoted as in JSON.
                value => write!(line, " {name}={value}"),
            };
        }
        line
    }

    fn json(self, time: &str, level: tracing::Level) -> String {
        let first = [("timestamp", time.into(), true), ("level", level.as_str().into(), true)];
        let members = first.into_iter().chain(self.0);
        let members = members.map(|(name, value, _)| format!("{}:{value}", Value::from(name)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, cut(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), cut(&format!("{value:?}")).into(), false));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }
}

/// The text as it is, unless it is too long. What has to be escaped in it is, when the line is written.
fn cut(text: &str) -> String {
    if text.len() <= LONGEST { text.to_owned() } else { one_line(text).cut(LONGEST).to_string() }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Memory {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let memory = Memory::default();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(Lines(format))
            .with_writer(memory.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    /// A reference that clears the screen and adds a line.
    const HOSTILE: &str = "r.org/a:1\u{1b}[2J\u{9b}2J\r\n2026 ERROR all is lost \u{202e}";

    fn log_everything() {
        let long = "ä".repeat(5000);
        tracing::info!(
            image = HOSTILE,
            shown = %HOSTILE,
            debug = ?HOSTILE,
            long,
            ms = 7_u64,
            minus = -1_i64,
            merged = true,
            absent = None::<&str>,
            "layer {HOSTILE}"
        );
    }

    #[test]
    fn text_is_one_line_without_control_characters() {
        let text = logged(LogFormat::Text, log_everything);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line}");
        assert!(line.len() < 4000, "{line}");
        let escaped = r"r.org/a:1\u001b[2J\u009b2J\r\n2026 ERROR all is lost \u202e";
        for part in [
            &format!("  INFO layer {escaped} image=\"{escaped}\" shown={escaped} debug=\""),
            "ä… (10000 bytes)\"",
            " ms=7 minus=-1 merged=true",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("absent"));
    }

    #[test]
    fn json_holds_the_texts_as_they_are() {
        let text = logged(LogFormat::Json, log_everything);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line}");
        let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        assert!(line.starts_with("{\"timestamp\":\""), "{line}");
        assert_eq!(object["image"], HOSTILE);
        assert_eq!(object["message"], format!("layer {HOSTILE}"));
        assert_eq!((&object["ms"], &object["merged"]), (&7.into(), &true.into()));
        assert_eq!((&object["level"], object.get("absent")), (&"INFO".into(), None));
        assert!(object["long"].as_str().unwrap().ends_with("ä… (10000 bytes)"));
        assert!(object.contains_key("timestamp"));
    }
}
