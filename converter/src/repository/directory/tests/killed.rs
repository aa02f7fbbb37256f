//! What is left of a publisher that was killed at any point of a publish, what readers see meanwhile, and how the next
//! publisher finishes it.

use std::fs;
use std::path::Path;

use layer_layout::{RepositoryPath, path};

use super::super::journal::Move;
use super::super::transaction::Change;
use super::publishing::prepare as prepare_image;
use super::{TestDirectory, layerfs, names, rootfs, snapshot, unpack};
use crate::repository::tests::describe::{With, dir, file};
use crate::repository::tests::image::{
    chain_layer, flat, layer_metadata, manifest, prepare, public_link, removal,
};
use crate::repository::{Repository, Transaction};

/// Without the times of what the publisher itself makes.
fn timeless(tree: &snapshot::Tree) -> snapshot::Tree {
    let mut tree = tree.clone();
    for node in tree.values_mut() {
        node.mtime = (0, 0);
    }
    tree
}

#[test]
fn a_killed_publisher_is_finished_by_the_next() {
    let complete = {
        let scene = TestDirectory::new();
        let transaction = scene.begin();
        prepare_image(&*transaction);
        transaction.commit().unwrap();
        snapshot::of(&scene.path())
    };
    let mut moves_done = 0;
    loop {
        let scene = TestDirectory::new();
        let change = scene.change();
        prepare_image(&change);
        let plan = change.plan().unwrap();
        change.seal(&plan).unwrap();
        let moves = plan.moves;
        change.places().perform(&moves[..moves_done]).unwrap();
        // Without a commit, the journal stays.
        drop(change);
        assert_eq!(names(&scene.path().join(".ducc")), ["journal.json", "staging"]);
        let visible = scene.path().join("r.io").exists();
        assert_eq!(visible, moves_done == moves.len(), "the name comes last");
        drop(scene.begin());
        let tree = timeless(&snapshot::of(&scene.path()));
        let case = format!("killed after {moves_done} of {} moves", moves.len());
        snapshot::assert_same(&tree, &timeless(&complete), &case);
        if moves_done == moves.len() {
            break;
        }
        moves_done += 1;
    }
    assert_eq!(moves_done, 5, "layer, chain, flat, metadata, name");
}

/// Only a publisher that is gone is finished.
#[test]
fn a_reader_can_have_it_finished() {
    let scene = TestDirectory::new();
    let change = scene.change();
    prepare_image(&change);
    let plan = change.plan().unwrap();
    change.seal(&plan).unwrap();
    change.places().perform(&plan.moves[..2]).unwrap();
    scene.repository.finish_abandoned().unwrap();
    assert!(scene.host(&path::publisher_journal()).exists(), "it is still at work");
    drop(change);
    scene.repository.finish_abandoned().unwrap();
    assert!(scene.path().join("r.io").exists(), "the name comes last");
    assert!(!scene.host(&path::publisher()).exists());
    scene.repository.finish_abandoned().unwrap();
    assert!(!scene.host(&path::publisher()).exists(), "nothing was to be done");
}

#[test]
fn readers_can_tell_whether_a_publisher_was_at_work() {
    let scene = TestDirectory::new();
    let quiet = || scene.repository.quiet_since().unwrap();
    let before = quiet();
    assert!(before.is_some() && before == quiet());
    let change = scene.change();
    assert_eq!(quiet(), None);
    drop(change);
    // The clock of a file system stands still for some milliseconds.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while quiet() == before {
        assert!(std::time::Instant::now() < deadline, "nothing can be told from the time");
        drop(scene.begin());
    }
    assert!(quiet().is_some());
}

/// What a publisher does about an image that is published.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Kept,
    Removed,
    /// Its trees are replaced by better ones.
    Repaired,
    /// All of its layer is removed, and another one with that name prepared.
    Renewed,
    /// The name leads to another image's root, and its own root goes.
    Moved,
}

const FATES: [Fate; 5] = [Fate::Kept, Fate::Removed, Fate::Repaired, Fate::Renewed, Fate::Moved];
const IMAGES: [&str; 4] = ["a", "b", "c", "d"];

/// A repository with images, of which one is never touched.
fn published() -> TestDirectory {
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    for name in IMAGES.iter().chain(&["stays"]) {
        prepare(&*transaction, name);
    }
    transaction.commit().unwrap();
    scene
}

