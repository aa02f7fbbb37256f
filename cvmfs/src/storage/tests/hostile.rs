//! A storage in which somebody else may write.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, FlockOperation, Mode};

use super::*;
use crate::{reflog, whitelist};

/// Everything below a directory: path, mode, and content of files.
fn everything(directory: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        found.push((path.display().to_string(), metadata.mode(), content));
        if metadata.is_dir() {
            found.extend(everything(&path));
        }
    }
    found.sort();
    found
}

/// A storage, and a directory with somebody else's files beside it.
struct Scene {
    place: tempfile::TempDir,
    storage: Storage,
    before: Vec<(String, u32, Vec<u8>)>,
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let storage = Storage::local(&place.path().join("storage"));
        storage.make_skeleton().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir_all(outside.join("deep")).unwrap();
        for name in ["kept", "deep/kept", "ducc-0123456789abcdef"] {
            fs::write(outside.join(name), "kept").unwrap();
            fs::set_permissions(outside.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        let before = everything(&outside);
        Self { place, storage, before }
    }

    fn outside(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join("outside").join(name)
    }

    fn inside(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join("storage").join(name)
    }

    /// Puts a link in place of what is at a path of the storage.
    fn link(&self, name: &str, to: &Path) {
        let at = self.inside(name);
        if at.is_dir() {
            fs::remove_dir_all(&at).unwrap();
        }
        symlink(to, at).unwrap();
    }

    fn assert_unharmed(&self, case: &str) {
        assert_eq!(everything(&self.outside("")), self.before, "{case}");
    }
}

#[test]
fn no_object_is_written_or_removed_elsewhere() {
    let (id, stored) = object(b"one");
    let shard = format!("data/{:02x}", id.hash.digest[0]);
    for at in [shard.as_str(), "data", "data/txn"] {
        let scene = Scene::new();
        scene.link(at, &scene.outside(""));
        let storage = Storage::local(&scene.inside(""));
        let error = storage.put_if_absent(id, stored.clone()).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert!(text.contains("symlink"), "{at}: {text}");
        let mut paths = Vec::new();
        let listed = storage.list(id.hash.digest[0], &mut |listed| {
            paths.push(listed.path);
            Ok(())
        });
        assert!(listed.is_err() || at == "data/txn", "{at}: {paths:?}");
        let _ = storage.delete(vec![format!("{shard}/kept"), format!("{shard}/deep/kept")]);
        let _ = storage.remove_unfinished(SystemTime::now() + Duration::from_secs(60));
        let _ = storage.make_skeleton();
        let replaced = storage.replace_file(MANIFEST, stored.clone(), Expected::Any);
        assert_eq!(replaced.is_ok(), at == shard, "{at}: {replaced:?}");
        scene.assert_unharmed(at);
    }
}

#[test]
fn what_has_the_name_of_an_object_is_replaced_and_not_followed() {
    let (id, stored) = object(b"one");
    for to in ["kept", "nothing"] {
        let scene = Scene::new();
        scene.link(&id.path(), &scene.outside(to));
        assert!(!scene.storage.exists(id).unwrap());
        assert!(scene.storage.put_if_absent(id, stored.clone()).unwrap());
        assert_eq!(scene.storage.get(id).unwrap(), stored);
        scene.assert_unharmed(to);
    }
}

#[test]
fn no_lock_is_another_file() {
    for lock in [".ducc.lock", ".ducc-turn.lock", ".ducc-gc.lock"] {
        for to in ["kept", "new", "hard link"] {
            let scene = Scene::new();
            match to {
                "hard link" => fs::hard_link(scene.outside("kept"), scene.inside(lock)).unwrap(),
                to => scene.link(lock, &scene.outside(to)),
            }
            assert!(scene.storage.lock_file(lock).is_err(), "{lock}: {to}");
            if lock == ".ducc.lock" {
                let replaced = scene.storage.replace_file(MANIFEST, Bytes::new(), Expected::Absent);
                assert!(replaced.is_err(), "{to}");
            }
            scene.assert_unharmed(lock);
        }
    }
}

/// Nobody but the owner can hold it, and the owner not for ever.
#[test]
fn a_lock_is_not_waited_for_for_ever() {
    let scene = Scene::new();
    let held = scene.storage.lock_file(".ducc.lock").unwrap().unwrap();
    assert_eq!(held.metadata().unwrap().mode() & 0o777, 0o600);
    rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
    let Backend::Local(local) = &scene.storage.backend else { panic!("it is a directory") };
    let error = local.lock(Duration::from_millis(20)).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("somebody has held it"), "{cause}");
    drop(held);
    local.lock(Duration::from_millis(20)).unwrap();
}

