use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use std::time::Duration;

use super::*;
use crate::hash::{Algorithm, ObjectKind};

mod hostile;
mod s3;

const MANIFEST: &str = ".cvmfspublished";

fn object(content: &'static [u8]) -> (ObjectId, Bytes) {
    (Algorithm::Sha1.hash(content).object(ObjectKind::Catalog), Bytes::from_static(content))
}

fn local() -> (tempfile::TempDir, Storage) {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::local(directory.path());
    (directory, storage)
}

/// The files in an object's directory, including the object.
fn listed(storage: &Storage, beside: ObjectId) -> Vec<(String, u64)> {
    let mut list = Vec::new();
    let mut add = |listed: Listed| {
        assert!(listed.modified.elapsed().unwrap_or_default() < Duration::from_secs(60));
        list.push((listed.path, listed.size));
        Ok(())
    };
    storage.list(beside.hash.digest[0], &mut add).unwrap();
    list.sort_unstable();
    list
}

/// What every storage does.
fn keeps_objects(storage: &Storage) {
    storage.make_skeleton().unwrap();
    let (id, stored) = object(b"one");
    assert_eq!(listed(storage, id), []);
    assert!(!storage.exists(id).unwrap());
    assert!(matches!(storage.get(id), Err(Error::Missing { .. })));
    for new in [true, false] {
        assert_eq!(storage.put_if_absent(id, stored.clone()).unwrap(), new);
        assert!(storage.exists(id).unwrap());
        assert_eq!(storage.get(id).unwrap(), stored);
        assert_eq!(listed(storage, id), [(id.path(), 3)]);
    }
    storage.sync().unwrap();

    let (other, _) = object(b"two");
    storage.put_if_absent(other, stored).unwrap();
    let error = storage.get(other).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");

    for _ in 0..2 {
        storage.delete(vec![id.path()]).unwrap();
        assert!(!storage.exists(id).unwrap());
    }
    storage.delete(vec![other.path()]).unwrap();
    assert_eq!(listed(storage, id), []);
}

/// What every storage does.
fn replaces_files_on_a_condition(storage: &Storage) {
    storage.make_skeleton().unwrap();
    let content = |text: &'static str| Bytes::from_static(text.as_bytes());
    let version = || storage.read_file(MANIFEST).unwrap().map(|(_, version)| version).unwrap();
    assert_eq!(storage.read_file(MANIFEST).unwrap(), None);
    let never = Expected::Version(Version::of(b"never"));
    assert_eq!(storage.replace_file(MANIFEST, content("0"), never.clone()).unwrap(), None);
    let first = storage.replace_file(MANIFEST, content("1"), Expected::Absent).unwrap().unwrap();
    assert_eq!(first, version(), "it need not be read again");
    assert_eq!(storage.replace_file(MANIFEST, content("2"), Expected::Absent).unwrap(), None);
    assert_eq!(storage.replace_file(MANIFEST, content("2"), never).unwrap(), None);
    let expected = Expected::Version(first.clone());
    assert!(storage.replace_file(MANIFEST, content("2"), expected.clone()).unwrap().is_some());
    assert_eq!(storage.replace_file(MANIFEST, content("3"), expected).unwrap(), None);
    assert_ne!(version(), first);
    assert!(storage.replace_file(MANIFEST, content("4"), Expected::Any).unwrap().is_some());
    assert_eq!(storage.read_file(MANIFEST).unwrap().unwrap().0, "4");
    for _ in 0..2 {
        storage.remove_file(MANIFEST).unwrap();
        assert_eq!(storage.read_file(MANIFEST).unwrap(), None);
    }
}

/// What every storage does: of two that replace the same version exactly one succeeds.
fn lets_one_of_two_win(storage: &Storage, rounds: usize) {
    storage.make_skeleton().unwrap();
    let mut expected = Expected::Absent;
    for round in 0..rounds {
        let start = Barrier::new(2);
        let replace = |content: String| {
            start.wait();
            storage.replace_file(MANIFEST, content.into(), expected.clone()).unwrap().is_some()
        };
        let won = std::thread::scope(|scope| {
            ["left", "right"]
                .map(|side| scope.spawn(move || replace(format!("{side} {round}"))))
                .map(|thread| thread.join().unwrap())
        });
        let winner = match won {
            [true, false] => "left",
            [false, true] => "right",
            both => panic!("round {round}: {both:?}"),
        };
        let (content, version) = storage.read_file(MANIFEST).unwrap().unwrap();
        assert_eq!(content, format!("{winner} {round}"));
        expected = Expected::Version(version);
    }
}

#[test]
fn a_directory_keeps_objects() {
    keeps_objects(&local().1);
}

