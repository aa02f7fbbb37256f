//! Removal from real repositories of both kinds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use layer_layout::{LayerPath, RepositoryPath, path};
use tempfile::TempDir;

use super::{day, options, want};
use crate::aliases;
use crate::inventory::tests::model::{Image, layer};
use crate::inventory::tests::place;
use crate::inventory::{Inventory, PublishedImage};
use crate::removal::{
    Batch, Error, Options, Removed, Stop, Subject, carry_out, keep_books, mend_aliases, unwanted,
};
use crate::repository::{Published, Repository, Result, Stored, Transaction, TreeDirectory, Turn};
use crate::verify::tests::scene::{Scene, image, native, native_twice, publish};
use crate::verify::verify;

/// A repository in which there is one image, and a second that shares a layer with it.
fn with_repositories(check: impl Fn(&dyn Repository)) {
    let scene = Scene::new();
    let (_place, native) = native();
    let repositories: [&dyn Repository; 2] = [&*scene.repository, &*native];
    for repository in repositories {
        publish(repository, &place("r.io/two:2"), &two());
        check(repository);
    }
}

fn two() -> Image {
    Image::new(&["a", "c"], 2)
}

fn no_wait(text: &str) -> bool {
    panic!("{text}")
}

fn prune(repository: &dyn Repository, names: &[&str], now: u64) {
    let change = |view: &dyn Repository| unwanted::prune(view, &want(names), day(now));
    keep_books(repository, &mut no_wait, &Stop::default(), change).unwrap();
}

fn collect(repository: &dyn Repository, options: &Options) -> Removed {
    let mut removed = Removed::default();
    let stop = Stop::default();
    let mut gone = |batch: &Batch| removed.add(batch);
    carry_out(repository, &Subject::Expired, options, &mut no_wait, &stop, &mut gone).unwrap();
    removed
}

fn assert_sound(repository: &dyn Repository, names: &[&str]) {
    repository.refresh().unwrap();
    let inventory = Inventory::take(repository).unwrap();
    assert_eq!(inventory.broken, []);
    let places: Vec<_> = inventory.images.iter().filter_map(|image| image.place.clone()).collect();
    let expected: Vec<_> = names.iter().map(|name| place(name)).collect();
    assert_eq!(places, expected);
    let needed = inventory.images.iter().flat_map(PublishedImage::units).collect();
    assert_eq!(inventory.content, needed);
    verify(repository, &places, |verdict| assert_eq!(verdict.faults, [])).unwrap();
}

#[test]
fn what_is_unwanted_goes_and_the_rest_is_as_it_was() {
    with_repositories(|repository| {
        assert_sound(repository, &["r.io/one:1", "r.io/two:2"]);
        prune(repository, &["r.io/two:2"], 0);
        assert_eq!(collect(repository, &options(day(9))), Removed::default());
        let removed = collect(repository, &options(day(10)));
        assert_eq!((removed.images.len(), removed.paths.len(), removed.batches), (1, 5, 1));
        assert_sound(repository, &["r.io/two:2"]);
        assert_eq!(collect(repository, &options(day(20))), Removed::default());
        prune(repository, &[], 20);
        let few = Options { batch: 2, ..options(day(30)) };
        assert!(collect(repository, &few).batches > 1);
        assert_sound(repository, &[]);
    });
}

#[test]
fn one_image_goes_at_once_and_can_be_published_again() {
    with_repositories(|repository| {
        let subject = Subject::Images(vec![place("r.io/one:1")]);
        carry_out(
            repository,
            &subject,
            &options(day(0)),
            &mut no_wait,
            &Stop::default(),
            &mut |_| {},
        )
        .unwrap();
        assert_sound(repository, &["r.io/two:2"]);
        publish(repository, &place("r.io/one:1"), &image());
        assert_sound(repository, &["r.io/one:1", "r.io/two:2"]);
    });
}

#[test]
fn what_will_go_has_a_size() {
    with_repositories(|repository| {
        let layer = path::layer(&layer("b"));
        assert!(repository.content_bytes(&[layer]).unwrap() >= 4);
    });
}

