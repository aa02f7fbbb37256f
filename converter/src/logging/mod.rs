//! Log lines on standard error that do not disturb progress bars, and the last words of a program that has failed.

mod logrus;

use std::fmt;
use std::io::{self, IsTerminal, Write};

use ducc::progress::{Progress, Style};
use layer_layout::text::one_line;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, Writer};

use crate::cli::global::Verbosity;
use crate::screen;

/// Bars on a terminal, lines elsewhere.
pub(crate) fn style(quiet: bool) -> Style {
    match (quiet, io::stderr().is_terminal()) {
        (true, _) => Style::Quiet,
        (false, true) => Style::Bars,
        (false, false) => Style::Lines,
    }
}

/// Rounds run for days and over thousands of images: lines for people who look later.
pub(crate) fn style_of_rounds(quiet: bool) -> Style {
    if quiet { Style::Quiet } else { Style::Lines }
}

/// Starts logging. `RUST_LOG` overrides the level.
pub(crate) fn start(progress: &Progress, quiet: bool, verbosity: Option<Verbosity>) {
    let default = match (verbosity, style(quiet)) {
        (Some(verbosity), _) => verbosity.directive(),
        (None, Style::Quiet) => "error",
        (None, Style::Bars) => "warn",
        (None, Style::Lines) => "info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .fmt_fields(format::debug_fn(write_field).delimited(" "))
        .with_writer(BesideBars(progress.clone()));
    if crate::stands_in_for_ducc() {
        lines.event_format(logrus::Logrus).init();
    } else {
        lines.init();
    }
}

/// Writes a field of an event on the event's line: it may hold any text of a registry or an image.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        name => write!(writer, "{name}=")?,
    }
    write!(writer, "{}", one_line(&format!("{value:?}")))
}

/// Tells a person what has gone wrong, in the form that those look for who have called DUCC.
pub(crate) fn complain(text: &str) {
    if crate::stands_in_for_ducc() {
        screen::warn(logrus::line(tracing::Level::ERROR, text, &[]));
    } else {
        screen::warn(format_args!("ducc: {text}"));
    }
}

struct BesideBars(Progress);

impl<'a> MakeWriter<'a> for BesideBars {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Progress);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