#[test]
fn a_directory_replaces_files_on_a_condition() {
    replaces_files_on_a_condition(&local().1);
}

#[test]
fn one_of_two_wins_in_a_directory() {
    lets_one_of_two_win(&local().1, 100);
}

#[test]
fn a_directory_looks_like_one_of_the_stock_tools() {
    let (directory, storage) = local();
    storage.make_skeleton().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    let expected: Vec<_> =
        (0..256).map(|shard| format!("{shard:02x}")).chain(["txn".to_owned()]).collect();
    assert_eq!(names, expected);

    let (id, stored) = object(b"one");
    storage.put_if_absent(id, stored).unwrap();
    let mode = fs::metadata(directory.path().join(id.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777 & !0o644, 0);
    assert_eq!(mode & 0o400, 0o400);
    assert_eq!(fs::read_dir(directory.path().join("data/txn")).unwrap().count(), 0);
}

#[test]
fn what_is_put_is_whole() {
    let (directory, storage) = local();
    let put = |id, stored| storage.put_if_absent(id, stored).unwrap();
    let (id, stored) = object(b"one");
    // There is no directory yet.
    assert!(put(id, stored.clone()));
    assert!(!put(id, stored.clone()));
    let path = directory.path().join(id.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o644, 0);
    // What a power cut left is made whole, in the old place and at once.
    fs::write(&path, &stored[..1]).unwrap();
    assert!(put(id, stored.clone()));
    assert_eq!(storage.get(id).unwrap(), stored);
    storage.delete(vec![id.path()]).unwrap();
    assert!(put(id, stored.clone()));
    assert_eq!(storage.get(id).unwrap(), stored);
    assert_eq!(fs::read_dir(directory.path().join("data/txn")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_publisher_left_is_no_object() {
    let (directory, storage) = local();
    storage.make_skeleton().unwrap();
    let unfinished = directory.path().join("data/txn/ducc-0123456789abcdef");
    let stock = directory.path().join("data/txn/txn.XYZ");
    fs::write(&unfinished, "half").unwrap();
    fs::write(&stock, "half").unwrap();

    let now = SystemTime::now();
    assert_eq!(storage.remove_unfinished(now - Duration::from_secs(60)).unwrap(), 0);
    assert!(unfinished.exists());
    assert_eq!(storage.remove_unfinished(now + Duration::from_secs(60)).unwrap(), 1);
    assert!(!unfinished.exists());
    assert!(stock.exists(), "the stock tools' files are theirs");

    // Files of the root are written under a lock, so there is no need to wait until it is old.
    let of_root = directory.path().join("data/txn/ducc-root-0123456789abcdef");
    for path in [&of_root, &unfinished] {
        fs::write(path, "half").unwrap();
    }
    storage.replace_file(MANIFEST, Bytes::from_static(b"1"), Expected::Any).unwrap();
    assert!(!of_root.exists() && unfinished.exists() && stock.exists());
}

#[test]
fn what_a_power_cut_emptied_does_not_count() {
    let (directory, storage) = local();
    storage.make_skeleton().unwrap();
    let (id, _) = object(b"one");
    fs::write(directory.path().join(id.path()), "").unwrap();
    assert!(!storage.exists(id).unwrap());
    let empty = Algorithm::Sha1.hash(b"").object(ObjectKind::File);
    assert!(storage.put_if_absent(empty, Bytes::new()).unwrap());
    assert!(storage.exists(empty).unwrap());
}

#[test]
fn strange_files_are_listed_and_missing_directories_made() {
    let (directory, storage) = local();
    let (id, stored) = object(b"one");
    storage.put_if_absent(id, stored).unwrap();
    let shard = format!("data/{:02x}", id.hash.digest[0]);
    fs::create_dir(directory.path().join(&shard).join("deep")).unwrap();
    let strange = [format!("{shard}/deep/x"), format!("{shard}/stray")];
    for path in &strange {
        fs::write(directory.path().join(path), "x").unwrap();
    }
    let paths = listed(&storage, id).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(paths, [&[id.path()], strange.as_slice()].concat());
    storage.delete(vec![strange[1].clone()]).unwrap();
    assert_eq!(listed(&storage, id).len(), 2);
}

#[test]
fn a_directory_that_is_not_there_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::local(&directory.path().join("typo"));
    let (id, stored) = object(b"one");
    let error = storage.put_if_absent(id, stored).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains(&id.path()), "{error}");
    assert!(cause.contains("right directory"), "{cause}");
    assert_eq!(storage.read_file(MANIFEST).unwrap(), None);
    assert!(!storage.exists(id).unwrap());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
