//! Two reports beside each other, with ratios. It measures nothing and needs no server.

use super::error::BenchError;
use super::machine::Footprint;
use super::plot::Plot;
use super::report::{Point, PointKind, Report};
use super::setting::Setting;
use super::table::{align, load, number};
use super::task::Task;
use crate::output::printable;
use std::path::Path;

/// The recalls at which speeds are compared, besides those that settings were searched for.
const RECALLS: [f64; 3] = [0.90, 0.95, 0.99];

/// Prints the table of two reports, and draws both if asked.
pub(super) fn start(first: &Path, second: &Path, plot: Option<&Path>) -> Result<(), BenchError> {
    let names = names(first, second);
    let comparison = Comparison::new(names, [Report::read(first)?, Report::read(second)?])?;
    println!("{}", comparison.table());
    let Some(path) = plot else {
        return Ok(());
    };
    let [a, b] = &comparison.names;
    let [first, second] = &comparison.reports;
    let plot = Plot::of(&[(a, first), (b, second)]).ok_or_else(|| BenchError::Argument {
        name: "--plot",
        problem: "has nothing to draw: neither report holds queries".into(),
    })?;
    plot.write(path)
}

/// The files' names without folder and ending; where that does not tell them apart, the paths.
fn names(first: &Path, second: &Path) -> [String; 2] {
    let paths = [first, second];
    let short = paths.map(|path| path.file_stem().unwrap_or(path.as_os_str()));
    let names = match short[0] == short[1] {
        true => paths.map(|path| path.display().to_string()),
        false => short.map(|name| name.to_string_lossy().into_owned()),
    };
    names.map(|name| printable(&name))
}

/// A line of the table: what is compared, both figures, and by how much the second is better.
type Row = [String; 4];

/// Two reports of the same task.
struct Comparison {
    names: [String; 2],
    reports: [Report; 2],
}

impl Comparison {
    /// Refuses reports whose figures mean different things.
    fn new(names: [String; 2], reports: [Report; 2]) -> Result<Self, BenchError> {
        let [first, second] = &reports;
        match Task::of(first).difference(&Task::of(second)) {
            None => Ok(Self { names, reports }),
            Some(difference) => Err(BenchError::Mismatch(format!(
                "{} and {} cannot be compared, for {difference}",
                names[0], names[1]
            ))),
        }
    }

