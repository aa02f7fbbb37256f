//! The pages of a database that is being written.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt as _;

use super::super::schema::PAGE;

/// Bytes in a page.
pub(super) const SIZE: usize = PAGE as usize;

/// Where the header of the database has the number of pages. Section 1.3 of the format.
const COUNT: std::ops::Range<usize> = 28..32;
/// Bytes that are collected before they are written.
const BUFFER: usize = 256 << 10;

/// The pages of a database: those of a template, some of which are replaced, and new ones after them.
pub(in super::super) struct Pages {
    /// What is not in the file.
    memory: Vec<u8>,
    /// Takes all pages after those of the template.
    file: Option<BufWriter<File>>,
    count: u32,
}

impl Pages {
    /// Begins with the pages of a template. The new ones stay in memory or go into an empty `file`.
    pub(super) fn new(template: &[u8], file: Option<File>) -> io::Result<Self> {
        let mut file = file.map(|file| BufWriter::with_capacity(BUFFER, file));
        if let Some(file) = &mut file {
            file.write_all(template)?;
        }
        let count = u32::try_from(template.len() / SIZE).map_err(io::Error::other)?;
        Ok(Self { memory: template.to_vec(), file, count })
    }

    /// Adds a page. Returns its number; pages are numbered from 1.
    pub(super) fn append(&mut self, page: &[u8; SIZE]) -> io::Result<u32> {
        self.count = self.next()?;
        match &mut self.file {
            Some(file) => file.write_all(page)?,
            None => self.memory.extend_from_slice(page),
        }
        Ok(self.count)
    }

    /// The number that the next page gets.
    pub(super) fn next(&self) -> io::Result<u32> {
        self.count.checked_add(1).ok_or_else(|| io::ErrorKind::FileTooLarge.into())
    }

    /// Replaces a page of the template.
    pub(super) fn replace(&mut self, number: u32, page: &[u8; SIZE]) -> io::Result<()> {
        let end = usize::try_from(number).map_err(io::Error::other)?.saturating_mul(SIZE);
        match end.checked_sub(SIZE).and_then(|start| self.memory.get_mut(start..end)) {
            Some(place) => {
                place.copy_from_slice(page);
                Ok(())
            }
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Ends the database. Returns it if it is in memory.
    pub(in super::super) fn finish(mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(count) = self.memory.get_mut(COUNT) {
            count.copy_from_slice(&self.count.to_be_bytes());
        }
        let Some(file) = self.file else { return Ok(Some(self.memory)) };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(&self.memory, 0)?;
        Ok(None)
    }
}
