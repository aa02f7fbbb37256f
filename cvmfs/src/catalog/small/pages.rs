//! SQLite databases read page by page, as far as a small catalog needs it: whole tables, in the order of their rows.
//!
//! What is not as this crate's own catalogs have it is no error here, but nothing (`None`): SQLite reads such a database
//! then, or says what is wrong with it.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, sections 1.3, 1.6 and 2.

use std::collections::BTreeMap;
use std::ops::Range;

use rusqlite::types::ValueRef;

/// Bytes before the header of the first page.
const FILE_HEADER: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Kinds of pages: of tables, with the numbers of pages below or with rows.
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// The longest way down: more rows than a small database can hold.
const DEEPEST: usize = 16;

/// A row: its number, and where its record is in the database.
pub(super) type Place = (i64, Range<usize>);

/// Tables by their names: the page that each begins at, and the statement that made it.
pub(super) type Tables<'a> = BTreeMap<&'a [u8], (u32, &'a [u8])>;

/// The pages of a database.
pub(super) struct Pages<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Pages<'a> {
    /// The pages of a database that is stored in the usual way: UTF-8, no write-ahead log, nothing reserved.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..FILE_HEADER)?;
        let size = match usize::from(u16::from_be_bytes(array(header, 16)?)) {
            1 => 65_536,
            size if size.is_power_of_two() && size >= 512 => size,
            _ => return None,
        };
        let pages = u32::from_be_bytes(array(header, 28)?);
        let is_usual = header.starts_with(MAGIC)
            && header[18..21] == [1, 1, 0]
            && u32::from_be_bytes(array(header, 56)?) == 1
            // Whoever wrote it last has counted the pages.
            && header[24..28] == header[92..96]
            && (pages as usize).checked_mul(size)? == bytes.len();
        is_usual.then_some(Self { bytes, size })
    }

    /// The tables; `None` if there are views or triggers.
    pub(super) fn tables(&self) -> Option<Tables<'a>> {
        let mut tables = BTreeMap::new();
        for (_, place) in self.table(1)? {
            let values = record::<5>(self.bytes.get(place)?)?;
            match values {
                [
                    ValueRef::Text(b"table"),
                    ValueRef::Text(name),
                    _,
                    ValueRef::Integer(root),
                    ValueRef::Text(sql),
                ] => tables.insert(name, (root.try_into().ok()?, sql)).is_none().then_some(())?,
                [ValueRef::Text(b"index"), ..] => {}
                _ => return None,
            }
        }
        Some(tables)
    }

    /// The rows of the table that begins at a page, in the order of their numbers.
    pub(super) fn table(&self, root: u32) -> Option<Vec<Place>> {
        let mut rows = Vec::new();
        let mut budget = self.bytes.len() / self.size;
        self.walk(root, DEEPEST, &mut budget, &mut rows)?;
        let is_sorted = rows.windows(2).all(|pair: &[Place]| pair[0].0 < pair[1].0);
        is_sorted.then_some(rows)
    }

    /// Collects the rows below a page. No page is visited twice, so `budget` is how many there are.
    fn walk(
        &self,
        number: u32,
        depth: usize,
        budget: &mut usize,
        rows: &mut Vec<Place>,
    ) -> Option<()> {
        *budget = budget.checked_sub(1)?;
        let depth = depth.checked_sub(1)?;
        let begin = (number.checked_sub(1)? as usize).checked_mul(self.size)?;
        let page = self.bytes.get(begin..begin.checked_add(self.size)?)?;
        let header = if number == 1 { FILE_HEADER } else { 0 };
        let kind = *page.get(header)?;
        let cells = usize::from(u16::from_be_bytes(array(page, header + 3)?));
        let pointers = match kind {
            LEAF => header + 8,
            INTERIOR => header + 12,
            _ => return None,
        };
        for cell in 0..cells {
            let at = usize::from(u16::from_be_bytes(array(page, pointers + 2 * cell)?));
            if kind == INTERIOR {
                self.walk(u32::from_be_bytes(array(page, at)?), depth, budget, rows)?;
                continue;
            }
            let (length, at) = varint(page, at)?;
            let (row, at) = varint(page, at)?;
            let length = usize::try_from(length).ok()?;
            // A longer one goes on in other pages.
            if length > self.size - 35 || at.checked_add(length)? > self.size {
                return None;
            }
            rows.push((row, begin + at..begin + at + length));
        }
        if kind == INTERIOR {
            let last = u32::from_be_bytes(array(page, header + 8)?);
            self.walk(last, depth, budget, rows)?;
        }
        Some(())
    }
}

