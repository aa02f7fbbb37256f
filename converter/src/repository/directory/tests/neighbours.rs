//! What other users of the machine get, and what they have put in the publisher's way.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use layer_layout::path;
use rustix::mount::{MountFlags, UnmountFlags};

use super::{CAPABILITY, TestDirectory, layerfs, names, unpack};
use crate::layer::{Entry, Kind};
use crate::repository::tests::Described;
use crate::repository::tests::describe::{With, device, dir, fifo, file};
use crate::repository::tests::user::{USER, as_ordinary_user};
use crate::repository::{Directory, Error, Privilege, Repository, Result};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A repository that everybody can enter.
fn open_scene() -> TestDirectory {
    let scene = TestDirectory::below(Path::new("/tmp"));
    set_mode(scene.directory.path(), 0o755);
    set_mode(&scene.path(), 0o755);
    scene
}

/// Unpacks a layer with one entry.
fn publish(repository: &Directory, entry: Described) -> Result<()> {
    let transaction = repository.begin(&mut |text| panic!("{text}"))?;
    unpack(&*transaction, &layerfs("x"), &[entry])?;
    transaction.commit()
}

/// Files that give something to whoever can reach them, and others that look like them.
fn cases() -> Vec<(Described, Option<Privilege>)> {
    vec![
        (file("f", "x").mode(0o4755), Some(Privilege::SetId)),
        (file("f", "x").mode(0o2755).owner(7, 7), Some(Privilege::SetId)),
        (file("f", "x").xattr("security.capability", CAPABILITY), Some(Privilege::Capabilities)),
        (device("f", 1, 3), Some(Privilege::Device)),
        (file("f", "x").mode(0o1777), None),
        (dir("f").mode(0o2775), None),
        (fifo("f"), None),
    ]
}

