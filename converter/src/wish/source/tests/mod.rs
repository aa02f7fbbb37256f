//! Lists from files, web servers and repositories, and what is kept of them.

mod git;
mod http;
// The same server as in the tests of registries; not all of it is needed here.
#[allow(clippy::duplicate_mod, dead_code, reason = "shared")]
#[path = "../../../source/tests/server.rs"]
mod server;

use std::error::Error as _;

use super::*;

const GOOD: &str = "input:\n- r.io/a:1\n";
const BETTER: &str = "input:\n- r.io/a:2\n- ubuntu\n";
const BROKEN: &str = "input:\n- r.io/a:3\ninputs: []\n";

fn options() -> Options {
    Options { timeout: Duration::from_secs(30), attempts: 1, ..Options::default() }
}

fn source(text: &str) -> ListSource {
    text.parse().unwrap()
}

/// What a reading is about: the state, the images, and the number of faults.
fn shown(reading: &Reading) -> String {
    let state = match &reading.state {
        State::New => "new".to_owned(),
        State::Unchanged => "unchanged".to_owned(),
        State::Stale(error) => format!("stale ({})", chain(error)),
    };
    let images: Vec<_> = reading.list.entries.iter().map(|entry| entry.text.as_str()).collect();
    format!("{state}: {} with {} faults", images.join(" "), reading.faults.len())
}

fn chain(error: &ReadError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

/// Reads, and passes on what is kept as a store does.
async fn read(source: &ListSource, kept: &mut Option<Kept>, options: &Options) -> String {
    match source.read(kept.as_ref(), options).await {
        Ok(reading) => {
            let json = serde_json::to_string(&reading.kept).unwrap();
            *kept = Some(serde_json::from_str(&json).unwrap());
            shown(&reading)
        }
        Err(error) => format!("error: {}", chain(&error)),
    }
}

#[tokio::test]
async fn a_file_and_its_last_good_version() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list.yaml");
    let list = source(path.to_str().unwrap());
    let place = path.display().to_string();
    let mut kept = None;
    let first = read(&list, &mut kept, &options()).await;
    assert!(
        first.starts_with("error: cannot read the wish list") && first.contains("No such file")
    );

    let bad = format!(
        "the wish list {place} cannot be used: {place}:3:1: unknown key \"inputs\"; did you mean \"input\"?"
    );
    std::fs::write(&path, BROKEN).unwrap();
    assert_eq!(read(&list, &mut kept, &options()).await, format!("error: {bad}"));
    for (content, expected) in [
        (GOOD, "new: r.io/a:1 with 0 faults".to_owned()),
        (GOOD, "unchanged: r.io/a:1 with 0 faults".to_owned()),
        (BROKEN, format!("stale ({bad}): r.io/a:1 with 0 faults")),
        (BETTER, "new: r.io/a:2 with 1 faults".to_owned()),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(read(&list, &mut kept, &options()).await, expected);
    }
    std::fs::remove_file(&path).unwrap();
    let gone = read(&list, &mut kept, &options()).await;
    assert!(
        gone.starts_with("stale (cannot read the wish list")
            && gone.ends_with("r.io/a:2 with 1 faults")
    );

    let long = Options { size_limit: 10, ..options() };
    std::fs::write(&path, GOOD).unwrap();
    let error = read(&list, &mut None, &long).await;
    assert!(error.contains("more than 10 bytes"), "{error}");
    let error = read(&source(directory.path().to_str().unwrap()), &mut None, &options()).await;
    assert!(error.contains("directory"), "{error}");
}

#[tokio::test]
async fn what_is_kept_of_another_place_or_is_damaged_is_of_no_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list.yaml");
    std::fs::write(&path, GOOD).unwrap();
    let list = source(path.to_str().unwrap());
    let kept = list.read(None, &options()).await.unwrap().kept;
    std::fs::remove_file(&path).unwrap();
    let other = Kept { id: source("other.yaml").id(), ..kept.clone() };
    let damaged = Kept { text: BROKEN.to_owned(), ..kept.clone() };
    for (kept, works) in [(kept, true), (other, false), (damaged, false)] {
        assert_eq!(list.read(Some(&kept), &options()).await.is_ok(), works, "{kept:?}");
    }
}

#[tokio::test]
async fn the_time_of_a_version_is_that_of_its_first_reading() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list.yaml");
    std::fs::write(&path, GOOD).unwrap();
    let list = source(path.to_str().unwrap());
    let kept = list.read(None, &options()).await.unwrap().kept;
    let long_ago = Kept { since: 12, ..kept };
    assert_eq!(list.read(Some(&long_ago), &options()).await.unwrap().kept.since, 12);
    std::fs::write(&path, BETTER).unwrap();
    assert!(list.read(Some(&long_ago), &options()).await.unwrap().kept.since > 12);
}
