//! What the kernel or the file system forbids even to root.

use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{TestDirectory, layerfs, unpack};
use crate::repository::tests::describe::{With, device, dir, file, gone, opaque, symlink};
use crate::repository::{Directory, Error, Repository};

/// Set where this test runs in a user namespace of its own.
const INSIDE: &str = "DUCC_TEST_IS_IN_A_USER_NAMESPACE";

/// An access control list (acl(5)) that gives this user something.
fn access_list(user: u32) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (0x01_u16, 6_u16, NOBODY),
        (0x02, 4, user),
        (0x04, 4, NOBODY),
        (0x10, 4, NOBODY),
        (0x20, 0, NOBODY),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

/// Publishes a file with an attribute and gives what could not be kept.
fn told_of(name: &str, value: &[u8]) -> Vec<String> {
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    let entries = [dir("d").xattr(name, value), file("f", "x").xattr(name, value)];
    unpack(&*transaction, &layerfs("x"), &entries).unwrap();
    let told = transaction.shortfalls();
    transaction.commit().unwrap();
    told
}

#[test]
fn attributes_that_cannot_be_set_are_left_out() {
    for (name, value, kept) in [
        ("user.a", b"1".to_vec(), true),
        ("system.posix_acl_access", access_list(12345), true),
        ("system.posix_acl_access", b"\x02\0\0\0garbage!".to_vec(), false),
        ("system.posix_acl_default", b"\x02\0\0\0garbage!".to_vec(), false),
        // No local file system has these.
        ("system.nfs4_acl", b"x".to_vec(), false),
    ] {
        let expected = format!("2 names lack the extended attribute {name}");
        let expected = if kept { Vec::new() } else { vec![expected] };
        assert_eq!(told_of(name, &value), expected, "{name}");
    }
}

/// Runs itself again as root of a user namespace that maps nobody else.
#[test]
fn in_a_user_namespace_what_it_does_not_map_is_left_out() {
    if std::env::var_os(INSIDE).is_none() {
        let name = "repository::directory::tests::forbidden::\
                    in_a_user_namespace_what_it_does_not_map_is_left_out";
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user"])
            .arg(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
        return;
    }
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    let entries = [
        dir("d").owner(0, 5),
        file("f", "x").xattr("system.posix_acl_access", &access_list(12345)),
        file("own", "x").xattr("system.posix_acl_access", &access_list(0)),
        symlink("s", "f").owner(4_294_967_294, 0),
        device("null", 1, 3),
        gone("gone"),
        opaque("d"),
    ];
    unpack(&*transaction, &layerfs("x"), &entries).unwrap();
    assert_eq!(
        transaction.shortfalls(),
        [
            "2 names have your user and group instead of their own",
            "1 device nodes are missing",
            "1 names lack the extended attribute system.posix_acl_access",
        ]
    );
    transaction.commit().unwrap();
}

/// A mount that goes with this.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_file_system_without_whiteouts_is_named_as_the_reason() {
    let scene = TestDirectory::new();
    let at = |name: &str| {
        let path = scene.directory.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(at);
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let options = std::ffi::CString::new(options).unwrap();
    mount("overlay", &merged, "overlay", MountFlags::empty(), options.as_c_str()).unwrap();
    let _mounted = Mounted(&merged);
    let repository = Directory::open(&merged, None).unwrap();
    let transaction = repository.begin(&mut |text| panic!("{text}")).unwrap();
    unpack(&*transaction, &layerfs("y"), &[file("d/f", "x"), device("null", 1, 3)]).unwrap();
    let error = unpack(&*transaction, &layerfs("x"), &[dir("d"), gone("d/f")]).unwrap_err();
    assert!(matches!(error, Error::Unmarkable { .. }), "{error:?}");
    let text = error.to_string();
    for part in ["/d/f: this file system takes no whiteouts", "ext4 or XFS", "cvmfs+file://DIR"] {
        assert!(text.contains(part), "{text}");
    }
    transaction.commit().unwrap();
}
