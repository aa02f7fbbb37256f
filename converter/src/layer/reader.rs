//! The entries of a layer, one after another.

use std::io::{self, Read};
use std::sync::Arc;

use layer_layout::DiffId;

use super::blob::Blob;
use super::entry::{Entry, Kind};
use super::error::{EntryName, Error, Result, Within};
use super::header::{self, Block, Header};
use super::limits::Limits;
use super::member::Member;
use super::pax::Records;
use super::pipeline::Pipeline;
use super::sparse::{self, Segment};
use super::stream::{BLOCK, Stream};

/// Reads a layer blob and hands out its checked entries.
///
/// After an error every later call fails, too, so that an overlooked error cannot end in success.
pub struct LayerReader {
    stream: Stream,
    limits: Limits,
    current: Current,
    /// For messages about what follows it.
    last: Option<EntryName>,
    members: u64,
    entries: u64,
    /// Size of all files so far in bytes, holes included.
    file_bytes: u64,
    ended: bool,
    failed: bool,
}

/// Facts about a whole layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The digest of the uncompressed stream, including everything after the tar's end marker.
    pub diff_id: DiffId,
    /// Size of the uncompressed stream, in bytes.
    pub unpacked_bytes: u64,
    /// Entries handed out.
    pub entries: u64,
}

/// The content of the entry handed out last.
struct Current {
    size: u64,
    segments: Arc<[Segment]>,
    /// Index of the first segment that has not been read completely.
    segment: usize,
    /// Offset in the file.
    position: u64,
    /// Bytes of the content that are still in the stream.
    stored: u64,
    /// Bytes that pad the content to a full block.
    padding: u64,
}

impl Current {
    fn none() -> Self {
        Self { size: 0, segments: Arc::from([]), segment: 0, position: 0, stored: 0, padding: 0 }
    }
}

