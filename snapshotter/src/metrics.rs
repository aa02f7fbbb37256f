//! What is counted, for Prometheus (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use layer_layout::text::one_line;
use tonic::Code;

use crate::repository::State;
use crate::snapshot::SnapshotKind;

/// Upper bounds of the buckets of a call's time, in seconds. A call that touches only the local disk is in the first
/// ones; one that waits for a repository ends with the time-out at the latest.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What has happened since the daemon started.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counters>);

#[derive(Debug, Default)]
struct Counters {
    calls: BTreeMap<(&'static str, &'static str), u64>,
    times: BTreeMap<&'static str, Times>,
    layers: BTreeMap<(&'static str, String), u64>,
}

#[derive(Debug, Default)]
struct Times {
    /// Calls that fell into each bucket and no earlier one.
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// What is so at the moment.
#[derive(Debug, Default)]
pub struct Present {
    /// Repositories in their order, with their states.
    pub repositories: Vec<(String, State)>,
    /// Snapshots by kind, and whether their content is in a repository.
    pub snapshots: BTreeMap<(&'static str, bool), u64>,
}

impl Present {
    /// Counts one snapshot.
    pub fn count(&mut self, kind: SnapshotKind, is_remote: bool) {
        *self.snapshots.entry((kind.as_str(), is_remote)).or_default() += 1;
    }
}

impl Metrics {
    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of containerd's was answered.
    pub fn call(&self, call: &'static str, code: Code, time: Duration) {
        let mut counters = self.counters();
        *counters.calls.entry((call, code_name(code))).or_default() += 1;
        let times = counters.times.entry(call).or_default();
        let seconds = time.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            times.buckets[bucket] += 1;
        }
        times.count += 1;
        times.seconds += seconds;
    }

    /// It was decided where a layer comes from. `outcome` is that of the log; `repository` is empty unless it is a hit.
    pub fn layer(&self, outcome: &'static str, repository: &str) {
        *self.counters().layers.entry((outcome, repository.to_owned())).or_default() += 1;
    }

    /// Everything, as Prometheus reads it.
    pub fn text(&self, present: &Present) -> String {
        let counters = self.counters();
        let mut page = Page::default();
        page.family("calls_total", "counter", "Calls of containerd's by their gRPC code.");
        for ((call, code), count) in &counters.calls {
            page.sample("calls_total", &[("call", call), ("code", code)], *count as f64);
        }
        page.family("call_seconds", "histogram", "Time until a call was answered.");
        for (call, times) in &counters.times {
            let mut sum = 0;
            for (bound, count) in BUCKETS.iter().zip(times.buckets) {
                sum += count;
                let labels = [("call", *call), ("le", &bound.to_string())];
                page.sample("call_seconds_bucket", &labels, sum as f64);
            }
            let all = times.count as f64;
            page.sample("call_seconds_bucket", &[("call", call), ("le", "+Inf")], all);
            page.sample("call_seconds_sum", &[("call", call)], times.seconds);
            page.sample("call_seconds_count", &[("call", call)], all);
        }
        page.family("layers_total", "counter", "Decisions about layers, as in the log.");
        for ((outcome, repository), count) in &counters.layers {
            let labels = [("outcome", *outcome), ("repository", repository)];
            page.sample("layers_total", &labels, *count as f64);
        }
        page.family("repository_usable", "gauge", "1 if the last answer of a repository was good.");
        for (repository, state) in &present.repositories {
            let usable = *state == State::Usable;
            page.sample("repository_usable", &[("repository", repository)], f64::from(usable));
        }
        page.family("repository_unusable_seconds", "gauge", "Since when it has not been usable.");
        for (repository, state) in &present.repositories {
            let seconds = state.unusable_since().map_or(0.0, |since| since.elapsed().as_secs_f64());
            page.sample("repository_unusable_seconds", &[("repository", repository)], seconds);
        }
        page.family("snapshots", "gauge", "Snapshots by kind and by where their content is.");
        for ((kind, is_remote), count) in &present.snapshots {
            let origin = if *is_remote { "repository" } else { "local" };
            page.sample("snapshots", &[("kind", kind), ("content", origin)], *count as f64);
        }
        page.0
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    // Writing to a string cannot fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(
            self.0,
            "# HELP cvmfs_snapshotter_{name} {help}\n# TYPE cvmfs_snapshotter_{name} {kind}\n"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let value_of = |text: &str| {
            one_line(&text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
                .to_string()
        };
        let labels = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", value_of(value)));
        let labels = labels.collect::<Vec<_>>().join(",");
        let _ = writeln!(self.0, "cvmfs_snapshotter_{name}{{{labels}}} {value}");
    }
}

/// The name of a code in the documentation of gRPC.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        // Not among those of `Error::code`.
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_prometheus() {
        let metrics = Metrics::default();
        for (milliseconds, code) in [(1, Code::Ok), (20, Code::Ok), (60_000, Code::Unavailable)] {
            metrics.call("Prepare", code, Duration::from_millis(milliseconds));
        }
        metrics.layer("hit", "a\"b\\c\n");
        metrics.layer("miss", "");
        metrics.layer("miss", "");
        let mut present = Present {
            repositories: vec![
                ("r.org".to_owned(), State::Usable),
                ("s.org".to_owned(), State::Unknown),
            ],
            ..Present::default()
        };
        present.count(SnapshotKind::Committed, true);
        present.count(SnapshotKind::Committed, true);
        present.count(SnapshotKind::Active, false);
        let page = metrics.text(&present);
        for line in [
            "# TYPE cvmfs_snapshotter_calls_total counter",
            "cvmfs_snapshotter_calls_total{call=\"Prepare\",code=\"OK\"} 2",
            "cvmfs_snapshotter_calls_total{call=\"Prepare\",code=\"UNAVAILABLE\"} 1",
            "# TYPE cvmfs_snapshotter_call_seconds histogram",
            "cvmfs_snapshotter_call_seconds_bucket{call=\"Prepare\",le=\"0.001\"} 1",
            "cvmfs_snapshotter_call_seconds_bucket{call=\"Prepare\",le=\"0.025\"} 2",
            "cvmfs_snapshotter_call_seconds_bucket{call=\"Prepare\",le=\"10\"} 2",
            "cvmfs_snapshotter_call_seconds_bucket{call=\"Prepare\",le=\"+Inf\"} 3",
            "cvmfs_snapshotter_call_seconds_sum{call=\"Prepare\"} 60.021",
            "cvmfs_snapshotter_call_seconds_count{call=\"Prepare\"} 3",
            "cvmfs_snapshotter_layers_total{outcome=\"hit\",repository=\"a\\\"b\\\\c\\n\"} 1",
            "cvmfs_snapshotter_layers_total{outcome=\"miss\",repository=\"\"} 2",
            "cvmfs_snapshotter_repository_usable{repository=\"r.org\"} 1",
            "cvmfs_snapshotter_repository_usable{repository=\"s.org\"} 0",
            "cvmfs_snapshotter_repository_unusable_seconds{repository=\"r.org\"} 0",
            "cvmfs_snapshotter_snapshots{kind=\"committed\",content=\"repository\"} 2",
            "cvmfs_snapshotter_snapshots{kind=\"active\",content=\"local\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
        assert!(page.ends_with('\n'));
    }
}