/// Prepares a new image, and what the fates say.
fn change(transaction: &dyn Transaction, fates: &[Fate]) {
    prepare(transaction, "new");
    for (name, fate) in IMAGES.iter().zip(fates) {
        let better = [dir("").mode(0o555), file("f", &format!("better {name}"))];
        match fate {
            Fate::Kept => {}
            Fate::Removed => {
                removal(name).iter().for_each(|path| transaction.remove(path).unwrap());
            }
            Fate::Repaired => {
                let (layer, root, flat) = (layerfs(name), rootfs(name), flat(name));
                for path in [&layer, &root, &flat] {
                    transaction.replace(path).unwrap();
                }
                unpack(transaction, &layer, &better).unwrap();
                transaction.merge(&root, &[layer]).unwrap();
                drop(transaction.share(&flat, Some(&root)).unwrap());
                transaction.write_file(&layer_metadata(name), b"better").unwrap();
            }
            Fate::Renewed => {
                transaction.remove(&layerfs(name).unit()).unwrap();
                unpack(transaction, &layerfs(name), &better).unwrap();
                transaction.write_file(&layer_metadata(name), b"better").unwrap();
            }
            Fate::Moved => {
                let link = public_link(name);
                transaction.symlink(&link, &link.link_to(&flat("stays"))).unwrap();
                transaction.remove(&flat(name)).unwrap();
                transaction.write_file(&manifest(name), b"other").unwrap();
            }
        }
    }
}

/// Checks that all that has a name is there and whole.
fn look(scene: &TestDirectory, fates: &[Fate], case: &str) {
    let whole = |path: &Path, name: &str| {
        let content = fs::read_to_string(path.join("f")).unwrap();
        assert!(content.ends_with(name), "{case}: {path:?} has {content:?}");
        // The better trees have no symlink.
        let old = path.join("s").symlink_metadata().is_ok();
        assert_eq!(content.starts_with("better"), !old, "{case}: {path:?} is a mixture");
    };
    let there = |path: &RepositoryPath| scene.host(path).symlink_metadata().is_ok();
    for (name, fate) in IMAGES.iter().zip(fates).chain([(&"stays", &Fate::Kept)]) {
        let link = public_link(name);
        if there(&link) {
            let target = fs::read_link(scene.host(&link)).unwrap();
            let moved = target == Path::new(&link.link_to(&flat("stays")));
            whole(&scene.host(&link), if moved { "stays" } else { name });
        }
        match fate {
            Fate::Removed => {}
            _ => assert!(there(&link), "{case}: {link}"),
        }
        let exchanged_at_once = !matches!(fate, Fate::Removed);
        if exchanged_at_once {
            whole(&scene.host(&layerfs(name)), name);
            whole(&scene.host(&chain_layer(name)), name);
            whole(&scene.host(&rootfs(name)), name);
        }
    }
    if there(&public_link("new")) {
        whole(&scene.host(&public_link("new")), "new");
        whole(&scene.host(&chain_layer("new")), "new");
    }
}

/// What a move that has several parts leaves when it is interrupted between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interrupted {
    No,
    /// The two have changed places, and the old one is not aside yet.
    Exchanged,
    /// The old one is aside, as on a file system that cannot exchange names.
    Aside,
}

fn interrupt(scene: &TestDirectory, step: &Move, how: Interrupted) -> bool {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let (Some(aside), Some(_)) = (step.aside, step.inode) else { return false };
    let path = RepositoryPath::parse(&step.path).unwrap();
    let (old, new) = (scene.host(&path), scene.staged(&path));
    match how {
        Interrupted::No => return false,
        Interrupted::Exchanged => {
            renameat_with(CWD, &old, CWD, &new, RenameFlags::EXCHANGE).unwrap();
        }
        Interrupted::Aside => {
            let removed = scene.host(&path::publisher_removed());
            fs::create_dir_all(&removed).unwrap();
            fs::rename(&old, removed.join(aside.to_string())).unwrap();
        }
    }
    true
}

/// Kills a publisher after `done` moves, the last of which may be interrupted. `None` if that makes no difference.
fn kill(fates: &[Fate], done: usize, how: Interrupted) -> Option<(TestDirectory, usize)> {
    let scene = published();
    let publisher: Change = scene.change();
    change(&publisher, fates);
    let plan = publisher.plan().unwrap();
    publisher.seal(&plan).unwrap();
    publisher.places().perform(&plan.moves[..done]).unwrap();
    if how != Interrupted::No && !plan.moves.get(done).is_some_and(|it| interrupt(&scene, it, how))
    {
        return None;
    }
    drop(publisher);
    Some((scene, plan.moves.len()))
}

