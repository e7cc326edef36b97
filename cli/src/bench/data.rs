//! Brings together what a run needs: vectors to store, queries, and the exact answers. It knows no server.

use super::args::BenchArgs;
use super::error::BenchError;
use super::format::FormatError;
use super::rng::Rng;
use super::rows::Rows;
use super::truth::{self, Neighbour};
use super::{fvecs, npy};
use crate::progress;
use indicatif::ProgressBar;
use sealdex_core::Metric;
use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Queries of a given truth that are computed afresh, to see that the truth belongs to the data.
const TRUTH_CHECKS: usize = 3;

/// The random stream that chooses which rows are held out.
const HOLDOUT_STREAM: u64 = u64::MAX;

/// What is stored, what is asked, and what the answers should be.
pub(super) struct Dataset {
    pub(super) metric: Metric,
    /// Row number = id.
    pub(super) stored: Rows<f32>,
    pub(super) queries: Rows<f32>,
    /// Nearest first, per query; at least k, or all that there are.
    pub(super) truth: Vec<Vec<Neighbour>>,
    /// Numbers per vector before padding.
    pub(super) own_dimension: usize,
}

impl Dataset {
    /// Reads or makes the data, then reads or computes the truth.
    pub(super) fn prepare(args: &BenchArgs) -> Result<Self, BenchError> {
        let (stored, mut queries) = vectors(args)?;
        if let Some(count) = args.max_queries {
            queries = queries.filtered(|row| row < count);
        }
        let own_dimension = stored.width();
        let width = padded_width(args, own_dimension)?;
        let (stored, queries) = (stored.padded(width), queries.padded(width));
        let truth = match &args.truth {
            Some(path) => given_truth(path, args, &stored, &queries)?,
            None => {
                let progress = progress::bar(queries.len(), "exact neighbours");
                truth::nearest(
                    args.metric,
                    &stored,
                    None,
                    &queries,
                    args.k.max(truth::INTRINSIC_NEIGHBOURS),
                    &progress,
                )
            }
        };
        Ok(Self {
            metric: args.metric,
            stored,
            queries,
            truth,
            own_dimension,
        })
    }
}

fn vectors(args: &BenchArgs) -> Result<(Rows<f32>, Rows<f32>), BenchError> {
    let limit = args.limit.unwrap_or(usize::MAX);
    match (&args.data, &args.queries) {
        (Some(data), Some(queries)) => {
            let (stored, asked) = (read_vectors(data, limit)?, read_vectors(queries, usize::MAX)?);
            if stored.width() != asked.width() {
                let (a, b) = (stored.width(), asked.width());
                return Err(BenchError::Mismatch(format!(
                    "the data have {a} numbers per vector and the queries {b}; give files of one embedding"
                )));
            }
            Ok((stored, asked))
        }
        (Some(data), None) => hold_out(read_vectors(data, limit)?, args),
        (None, _) => {
            let mut shape = args.generate;
            shape.rows = shape.rows.min(limit);
            Ok(shape.generate(args.seed, args.holdout))
        }
    }
}

/// Takes rows out at random, so that data in any order give fair queries. The rest is numbered anew.
fn hold_out(all: Rows<f32>, args: &BenchArgs) -> Result<(Rows<f32>, Rows<f32>), BenchError> {
    if args.holdout >= all.len() {
        let problem = format!("must be below the number of vectors, which is {}", all.len());
        return Err(BenchError::Argument {
            name: "--holdout",
            problem,
        });
    }
    let mut rng = Rng::new(args.seed, HOLDOUT_STREAM);
    let mut out = HashSet::new();
    while out.len() < args.holdout {
        out.insert(rng.below(all.len()));
    }
    Ok((
        all.filtered(|row| !out.contains(&row)),
        all.filtered(|row| out.contains(&row)),
    ))
}

fn padded_width(args: &BenchArgs, own: usize) -> Result<usize, BenchError> {
    match args.pad_to {
        Some(width) if width < own => {
            let problem = format!("must be at least the data's own dimension, {own}");
            Err(BenchError::Argument {
                name: "--pad-to",
                problem,
            })
        }
        width => Ok(width.unwrap_or(own)),
    }
}

fn given_truth(
    path: &Path,
    args: &BenchArgs,
    stored: &Rows<f32>,
    queries: &Rows<f32>,
) -> Result<Vec<Vec<Neighbour>>, BenchError> {
    let misfit = |what: String| {
        BenchError::Mismatch(format!(
            "{}: {what}; leave out --truth to compute it",
            path.display()
        ))
    };
    let rows = read_neighbours(path, queries.len())?;
    if rows.len() < queries.len() || rows.width() < args.k.min(stored.len()) {
        let (rows, width) = (rows.len(), rows.width());
        return Err(misfit(format!(
            "it has {rows} rows of {width} neighbours, too few for queries and --k"
        )));
    }
    if let Some(row) = rows.values().iter().find(|row| **row as usize >= stored.len()) {
        return Err(misfit(format!(
            "it names row {row}, but there are {} vectors",
            stored.len()
        )));
    }
    let truth: Vec<Vec<Neighbour>> = queries
        .iter()
        .zip(rows.iter())
        .map(|(query, rows)| {
            let exact = |row: &u32| truth::distance(args.metric, query, stored.row(*row as usize));
            let mut all: Vec<_> = rows
                .iter()
                .map(|row| Neighbour {
                    row: *row,
                    distance: exact(row),
                })
                .collect();
            all.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.row.cmp(&b.row)));
            all
        })
        .collect();
    let first = queries.filtered(|row| row < TRUTH_CHECKS);
    let k = args.k.min(rows.width());
    let checked = truth::nearest(args.metric, stored, None, &first, k, &ProgressBar::hidden());
    for (given, computed) in truth.iter().zip(&checked) {
        if given[..computed.len()]
            .iter()
            .zip(computed)
            .any(|(a, b)| a.distance > b.distance * (1.0 + 1e-6))
        {
            return Err(misfit(
                "it holds farther rows than the exact neighbours; other data or metric?".into(),
            ));
        }
    }
    Ok(truth)
}

