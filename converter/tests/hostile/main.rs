//! Hostile layers against the reader and the directory target: nothing outside the layer changes, a refused
//! layer leaves no trace, and the message says what is wrong.

// Helpers of tests fail as tests do; clippy's own exception covers only the tests themselves.
#![allow(clippy::unwrap_used)]

mod corpus;

use std::error::Error;
use std::fs;
use std::io::{Cursor, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use ducc::layer::LayerReader;
use ducc::repository::{Directory, Repository};
use layer_layout::{Digest, RepositoryPath, path};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use corpus::{Case, Found, Node, Outcome, Outside, Snapshot, cases};

/// What a user would read: the error and its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Reads all of a layer.
fn read(case: &Case) -> Result<(), Box<dyn Error>> {
    let mut reader = LayerReader::new(Cursor::new(case.blob.clone()), case.limits)?;
    while reader.next_entry()?.is_some() {
        let mut buffer = [0; 4096];
        while reader.content().read_data(&mut buffer)?.is_some() {}
    }
    reader.finish()?;
    Ok(())
}

/// Publishes a layer with no layers below it.
fn publish(
    repository: &dyn Repository,
    case: &Case,
    place: &RepositoryPath,
) -> Result<(), Box<dyn Error>> {
    let transaction = repository.begin(&mut |text| panic!("{text}"))?;
    let mut writer = transaction.layer_writer(place)?;
    let mut reader = LayerReader::new(Cursor::new(case.blob.clone()), case.limits)?;
    while let Some(entry) = reader.next_entry()? {
        writer.apply(&entry, &mut reader.content())?;
    }
    reader.finish()?;
    let open_ends = writer.finish()?;
    transaction.complete_layer(place, &open_ends, &[])?;
    transaction.commit()?;
    Ok(())
}

/// Checks a result; returns whether the layer was to be accepted.
#[track_caller]
fn judge(case: &Case, result: Result<(), Box<dyn Error>>, unpacked: bool) -> bool {
    let name = &case.name;
    let expected = match &case.outcome {
        Outcome::Refused(text) => Some(text),
        Outcome::NotUnpacked(text) if unpacked => Some(text),
        Outcome::NotUnpacked(_) | Outcome::Unpacked(_) => None,
    };
    match (result, expected) {
        (Ok(()), None) => return true,
        (Err(error), Some(text)) => {
            let got = chain(&*error);
            assert!(got.contains(text), "{name}: {got}");
        }
        (Ok(()), Some(text)) => panic!("{name}: was accepted, should say: {text}"),
        (Err(error), None) => panic!("{name}: {}", chain(&*error)),
    }
    false
}

#[test]
fn read_alone() {
    let outside = Outside::new();
    for case in cases(outside.path()) {
        judge(&case, read(&case), false);
    }
}

#[test]
fn published_in_a_directory() {
    assert!(rustix::process::geteuid().is_root(), "needs root: devices, owners");
    let outside = Outside::new();
    for (number, case) in cases(outside.path()).iter().enumerate() {
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(closed).tempdir().unwrap();
        let repository = Directory::open(directory.path(), None).unwrap();
        // To compare with what every publisher leaves.
        repository.begin(&mut |text| panic!("{text}")).unwrap().commit().unwrap();
        let before = Snapshot::of_content(directory.path());
        let place = path::layerfs(&Digest::of(&number.to_le_bytes()).into());
        let accepted = judge(case, publish(&repository, case, &place), true);
        let touches = case.touches.as_deref().unwrap_or(Path::new("nothing outside"));
        outside.assert_untouched(&format!("{} (aims at {})", case.name, touches.display()));
        if !accepted {
            // A dropped transaction cleans up; what it cannot, the next one does.
            drop(repository.begin(&mut |text| panic!("{text}")).unwrap());
            Snapshot::of_content(directory.path()).assert_same(&before, &case.name);
        }
        if let (true, Outcome::Unpacked(names)) = (accepted, &case.outcome) {
            let layer = fs::File::open(directory.path().join(&place)).unwrap();
            for found in names {
                check(&case.name, &layer.try_clone().unwrap().into(), found);
            }
        }
    }
}

/// Looks at a name of an unpacked layer. Its path may be too long for the host.
fn check(case: &str, layer: &OwnedFd, found: &Found) {
    let shown = found.path.escape_ascii();
    let stat = match rustix::fs::statat(layer, &*found.path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(error) => {
            assert!(found.node == Node::Absent, "{case}: {shown}: {error}");
            return;
        }
    };
    let node = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(layer, &*found.path, flags, Mode::empty()).unwrap();
            let mut content = Vec::new();
            fs::File::from(file).read_to_end(&mut content).unwrap();
            Node::File(content)
        }
        FileType::Directory => Node::Directory,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(layer, &*found.path, Vec::new()).unwrap();
            Node::Symlink(target.into_bytes())
        }
        FileType::CharacterDevice => Node::Device,
        FileType::Fifo => Node::Fifo,
        other => panic!("{case}: {shown}: is {other:?}"),
    };
    assert_eq!(node, found.node, "{case}: {shown}");
}
