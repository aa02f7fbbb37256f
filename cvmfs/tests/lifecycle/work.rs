//! Nothing is stored in vain.

use std::time::Duration;

use cvmfs_repository::Error;
use cvmfs_repository::collector::{Collected, Retention, collect};
use cvmfs_repository::hash::Algorithm;
use cvmfs_repository::publication::Edits;

use super::{Site, path};

impl Site {
    /// What no revision refers to.
    fn unused(&self) -> Collected {
        let all = Retention { revisions: u64::MAX, since: None, grace: Duration::ZERO };
        collect(&self.repository, &self.objects, &all, true).unwrap()
    }

    fn put(&self) -> u64 {
        self.objects.statistics().put
    }
}

#[test]
fn a_revision_refers_to_all_that_was_stored_for_it() {
    let site = Site::new(Algorithm::Sha1);
    let before = site.unused().removed;
    for revision in 0..3 {
        let mut edits = Edits::default();
        for at in 0..40 {
            // Some catalogs are there from the second revision on, others are not; one is in the other.
            for nested in ["/a", &format!("/a/s{at}"), &format!("/b{revision}")] {
                edits.nest(&path(nested));
            }
            let content = format!("{revision} {at}");
            edits.put(&path(&format!("/a/s{at}/f{revision}")), site.file(content.as_bytes()), None);
            edits.put(&path(&format!("/b{revision}/f{at}")), site.file(b"b"), None);
        }
        site.publish(&edits).unwrap();
    }
    site.sound();
    for at in 0..40 {
        let content = site.content(&format!("/a/s{at}/f2")).unwrap();
        assert_eq!(content, format!("2 {at}").into_bytes());
    }
    // Each revision has a tag database of its own, and only the newest is referred to.
    assert_eq!(site.unused().removed - before, 3);
}

#[test]
fn edits_that_do_not_fit_are_found_before_anything_is_stored() {
    let site = Site::new(Algorithm::Sha1);
    let file = |content: &[u8]| site.file(content);
    let names = ["/a/file", "/z/file"];
    let publish = |content: &[u8], author: Option<&Edits>| {
        let mut edits = author.cloned().unwrap_or_default();
        for (at, root) in names.into_iter().zip(["/a", "/z"]) {
            edits.nest(&path(root));
            let seen = site.repository.snapshot().unwrap().lookup(&path(at)).unwrap();
            edits.put(&path(at), file(content), seen.as_ref());
        }
        edits
    };
    site.publish(&publish(b"first", None)).unwrap();
    let seen = Edits::since(&site.repository.snapshot().unwrap());
    let (mine, others) = (publish(b"mine", Some(&seen)), file(b"theirs"));
    let tree = {
        let mut edits = seen.clone();
        edits.put(&path("/a/file"), file(b"mine"), Some(&file(b"first")));
        edits.graft(&path("/z/tree"), site.tree(&path("/z/tree"), 2));
        edits
    };
    let mut theirs = seen.clone();
    theirs.put(&path("/z/file"), others, Some(&file(b"first")));
    theirs.put(&path("/z/tree"), file(b"no tree"), None);
    site.publish(&theirs).unwrap();

    for (edits, conflict) in [(mine, "/z/file"), (tree, "/z/tree")] {
        let before = site.put();
        let error = site.publish(&edits).unwrap_err();
        assert!(matches!(&error, Error::Conflict(at) if *at == path(conflict)), "{error}");
        assert_eq!(site.put(), before, "the catalog of /a was stored");
    }
    assert_eq!(site.content("/a/file").unwrap(), b"first");
    site.sound();
}

#[test]
fn many_paths_are_looked_up_at_a_time() {
    let site = Site::new(Algorithm::Sha1);
    let mut edits = Edits::default();
    let names: Vec<_> = (0..300).map(|at| path(&format!("/s{}/f{at}", at % 7))).collect();
    for name in &names {
        edits.nest(&name.split().unwrap().0);
        edits.put(name, site.file(name.to_string().as_bytes()), None);
    }
    site.publish(&edits).unwrap();
    let snapshot = site.repository.snapshot().unwrap();
    let absent = names.iter().map(|name| name.join(b"absent"));
    let names: Vec<_> = names.iter().cloned().chain(absent).collect();
    let found = snapshot.lookup_all(&names).unwrap();
    for (name, found) in names.iter().zip(&found) {
        assert_eq!(*found, snapshot.lookup(name).unwrap(), "{name}");
    }
    assert_eq!(found.iter().filter(|found| found.is_some()).count(), 300);
    assert_eq!(snapshot.lookup_all(&[]).unwrap(), []);
}
