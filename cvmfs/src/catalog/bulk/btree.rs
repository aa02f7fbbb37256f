//! Trees of pages, filled from left to right.
//!
//! A tree grows upwards: when a page is full it is written, and its number and last key are noted one level up. The
//! last page of the highest level becomes the root. Sections 1.6 and 2 of the format.

use std::io;
use std::mem;

use super::pages::{Pages, SIZE};
use super::varint;

/// Longest payload that fits wholly into a leaf of a table.
const TABLE_LOCAL: usize = SIZE - 35;
/// … and in an index.
const INDEX_LOCAL: usize = (SIZE - 12) * 64 / 255 - 23;
/// How much of a longer one stays there at least.
const LEAST_LOCAL: usize = (SIZE - 12) * 32 / 255 - 23;
/// Bytes of payload in an overflow page, after the number of the next one.
const OVERFLOW: usize = SIZE - 4;

/// Bytes of a page's number.
const NUMBER: usize = 4;

/// What a page holds.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum PageKind {
    IndexInterior = 2,
    TableInterior = 5,
    IndexLeaf = 10,
    TableLeaf = 13,
}

/// A table whose rows come in the order of their numbers.
pub(in super::super) struct Table {
    tree: Tree,
    rows: i64,
    cell: Vec<u8>,
}

/// An index whose keys come in their order.
pub(in super::super) struct Index {
    tree: Tree,
    cell: Vec<u8>,
}

struct Tree {
    root: u32,
    /// The pages that are being filled, leaves first.
    levels: Vec<Level>,
}

/// The last page of a level.
struct Level {
    page: Page,
    /// The cell that follows a full page. Unless it is the last of all, it goes up and divides that page from the next.
    held: Option<Cell>,
}

/// A page below, if there is a level below, with the key that follows all keys there.
struct Cell {
    child: u32,
    key: Vec<u8>,
}

/// A page that is being filled.
struct Page {
    kind: PageKind,
    cells: Vec<u8>,
    /// Where each cell begins.
    starts: Vec<usize>,
}

impl Table {
    /// Begins a table at a page of the template.
    pub(in super::super) fn new(root: u32) -> Self {
        Self { tree: Tree::new(root, PageKind::TableLeaf), rows: 0, cell: Vec::new() }
    }

    /// Adds a row. Returns its number; rows are numbered from 1.
    pub(in super::super) fn add(&mut self, pages: &mut Pages, row: &[u8]) -> io::Result<i64> {
        let number = self.rows + 1;
        self.cell.clear();
        put_length(row, &mut self.cell);
        varint::put(number, &mut self.cell);
        put_payload(pages, row, TABLE_LOCAL, &mut self.cell)?;
        if !self.tree.levels[0].page.has_room(&self.cell) {
            let leaf = self.tree.levels[0].page.take(0);
            let leaf = pages.append(&leaf)?;
            let mut last = Vec::new();
            varint::put(self.rows, &mut last);
            self.tree.put(pages, 1, Cell { child: leaf, key: last })?;
        }
        self.tree.levels[0].page.put(0, &self.cell);
        self.rows = number;
        Ok(number)
    }

    /// Ends the table.
    pub(in super::super) fn finish(self, pages: &mut Pages) -> io::Result<()> {
        self.tree.finish(pages)
    }
}

impl Index {
    /// Begins an index at a page of the template.
    pub(in super::super) fn new(root: u32) -> Self {
        Self { tree: Tree::new(root, PageKind::IndexLeaf), cell: Vec::new() }
    }

    /// Adds a key, the number of its row at the end.
    pub(in super::super) fn add(&mut self, pages: &mut Pages, key: &[u8]) -> io::Result<()> {
        self.cell.clear();
        put_length(key, &mut self.cell);
        put_payload(pages, key, INDEX_LOCAL, &mut self.cell)?;
        let leaf = &mut self.tree.levels[0];
        if leaf.held.is_none() && leaf.page.has_room(&self.cell) {
            leaf.page.put(0, &self.cell);
            return Ok(());
        }
        self.tree.put(pages, 0, Cell { child: 0, key: self.cell.clone() })
    }

    /// Ends the index.
    pub(in super::super) fn finish(self, pages: &mut Pages) -> io::Result<()> {
        self.tree.finish(pages)
    }
}

/// Appends the length of a payload.
fn put_length(payload: &[u8], cell: &mut Vec<u8>) {
    let length = i64::try_from(payload.len()).expect("no slice is longer than an i64 can tell");
    varint::put(length, cell);
}

/// Appends a payload; what is beyond `local` bytes goes into pages of its own.
fn put_payload(
    pages: &mut Pages,
    payload: &[u8],
    local: usize,
    cell: &mut Vec<u8>,
) -> io::Result<()> {
    if payload.len() <= local {
        cell.extend_from_slice(payload);
        return Ok(());
    }
    let fitting = LEAST_LOCAL + (payload.len() - LEAST_LOCAL) % OVERFLOW;
    let (here, beyond) = payload.split_at(if fitting <= local { fitting } else { LEAST_LOCAL });
    cell.extend_from_slice(here);
    cell.extend_from_slice(&pages.next()?.to_be_bytes());
    let mut pieces = beyond.chunks(OVERFLOW).peekable();
    while let Some(piece) = pieces.next() {
        let mut page = [0; SIZE];
        if pieces.peek().is_some() {
            // The page after this one.
            let next = pages.next()?.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
            page[..NUMBER].copy_from_slice(&next.to_be_bytes());
        }
        page[NUMBER..NUMBER + piece.len()].copy_from_slice(piece);
        pages.append(&page)?;
    }
    Ok(())
}

