//! Any columns as a row of a catalog: refused, or an entry that is written so that it is read again.
#![no_main]

use cvmfs_repository::catalog::Mount;
use cvmfs_repository::catalog::row::{Columns, Location};
use cvmfs_repository::entry::{EntryKind, Links};
use cvmfs_repository_fuzz::RowInput;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let input = RowInput::read(bytes);
    assert_eq!(RowInput::read(&input.write()), input);
    let chunks = input.chunks();
    let Ok(mut row) = input.columns().decode(1, &chunks) else { return };
    // What the writer makes regular.
    if row.entry.links.group == 0 {
        row.entry.links = Links::ONE;
    }
    if row.entry.is_directory() {
        assert_eq!(row.entry.links, Links::ONE);
    } else {
        row.mount = Mount::None;
        row.links = row.entry.links.count;
    }
    let location = Location { path: row.path, parent: row.parent, name: &row.name };
    let columns = Columns::encode(location, &row.entry, row.mount, row.links);
    let again = columns.decode(1, &chunks).expect("our own row is read");
    match row.entry.kind {
        // Their size has no meaning, or that of the target's length.
        EntryKind::Directory | EntryKind::Symlink(_) | EntryKind::Fifo | EntryKind::Socket => {
            row.size = again.size
        }
        _ => {}
    }
    assert_eq!(again, row);
});