/// A repository that somebody else changes as soon as a collector has begun to look at it.
struct Overtaking {
    repository: Arc<dyn Repository>,
    rival: Arc<dyn Repository>,
    /// How often it will be changed.
    left: AtomicU32,
    /// Whether the rival waits when it is the collector's turn.
    is_polite: bool,
}

impl Overtaking {
    /// With an image that nobody wishes for, as the rival sees it, too.
    fn new(left: u32, is_polite: bool) -> (TempDir, Self) {
        let (dir, repository, rival) = native_twice();
        publish(&*repository, &place("r.io/two:2"), &two());
        prune(&*repository, &["r.io/two:2"], 0);
        rival.refresh().unwrap();
        (dir, Self { repository, rival, left: AtomicU32::new(left), is_polite })
    }

    fn overtake(&self) {
        let left = self.left.load(Ordering::SeqCst);
        if left > 0 {
            self.left.store(left - 1, Ordering::SeqCst);
            self.rival.refresh().unwrap();
            publish(&*self.rival, &place(&format!("r.io/rival:{left}")), &image());
        }
    }
}

impl Repository for Overtaking {
    fn name(&self) -> &str {
        self.repository.name()
    }

    fn begin(&self, wait: &mut dyn FnMut(&str) -> bool) -> Result<Box<dyn Transaction>> {
        let transaction = self.repository.begin(wait);
        self.overtake();
        transaction
    }

    fn turn(&self, wants: &mut dyn FnMut() -> bool) -> Turn {
        if self.is_polite {
            self.left.store(0, Ordering::SeqCst);
        }
        self.repository.turn(wants)
    }

    fn refresh(&self) -> Result<()> {
        self.repository.refresh()
    }

    fn read(&self, path: &RepositoryPath) -> Result<Option<Vec<u8>>> {
        self.repository.read(path)
    }

    fn lookup(&self, path: &RepositoryPath) -> Result<Option<Published>> {
        self.repository.lookup(path)
    }

    fn list(&self, directory: Option<&RepositoryPath>) -> Result<Vec<(String, Published)>> {
        self.repository.list(directory)
    }

    fn fingerprint(&self, path: &RepositoryPath) -> Result<Option<String>> {
        self.repository.fingerprint(path)
    }

    fn expands_variables(&self) -> bool {
        self.repository.expands_variables()
    }

    fn content_bytes(&self, paths: &[RepositoryPath]) -> Result<u64> {
        self.repository.content_bytes(paths)
    }

    fn read_directory(
        &self,
        tree: &RepositoryPath,
        below: &LayerPath,
    ) -> Result<Option<TreeDirectory>> {
        self.repository.read_directory(tree, below)
    }

    fn read_content(
        &self,
        tree: &RepositoryPath,
        file: &LayerPath,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<Stored> {
        self.repository.read_content(tree, file, each)
    }
}

/// Somebody publishes an image that needs what is being removed, just before it is.
#[test]
fn a_collector_that_is_overtaken_plans_anew() {
    let (_place, overtaken) = Overtaking::new(1, false);
    let removed = collect(&overtaken, &options(day(10)));
    assert_eq!(overtaken.left.load(Ordering::SeqCst), 0);
    let paths: Vec<_> = removed.paths.iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["r.io/one:1", ".metadata/r.io/one:1"], "the content is needed again");
    assert_sound(&*overtaken.repository, &["r.io/rival:1", "r.io/two:2"]);
}

#[test]
fn a_collector_that_was_overtaken_takes_its_turn() {
    let (_place, overtaken) = Overtaking::new(100, true);
    let removed = collect(&overtaken, &options(day(10)));
    assert_eq!(removed.images, [place("r.io/one:1")]);
    assert_sound(&*overtaken.repository, &["r.io/rival:100", "r.io/two:2"]);
}

