//! The content of one file, in both forms that a target may want: complete, or the data without the holes.

use std::io::{self, Read};

use super::sparse::Segment;

/// The content of one file, read from front to back.
///
/// As a [`Read`] it is complete: exactly the file's size, holes as zeros. A target that makes holes of its own
/// asks for the [segments](Self::read_data) instead. Both are empty for what is no file. Errors of the
/// source come unchanged.
pub struct Content<'a> {
    progress: &'a mut ContentProgress,
    /// The bytes of the segments alone, one after another.
    data: &'a mut dyn Read,
}

/// Where a file has data, and how far it has been read.
#[derive(Debug)]
pub struct ContentProgress {
    size: u64,
    segments: Box<[Segment]>,
    /// The first segment that is not fully read.
    segment: usize,
    /// In the file.
    position: u64,
}

impl ContentProgress {
    /// The beginning of a file of `size` bytes that has data in these segments, which are in order and neither
    /// touch nor overlap.
    pub fn new(size: u64, segments: impl Into<Box<[Segment]>>) -> Self {
        Self { size, segments: segments.into(), segment: 0, position: 0 }
    }

    /// The beginning of what has no content.
    pub(super) fn nothing() -> Self {
        Self::new(0, [])
    }

    /// How much of `room` the next piece fills, and whether that is a hole.
    fn next_piece(&self, room: usize) -> (usize, bool) {
        let (end, is_hole) = match self.segments.get(self.segment) {
            Some(segment) if segment.offset <= self.position => (segment.end(), false),
            Some(segment) => (segment.offset, true),
            None => (self.size, true),
        };
        let left = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        (left.min(room), is_hole)
    }

    fn advance(&mut self, count: usize) {
        self.position += count as u64;
        if self.segments.get(self.segment).is_some_and(|segment| segment.end() == self.position) {
            self.segment += 1;
        }
    }
}

impl<'a> Content<'a> {
    /// The rest of a file's content; `data` holds the bytes of the segments alone, one after another.
    pub fn new(progress: &'a mut ContentProgress, data: &'a mut dyn Read) -> Self {
        Self { progress, data }
    }

    /// Where the file has data, in order and neither touching nor overlapping; the rest are holes.
    pub fn segments(&self) -> &[Segment] {
        &self.progress.segments
    }

    /// Passes over a hole and reads the data behind it: as much as `buffer` takes, but of one segment only.
    /// Gives the offset in the file and the bytes; `None` when no more data follows.
    ///
    /// # Errors
    /// If the source fails or ends early.
    pub fn read_data<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<Option<(u64, &'b [u8])>> {
        let Some(segment) = self.progress.segments.get(self.progress.segment) else {
            return Ok(None);
        };
        self.progress.position = self.progress.position.max(segment.offset);
        let offset = self.progress.position;
        let (count, _) = self.progress.next_piece(buffer.len());
        let bytes = &mut buffer[..count];
        self.data.read_exact(bytes)?;
        self.progress.advance(count);
        Ok(Some((offset, bytes)))
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, is_hole) = self.progress.next_piece(buffer.len());
        let piece = &mut buffer[..count];
        let count = if is_hole {
            piece.fill(0);
            count
        } else {
            self.data.read(piece)?
        };
        self.progress.advance(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(offset: u64, length: u64) -> Segment {
        Segment { offset, length }
    }

    #[test]
    fn holes_are_zeros() {
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
            let mut progress = ContentProgress::new(size, segments);
            Content::new(&mut progress, &mut content).read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, expected, "{segments:?}");
        }
    }

    #[test]
    fn data_comes_without_holes() {
        let mut progress = ContentProgress::new(1 << 40, [segment(2, 3), segment(1 << 30, 1)]);
        let mut source: &[u8] = b"abcd";
        let mut content = Content::new(&mut progress, &mut source);
        let mut buffer = [0; 2];
        let mut pieces = Vec::new();
        while let Some((offset, bytes)) = content.read_data(&mut buffer).unwrap() {
            pieces.push((offset, bytes.to_vec()));
        }
        let expected = [(2, b"ab".to_vec()), (4, b"c".to_vec()), (1 << 30, b"d".to_vec())];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn one_form_goes_on_where_the_other_stopped() {
        let mut progress = ContentProgress::new(9, [segment(2, 3), segment(7, 1)]);
        let mut source: &[u8] = b"abcd";
        let mut content = Content::new(&mut progress, &mut source);
        let mut start = [9; 3];
        content.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"\0\0a");
        assert_eq!(content.read_data(&mut [0; 9]).unwrap(), Some((3, b"bc".as_slice())));
        let mut rest = Vec::new();
        content.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"\0\0d\0");
    }

    #[test]
    fn data_that_ends_early_is_an_error() {
        let mut progress = ContentProgress::new(9, [segment(0, 9)]);
        let mut source: &[u8] = b"abc";
        let error = Content::new(&mut progress, &mut source).read_data(&mut [0; 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
