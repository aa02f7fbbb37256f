//! What a person sees while layers arrive: bars on a terminal, log lines elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use layer_layout::LayerDigest;

/// Time between two log lines about a layer that is still arriving.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar for each layer, on standard error.
    Bars,
    /// A log line when a layer is done, and one now and then before.
    Lines,
    /// Nothing.
    Quiet,
}

/// The progress of one conversion.
#[derive(Debug, Clone)]
pub struct Progress {
    style: Style,
    bars: MultiProgress,
}

impl Progress {
    /// Progress in the given style.
    pub fn new(style: Style) -> Self {
        Self { style, bars: MultiProgress::new() }
    }

    /// Runs `write` while the bars are off the screen, so that text and bars do not mix.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.style {
            Style::Bars => self.bars.suspend(write),
            Style::Lines | Style::Quiet => write(),
        }
    }

    /// Begins a layer, of `size` bytes as the registry serves it.
    pub fn layer(&self, digest: &LayerDigest, size: u64) -> LayerProgress {
        let bar = match self.style {
            Style::Bars => {
                let bar = self.bars.add(ProgressBar::new(size));
                bar.set_style(bar_style());
                bar.set_prefix(short(digest));
                Some(bar)
            }
            Style::Lines | Style::Quiet => None,
        };
        let now = Instant::now();
        let state = State { received: 0, last_line: now };
        LayerProgress {
            digest: *digest,
            size,
            begun: now,
            lines: self.style == Style::Lines,
            bar,
            state: Arc::new(Mutex::new(state)),
        }
    }
}

fn bar_style() -> ProgressStyle {
    const TEMPLATE: &str =
        "{prefix} [{bar:30}] {bytes:>10}/{total_bytes:10} {binary_bytes_per_sec:>12} {msg}";
    ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed")
}

/// The first twelve hex digits, as container tools show digests to people.
fn short(digest: &LayerDigest) -> String {
    digest.hex()[..12].to_owned()
}

/// The progress of one layer, shared by clones.
#[derive(Debug, Clone)]
pub struct LayerProgress {
    digest: LayerDigest,
    size: u64,
    begun: Instant,
    lines: bool,
    bar: Option<ProgressBar>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    received: u64,
    last_line: Instant,
}

impl LayerProgress {
    /// Reports that `bytes` more have arrived.
    pub fn received(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.received += bytes;
        if self.lines && state.last_line.elapsed() >= LINE_INTERVAL {
            state.last_line = Instant::now();
            let (received, size) = (state.received, self.size);
            tracing::info!(layer = %self.digest, received, size, "layer is arriving");
        }
    }

    /// Bytes that have arrived, repeated ones included.
    pub fn total(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).received
    }

    /// Reports that the layer has been verified and unpacked; `unpacked` is the size of its uncompressed tar
    /// in bytes.
    pub fn done(&self, unpacked: u64) {
        if let Some(bar) = &self.bar {
            bar.finish_with_message(format!("unpacked {}", HumanBytes(unpacked)));
        }
        if self.lines {
            let seconds = self.begun.elapsed().as_secs_f64();
            let rate = (self.size as f64 / seconds.max(1e-3)) as u64;
            tracing::info!(
                layer = %self.digest, size = self.size, unpacked,
                seconds = format_args!("{seconds:.1}"), "layer verified and unpacked ({}/s)",
                HumanBytes(rate)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_bars_is_well_formed() {
        bar_style();
    }
}
