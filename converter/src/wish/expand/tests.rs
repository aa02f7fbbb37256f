//! Expansions against a table instead of a registry.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::source::ReferenceError;
use crate::wish::list;

/// Repositories with their tags, and when their images were made.
#[derive(Debug, Default)]
struct Table {
    /// Without scheme; `None` for a registry that does not answer.
    repositories: BTreeMap<&'static str, Option<Vec<(&'static str, &'static str)>>>,
    listings: Arc<AtomicUsize>,
    datings: Arc<AtomicUsize>,
}

fn failure(image: &RegistryReference) -> source::Error {
    source::Error::Reference { image: image.to_string(), reason: ReferenceError::NotAFile }
}

impl Table {
    fn tags(&self, reference: &RegistryReference) -> source::Result<Vec<(&str, &str)>> {
        let name = format!("{}/{}", reference.registry(), reference.repository());
        match self.repositories.get(name.as_str()) {
            Some(Some(tags)) => Ok(tags.clone()),
            _ => Err(failure(reference)),
        }
    }
}

impl Tags for Table {
    async fn list_tags(&self, question: &Question) -> source::Result<Vec<String>> {
        self.listings.fetch_add(1, Ordering::SeqCst);
        let tags = self.tags(&question.reference)?;
        Ok(tags.into_iter().map(|(tag, _)| tag.to_owned()).collect())
    }

    async fn created(&self, question: &Question) -> source::Result<Created> {
        self.datings.fetch_add(1, Ordering::SeqCst);
        let tags = self.tags(&question.reference)?;
        let mut found = tags.into_iter().filter(|(tag, _)| Some(*tag) == question.reference.tag());
        match found.next().map(|(_, created)| created) {
            None => Err(failure(&question.reference)),
            Some("?") => Ok(Created::Unknown),
            Some("no image") => Ok(Created::NoImage("a chart".to_owned())),
            Some("no answer") => Err(failure(&question.reference)),
            Some(date) => Ok(Created::At(format!("{date}T00:00:00Z").parse().unwrap())),
        }
    }
}

/// When the tests take place.
const NOW: &str = "2026-06-30T00:00:00Z";

fn table(tags: &[(&'static str, &'static str)]) -> Table {
    Table { repositories: BTreeMap::from([("r.io/a", Some(tags.to_vec()))]), ..Table::default() }
}

async fn expand(table: Table, text: &str, ignore: IgnoreErrors) -> Expansion {
    let list = list::parse(text.as_bytes()).list.unwrap();
    Expander::new(Arc::new(table), NOW.parse().unwrap(), ignore).expand("list.yaml", &list).await
}

fn shown(expanded: &Expanded) -> Vec<String> {
    match &expanded.outcome {
        Outcome::Images(wishes) => wishes
            .iter()
            .map(|wish| wish.reference.to_string().replace("https://r.io/a:", ""))
            .collect(),
        Outcome::Failed(error) => vec![format!("failed: {error}")],
    }
}

#[tokio::test]
async fn tags_are_chosen() {
    let attachment = "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sig";
    let tags = [
        ("latest", "2026-06-29"),
        ("1.2.10", "2026-03-01"),
        ("1.2.9", "2026-05-01"),
        ("v1.3.0", "2025-01-01"),
        ("1.3.0", "2025-02-01"),
        ("2.0.0-rc.1", "2026-06-01"),
        ("2.0.0", "2026-06-20"),
        ("1.2", "2026-06-28"),
        ("1a2", "2020-01-01"),
        ("1.2.11-slim", "2026-06-27"),
        ("old", "2019-01-01"),
        (attachment, "2026-06-30"),
        // What registries should not list.
        ("not a tag", "2026-06-30"),
        ("*", "2026-06-30"),
        ("latest", "2026-06-29"),
    ];
    let everything = "1.2 1.2.10 1.2.11-slim 1.2.9 1.3.0 1a2 2.0.0 2.0.0-rc.1 latest old v1.3.0";
    for (entry, chosen, remarks) in [
        ("r.io/a:*", everything, 0),
        ("r.io/a:1.*", "1.2 1.2.10 1.2.11-slim 1.2.9 1.3.0", 0),
        ("r.io/a:1.2.*", "1.2.10 1.2.11-slim 1.2.9", 0),
        ("r.io/a:3.*", "", 1),
        ("{image: r.io/a, tags: ['1a?', '[lo]*']}", "1a2 latest old", 0),
        ("{image: r.io/a:1.*, exclude: ['*-slim', '*.9']}", "1.2 1.2.10 1.3.0", 0),
        // Versions: those with three numbers, the highest first, without previews and variants.
        ("{image: r.io/a, tags: {semver: '*'}}", "2.0.0 1.3.0 v1.3.0 1.2.10 1.2.9", 0),
        ("{image: r.io/a, tags: {semver: '<2'}}", "1.3.0 v1.3.0 1.2.10 1.2.9", 0),
        ("{image: r.io/a, tags: {semver: '~1.2', newest: 1}}", "1.2.10", 0),
        ("{image: r.io/a, tags: {semver: '>=2.0.0-rc.0', newest: 2}}", "2.0.0 2.0.0-rc.1", 0),
        ("{image: r.io/a, tags: {semver: '*', glob: 'v*'}}", "v1.3.0", 0),
        // The youngest, in the order of their names.
        ("{image: r.io/a, tags: {newest: 3}}", "1.2 1.2.11-slim latest", 0),
        ("{image: r.io/a, tags: {newest: 99}}", everything, 0),
        ("{image: r.io/a, tags: {max_age: 10d}}", "1.2 1.2.11-slim 2.0.0 latest", 0),
        ("{image: r.io/a, tags: {max_age: 10d, newest: 1}}", "latest", 0),
        ("{image: r.io/a, tags: {max_age: 1h}}", "", 1),
        // The highest versions of those that are young enough.
        ("{image: r.io/a, tags: {semver: '*', newest: 2, max_age: 26w}}", "2.0.0 1.2.10", 0),
        ("{image: r.io/a, tags: {semver: '<2', max_age: 999999y}}", "1.3.0 v1.3.0 1.2.10 1.2.9", 0),
    ] {
        let text = format!("version: 2\ninput:\n  - {entry}\n");
        let expansion = expand(table(&tags), &text, IgnoreErrors::default()).await;
        let expanded = &expansion.entries[0];
        assert_eq!(shown(expanded).join(" "), chosen, "{entry}");
        assert_eq!(expanded.remarks.len(), remarks, "{entry}: {:?}", expanded.remarks);
    }
}

