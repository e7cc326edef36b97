//! A block's metadata by columns: per top-level key the distinct values, and which row holds which.
//!
//! A condition is evaluated once per distinct value and its outcome mapped to the rows. Knows nothing of conditions;
//! they come as closures.
//!
//! ```text
//! columns = version, rows (varint), columns (varint), column*     keys strictly ascending
//! column  = key (length, UTF-8), distinct (varint), ends, values (length), shape, cells
//! ends    = distinct numbers: where each value ends in values     as wide as the length of values needs
//! values  = the distinct values, each in the binary form of metadata
//! cells   = DENSE:  rows codes: 0 for a row without the key, else the value's position + 1
//!           SPARSE: count (varint), count rows, strictly ascending, count codes
//! ```
//!
//! Numbers without further note are little-endian and 1, 2 or 4 bytes wide: rows as wide as the number of rows needs,
//! codes as the number of distinct values. A column takes the smaller of the two shapes, so keys that few rows share do
//! not make a block grow with rows times keys.

mod builder;
mod packed;
mod row_set;

pub use builder::ColumnsBuilder;
pub use row_set::RowSet;

use crate::layout::{LayoutError, Reader};
use crate::metadata::{self, Metadata, View};
use packed::Packed;
use serde_json::Map;

/// Rows of one block at most: bounds what a bitmap takes.
pub const ROWS_MAX: u32 = 1 << 20;

const LAYOUT: &str = "a block's metadata";
const VERSION: u8 = 1;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;

/// The metadata of a block's rows. Borrows the bytes it was parsed from.
pub struct Columns<'a> {
    rows: u32,
    columns: Vec<Column<'a>>,
}

/// One top-level key.
pub(crate) struct Column<'a> {
    key: &'a str,
    ends: Packed<'a>,
    values: &'a [u8],
    cells: Cells<'a>,
}

enum Cells<'a> {
    Dense(Packed<'a>),
    Sparse { rows: Packed<'a>, codes: Packed<'a> },
}

impl<'a> Columns<'a> {
    /// Reads what [`ColumnsBuilder::finish`] wrote, and checks all of it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(bytes, LAYOUT);
        reader.version(VERSION)?;
        let rows = reader.varint()?;
        let rows = u32::try_from(rows)
            .ok()
            .filter(|rows| *rows <= ROWS_MAX)
            .ok_or(reader.damaged())?;
        let count = reader.len()?;
        let mut columns: Vec<Column<'a>> = Vec::new();
        for _ in 0..count {
            let column = Column::parse(&mut reader, rows)?;
            if columns.last().is_some_and(|last| last.key >= column.key) {
                return Err(reader.damaged());
            }
            columns.push(column);
        }
        reader.finish()?;
        Ok(Self { rows, columns })
    }

    /// Number of rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The metadata of `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn get(&self, row: u32) -> Metadata {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let members = self.columns.iter().filter_map(|column| {
            let value = column.value(column.cells.code(row).checked_sub(1)?);
            Some((column.key.to_owned(), value.to_value()))
        });
        Metadata::from_stored(members.collect::<Map<_, _>>())
    }

    /// The column of a top-level key, if any row has it.
    pub(crate) fn column(&self, key: &str) -> Option<&Column<'a>> {
        let position = self.columns.binary_search_by(|column| column.key.cmp(key)).ok()?;
        Some(&self.columns[position])
    }
}

impl<'a> Column<'a> {
    fn parse(reader: &mut Reader<'a>, rows: u32) -> Result<Self, LayoutError> {
        let key = reader.text()?;
        let distinct = reader.varint()?;
        let distinct = u32::try_from(distinct)
            .ok()
            .filter(|n| (1..=rows).contains(n))
            .ok_or(reader.damaged())?;
        let length = reader.len()?;
        let length_wide = u32::try_from(length).map_err(|_| reader.damaged())?;
        let ends = Packed::read(reader, distinct, length_wide)?;
        let values = reader.bytes(length)?;
        check_values(reader, ends, values)?;
        let cells = Cells::parse(reader, rows, distinct)?;
        Ok(Self {
            key,
            ends,
            values,
            cells,
        })
    }

    /// The rows that have the key with a value for which `test` holds.
    pub(crate) fn rows_where(&self, rows: u32, test: impl Fn(View<'a>) -> bool) -> RowSet {
        let mut outcome = Vec::with_capacity(self.ends.len() + 1);
        outcome.push(false);
        outcome.extend((0..self.ends.len() as u32).map(|position| test(self.value(position))));
        match &self.cells {
            Cells::Dense(codes) => {
                RowSet::from_outcomes(rows, codes.iter().map(|code| outcome[code as usize]))
            }
            Cells::Sparse { rows: holders, codes } => {
                let mut set = RowSet::none(rows);
                for (row, code) in holders.iter().zip(codes.iter()) {
                    set.set(row, outcome[code as usize]);
                }
                set
            }
        }
    }

    fn value(&self, position: u32) -> View<'a> {
        let start = position.checked_sub(1).map_or(0, |before| self.ends.get(before));
        View::of_checked(&self.values[start as usize..])
    }
}

impl<'a> Cells<'a> {
    fn parse(reader: &mut Reader<'a>, rows: u32, distinct: u32) -> Result<Self, LayoutError> {
        let (cells, codes) = match reader.u8()? {
            DENSE => {
                let codes = Packed::read(reader, rows, distinct)?;
                (Cells::Dense(codes), codes)
            }
            SPARSE => {
                let count = reader.varint()?;
                let count = u32::try_from(count)
                    .ok()
                    .filter(|n| *n <= rows)
                    .ok_or(reader.damaged())?;
                let holders = Packed::read(reader, count, rows)?;
                let codes = Packed::read(reader, count, distinct)?;
                if !holders.ascends() || holders.iter().last().is_some_and(|row| row >= rows) {
                    return Err(reader.damaged());
                }
                (Cells::Sparse { rows: holders, codes }, codes)
            }
            _ => return Err(reader.damaged()),
        };
        if codes.iter().all(|code| code <= distinct) {
            Ok(cells)
        } else {
            Err(reader.damaged())
        }
    }

    fn code(&self, row: u32) -> u32 {
        match self {
            Cells::Dense(codes) => codes.get(row),
            Cells::Sparse { rows, codes } => rows.position(row).map_or(0, |position| codes.get(position)),
        }
    }
}

/// Each value must be sound and end where the next begins.
fn check_values(reader: &Reader<'_>, ends: Packed<'_>, values: &[u8]) -> Result<(), LayoutError> {
    let mut left = reader.within(values);
    for end in ends.iter() {
        metadata::check(&mut left, metadata::VALUE_DEPTH)?;
        if values.len() - left.rest().len() != end as usize {
            return Err(reader.damaged());
        }
    }
    left.finish()
}