    fn table(&self) -> String {
        let mut rows = self.rows();
        let width = rows.iter().map(|[label, ..]| label.chars().count()).max();
        let width = width.unwrap_or(0);
        rows.insert(
            0,
            [
                String::new(),
                self.names[0].clone(),
                self.names[1].clone(),
                "better by".into(),
            ],
        );
        for [label, ..] in &mut rows {
            *label = format!("{label:<width$}");
        }
        let lines = std::iter::once(align(&rows)).chain(self.remarks());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What both have measured.
    fn rows(&self) -> Vec<Row> {
        let rows = [self.ingest(), self.queries(), self.filters(), self.costs()];
        rows.into_iter().flatten().flatten().collect()
    }

    fn ingest(&self) -> Vec<Option<Row>> {
        let train = |report: &Report| Some(report.ingest.as_ref()?.training.as_ref()?.train_seconds);
        vec![
            self.rate("upload, vectors/s", |report| {
                Some(report.ingest.as_ref()?.vectors_per_second)
            }),
            self.cost("train, s", train),
            self.rate("upload and train, vectors/s", |report| {
                train(report)?;
                Some(report.ingest.as_ref()?.ready_rate(report.data.vectors))
            }),
        ]
    }

    fn queries(&self) -> Vec<Option<Row>> {
        let mut rows = Vec::new();
        let key = |point: &Point| (point.wire, point.clients);
        for (wire, clients) in self.common(is_query, key) {
            let sides = self.points(|point| is_query(point) && key(point) == (wire, clients));
            let who = load(sides[0][0]);
            let defaults = sides.each_ref().map(|side| default(side));
            rows.push(speeds(&format!("queries/s, {who}, default parameters"), defaults));
            let p99 = defaults.map(|point| Some(point?.latency.p99_ms));
            rows.push(cost("  p99 ms", p99));
            for recall in self.recalls() {
                rows.push(matched(&format!("queries/s, {who}"), &sides, recall));
            }
        }
        let is_batch = |point: &Point| point.part == PointKind::Batch;
        let key = |point: &Point| (point.wire, point.per_request);
        for (wire, per_request) in self.common(is_batch, key) {
            let sides = self.points(|point| is_batch(point) && key(point) == (wire, per_request));
            let size = number(per_request as f64);
            rows.push(matched(
                &format!("queries/s, {size} per request, {wire}"),
                &sides,
                0.95,
            ));
        }
        rows
    }

    fn filters(&self) -> Vec<Option<Row>> {
        let is_filter = |point: &Point| point.part == PointKind::Filter;
        let key = |point: &Point| point.filter.clone().unwrap_or_default();
        let mut rows = Vec::new();
        for name in self.common(is_filter, key) {
            let sides = self.points(|point| is_filter(point) && key(point) == name);
            let label = format!("queries/s, filter of {name}");
            let defaults = sides.each_ref().map(|side| default(side));
            rows.push(speeds(&format!("{label}, default parameters"), defaults));
            rows.push(matched(&label, &sides, 0.95));
        }
        rows
    }

    fn costs(&self) -> Vec<Option<Row>> {
        let last = |report: &Report, field: fn(&Footprint) -> Option<u64>| {
            let bytes = report.footprints.iter().rev().find_map(field)?;
            Some(bytes as f64)
        };
        vec![
            self.cost("single upsert, p50 ms", |report| {
                Some(report.upsert.as_ref()?.latency.p50_ms)
            }),
            self.cost("single upsert, p99 ms", |report| {
                Some(report.upsert.as_ref()?.latency.p99_ms)
            }),
            self.rate("reads beside a writer, share of alone", |report| {
                Some(report.mixed.as_ref()?.read_ratio)
            }),
            self.rate("  and vectors/s written", |report| {
                Some(report.mixed.as_ref()?.writes_per_second)
            }),
            self.cost("disk, bytes/vector", |report| {
                Some(last(report, |at| at.disk_bytes)? / report.data.vectors as f64)
            }),
            self.cost("memory, MB", |report| {
                Some(last(report, |at| at.resident_bytes)? / 1e6)
            }),
        ]
    }

    /// What a reader of the figures should know.
    fn remarks(&self) -> Vec<String> {
        let [first, second] = &self.reports;
        let mut remarks = vec![
            "above 1 the second is better, for rates and costs alike; where the first never reaches a recall, its best is \
             what the second is held against"
                .to_owned(),
        ];
        let machine = |report: &Report| format!("{} x {}", report.machine.cores, report.machine.cpu);
        if machine(first) != machine(second) {
            remarks.push(format!(
                "measured on different machines: {} and {}",
                machine(first),
                machine(second)
            ));
        }
        for (name, report) in self.names.iter().zip(&self.reports) {
            if let Some(error) = &report.error {
                remarks.push(format!("{name} ended early: {}", printable(error)));
            }
        }
        remarks
    }

    fn recalls(&self) -> Vec<f64> {
        let searched = self.reports.iter().filter_map(Report::target_recall);
        let mut recalls: Vec<f64> = RECALLS.into_iter().chain(searched).collect();
        recalls.sort_by(f64::total_cmp);
        recalls.dedup();
        recalls
    }

    /// The keys of points that both have, in the order of the first.
    fn common<K: PartialEq>(&self, of: impl Fn(&Point) -> bool, key: impl Fn(&Point) -> K) -> Vec<K> {
        let [first, second] = self.points(of).map(|points| points.into_iter().map(&key));
        let (mut common, second) = (Vec::new(), second.collect::<Vec<_>>());
        for key in first {
            if second.contains(&key) && !common.contains(&key) {
                common.push(key);
            }
        }
        common
    }

    fn points(&self, of: impl Fn(&Point) -> bool) -> [Vec<&Point>; 2] {
        self.reports
            .each_ref()
            .map(|report| report.points.iter().filter(|point| of(point)).collect())
    }

    fn rate(&self, label: &str, figure: impl Fn(&Report) -> Option<f64>) -> Option<Row> {
        let [first, second] = self.reports.each_ref().map(figure);
        let (first, second) = (first?, second?);
        Some(row(label, [first, second].map(digits), ratio(second, first)))
    }

    fn cost(&self, label: &str, figure: impl Fn(&Report) -> Option<f64>) -> Option<Row> {
        cost(label, self.reports.each_ref().map(figure))
    }
}

fn is_query(point: &Point) -> bool {
    matches!(point.part, PointKind::Query | PointKind::Matched)
}

fn default<'a>(points: &[&'a Point]) -> Option<&'a Point> {
    let is_default = |point: &&&Point| [point.n_probes, point.rerank_mult] == [Setting::Auto; 2];
    points.iter().find(is_default).copied()
}