impl LayerReader {
    /// Looks at the first bytes of `blob` to find its compression, and starts a thread that reads and
    /// decompresses it. The thread ends at the blob's end, at an error, or after its next read when this is
    /// dropped.
    ///
    /// # Errors
    /// If the blob cannot be read, or has a compression that layers do not have.
    pub fn new<R: Read + Send + 'static>(blob: R, limits: Limits) -> Result<Self> {
        let pipeline = Pipeline::start(Blob::new(blob, limits.zstd_window_log)?)?;
        Ok(Self {
            stream: Stream::new(pipeline, limits.unpacked_size),
            limits,
            current: Current::none(),
            last: None,
            members: 0,
            entries: 0,
            file_bytes: 0,
            ended: false,
            failed: false,
        })
    }

    /// The next entry; `None` at the end. Any content of the previous entry that has not been read is skipped.
    ///
    /// # Errors
    /// If the blob cannot be read, is not a tar, is hostile, or exceeds a limit.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.guarded(Self::advance)
    }

    /// The content of the file handed out last: exactly its size, holes as zeros. Empty for other kinds.
    ///
    /// Errors of the blob's reader come unchanged; others are an [`Error`] inside an [`io::Error`].
    pub fn content(&mut self) -> Content<'_> {
        Content { reader: self, holes: true }
    }

    /// As [`content`](Self::content), but the bytes of the segments alone, one after another: for a caller
    /// that makes the holes itself.
    pub fn data(&mut self) -> Content<'_> {
        Content { reader: self, holes: false }
    }

    /// Where the file handed out last has data, in order and neither touching nor overlapping; the rest
    /// are holes. Empty for other kinds and for a file without data.
    pub fn content_segments(&self) -> Arc<[Segment]> {
        Arc::clone(&self.current.segments)
    }

    /// Reads everything that is left, entries and what follows the tar's end marker, so that the digests of
    /// blob and content are complete.
    ///
    /// # Errors
    /// As [`next_entry`](Self::next_entry).
    pub fn finish(mut self) -> Result<Summary> {
        while self.next_entry()?.is_some() {}
        let (diff_id, unpacked_bytes) = self.stream.finish()?;
        Ok(Summary { diff_id, unpacked_bytes, entries: self.entries })
    }

    /// Lets nothing succeed after an error. If the tar looks broken, the blob may be damaged; then its
    /// reader's error, with the expected and the actual digest, says more and is returned instead.
    fn guarded<T>(&mut self, action: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.failed {
            return Err(Error::Failed);
        }
        let result = action(self);
        self.failed = result.is_err();
        match result {
            Err(error) if error.may_be_damage() => Err(self.stream.fault().unwrap_or(error)),
            other => other,
        }
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        loop {
            self.skip_content()?;
            if self.ended {
                return Ok(None);
            }
            let Some((member, block)) = self.next_member()? else {
                self.ended = true;
                return Ok(None);
            };
            let entry = self.admit(&member, &block)?;
            self.last = Some(EntryName::new(&member.name));
            if let Some(entry) = entry {
                self.entries += 1;
                return Ok(Some(entry));
            }
        }
    }

    /// Skips what is left of the current content. The padding may be missing at the end of the tar, which
    /// Go's reader accepts: image builders that forgot to close their tar have published such layers.
    fn skip_content(&mut self) -> Result<()> {
        let current = std::mem::replace(&mut self.current, Current::none());
        if self.stream.skip(current.stored)? < current.stored {
            return Err(Error::Truncated { within: self.within_last() });
        }
        self.stream.skip(current.padding)?;
        Ok(())
    }

    /// Reads headers up to and including the first that does not describe the next one.
    fn next_member(&mut self) -> Result<Option<(Member, Block)>> {
        let mut records = Records::default();
        let (mut long_name, mut long_link) = (None, None);
        let mut announced = false;
        loop {
            let Some(block) = self.next_header()? else {
                if announced {
                    return Err(Error::Truncated { within: self.after_last() });
                }
                return Ok(None);
            };
            let header = header::parse(&block)?;
            match header.flag {
                b'x' => {
                    let offset = self.stream.position();
                    records = Records::parse(&self.read_announcement(&header)?, offset)?;
                }
                // It must be well-formed, but is ignored, as in every container engine.
                b'g' => {
                    let offset = self.stream.position();
                    Records::parse(&self.read_announcement(&header)?, offset)?;
                    continue;
                }
                b'L' => long_name = Some(self.read_announcement(&header)?),
                b'K' => long_link = Some(self.read_announcement(&header)?),
                _ => {
                    let member = Member::new(header, records, long_name, long_link)?;
                    return Ok(Some((member, block)));
                }
            }
            announced = true;
        }
    }

    /// The next header; `None` at the end: after two blocks of zeros, or if the stream ends at a block's
    /// boundary or after one block of zeros, which Go's reader accepts.
    fn next_header(&mut self) -> Result<Option<Block>> {
        let mut block = [0; BLOCK];
        for zero_blocks in 0..2 {
            let offset = self.stream.position();
            match self.stream.read_full(&mut block)? {
                0 => return Ok(None),
                BLOCK => {}
                _ => return Err(Error::Truncated { within: self.after_last() }),
            }
            let is_zero = block.iter().all(|&b| b == 0);
            if !is_zero && (zero_blocks == 1 || !header::checksum_fits(&block)) {
                return Err(Error::Checksum { offset, within: self.after_last() });
            }
            if !is_zero {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// The content of a header that describes the next one.
    fn read_announcement(&mut self, header: &Header) -> Result<Vec<u8>> {
        let limit = self.limits.header_size;
        if header.size > limit {
            let what = "the number of bytes of a PAX header or long name";
            return Err(Error::Limit { within: self.after_last(), what, limit });
        }
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        let mut content = vec![0; size];
        if self.stream.read_full(&mut content)? < size {
            return Err(Error::Truncated { within: self.after_last() });
        }
        self.stream.skip(padding(header.size))?;
        Ok(content)
    }

    /// Checks a member against the rules and limits; `None` if it is dropped. Its content is next in the
    /// stream.
    fn admit(&mut self, member: &Member, block: &Block) -> Result<Option<Entry>> {
        self.members += 1;
        let limits = self.limits;
        let exceeds = |what, limit| Error::Limit {
            within: Within::Entry(EntryName::new(&member.name)),
            what,
            limit,
        };
        if self.members > limits.entries {
            return Err(exceeds("the number of entries", limits.entries));
        }
        let stored = member.stored;
        let map = if member.header.flag == b'S' {
            if member.header.format != header::Format::Gnu {
                return Err(member.unknown_type());
            }
            Some(sparse::read_old(&member.name, block, &mut self.stream, limits.header_size)?)
        } else if member.is_file() {
            let records = &member.records;
            let stream = &mut self.stream;
            sparse::read_pax(&member.name, records, stored, stream, limits.header_size)?
        } else {
            None
        };
        let (size, segments, map_size) = match map {
            Some(map) => (map.size, map.check(&member.name, stored)?, map.map_size),
            None => (stored, sparse::whole(stored), 0),
        };
        self.current =
            Current { stored: stored - map_size, padding: padding(stored), ..Current::none() };
        let Some(entry) = member.entry(size)? else {
            return Ok(None);
        };
        if entry.path.components().count() > limits.path_depth {
            return Err(exceeds("the number of path components", limits.path_depth as u64));
        }
        if let Kind::File { size } = entry.kind {
            if size > limits.file_size {
                return Err(exceeds("the number of bytes of a file", limits.file_size));
            }
            self.file_bytes = self.file_bytes.saturating_add(size);
            if self.file_bytes > limits.unpacked_size {
                return Err(exceeds("the number of bytes of all files", limits.unpacked_size));
            }
            self.current.size = size;
            self.current.segments = segments.into();
        }
        Ok(Some(entry))
    }

    fn read_content(&mut self, buffer: &mut [u8], holes: bool) -> Result<usize> {
        let current = &mut self.current;
        loop {
            if current.position == current.size || buffer.is_empty() {
                return Ok(0);
            }
            let segment = current.segments.get(current.segment).copied();
            let data = segment.filter(|segment| segment.offset <= current.position);
            let end = match (data, segment) {
                (Some(segment), _) => segment.end(),
                (None, Some(segment)) => segment.offset,
                (None, None) => current.size,
            };
            if data.is_none() && !holes {
                current.position = end;
                continue;
            }
            let left = usize::try_from(end - current.position).unwrap_or(usize::MAX);
            let space = left.min(buffer.len());
            let buffer = &mut buffer[..space];
            let count = if data.is_some() {
                let count = self.stream.read(buffer)?;
                if count == 0 {
                    return Err(Error::Truncated { within: self.within_last() });
                }
                current.stored -= count as u64;
                count
            } else {
                buffer.fill(0);
                space
            };
            current.position += count as u64;
            if data.is_some() && current.position == end {
                current.segment += 1;
            }
            return Ok(count);
        }
    }

    fn within_last(&self) -> Within {
        self.last.clone().map_or(Within::Start, Within::Entry)
    }

    fn after_last(&self) -> Within {
        self.last.clone().map_or(Within::Start, Within::After)
    }
}

/// How many bytes pad `size` bytes to a full block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// The content of one file, see [`LayerReader::content`].
pub struct Content<'a> {
    reader: &'a mut LayerReader,
    holes: bool,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let holes = self.holes;
        Ok(self.reader.guarded(|reader| reader.read_content(buffer, holes))?)
    }
}
