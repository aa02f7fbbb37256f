//! Unpacking a layer: its names go into a scratch database, its content on the way into the storage.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use cvmfs_repository::catalog::MARKER;
use cvmfs_repository::objects::Upload;
use layer_layout::RepositoryPath;

use super::area::{Core, Recipe};
use super::attributes::pack;
use super::shortfall::{Shortfall, Shortfalls, has_variable};
use super::staged::Layer;
use crate::layer::{Entry, Kind, LayerPath, Segment};
use crate::repository::{Error, LayerWriter, OpenEnds, Result};

/// After so many files it is asked which are stored.
const COLLECT_AFTER: u32 = 256;

/// Unpacks one layer.
pub(super) struct Writer {
    core: Arc<Core>,
    path: RepositoryPath,
    database: PathBuf,
    layer: Layer,
    upload: Upload,
    /// Files that are on their way since the last look.
    sent: u32,
    has_empty_files: bool,
    shortfalls: Shortfalls,
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, path: RepositoryPath) -> Result<Self> {
        let database = core.database();
        let layer = Layer::create(&database)?;
        let upload = core.objects.upload();
        let shortfalls = Shortfalls::default();
        Ok(Self {
            core,
            path,
            database,
            layer,
            upload,
            sent: 0,
            has_empty_files: false,
            shortfalls,
        })
    }

    fn send(&mut self, path: &LayerPath, number: i64, mut content: Holes<'_>) -> Result<()> {
        let size = content.size;
        self.upload.file(number.cast_unsigned(), size, &mut content).map_err(
            |error| match error {
                cvmfs_repository::Error::Content(cause) => {
                    Error::Content { path: path.clone(), cause }
                }
                error => error.into(),
            },
        )?;
        self.sent += 1;
        if self.sent == COLLECT_AFTER {
            self.sent = 0;
            for (number, file) in self.upload.finished() {
                self.layer.set_content(number.cast_signed(), &file)?;
            }
        }
        Ok(())
    }
}

impl LayerWriter for Writer {
    fn apply(&mut self, entry: &Entry, segments: &[Segment], content: &mut dyn Read) -> Result<()> {
        let attributes = pack(&entry.metadata, &entry.kind, &entry.path, &mut self.shortfalls);
        let number = self.layer.apply(entry, attributes)?;
        let name = entry.path.split().map(|(_, name)| name);
        if name == Some(MARKER) && !matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
            self.shortfalls.count_at(Shortfall::ReservedName, &entry.path);
        }
        match &entry.kind {
            Kind::File { size: 0 } => self.has_empty_files = true,
            Kind::Symlink { target } if has_variable(target) => {
                self.shortfalls.count_at(Shortfall::Variable, &entry.path);
            }
            _ => {}
        }
        match (number, &entry.kind) {
            (Some(number), &Kind::File { size }) => {
                self.send(&entry.path, number, Holes { content, segments, size, at: 0 })
            }
            _ => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<OpenEnds> {
        let Self { core, path, database, mut layer, upload, has_empty_files, shortfalls, .. } =
            *self;
        for (number, file) in upload.wait()? {
            layer.set_content(number.cast_signed(), &file)?;
        }
        if has_empty_files {
            layer.set_empty(&core.objects.store_file(b"")?)?;
        }
        let finished = layer.finish(&database)?;
        core.tally.add(shortfalls);
        core.complete(&path, Recipe::Staged(Arc::new(finished.tree)));
        Ok(finished.open_ends)
    }
}

/// A file's content with the zeros of its holes.
struct Holes<'a> {
    /// The bytes of the segments alone.
    content: &'a mut dyn Read,
    segments: &'a [Segment],
    size: u64,
    at: u64,
}

impl Read for Holes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.segments.first().is_some_and(|segment| segment.end() <= self.at) {
            self.segments = &self.segments[1..];
        }
        let (end, is_hole) = match self.segments.first() {
            Some(segment) if segment.offset <= self.at => (segment.end(), false),
            Some(segment) => (segment.offset, true),
            None => (self.size, true),
        };
        let left = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let read = if is_hole {
            buffer[..wanted].fill(0);
            wanted
        } else {
            self.content.read(&mut buffer[..wanted])?
        };
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_zeros() {
        let segment = |offset, length| Segment { offset, length };
        let cases: [(&[Segment], &str, u64, &[u8]); 6] = [
            (&[], "", 3, b"\0\0\0"),
            (&[], "", 0, b""),
            (&[segment(0, 3)], "abc", 3, b"abc"),
            (&[segment(0, 1), segment(2, 1)], "ab", 4, b"a\0b\0"),
            (&[segment(2, 2)], "ab", 4, b"\0\0ab"),
            // The source is shorter than it should be: so is the content.
            (&[segment(1, 3)], "a", 5, b"\0a"),
        ];
        for (segments, mut content, size, expected) in
            cases.map(|(s, c, n, e)| (s, c.as_bytes(), n, e))
        {
            let mut bytes = Vec::new();
            let mut holes = Holes { content: &mut content, segments, size, at: 0 };
            holes.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, expected, "{segments:?}");
        }
    }
}