#[tokio::test]
async fn images_without_a_date_and_tags_without_an_image() {
    let tags = [
        ("a", "?"),
        ("b", "2026-06-29"),
        ("c", "no image"),
        ("d", "2019-01-01"),
        ("e", "2026-06-28"),
    ];
    for (choice, chosen, remark) in [
        ("{newest: 2}", "b e", "1 of the tags are not of images"),
        ("{newest: 4}", "a b d e", "1 of the images do not say"),
        ("{max_age: 10d}", "a b e", "for instance c: a chart"),
        ("{glob: c, max_age: 10d}", "", "none of the 5 tags"),
    ] {
        let text = format!("version: 2\ninput:\n  - {{image: r.io/a, tags: {choice}}}\n");
        let expansion = expand(table(&tags), &text, IgnoreErrors::default()).await;
        let expanded = &expansion.entries[0];
        assert_eq!(shown(expanded).join(" "), chosen, "{choice}");
        let remarks = expanded.remarks.join("; ");
        assert!(remarks.contains(remark), "{choice}: {remarks}");
    }
}

#[tokio::test]
async fn nobody_is_asked_without_need() {
    let tags: Vec<_> =
        (0..60).map(|n| (&*Box::leak(format!("1.{n}.0").into_boxed_str()), "2026-06-29")).collect();
    let many = |choice: &str| format!("{{image: r.io/a, tags: {choice}}}");
    for (entries, listings, datings) in [
        (vec!["r.io/a:1.0.0".to_owned()], 0, 0),
        (vec!["r.io/a:*".to_owned(), "https://r.io/a:1.*".to_owned(), many("'2.*'")], 1, 0),
        (vec!["r.io/a:*".to_owned(), "http://r.io/a:*".to_owned()], 2, 0),
        (vec!["r.io/a:*".to_owned(), "{image: 'r.io/a:*', credentials: x}".to_owned()], 2, 0),
        (vec![many("{semver: '1', newest: 3}")], 1, 0),
        (vec![many("{semver: '1', newest: 3, max_age: 1y}")], 1, 3),
        (vec![many("{semver: '1', newest: 10, max_age: 1y}")], 1, 16),
        (vec![many("{newest: 3}")], 1, 60),
    ] {
        let table = table(&tags);
        let (listed, dated) = (Arc::clone(&table.listings), Arc::clone(&table.datings));
        let text = format!("version: 2\ninput:\n  - {}\n", entries.join("\n  - "));
        expand(table, &text, IgnoreErrors::default()).await;
        let asked = (listed.load(Ordering::SeqCst), dated.load(Ordering::SeqCst));
        assert_eq!(asked, (listings, datings), "{entries:?}");
    }
}

