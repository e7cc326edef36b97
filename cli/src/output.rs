//! How operators' commands print what they found or did: as a table for people, as JSON for programs.

use clap::ValueEnum;
use serde_json::Value;
use std::io::{ErrorKind, Write};

/// For whom to print.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What a command found or did, for people and for programs.
pub(crate) struct Outcome {
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Output {
    /// Prints to standard output.
    pub(crate) fn print(self, outcome: &Outcome) {
        let printed = match self {
            Self::Table => std::io::stdout().write_all(outcome.text.as_bytes()),
            Self::Json => writeln!(std::io::stdout(), "{:#}", outcome.json),
        };
        // Whoever closes the pipe has read enough.
        if let Err(error) = printed
            && error.kind() != ErrorKind::BrokenPipe
        {
            eprintln!("error: cannot print: {error}");
        }
    }
}

/// A line for each row, with columns as wide as their widest cell.
pub(crate) fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A name may hold anything, also what moves a terminal's cursor.
pub(crate) fn printable(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "bcd", ""], ["ef", "g", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), ["a   bcd", "ef  g"]);
        assert_eq!(printable("a\u{1b}[2J"), "a\u{fffd}[2J");
    }
}