fn read_vectors(path: &Path, limit: usize) -> Result<Rows<f32>, BenchError> {
    let read = || {
        let (file, length) = open(path)?;
        let rows = match extension(path) {
            "npy" => npy::read_vectors(file, length, limit),
            "fvecs" => fvecs::read_vectors(file, length, limit),
            _ => Err(FormatError::Extension {
                wanted: ".npy or .fvecs",
            }),
        }?;
        let unfit = rows
            .iter()
            .position(|row| row.iter().any(|value| !value.is_finite()));
        unfit.map_or(Ok(rows), |row| Err(FormatError::NotFinite { row }))
    };
    read().map_err(|source| BenchError::File {
        path: path.into(),
        source,
    })
}

fn read_neighbours(path: &Path, limit: usize) -> Result<Rows<u32>, BenchError> {
    let read = || {
        let (file, length) = open(path)?;
        match extension(path) {
            "npy" => npy::read_neighbours(file, length, limit),
            "ivecs" => fvecs::read_neighbours(file, length, limit),
            _ => Err(FormatError::Extension {
                wanted: ".npy or .ivecs",
            }),
        }
    };
    read().map_err(|source| BenchError::File {
        path: path.into(),
        source,
    })
}

fn open(path: &Path) -> Result<(BufReader<File>, u64), FormatError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((BufReader::with_capacity(1 << 20, file), length))
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::args::parse;
    use super::*;

    /// Writes rows as `.fvecs` or `.ivecs`.
    fn write<T: Copy>(path: &Path, rows: &[&[T]], bytes: impl Fn(T) -> [u8; 4]) -> String {
        let mut file = Vec::new();
        for row in rows {
            file.extend_from_slice(&(row.len() as i32).to_le_bytes());
            file.extend(row.iter().flat_map(|value| bytes(*value)));
        }
        std::fs::write(path, file).unwrap();
        path.display().to_string()
    }

    fn prepare(line: &str) -> Result<Dataset, BenchError> {
        Dataset::prepare(&parse(line).unwrap())
    }

    #[test]
    fn files_are_read_padded_and_their_truth_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let data = write(
            &file("d.fvecs"),
            &[&[0.0, 0.0], &[3.0, 4.0], &[6.0, 8.0]],
            f32::to_le_bytes,
        );
        let queries = write(&file("q.fvecs"), &[&[0.0, 1.0]], f32::to_le_bytes);
        let line = format!("--data {data} --queries {queries} --k 2 --pad-to 5");
        let computed = prepare(&line).unwrap();
        assert_eq!((computed.stored.width(), computed.own_dimension), (5, 2));
        assert_eq!(
            computed.truth[0].iter().map(|n| n.row).collect::<Vec<_>>(),
            [0, 1, 2]
        );

        let right = write(&file("right.ivecs"), &[&[0, 1]], i32::to_le_bytes);
        let given = prepare(&format!("{line} --truth {right}")).unwrap();
        assert_eq!(given.truth[0], computed.truth[0][..2]);
        for (name, rows) in [
            ("wrong.ivecs", &[0, 2][..]),
            ("foreign.ivecs", &[0, 9]),
            ("short.ivecs", &[0]),
        ] {
            let truth = write(&file(name), &[rows], i32::to_le_bytes);
            let error = prepare(&format!("{line} --truth {truth}"))
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains("leave out --truth"), "{name}: {error}");
        }
    }

    #[test]
    fn queries_are_held_out_and_missing_or_unfit_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let rows: Vec<[f32; 1]> = (0..40).map(|row| [row as f32]).collect();
        let rows: Vec<&[f32]> = rows.iter().map(|row| &row[..]).collect();
        let data = write(&dir.path().join("d.fvecs"), &rows, f32::to_le_bytes);
        let held = prepare(&format!("--data {data} --holdout 10")).unwrap();
        assert_eq!((held.stored.len(), held.queries.len()), (30, 10));
        assert!(
            held.queries
                .values()
                .iter()
                .all(|query| !held.stored.values().contains(query))
        );
        let again = prepare(&format!("--data {data} --holdout 10")).unwrap();
        assert_eq!(held.queries, again.queries);

        let unfit = write(&dir.path().join("nan.fvecs"), &[&[f32::NAN]], f32::to_le_bytes);
        let other = dir.path().join("d.csv").display().to_string();
        std::fs::write(&other, "1,2").unwrap();
        for (line, cure) in [
            (format!("--data {unfit} --holdout 1"), "NaN"),
            (format!("--data {other}"), ".npy or .fvecs"),
            ("--data /no/such/file.npy".into(), "/no/such/file.npy"),
            (format!("--data {data} --holdout 40"), "--holdout"),
            (format!("--data {data} --holdout 5 --pad-to 0"), "--pad-to"),
        ] {
            let error = prepare(&line).err().unwrap().to_string();
            assert!(error.contains(cure), "{line}: {error}");
        }
    }
}