/// What is not known is not nothing, and what was published from it stays.
#[tokio::test]
async fn failures_keep_what_is_published() {
    use Keeps::{Unknown, Unwished, Wished};
    let table = Table {
        repositories: BTreeMap::from([
            ("r.io/good", Some(vec![("1", "2026-06-29")])),
            ("r.io/empty", Some(vec![])),
            ("r.io/undated", Some(vec![("1", "no answer"), ("2", "2026-06-29")])),
            ("r.io/down", None),
        ]),
        ..Table::default()
    };
    let text = "version: 2
input:
  - r.io/good:*
  - r.io/one:1
  - r.io/empty:*
  - r.io/down:v*
  - {image: r.io/undated, tags: {newest: 1}}
";
    let expansion = expand(table, text, IgnoreErrors::default()).await;
    let failed: Vec<_> =
        expansion.failed().map(|(entry, error)| format!("{}: {error}", entry.line)).collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert!(
        failed[0].contains("5: the registry says that the repository of r.io/empty:* has no tags")
    );
    assert!(failed[1].contains("6: cannot tell which images r.io/down:v* stands for"));
    assert!(failed[2].contains("7: cannot tell which images of r.io/undated are the newest"));
    for (name, known) in [
        ("r.io/good:1", "wished"),
        ("r.io/good:2", "unwished"),
        ("r.io/one:1", "wished"),
        ("r.io/one:2", "unwished"),
        ("r.io/empty:1", "unknown"),
        ("r.io/down:v1", "unknown"),
        // Everything of the repository: the tags that the pattern once had are not known, either.
        ("r.io/down:x", "unknown"),
        ("r.io/undated:1", "unknown"),
        ("r.io/undated/below:1", "unwished"),
        ("r.io/un:1", "unwished"),
    ] {
        let keeps = match expansion.keeps(&name.parse().unwrap()) {
            Wished => "wished",
            Unknown(Some(_)) => "unknown",
            Unknown(None) => "incomplete",
            Unwished => "unwished",
        };
        assert_eq!(keeps, known, "{name}");
    }
}

#[tokio::test]
async fn a_list_that_is_not_understood_keeps_everything() {
    let text = "input:\n- r.io/one:1\n- ubuntu:22.04\n";
    let expansion = expand(Table::default(), text, IgnoreErrors::default()).await;
    assert!(!expansion.complete);
    let keeps = |name: &str| expansion.keeps(&name.parse().unwrap());
    assert!(matches!(keeps("r.io/one:1"), Keeps::Wished));
    assert!(matches!(keeps("r.io/other:1"), Keeps::Unknown(None)));
}

#[tokio::test]
async fn a_wish_knows_what_its_list_says() {
    let text = "version: 2
user: robot
output_format: https://t.io/$(image)
ignoreErrors: ['https://r.io/a:*', 'https://r.io/b:[*]']
input:
  - {image: r.io/a:1, platforms: [linux/s390x], flat: false, credentials: c, priority: 3}
  - {image: r.io/b, tags: '*', thin: false}
  - r.io/b:*
  - r.io/c:1
";
    let table = Table {
        repositories: BTreeMap::from([("r.io/b", Some(vec![("x", "?")]))]),
        ..Table::default()
    };
    let ignore = list::parse_ignore_errors(b"ignoreErrors: ['https://r.io/c:*']").0;
    let expansion = expand(table, text, ignore).await;
    let wishes: Vec<&Wish> = expansion.wishes().collect();
    let expected = Wish {
        reference: "r.io/a:1".parse().unwrap(),
        platforms: crate::wish::Platforms::List(vec!["linux/s390x".parse().unwrap()]),
        flat: false,
        thin: Some("t.io/a:1".parse().unwrap()),
        user: Some("robot".to_owned()),
        credentials: Some("c".to_owned()),
        priority: 3,
        errors_are_ignored: true,
        list: "list.yaml".into(),
        line: 6,
    };
    assert_eq!(wishes[0], &expected);
    let shown: Vec<_> = wishes
        .iter()
        .map(|wish| {
            let thin = wish.thin.as_ref().map(ToString::to_string);
            (wish.reference.to_string(), thin, wish.errors_are_ignored, wish.line)
        })
        .collect();
    let thin = |text: &str| Some(text.to_owned());
    assert_eq!(
        shown[1..],
        [
            // Patterns of `ignoreErrors` are for the entry as it was written, as in DUCC, and for the image.
            ("https://r.io/b:x".to_owned(), None, true, 7),
            ("https://r.io/b:x".to_owned(), thin("https://t.io/b:x"), true, 8),
            ("https://r.io/c:1".to_owned(), thin("https://t.io/c:1"), true, 9),
        ]
    );
}

#[test]
fn times_before_there_were_images_are_none() {
    for (time, known) in [
        (None, false),
        (Some("1970-01-01T00:00:00Z"), false),
        (Some("1980-01-01T00:00:01Z"), false),
        (Some("2014-05-06T07:08:09.123Z"), true),
    ] {
        let created = Created::claimed(time.map(|time| time.parse().unwrap()));
        assert_eq!(created != Created::Unknown, known, "{time:?}");
    }
}