/// Speeds at a recall: of the fastest that reaches it, or else of the best recall there is.
fn matched(label: &str, sides: &[Vec<&Point>; 2], recall: f64) -> Option<Row> {
    let points = sides.each_ref().map(|side| {
        let reaching = side.iter().filter(|point| point.score.recall >= recall);
        let fastest = reaching.max_by(|a, b| a.queries_per_second.total_cmp(&b.queries_per_second));
        let best = || {
            side.iter()
                .max_by(|a, b| a.score.recall.total_cmp(&b.score.recall))
        };
        fastest.or_else(best).copied()
    });
    let mut row = speeds(&format!("{label}, recall >= {recall}"), points)?;
    // Speed at a lower recall than asked for proves nothing in favour of the second.
    if points[1]?.score.recall < recall {
        row[3] = "-".into();
    }
    Some(row)
}

fn speeds(label: &str, points: [Option<&Point>; 2]) -> Option<Row> {
    let [first, second] = points;
    let (first, second) = (first?, second?);
    let at = |point: &Point| {
        let speed = digits(point.queries_per_second);
        format!("{speed} at {:.3}", point.score.recall)
    };
    let better = ratio(second.queries_per_second, first.queries_per_second);
    Some(row(label, [at(first), at(second)], better))
}

fn cost(label: &str, figures: [Option<f64>; 2]) -> Option<Row> {
    let [first, second] = figures;
    let (first, second) = (first?, second?);
    Some(row(label, [first, second].map(digits), ratio(first, second)))
}

fn row(label: &str, [first, second]: [String; 2], better: String) -> Row {
    [label.to_owned(), first, second, better]
}

fn ratio(better: f64, worse: f64) -> String {
    if worse == 0.0 {
        return "-".into();
    }
    format!("{:.1} x", better / worse)
}

