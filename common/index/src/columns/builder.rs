//! Collects the metadata of a block's rows into columns.

use super::packed::{self, width};
use super::{DENSE, ROWS_MAX, SPARSE, VERSION};
use crate::layout::{put_prefixed, put_varint};
use crate::metadata::{Metadata, put_value};
use std::collections::{BTreeMap, HashMap};

/// Takes one row after the other.
#[derive(Default)]
pub struct ColumnsBuilder {
    rows: u32,
    bytes: usize,
    columns: BTreeMap<String, Column>,
    scratch: Vec<u8>,
}

#[derive(Default)]
struct Column {
    /// Encoded value to its code, counted from 1 in the order of appearance.
    codes: HashMap<Box<[u8]>, u32>,
    values: Vec<u8>,
    ends: Vec<u32>,
    /// Row and code of each row that has the key.
    cells: Vec<(u32, u32)>,
}

impl ColumnsBuilder {
    /// Adds the next row.
    ///
    /// # Panics
    /// Beyond [`ROWS_MAX`] rows, or when the distinct values of a key exceed 4 GiB.
    pub fn push(&mut self, metadata: &Metadata) {
        assert!(self.rows < ROWS_MAX, "a block has at most {ROWS_MAX} rows");
        for (key, value) in metadata.as_map() {
            self.scratch.clear();
            put_value(&mut self.scratch, value);
            if !self.columns.contains_key(key) {
                self.columns.insert(key.clone(), Column::default());
                self.bytes += key.len();
            }
            let column = self.columns.get_mut(key).expect("inserted if it was not there");
            self.bytes += column.push(self.rows, &self.scratch);
        }
        self.rows += 1;
    }

    /// Rows so far.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// About how many bytes [`ColumnsBuilder::finish`] would write now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The columns as [`super::Columns::parse`] reads them.
    pub fn finish(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(&mut out, self.rows.into());
        put_varint(&mut out, self.columns.len() as u64);
        for (key, column) in &self.columns {
            put_prefixed(&mut out, key.as_bytes());
            column.put(&mut out, self.rows);
        }
        out
    }
}

impl Column {
    /// Adds a cell; returns about how many bytes it takes.
    fn push(&mut self, row: u32, value: &[u8]) -> usize {
        if let Some(code) = self.codes.get(value) {
            self.cells.push((row, *code));
            return 1;
        }
        self.values.extend_from_slice(value);
        self.ends
            .push(u32::try_from(self.values.len()).expect("values of a key stay below 4 GiB"));
        let code = self.ends.len() as u32;
        self.codes.insert(value.into(), code);
        self.cells.push((row, code));
        value.len() + 3
    }

    fn put(&self, out: &mut Vec<u8>, rows: u32) {
        let (distinct, length) = (self.ends.len() as u32, self.values.len() as u32);
        put_varint(out, distinct.into());
        put_varint(out, length.into());
        packed::put(out, self.ends.iter().copied(), length);
        out.extend_from_slice(&self.values);
        if self.cells.len() * (width(rows) + width(distinct)) < rows as usize * width(distinct) {
            out.push(SPARSE);
            put_varint(out, self.cells.len() as u64);
            packed::put(out, self.cells.iter().map(|(row, _)| *row), rows);
            packed::put(out, self.cells.iter().map(|(_, code)| *code), distinct);
        } else {
            out.push(DENSE);
            let mut codes = vec![0; rows as usize];
            for (row, code) in &self.cells {
                codes[*row as usize] = *code;
            }
            packed::put(out, codes.into_iter(), distinct);
        }
    }
}