fn privilege_of(result: Result<()>) -> Option<Privilege> {
    match result {
        Ok(()) => None,
        Err(Error::Exposed { privilege, path, .. }) => {
            assert_eq!(path.as_bytes(), b"f");
            Some(privilege)
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn others_get_no_privileges_from_an_open_directory() {
    for (entry, expected) in cases() {
        let scene = open_scene();
        assert_eq!(privilege_of(publish(&scene.open(), entry)), expected);
        if expected.is_some() {
            assert_eq!(names(&scene.path()), [""; 0], "nothing of it stays");
        }
    }
}

#[test]
fn the_error_says_what_to_do() {
    let scene = open_scene();
    let error = publish(&scene.open(), file("f", "x").mode(0o4755)).unwrap_err().to_string();
    let path = scene.path().display().to_string();
    for expected in [
        "f is a set-id program",
        "only its owner can enter (mode 0700)",
        &format!("mount --bind -o nosuid,nodev {path} {path}"),
        "--trust-local-users",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn who_trusts_the_others_publishes_everything() {
    for (entry, _) in cases() {
        let scene = open_scene();
        publish(&scene.open().trusting_local_users(true), entry).unwrap();
    }
}

#[test]
fn a_closed_directory_keeps_others_away() {
    for (above, own, uid, is_closed) in [
        (0o700, 0o755, 0, true),
        (0o755, 0o700, 0, true),
        (0o750, 0o755, 0, true),
        (0o711, 0o755, 0, false),
        // Its owner can enter.
        (0o700, 0o755, USER, false),
    ] {
        let scene = open_scene();
        set_mode(scene.directory.path(), above);
        chown(scene.directory.path(), Some(uid), None).unwrap();
        set_mode(&scene.path(), own);
        let result = publish(&scene.open(), file("f", "x").mode(0o4755));
        let expected = (!is_closed).then_some(Privilege::SetId);
        assert_eq!(privilege_of(result), expected, "{above:o} of {uid}, {own:o}");
    }
}

/// The repository mounted over itself.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(path: &'a Path, flags: MountFlags) -> Self {
        rustix::mount::mount_bind(path, path).unwrap();
        let mounted = Self(path);
        rustix::mount::mount_remount(path, MountFlags::BIND | flags, "").unwrap();
        mounted
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0, UnmountFlags::DETACH).unwrap();
    }
}

#[test]
fn mounts_keep_privileges_from_others() {
    for (flags, programs, devices) in [
        (MountFlags::NOSUID | MountFlags::NODEV, false, false),
        (MountFlags::NOSUID, false, true),
        (MountFlags::NODEV, true, false),
    ] {
        for (entry, privilege) in cases() {
            let scene = open_scene();
            let path = scene.path();
            let mounted = Mounted::new(&path, flags);
            let result = publish(&scene.open(), entry);
            drop(mounted);
            let expected = privilege.filter(|privilege| match privilege {
                Privilege::Device => devices,
                _ => programs,
            });
            assert_eq!(privilege_of(result), expected, "{flags:?}");
        }
    }
}

/// What a program prints when another user runs it.
fn run_as_other(program: &Path, argument: &str) -> String {
    let output = std::process::Command::new(program).arg(argument).uid(USER).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The mount keeps the privileges of a program from others on the host; in a container, on an overlay, it has them.
#[test]
fn containers_keep_what_the_host_does_not_get() {
    let scene = open_scene();
    let path = scene.path();
    let _mounted = Mounted::new(&path, MountFlags::NOSUID | MountFlags::NODEV);
    let transaction = scene.begin();
    let id = fs::read("/usr/bin/id").unwrap();
    let (entry, _) = file("id", "").mode(0o4755);
    let size = id.len() as u64;
    let kind = Kind::File { size };
    let entry = Entry { kind, ..entry };
    unpack(&*transaction, &layerfs("x"), &[dir("").mode(0o755), (entry, id)]).unwrap();
    transaction.commit().unwrap();
    let layer = scene.host(&layerfs("x"));
    assert_eq!(fs::metadata(layer.join("id")).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(run_as_other(&layer.join("id"), "-u"), USER.to_string());
    let container = tempfile::tempdir().unwrap();
    let at = |name: &str| container.path().join(name);
    set_mode(container.path(), 0o755);
    for name in ["empty", "root"] {
        fs::create_dir(at(name)).unwrap();
    }
    let options = format!("lowerdir={}:{}", layer.display(), at("empty").display());
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount("overlay", at("root"), "overlay", MountFlags::empty(), Some(&*options))
        .unwrap();
    let printed = run_as_other(&at("root").join("id"), "-u");
    rustix::mount::unmount(at("root"), UnmountFlags::DETACH).unwrap();
    assert_eq!(printed, "0");
}

#[test]
fn an_ordinary_user_gives_no_rights_away_either() {
    for (entry, expected) in [
        (file("f", "x").mode(0o4755).owner(USER, USER), Some(Privilege::SetId)),
        // What it cannot keep anyway is left out as ever.
        (file("f", "x").mode(0o4755), None),
        (file("f", "x").xattr("security.capability", CAPABILITY), None),
        (device("f", 1, 3), None),
    ] {
        let scene = open_scene();
        chown(scene.path(), Some(USER), Some(USER)).unwrap();
        let result = as_ordinary_user(|| publish(&scene.open(), entry));
        assert_eq!(privilege_of(result), expected);
    }
}

#[test]
fn a_directory_that_everybody_may_change_is_refused() {
    for (mode, is_refused) in [(0o777, true), (0o1777, true), (0o757, true), (0o775, false)] {
        let scene = open_scene();
        chown(scene.path(), None, Some(USER)).unwrap();
        set_mode(&scene.path(), mode);
        let result = publish(&scene.open(), dir("d"));
        match result {
            Err(Error::OpenToAll(path)) if is_refused => assert_eq!(path, scene.path()),
            result => assert_eq!(result.is_err(), is_refused, "{mode:o}"),
        }
        publish(&scene.open().trusting_local_users(true), dir("d")).unwrap();
        set_mode(scene.directory.path(), 0o700);
        publish(&scene.open(), dir("d")).unwrap();
    }
}

/// A file that belongs to somebody else, and what is known of it.
struct Victim {
    path: PathBuf,
    _place: tempfile::TempDir,
}

impl Victim {
    fn new() -> Self {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = place.path().join("victim");
        fs::write(&path, "kept").unwrap();
        set_mode(&path, 0o640);
        Self { path, _place: place }
    }

    fn assert_unchanged(&self, case: &str) {
        let found = fs::metadata(&self.path).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o640, "{case}");
        assert_eq!(fs::read_to_string(&self.path).unwrap(), "kept", "{case}");
        assert_eq!(names(self.path.parent().unwrap()), ["victim"], "{case}");
    }
}

/// What a neighbour may have made before a publisher comes.
#[test]
fn a_publishers_directory_made_by_somebody_else_is_not_used() {
    let victim = Victim::new();
    let journal = r#"[{"path": "x/y", "mode": 511}]"#;
    type Make<'a> = &'a dyn Fn(&Path);
    let link_beside = |ducc: &Path| symlink(&victim.path, ducc.with_file_name("x")).unwrap();
    let makes: [(&str, Make<'_>); 7] = [
        ("a directory", &|ducc| fs::create_dir(ducc).unwrap()),
        ("a directory with a journal", &|ducc| {
            fs::create_dir_all(ducc.join("staging")).unwrap();
            fs::write(ducc.join("journal.json"), journal).unwrap();
            fs::create_dir(ducc.with_file_name("x")).unwrap();
            symlink(&victim.path, ducc.with_file_name("x").join("y")).unwrap();
        }),
        ("a link", &|ducc| symlink(victim.path.parent().unwrap(), ducc).unwrap()),
        ("a link to nothing", &|ducc| symlink("nothing", ducc).unwrap()),
        ("a file", &|ducc| fs::write(ducc, "").unwrap()),
        ("a lock that is a link", &|ducc| {
            fs::create_dir(ducc).unwrap();
            symlink(&victim.path, ducc.join("lock")).unwrap();
        }),
        ("a lock that is another file", &|ducc| {
            fs::create_dir(ducc).unwrap();
            fs::hard_link(&victim.path, ducc.join("lock")).unwrap();
            link_beside(ducc);
        }),
    ];
    for (case, make) in makes {
        for (uid, mode) in [(USER, 0o755), (0, 0o777)] {
            let scene = TestDirectory::new();
            let ducc = scene.host(&path::publisher());
            make(&ducc);
            if ducc.symlink_metadata().unwrap().is_dir() {
                chown(&ducc, Some(uid), None).unwrap();
                set_mode(&ducc, mode);
            }
            let error = publish(&scene.open(), dir("d")).unwrap_err();
            let says = error.to_string();
            match error {
                Error::NotOurs { path, .. } => assert_eq!(path, ducc, "{case}"),
                Error::Indirect { .. } => {}
                error => panic!("{case}: {error:?}"),
            }
            assert!(says.contains("remove it") || says.contains("replace it"), "{says}");
            victim.assert_unchanged(case);
        }
    }
}

/// What is in a directory of the publisher's own, perhaps from times when others could write there.
#[test]
fn nothing_in_the_publishers_directory_leads_elsewhere() {
    let victim = Victim::new();
    type Make<'a> = &'a dyn Fn(&Path);
    let makes: [(&str, Make<'_>, bool); 5] = [
        ("lock: link", &|ducc| symlink(&victim.path, ducc.join("lock")).unwrap(), true),
        (
            "lock: link to nothing",
            &|ducc| {
                symlink(victim.path.with_file_name("new"), ducc.join("lock")).unwrap();
            },
            true,
        ),
        ("lock: hard link", &|ducc| fs::hard_link(&victim.path, ducc.join("lock")).unwrap(), true),
        ("journal: link", &|ducc| symlink(&victim.path, ducc.join("journal.json")).unwrap(), true),
        (
            "staging, removed: links",
            &|ducc| {
                for name in ["staging", "removed", "journal.json.new"] {
                    symlink(victim.path.parent().unwrap(), ducc.join(name)).unwrap();
                }
            },
            false,
        ),
    ];
    for (case, make, is_refused) in makes {
        let scene = TestDirectory::new();
        let ducc = scene.host(&path::publisher());
        fs::create_dir(&ducc).unwrap();
        make(&ducc);
        let result = publish(&scene.open(), dir("d"));
        assert_eq!(result.is_err(), is_refused, "{case}: {result:?}");
        victim.assert_unchanged(case);
    }
}

/// A journal's modes are for directories, and for those that have the name at that moment.
#[test]
fn no_mode_is_set_through_a_link() {
    let victim = Victim::new();
    for is_link in [true, false] {
        let scene = TestDirectory::new();
        let ducc = scene.host(&path::publisher());
        fs::create_dir_all(ducc.join("staging")).unwrap();
        fs::write(ducc.join("journal.json"), r#"[{"path": "x/y", "mode": 511}]"#).unwrap();
        fs::create_dir(scene.path().join("x")).unwrap();
        let at = scene.path().join("x/y");
        if is_link {
            symlink(&victim.path, &at).unwrap();
        } else {
            fs::hard_link(&victim.path, &at).unwrap_or_else(|_| fs::write(&at, "").unwrap());
        }
        set_mode(&ducc, 0o755);
        drop(scene.open().begin(&mut |_| true).unwrap());
        victim.assert_unchanged("a journal's mode");
    }
}

#[test]
fn the_lock_is_for_the_publisher_alone() {
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    let lock = fs::metadata(scene.host(&path::publisher_lock())).unwrap();
    assert_eq!(lock.mode() & 0o777, 0o600);
    drop(transaction);
}

/// Nothing says which directory is meant if the path leads elsewhere all of a sudden.
#[test]
fn a_repository_is_not_replaced_by_a_link() {
    let scene = TestDirectory::new();
    let repository = scene.open();
    let victim = Victim::new();
    fs::remove_dir(scene.path()).unwrap();
    symlink(victim.path.parent().unwrap(), scene.path()).unwrap();
    assert!(publish(&repository, dir("d")).is_err());
    victim.assert_unchanged("the repository itself");
}
