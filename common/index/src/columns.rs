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
const DAMAGED: LayoutError = LayoutError::Damaged(LAYOUT);

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
    /// Reads what [`ColumnsBuilder::finish`] wrote. Values are checked when they are asked for, so that a filter costs
    /// next to nothing for the columns it does not name.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(bytes, LAYOUT);
        reader.version(VERSION)?;
        let rows = reader.count(ROWS_MAX)?;
        let mut columns: Vec<Column<'a>> = Vec::new();
        for _ in 0..reader.len()? {
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
    pub fn get(&self, row: u32) -> Result<Metadata, LayoutError> {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let mut members = Map::new();
        for column in &self.columns {
            if let Some(value) = column.get(row)? {
                members.insert(column.key.to_owned(), value.to_value());
            }
        }
        Ok(Metadata::from_stored(members))
    }

    /// The rows that have `key` with a value for which `test` holds.
    pub(crate) fn rows_where(
        &self,
        key: &str,
        test: impl Fn(View<'a>) -> bool,
    ) -> Result<RowSet, LayoutError> {
        match self.columns.binary_search_by(|column| column.key.cmp(key)) {
            Ok(position) => self.columns[position].rows_where(self.rows, test),
            Err(_) => Ok(RowSet::none(self.rows)),
        }
    }
}

impl<'a> Column<'a> {
    fn parse(reader: &mut Reader<'a>, rows: u32) -> Result<Self, LayoutError> {
        let key = reader.text()?;
        let distinct = reader.count(rows)?;
        let length = reader.count(u32::MAX)?;
        let ends = Packed::read(reader, distinct, length)?;
        let values = reader.bytes(length as usize)?;
        let (cells, codes) = match reader.u8()? {
            DENSE => {
                let codes = Packed::read(reader, rows, distinct)?;
                (Cells::Dense(codes), codes)
            }
            SPARSE => {
                let count = reader.count(rows)?;
                let (holders, codes) = (
                    Packed::read(reader, count, rows)?,
                    Packed::read(reader, count, distinct)?,
                );
                if !holders.ascends() || holders.max() >= Some(rows) {
                    return Err(DAMAGED);
                }
                (Cells::Sparse { rows: holders, codes }, codes)
            }
            _ => return Err(DAMAGED),
        };
        if codes.max() > Some(distinct) {
            return Err(DAMAGED);
        }
        Ok(Self {
            key,
            ends,
            values,
            cells,
        })
    }

    fn get(&self, row: u32) -> Result<Option<View<'a>>, LayoutError> {
        let code = match &self.cells {
            Cells::Dense(codes) => codes.get(row),
            Cells::Sparse { rows, codes } => rows.position(row).and_then(|position| codes.get(position)),
        };
        let Some(position) = code.and_then(|code| code.checked_sub(1)) else {
            return Ok(None);
        };
        let end = |position| self.ends.get(position).map(|end| end as usize);
        let start = position.checked_sub(1).map_or(Some(0), end);
        let bytes = start
            .zip(end(position))
            .and_then(|(start, end)| self.values.get(start..end))
            .ok_or(DAMAGED)?;
        let mut reader = Reader::new(bytes, LAYOUT);
        let value = metadata::check(&mut reader, metadata::VALUE_DEPTH)?;
        reader.finish()?;
        Ok(Some(value))
    }

    /// Calls `test` once per distinct value.
    fn rows_where(&self, rows: u32, test: impl Fn(View<'a>) -> bool) -> Result<RowSet, LayoutError> {
        let mut outcomes = Vec::with_capacity(self.ends.len() + 1);
        outcomes.push(false);
        let mut reader = Reader::new(self.values, LAYOUT);
        for end in self.ends.iter() {
            outcomes.push(test(metadata::check(&mut reader, metadata::VALUE_DEPTH)?));
            if reader.rest().len() + end as usize != self.values.len() {
                return Err(DAMAGED);
            }
        }
        reader.finish()?;
        Ok(match &self.cells {
            Cells::Dense(codes) => {
                RowSet::from_outcomes(rows, codes.iter().map(|code| outcomes[code as usize]))
            }
            Cells::Sparse { rows: holders, codes } => {
                let mut set = RowSet::none(rows);
                let holders = holders.iter().zip(codes.iter());
                holders
                    .filter(|(_, code)| outcomes[*code as usize])
                    .for_each(|(row, _)| set.insert(row));
                set
            }
        })
    }
}
