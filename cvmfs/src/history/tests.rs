use super::*;
use crate::hash::Algorithm;

fn fqrn() -> Fqrn {
    "test.example.org".parse().unwrap()
}

fn root(number: u64) -> ContentHash {
    Algorithm::Sha1.hash(&number.to_le_bytes())
}

fn tag(name: &str, revision: u64) -> Tag {
    Tag {
        name: name.parse().unwrap(),
        root: root(revision),
        root_size: 16_384,
        revision,
        timestamp: 1_795_328_000 + revision,
        branch: String::new(),
        description: format!("of {revision}, \"quoted\" and ünicode"),
    }
}

/// A history of `revisions` publishes.
fn history(revisions: u64) -> History {
    let mut history = History::create(&fqrn());
    for revision in 1..=revisions {
        history.move_trunk(root(revision), 16_384, revision, 1_795_328_000 + revision);
    }
    history
}

/// As it would be read again.
fn stored(history: &History) -> History {
    let bytes = history.to_bytes().unwrap();
    let hash = Algorithm::Sha1.hash(&bytes);
    History::open(bytes, hash).unwrap()
}

/// Names with revisions.
fn names(history: &History) -> Vec<(&str, u64)> {
    history.tags().map(|tag| (tag.name.as_str(), tag.revision)).collect()
}

#[test]
fn trunk_moves_with_every_publish() {
    assert_eq!(names(&history(1)), [("trunk", 1)]);
    let mut two = stored(&history(2));
    assert_eq!(names(&two), [("trunk", 2), ("trunk-previous", 1)]);
    assert_eq!(two.tag("trunk").unwrap().description, "current HEAD");
    assert_eq!(two.tag("trunk-previous").unwrap().description, "default undo target");
    assert_eq!(two.tag("trunk-previous").unwrap().root, root(1));
    assert_eq!(two.faults(), Vec::<String>::new());

    two.insert(tag("v1", 1)).unwrap();
    two.move_trunk(root(3), 1, 3, 3);
    assert_eq!(names(&two), [("trunk", 3), ("trunk-previous", 2), ("v1", 1)]);
    // The same tree again is no step.
    two.move_trunk(root(3), 1, 4, 4);
    assert_eq!(names(&two), [("trunk", 4), ("trunk-previous", 2), ("v1", 1)]);
}

#[test]
fn people_tag_as_they_like() {
    let mut history = history(2);
    history.insert(tag("generic-2026-11-22T06:12:49Z", 1)).unwrap();
    history.insert(tag("releases/1.0_a", 1)).unwrap();
    assert!(history.insert(tag("releases/1.0_a", 2)).is_err());
    history.replace(tag("releases/1.0_a", 2)).unwrap();
    let read = stored(&history);
    assert_eq!(read.tags, history.tags);
    assert_eq!(read.tag("releases/1.0_a"), Some(&tag("releases/1.0_a", 2)));

    let name = "releases/1.0_a".parse().unwrap();
    assert_eq!(history.remove(&name).unwrap(), tag("releases/1.0_a", 2));
    assert!(history.remove(&name).is_err());
    for reserved in [TRUNK, TRUNK_PREVIOUS] {
        assert!(history.insert(tag(reserved, 1)).is_err(), "{reserved}");
        assert!(history.replace(tag(reserved, 1)).is_err(), "{reserved}");
        assert!(history.remove(&reserved.parse().unwrap()).is_err(), "{reserved}");
    }
    assert!(history.insert(Tag { branch: "other".to_owned(), ..tag("x", 1) }).is_err());
    for name in ["", "a b", "a\n", "ä", "a@b", "a;b"] {
        assert!(name.parse::<TagName>().is_err(), "{name:?}");
    }
}

#[test]
fn bytes_depend_on_the_content() {
    let first = history(2);
    assert_eq!(first.to_bytes().unwrap(), history(2).to_bytes().unwrap());

    // Nothing changed: the very same object. Changed: it names the one before.
    let mut second = stored(&first);
    assert_eq!(second.to_bytes().unwrap(), first.to_bytes().unwrap());
    second.insert(tag("v1", 1)).unwrap();
    let bytes = second.to_bytes().unwrap();
    let database = Database::open(&bytes, WHAT, SCHEMA_REVISION).unwrap();
    let previous = Algorithm::Sha1.hash(&first.to_bytes().unwrap());
    assert_eq!(database.property("previous_revision").unwrap(), Some(previous.to_string()));
    second.remove(&"v1".parse().unwrap()).unwrap();
    assert_eq!(second.to_bytes().unwrap(), first.to_bytes().unwrap());
}

#[test]
fn branches_of_others_are_kept() {
    let change = "INSERT INTO branches VALUES ('b@2', '', 2), ('a', 'b@2', 3);
                  UPDATE tags SET branch = 'b@2' WHERE name = 'trunk-previous';";
    let bytes = database::tests::changed(&history(3).to_bytes().unwrap(), change);
    let mut read = History::open(bytes, root(0)).unwrap();
    assert_eq!(read.faults(), ["no tag is on the branch \"a\""]);
    read.insert(Tag { branch: "a".to_owned(), ..tag("late", 2) }).unwrap();
    let read = stored(&read);
    assert_eq!(read.branches.len(), 3);
    assert_eq!(read.branches["a"], Branch { parent: Some("b@2".to_owned()), initial_revision: 3 });
    assert_eq!(
        read.faults(),
        ["tag late names revision 2, but its branch \"a\" begins with revision 3"]
    );
}

#[test]
fn faults_are_named() {
    assert_eq!(History::create(&fqrn()).faults(), ["no tag is on the branch \"\""]);
    let change = "UPDATE tags SET branch = 'x' WHERE name = 'trunk-previous';";
    let bytes = database::tests::changed(&history(3).to_bytes().unwrap(), change);
    let read = History::open(bytes, root(0)).unwrap();
    assert_eq!(read.faults(), ["tag trunk-previous is on the branch \"x\", which is not there"]);
}

#[test]
fn damage_is_told() {
    let bytes = history(3).to_bytes().unwrap();
    for (change, reason) in [
        (
            "UPDATE tags SET hash = 'x' WHERE name = 'trunk'",
            "tag \"trunk\": \"x\" is no content hash",
        ),
        ("UPDATE tags SET size = -1 WHERE name = 'trunk'", "tag \"trunk\": size is -1"),
        ("UPDATE tags SET revision = NULL", "revision"),
        ("UPDATE branches SET initial_revision = -5", "first revision is -5"),
        ("DROP TABLE tags", "no such table"),
        ("DROP TABLE branches", "no such table"),
        (
            "UPDATE properties SET value = '2' WHERE key = 'schema_revision'",
            "has schema 1.0 revision 2",
        ),
        ("UPDATE properties SET value = 'a b' WHERE key = 'fqrn'", "no repository name"),
    ] {
        let changed = database::tests::changed(&bytes, change);
        let error = History::open(changed, root(0)).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(WHAT), "{change}: {error}");
    }
    for end in [0, 100, 1024, bytes.len() - 1024] {
        assert!(History::open(bytes[..end].to_vec(), root(0)).is_err(), "{end} bytes");
    }
    // A description that is no UTF-8 hinders nobody.
    let change = "UPDATE tags SET description = CAST(x'41ff' AS TEXT)";
    let read = History::open(database::tests::changed(&bytes, change), root(0)).unwrap();
    assert_eq!(read.tag(TRUNK).unwrap().description, "A\u{fffd}");
}