#[test]
fn its_turn_ends_with_the_first_change() {
    let (_place, overtaken) = Overtaking::new(1, false);
    prune(&*overtaken.rival, &[], 0);
    let (mut changes, few) = (0, Options { batch: 2, ..options(day(10)) });
    let mut gone = |_: &Batch| {
        changes += 1;
        overtaken.rival.turn(&mut || panic!("the others wait after {changes} changes"));
    };
    let stop = Stop::default();
    carry_out(&overtaken, &Subject::Expired, &few, &mut no_wait, &stop, &mut gone).unwrap();
    assert!(changes > 1);
    assert_eq!(overtaken.left.into_inner(), 0, "it was not overtaken");
}

#[test]
fn a_collector_that_is_always_overtaken_gives_up() {
    let (_place, overtaken) = Overtaking::new(100, false);
    let mut removed = Removed::default();
    let options = options(day(10));
    let error = carry_out(
        &overtaken,
        &Subject::Expired,
        &options,
        &mut no_wait,
        &Stop::default(),
        &mut |batch| removed.add(batch),
    );
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Outpaced(_)), "{error}");
    assert!(error.to_string().contains("run this again"), "{error}");
    assert_eq!((removed, overtaken.left.into_inner()), (Removed::default(), 80));
}

/// What is below `.multiarch` beside the directories.
fn aliases_of(repository: &dyn Repository) -> Vec<String> {
    repository.refresh().unwrap();
    let names = repository.list(Some(&path::architectures())).unwrap();
    let mut links: Vec<_> = names
        .into_iter()
        .map(|(name, published)| match published {
            Published::Symlink(target) => format!("{name} {target}"),
            _ => name,
        })
        .collect();
    links.sort_unstable();
    links
}

fn delete(repository: &dyn Repository, name: &str) {
    let subject = Subject::Images(vec![place(name)]);
    let options = options(day(0));
    carry_out(repository, &subject, &options, &mut no_wait, &Stop::default(), &mut |_| {}).unwrap();
}

/// Clients look for their platform under a name of its processor, which has to lead to what is left.
#[test]
fn aliases_lead_to_the_directories_that_are_left() {
    with_repositories(|repository| {
        for name in ["arm64 r.io/a:1", "arm64:v8 r.io/a:1", "arm64:v8 r.io/b:1", "arm:v7 r.io/a:1"]
        {
            publish(repository, &place(name), &two());
        }
        let transaction = repository.begin(&mut no_wait).unwrap();
        for (alias, target) in
            [("aarch64", "arm64"), ("x86_64", "amd64"), ("armv7l", "arm:v7"), ("mine", "nowhere")]
        {
            transaction
                .symlink(
                    &RepositoryPath::of_name(Some(&path::architectures()), alias).unwrap(),
                    target,
                )
                .unwrap();
        }
        transaction.commit().unwrap();
        repository.refresh().unwrap();
        let wrong = aliases::wrong(repository).unwrap();
        let wrong: Vec<_> = wrong.iter().map(|alias| alias.path.as_str()).collect();
        assert_eq!(wrong, [".multiarch/x86_64"], "of a platform that is not there");
        mend_aliases(repository, &mut no_wait, &Stop::default()).unwrap();
        let before = aliases_of(repository);
        let own = ["aarch64 arm64", "arm64", "arm64:v8", "arm:v7", "armv7l arm:v7", "mine nowhere"];
        assert_eq!(before, own);

        delete(repository, "arm:v7 r.io/a:1");
        delete(repository, "arm64:v8 r.io/b:1");
        assert_eq!(aliases_of(repository), ["aarch64 arm64", "arm64", "arm64:v8", "mine nowhere"]);
        delete(repository, "arm64 r.io/a:1");
        let left = ["aarch64 arm64:v8", "arm64 arm64:v8", "arm64:v8", "mine nowhere"];
        assert_eq!(aliases_of(repository), left);
        delete(repository, "arm64:v8 r.io/a:1");
        assert_eq!(aliases_of(repository), ["mine nowhere"]);
        assert_eq!(aliases::wrong(repository).unwrap(), []);
    });
}