#[test]
fn files_of_the_root_are_small_regular_files() {
    for name in [MANIFEST, whitelist::NAME, reflog::NAME, ".ducc-gc", ".ducc-turn"] {
        let scene = Scene::new();
        let at = scene.inside(name);
        rustix::fs::mknodat(CWD, &at, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(scene.storage.read_file(name).is_err(), "{name}: a fifo");
        fs::remove_file(&at).unwrap();
        scene.link(name, &scene.outside("kept"));
        assert!(scene.storage.read_file(name).is_err(), "{name}: a link");
        fs::remove_file(&at).unwrap();
        // Five gigabytes that take no space.
        File::create(&at).unwrap().set_len(5 << 30).unwrap();
        let error = scene.storage.read_file(name).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("more than"), "{cause}");
        scene.assert_unharmed(name);
    }
}

/// What is too large for memory is not read into it before it is known to be right.
#[test]
fn a_large_object_is_hashed_first() {
    let scene = Scene::new();
    let (id, _) = object(b"one");
    File::create(scene.inside(&id.path())).unwrap().set_len(65 << 20).unwrap();
    let error = scene.storage.get(id).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { reason, .. } if reason.starts_with("it has the hash"))
    );
    let certificate = id.hash.object(ObjectKind::Certificate);
    File::create(scene.inside(&certificate.path())).unwrap().set_len(2 << 20).unwrap();
    assert!(matches!(scene.storage.get(certificate), Err(Error::Storage { .. })));
}

#[test]
fn directories_are_not_followed_down_for_ever() {
    let scene = Scene::new();
    let deep = "d/".repeat(100);
    fs::create_dir_all(scene.inside("data/00").join(&deep)).unwrap();
    fs::write(scene.inside("data/00").join(&deep).join("x"), "x").unwrap();
    scene.storage.list(0, &mut |listed| panic!("{}", listed.path)).unwrap();
}

/// Other bytes of the same number.
fn damage(scene: &Scene, id: ObjectId) {
    let file = File::options().write(true).open(scene.inside(&id.path())).unwrap();
    file.write_all_at(b"?", 0).unwrap();
}

#[test]
fn a_damaged_object_does_not_count_as_present() {
    let content = |kind| (Algorithm::Sha1.hash(b"one").object(kind), Bytes::from_static(b"one"));
    for (kind, all) in [
        (ObjectKind::File, true),
        (ObjectKind::Chunk, true),
        // Whole trees hang on these.
        (ObjectKind::Catalog, false),
        (ObjectKind::History, false),
        (ObjectKind::Certificate, false),
    ] {
        let scene = Scene::new();
        let (id, stored) = content(kind);
        scene.storage.put_if_absent(id, stored.clone()).unwrap();
        if all {
            scene.storage.inspect_all();
        }
        assert!(!scene.storage.put_if_absent(id, stored.clone()).unwrap(), "it is sound");
        let size = || {
            let (tell, told) = std::sync::mpsc::channel();
            scene.storage.stored_size_then(id, move |size| tell.send(size.unwrap()).unwrap());
            told.recv().unwrap()
        };
        assert_eq!(size(), Some(3));
        damage(&scene, id);
        assert_eq!(size(), None, "{kind:?}");
        assert!(scene.storage.put_if_absent(id, stored.clone()).unwrap(), "{kind:?}");
        assert_eq!(scene.storage.get(id).unwrap(), stored);
        assert_eq!(size(), Some(3));
    }
}

/// A sample is read without being asked for, and all of it as soon as one of the sample is damaged.
#[test]
fn damage_of_many_objects_is_noticed() {
    let scene = Scene::new();
    let objects: Vec<_> = (0..1000_u32)
        .map(|number| {
            let stored = Bytes::from(format!("object {number:04}"));
            (Algorithm::Sha1.hash(&stored).object(ObjectKind::File), stored)
        })
        .collect();
    for (id, stored) in &objects {
        scene.storage.put_if_absent(*id, stored.clone()).unwrap();
        damage(&scene, *id);
    }
    let put = |(id, stored): &(ObjectId, Bytes)| {
        scene.storage.put_if_absent(*id, stored.clone()).unwrap()
    };
    let first = objects.iter().position(put).expect("one of 32 is read");
    assert!(objects[first + 1..].iter().all(put), "then all are");
}