#[test]
fn any_publish_is_finished_from_any_point_and_nobody_sees_half_of_anything() {
    let mut random = fastrand::Rng::with_seed(10);
    for round in 0..4 {
        let fates = match round {
            // Each fate at least once.
            0 => [Fate::Removed, Fate::Repaired, Fate::Renewed, Fate::Moved],
            _ => std::array::from_fn(|_| FATES[random.usize(..FATES.len())]),
        };
        let complete = {
            let scene = published();
            let transaction = scene.begin();
            change(&*transaction, &fates);
            transaction.commit().unwrap();
            look(&scene, &fates, "complete");
            timeless(&snapshot::of(&scene.path()))
        };
        let mut done = 0;
        loop {
            let mut count = 0;
            for how in [Interrupted::No, Interrupted::Exchanged, Interrupted::Aside] {
                let Some((scene, moves)) = kill(&fates, done, how) else { continue };
                count = moves;
                let case = format!("{fates:?}, killed after {done} of {moves} moves, {how:?}");
                if how != Interrupted::Aside {
                    look(&scene, &fates, &case);
                }
                // The next one may be killed as well.
                if let Some(second) = (done + 1 < moves && random.bool()).then_some(done + 1) {
                    let root = scene.repository.root().unwrap();
                    let publisher = root.directory(b".ducc").unwrap();
                    let journal = super::super::journal::read(&root, &publisher).unwrap().unwrap();
                    let again = second + random.usize(..=moves - second);
                    let places = PlacesOf::new(&scene);
                    places.get().perform(&journal[..again]).unwrap();
                }
                drop(scene.begin());
                let finished = timeless(&snapshot::of(&scene.path()));
                snapshot::assert_same(&finished, &complete, &case);
                assert!(!scene.host(&path::publisher()).exists(), "{case}");
            }
            if done == count {
                break;
            }
            done += 1;
        }
    }
}

/// The places of a journal that nobody works on.
struct PlacesOf {
    repository: super::super::beneath::Beneath,
    staging: super::super::beneath::Beneath,
    publisher: std::os::fd::OwnedFd,
}

impl PlacesOf {
    fn new(scene: &TestDirectory) -> Self {
        let repository = scene.repository.root().unwrap();
        let open = |path: RepositoryPath| repository.beneath(path.as_str().as_bytes()).unwrap();
        let staging = open(path::publisher_staging());
        let publisher = repository.directory(path::publisher().as_str().as_bytes()).unwrap();
        Self { repository, staging, publisher }
    }

    fn get(&self) -> super::super::moves::Places<'_> {
        let Self { repository, staging, publisher } = self;
        super::super::moves::Places { repository, staging, publisher }
    }
}

#[test]
fn what_was_moved_aside_is_deleted_by_the_next_if_it_was_not() {
    let scene = published();
    let change = scene.change();
    removal("a").iter().for_each(|path| Transaction::remove(&change, path).unwrap());
    let plan = change.plan().unwrap();
    change.seal(&plan).unwrap();
    change.places().work_off(&plan.moves).unwrap();
    drop(change);
    let publisher = scene.host(&path::publisher());
    assert_eq!(names(&publisher.join("removed")).len(), 5);
    // It is killed when the journal is gone and the rest is not.
    fs::remove_file(publisher.join("journal.json")).unwrap();
    drop(scene.begin());
    assert!(!publisher.exists());
    assert_eq!(scene.repository.lookup(&flat("a")).unwrap(), None);
}

#[test]
fn readers_keep_what_they_have_open() {
    use std::io::Read;
    let scene = published();
    let mut open = fs::File::open(scene.host(&layerfs("a")).join("f")).unwrap();
    let directory = fs::File::open(scene.host(&flat("a"))).unwrap();
    let transaction = scene.begin();
    removal("a").iter().for_each(|path| transaction.remove(path).unwrap());
    transaction.commit().unwrap();
    let mut content = String::new();
    open.read_to_string(&mut content).unwrap();
    assert_eq!(content, "a");
    drop(directory);
}

#[test]
fn journals_of_earlier_versions_are_read() {
    let moves = [
        Move::appearing(&RepositoryPath::parse("a/b").unwrap(), None),
        Move::appearing(&RepositoryPath::parse(".flat/x").unwrap(), Some(0o555)),
        Move::disappearing(&RepositoryPath::parse("c").unwrap(), 0),
        Move::replacing(&RepositoryPath::parse("d").unwrap(), None, 1, 7),
    ];
    let json = serde_json::to_string(&moves).unwrap();
    let expected = concat!(
        r#"[{"path":"a/b"},{"path":".flat/x","mode":365},{"path":"c","aside":0},"#,
        r#"{"path":"d","aside":1,"inode":7}]"#
    );
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Vec<Move>>(&json).unwrap(), moves);

    let scene = published();
    let publisher = scene.host(&path::publisher());
    fs::create_dir_all(publisher.join("staging/r.io")).unwrap();
    fs::write(publisher.join("staging/r.io/file"), "from an earlier version").unwrap();
    let journal = r#"[{"path": "r.io/done"}, {"path": "r.io/file", "mode": 292}]"#;
    fs::write(publisher.join("journal.json"), journal).unwrap();
    drop(scene.begin());
    let file = scene.path().join("r.io/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "from an earlier version");
    assert!(!publisher.exists());
}