fn digits(value: f64) -> String {
    if value.abs() >= 100.0 {
        number(value)
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{made_up, made_up_of};
    use super::*;
    use serde_json::json;

    fn compared(first: Report, second: Report) -> Result<Comparison, BenchError> {
        Comparison::new(["old".into(), "new".into()], [first, second])
    }

    /// The cells of the row that begins with `label`.
    #[track_caller]
    fn cells(comparison: &Comparison, label: &str) -> [String; 3] {
        let mut rows = comparison.rows().into_iter();
        let row = rows.find(|[found, ..]| found == label);
        let [_, first, second, better] = row.unwrap_or_else(|| panic!("no row {label:?}"));
        [first, second, better]
    }

    #[test]
    fn rates_and_costs_alike_are_better_above_one() {
        let first = made_up(&[(1, 4, 0.96, 100.0)]);
        let second = made_up_of(
            json!({
                "ingest": {"upload_seconds": 1.0, "vectors_per_second": 2000.0, "train_seconds": 1.0, "is_trained": true, "n_lists": 9},
                "upsert": {"latency": {"p50_ms": 0.5, "p99_ms": 1.0}},
                "footprints": [
                    {"stage": "loaded", "disk_bytes": 1, "resident_bytes": null, "peak_resident_bytes": null},
                    {"stage": "queried", "disk_bytes": 800_000, "resident_bytes": null, "peak_resident_bytes": null}
                ]
            }),
            &[(1, 4, 0.96, 250.0)],
        );
        let comparison = compared(first, second).unwrap();
        assert_eq!(
            cells(&comparison, "upload, vectors/s"),
            ["1,000", "2,000", "2.0 x"]
        );
        assert_eq!(cells(&comparison, "train, s"), ["4.00", "1.00", "4.0 x"]);
        assert_eq!(
            cells(&comparison, "single upsert, p50 ms"),
            ["1.00", "0.50", "2.0 x"]
        );
        assert_eq!(
            cells(&comparison, "disk, bytes/vector"),
            ["1,600", "800", "2.0 x"]
        );
        assert_eq!(
            cells(&comparison, "queries/s, 1 client, binary, recall >= 0.95"),
            ["100 at 0.960", "250 at 0.960", "2.5 x"]
        );
        let labels: Vec<String> = comparison.rows().into_iter().map(|[label, ..]| label).collect();
        assert!(!labels.contains(&"memory, MB".into()), "neither measured it");
    }

    #[test]
    fn the_fastest_that_reaches_a_recall_counts_and_a_best_below_it_favours_nobody() {
        let first = made_up(&[(1, 1, 0.80, 900.0), (1, 8, 0.96, 300.0), (1, 16, 0.97, 200.0)]);
        let second = made_up(&[(1, 1, 0.80, 2000.0), (1, 8, 0.92, 900.0), (8, 8, 0.9, 1.0)]);
        let comparison = compared(first, second).unwrap();
        let row = |recall: &str| {
            cells(
                &comparison,
                &format!("queries/s, 1 client, binary, recall >= {recall}"),
            )
        };
        assert_eq!(row("0.9"), ["300 at 0.960", "900 at 0.920", "3.0 x"]);
        assert_eq!(row("0.95"), ["300 at 0.960", "900 at 0.920", "-"]);
        let back = compared(made_up(&[(1, 8, 0.92, 900.0)]), made_up(&[(1, 8, 0.96, 300.0)]));
        let row = cells(&back.unwrap(), "queries/s, 1 client, binary, recall >= 0.95");
        assert_eq!(row, ["900 at 0.920", "300 at 0.960", "0.3 x"]);
        assert!(
            !comparison.table().contains("8 clients"),
            "only one has measured those"
        );
    }

    #[test]
    fn the_recall_that_was_searched_for_has_its_row() {
        let searched = made_up_of(
            json!({"settings": {"target_recall": 0.97}}),
            &[(1, 8, 0.97, 300.0)],
        );
        let comparison = compared(made_up(&[(1, 8, 0.98, 100.0)]), searched).unwrap();
        let row = cells(&comparison, "queries/s, 1 client, binary, recall >= 0.97");
        assert_eq!(row, ["100 at 0.980", "300 at 0.970", "3.0 x"]);
    }

    #[test]
    fn the_table_names_both_and_tells_what_ended_early() {
        let stopped = made_up_of(json!({"error": "interrupted"}), &[(1, 8, 0.9, 1.0)]);
        let table = compared(made_up(&[(1, 8, 0.9, 1.0)]), stopped).unwrap().table();
        let first = table.lines().next().unwrap();
        assert_eq!(
            first.split_whitespace().collect::<Vec<_>>(),
            ["old", "new", "better", "by"]
        );
        assert!(table.contains("new ended early: interrupted"), "{table}");
    }

    #[test]
    fn reports_of_different_tasks_are_refused_in_one_line_that_names_them() {
        let other = made_up_of(json!({"settings": {"k": 100}}), &[]);
        let refusal = compared(made_up(&[]), other).err().unwrap().to_string();
        assert!(
            refusal.contains("old and new") && refusal.contains("10 and 100"),
            "{refusal}"
        );
        assert_eq!(refusal.lines().count(), 1);
    }

    #[test]
    fn reports_are_called_by_their_files_or_by_their_paths_where_those_are_alike() {
        let named = |first, second| names(Path::new(first), Path::new(second));
        assert_eq!(named("a/old.json", "new.json"), ["old", "new"]);
        assert_eq!(named("a/x.json", "b/x.json"), ["a/x.json", "b/x.json"]);
    }
}
