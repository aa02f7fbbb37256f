//! Files with holes.

use std::os::unix::fs::FileExt;

use super::{TestDirectory, layerfs};
use crate::layer::{ContentProgress, Kind, Segment};
use crate::repository::Error;
use crate::repository::tests::describe::file;
use crate::repository::tests::{apply, apply_sparse};

#[test]
fn holes_stay_holes() {
    use std::os::unix::fs::MetadataExt;
    let scene = TestDirectory::new();
    let transaction = scene.begin();
    let mut writer = transaction.layer_writer(&layerfs("x")).unwrap();
    let (mut entry, _) = file("sparse", "");
    let size = 1 << 30;
    entry.kind = Kind::File { size };
    let segments =
        [Segment { offset: 1 << 20, length: 3 }, Segment { offset: 500 << 20, length: 2 }];
    apply_sparse(&mut *writer, &entry, ContentProgress::new(size, segments), b"abcde").unwrap();
    let (mut short, _) = file("short", "");
    short.kind = Kind::File { size: 9 };
    let error = apply(&mut *writer, &short, b"abc").unwrap_err();
    assert!(matches!(error, Error::Content { .. }), "{error:?}");
    writer.finish().unwrap();
    let path = scene.staged(&layerfs("x")).join("sparse");
    let metadata = path.metadata().unwrap();
    assert_eq!(metadata.len(), size);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    let file = std::fs::File::open(path).unwrap();
    let mut data = [9; 5];
    file.read_exact_at(&mut data, (1 << 20) - 1).unwrap();
    assert_eq!(&data, b"\0abc\0");
    file.read_exact_at(&mut data, 500 << 20).unwrap();
    assert_eq!(&data, b"de\0\0\0");
}