impl Tree {
    fn new(root: u32, leaf: PageKind) -> Self {
        Self { root, levels: vec![Level::new(leaf)] }
    }

    /// Adds a cell to a level.
    fn put(&mut self, pages: &mut Pages, number: usize, cell: Cell) -> io::Result<()> {
        if number == self.levels.len() {
            let above = self.levels[0].page.kind.above();
            self.levels.push(Level::new(above));
        }
        if let Some(divider) = self.levels[number].held.take() {
            self.divide(pages, number, divider)?;
        }
        let Level { page, held } = &mut self.levels[number];
        if page.has_room(&cell.key) {
            page.put(cell.child, &cell.key);
        } else {
            *held = Some(cell);
        }
        Ok(())
    }

    /// Writes the page of a level, and passes up the cell that divides it from the next.
    fn divide(&mut self, pages: &mut Pages, number: usize, divider: Cell) -> io::Result<()> {
        let page = self.levels[number].page.take(divider.child);
        let page = pages.append(&page)?;
        self.put(pages, number + 1, Cell { child: page, key: divider.key })
    }

    fn finish(mut self, pages: &mut Pages) -> io::Result<()> {
        let mut last = 0;
        let mut number = 0;
        loop {
            if let Some(held) = self.levels[number].held.take() {
                // The last page needs a cell, so the cell before the held one divides.
                if let Some(divider) = self.levels[number].page.pop() {
                    self.divide(pages, number, divider)?;
                }
                self.levels[number].page.put(held.child, &held.key);
            }
            let page = self.levels[number].page.take(last);
            number += 1;
            if number == self.levels.len() {
                return pages.replace(self.root, &page);
            }
            last = pages.append(&page)?;
        }
    }
}

impl Level {
    fn new(kind: PageKind) -> Self {
        let page = Page { kind, cells: Vec::with_capacity(SIZE), starts: Vec::new() };
        Self { page, held: None }
    }
}

impl PageKind {
    /// The kind of the pages above.
    fn above(self) -> Self {
        match self {
            Self::IndexLeaf | Self::IndexInterior => Self::IndexInterior,
            Self::TableLeaf | Self::TableInterior => Self::TableInterior,
        }
    }

    fn is_interior(self) -> bool {
        self == self.above()
    }

    /// Bytes at the beginning of a page.
    fn header(self) -> usize {
        if self.is_interior() { 8 + NUMBER } else { 8 }
    }
}

impl Page {
    /// Bytes of a cell with this key.
    fn cell(&self, key: &[u8]) -> usize {
        key.len() + if self.kind.is_interior() { NUMBER } else { 0 }
    }

    fn has_room(&self, key: &[u8]) -> bool {
        let pointers = 2 * (self.starts.len() + 1);
        self.kind.header() + pointers + self.cells.len() + self.cell(key) <= SIZE
    }

    fn put(&mut self, child: u32, key: &[u8]) {
        self.starts.push(self.cells.len());
        if self.kind.is_interior() {
            self.cells.extend_from_slice(&child.to_be_bytes());
        }
        self.cells.extend_from_slice(key);
    }

    /// Removes the last cell.
    fn pop(&mut self) -> Option<Cell> {
        let mut cell = self.cells.split_off(self.starts.pop()?);
        if !self.kind.is_interior() {
            return Some(Cell { child: 0, key: cell });
        }
        let key = cell.split_off(NUMBER.min(cell.len()));
        Some(Cell { child: u32::from_be_bytes(cell.try_into().ok()?), key })
    }

    /// Returns the page as it is written, and begins another. `last` is the child after all cells.
    fn take(&mut self, last: u32) -> [u8; SIZE] {
        let cells = mem::replace(&mut self.cells, Vec::with_capacity(SIZE));
        let starts = mem::take(&mut self.starts);
        let two = |number: usize| {
            u16::try_from(number).expect("a page is shorter than 64 KiB").to_be_bytes()
        };
        let mut page = [0; SIZE];
        page[0] = self.kind as u8;
        page[3..5].copy_from_slice(&two(starts.len()));
        page[5..7].copy_from_slice(&two(SIZE - cells.len()));
        if self.kind.is_interior() {
            page[8..8 + NUMBER].copy_from_slice(&last.to_be_bytes());
        }
        // As SQLite does it: the first cell at the end of the page, and each other one in front of its predecessor.
        let mut end = SIZE;
        for (number, &start) in starts.iter().enumerate() {
            let cell = &cells[start..starts.get(number + 1).copied().unwrap_or(cells.len())];
            let begin = end - cell.len();
            page[begin..end].copy_from_slice(cell);
            let pointer = self.kind.header() + 2 * number;
            page[pointer..pointer + 2].copy_from_slice(&two(begin));
            end = begin;
        }
        page
    }
}