/// The values of a record that has exactly so many.
pub(super) fn record<const N: usize>(record: &[u8]) -> Option<[ValueRef<'_>; N]> {
    let (length, mut at) = varint(record, 0)?;
    let types = record.get(..usize::try_from(length).ok()?)?;
    let mut rest = record.get(types.len()..)?;
    let mut values = [ValueRef::Null; N];
    for value in &mut values {
        let kind;
        (kind, at) = varint(types, at)?;
        let mut integer = |width: usize| {
            let (bytes, after) = rest.split_at_checked(width)?;
            rest = after;
            let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
            let mut all = [if negative { 0xff } else { 0 }; 8];
            all[8 - width..].copy_from_slice(bytes);
            Some(i64::from_be_bytes(all))
        };
        *value = match kind {
            0 => ValueRef::Null,
            1..=4 => ValueRef::Integer(integer(usize::try_from(kind).ok()?)?),
            5 => ValueRef::Integer(integer(6)?),
            6 => ValueRef::Integer(integer(8)?),
            7 => ValueRef::Real(f64::from_bits(integer(8)?.cast_unsigned())),
            8 => ValueRef::Integer(0),
            9 => ValueRef::Integer(1),
            12.. => {
                let (bytes, after) =
                    rest.split_at_checked(usize::try_from((kind - 12) / 2).ok()?)?;
                rest = after;
                if kind % 2 == 0 { ValueRef::Blob(bytes) } else { ValueRef::Text(bytes) }
            }
            _ => return None,
        };
    }
    (at == types.len() && rest.is_empty()).then_some(values)
}

/// A number of 1 to 9 bytes, and where it ends.
fn varint(bytes: &[u8], begin: usize) -> Option<(i64, usize)> {
    let mut number = 0_u64;
    for at in 0..8 {
        let byte = *bytes.get(begin + at)?;
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number.cast_signed(), begin + at + 1));
        }
    }
    number = number << 8 | u64::from(*bytes.get(begin + 8)?);
    Some((number.cast_signed(), begin + 9))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn values_are_those_of_the_format() {
        let long = vec![b'z'; 200];
        let query = "SELECT NULL, 0, 1, -1, 127, -129, 8388607, -2147483648, 140737488355327, \
                     -9223372036854775808, 0.5, x'', x'0001', '', ?1";
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("PRAGMA page_size = 1024").unwrap();
        connection
            .execute(&format!("CREATE TABLE t AS {query}"), [std::str::from_utf8(&long).unwrap()])
            .unwrap();
        let mut connection = connection;
        let database = connection.serialize("main").unwrap().to_vec();
        let pages = Pages::of(&database).unwrap();
        let (root, _) = pages.tables().unwrap()[&b"t"[..]];
        let rows = pages.table(root).unwrap();
        let [(1, place)] = &rows[..] else { panic!("{rows:?}") };
        let values = record::<15>(&database[place.clone()]).unwrap();
        let integers =
            [0, 1, -1, 127, -129, 8_388_607, -2_147_483_648, 140_737_488_355_327, i64::MIN];
        assert_eq!(values[0], ValueRef::Null);
        assert_eq!(values[1..10], integers.map(ValueRef::Integer));
        assert_eq!(values[10], ValueRef::Real(0.5));
        assert_eq!(values[11..13], [ValueRef::Blob(b""), ValueRef::Blob(&[0, 1])]);
        assert_eq!(values[13..], [ValueRef::Text(b""), ValueRef::Text(&long)]);
        // Fewer or more values than expected are not taken.
        assert!(record::<14>(&database[place.clone()]).is_none());
        assert!(record::<16>(&database[place.clone()]).is_none());
    }
}
