//! The report as a reader wants it: a few lines and a table. Figures only come from the report.

use super::report::{Change, Ingest, Point, PointKind, Report};
use super::stats::Latency;

/// Prints to standard output.
pub(super) fn print(report: &Report) {
    println!("{}", heading(report));
    if let Some(ingest) = &report.ingest {
        println!("{}", ingest_lines(ingest, report.data.vectors));
    }
    for footprint in &report.footprints {
        println!("{:<10}{}", footprint.stage, footprint_line(report, footprint));
    }
    if !report.points.is_empty() {
        println!("\n{}", points(&report.points, report.k()));
    }
    for line in targets(report) {
        println!("{line}");
    }
    if let Some(upsert) = &report.upsert {
        println!(
            "\nupsert    one item: {}; found at once {} of {}, after deletion {}",
            latency(&upsert.latency),
            upsert.found_at_once,
            upsert.checked,
            upsert.found_after_delete
        );
    }
    if let Some(mixed) = &report.mixed {
        let writes = mixed.write_latency.as_ref().map(latency).unwrap_or_default();
        println!(
            "\nmixed     {} readers at {:.0} % of their rate alone, beside {} vectors/s written ({writes})",
            mixed.readers,
            mixed.read_ratio * 100.0,
            number(mixed.writes_per_second)
        );
    }
    if !report.changes.is_empty() {
        println!("\n{}", changes(&report.changes, report.k()));
    }
    println!("\ntook      {:.0} s", report.seconds);
}

fn heading(report: &Report) -> String {
    let (data, machine) = (&report.data, &report.machine);
    let padded = match data.dimension == data.own_dimension {
        true => String::new(),
        false => format!(" (padded from {})", data.own_dimension),
    };
    let intrinsic = data
        .intrinsic_dimension
        .map_or("?".into(), |dimension| format!("{dimension:.1}"));
    format!(
        "data      {}: {} x {}{padded}, {}, {} queries, intrinsic dimension {intrinsic}\n\
         server    {}, version {}\n\
         machine   {} cores, {}, load before {}",
        data.name,
        number(data.vectors as f64),
        data.dimension,
        data.metric,
        number(data.queries as f64),
        report.settings["url"].as_str().unwrap_or_default(),
        report.server_version,
        machine.cores,
        machine.cpu,
        machine.load_before,
    )
}

fn ingest_lines(ingest: &Ingest, vectors: usize) -> String {
    let trained = match &ingest.training {
        Some(training) if training.is_trained => {
            format!("{:.2} s, {} clusters", training.train_seconds, training.n_lists)
        }
        Some(training) => format!(
            "{:.2} s, after which the index is still untrained",
            training.train_seconds
        ),
        None => "not reached".into(),
    };
    format!(
        "upload    {} vectors/s, {:.2} s; per batch {}\ntrain     {trained}\nready     {} vectors/s in all",
        number(ingest.vectors_per_second),
        ingest.upload_seconds,
        latency(&ingest.latency),
        number(ingest.ready_rate(vectors)),
    )
}

fn footprint_line(report: &Report, footprint: &super::machine::Footprint) -> String {
    let vectors = report.data.vectors as f64;
    let raw = (report.data.own_dimension * 4) as f64;
    let disk = footprint.disk_bytes.map(|bytes| {
        let each = bytes as f64 / vectors;
        format!(
            "disk {} MB, {} bytes/vector, {:.2} x raw",
            megabytes(bytes),
            number(each),
            each / raw
        )
    });
    let memory = footprint.resident_bytes.map(|bytes| {
        let peak = footprint
            .peak_resident_bytes
            .map_or(String::new(), |peak| format!(" (peak {})", megabytes(peak)));
        format!(
            "memory {} MB{peak}, {} bytes/vector",
            megabytes(bytes),
            number(bytes as f64 / vectors)
        )
    });
    disk.into_iter().chain(memory).collect::<Vec<_>>().join("; ")
}

fn points(points: &[Point], k: u64) -> String {
    let recall = format!("recall@{k}");
    let head = [
        "part",
        "wire",
        "clients",
        "per req",
        "filter",
        "n_probes",
        "rerank",
        "asked",
        &recall,
        "queries/s",
        "p50 ms",
        "p99 ms",
        "dist err",
        "busy cores",
        "faults",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(points.iter().map(|point| {
        [
            part(point),
            point.wire.to_string(),
            point.clients.to_string(),
            point.per_request.to_string(),
            point.filter.as_deref().unwrap_or("-").to_owned(),
            point.n_probes.to_string(),
            point.rerank_mult.to_string(),
            point.score.queries.to_string(),
            format!("{:.4}", point.score.recall),
            number(point.queries_per_second),
            format!("{:.2}", point.latency.p50_ms),
            format!("{:.2}", point.latency.p99_ms),
            format!("{:.0e}", point.score.distance_error),
            busy(point),
            faults(point),
        ]
    }));
    align(&rows)
}

/// Each stage of an index that changes, and what a training at the end of it brings.
fn changes(changes: &[Change], k: u64) -> String {
    let recall = format!("recall@{k}");
    let head = [
        "change",
        "stage",
        "vectors",
        "clusters",
        &recall,
        "queries/s",
        "p99 ms",
        "faults",
        "trained again",
        "queries/s",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(changes.iter().map(|change| {
        let (point, again) = (&change.as_it_is, change.trained_again.as_ref());
        let told = |figure: Option<String>| figure.unwrap_or("-".into());
        [
            change.scenario.to_string(),
            change.stage.clone(),
            number(change.vectors as f64),
            change.n_lists.to_string(),
            format!("{:.4}", point.score.recall),
            number(point.queries_per_second),
            format!("{:.2}", point.latency.p99_ms),
            faults(point),
            told(again.map(|point| format!("{:.4}", point.score.recall))),
            told(again.map(|point| number(point.queries_per_second))),
        ]
    }));
    align(&rows)
}

/// For each search for a setting, what it found.
fn targets(report: &Report) -> Vec<String> {
    let Some(target) = report.target_recall() else {
        return Vec::new();
    };
    let line = |point: &Point| {
        let setting = format!("n_probes {}, rerank_mult {}", point.n_probes, point.rerank_mult);
        let (load, recall) = (load(point), point.score.recall);
        if recall >= target {
            format!("target    recall {target} is reached fastest, with {load}, by {setting}")
        } else {
            format!(
                "target    no setting reaches a recall of {target} with {load}; the best, {recall:.4}, is that of {setting}"
            )
        }
    };
    let points = report.points.iter();
    let matched = points.filter(|point| point.part == PointKind::Matched);
    matched.map(line).collect()
}

/// What a point is a part of, and how often it asked where that was fixed.
fn part(point: &Point) -> String {
    let name = format!("{:?}", point.part).to_lowercase();
    match point.rate {
        Some(rate) => format!("{name} {}/s", number(rate)),
        None => name,
    }
}

/// Who asks, and by which route.
pub(super) fn load(point: &Point) -> String {
    let plural = if point.clients == 1 { "" } else { "s" };
    format!("{} client{plural}, {}", point.clients, point.wire)
}

/// Server and client, as far as known.
fn busy(point: &Point) -> String {
    let cores = |cores: Option<f64>| cores.map_or("?".into(), |cores| format!("{cores:.1}"));
    format!("{} + {}", cores(point.server_cores), cores(point.client_cores))
}

/// What was wrong with answers that should have been right whatever the recall, in how many of them.
fn faults(point: &Point) -> String {
    let score = &point.score;
    let counts = [
        (score.short, "short"),
        (score.wrong, "wrong"),
        (score.unordered, "unordered"),
        (point.refused, "refused"),
    ];
    let found = counts.iter().filter(|(count, _)| *count > 0);
    let found: Vec<String> = found.map(|(count, what)| format!("{count} {what}")).collect();
    if found.is_empty() {
        "-".into()
    } else {
        found.join(", ")
    }
}

fn latency(latency: &Latency) -> String {
    format!("p50 {:.2} ms, p99 {:.2} ms", latency.p50_ms, latency.p99_ms)
}

fn megabytes(bytes: u64) -> String {
    number(bytes as f64 / 1e6)
}

/// Thousands separated; small numbers with one digit after the point.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value);
    let split = digits.len() % 3;
    let (head, tail) = digits.split_at(split);
    let groups = tail.as_bytes().chunks(3).map(String::from_utf8_lossy);
    let head = (!head.is_empty()).then(|| head.into());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

/// Columns, each as wide as its widest cell, aligned to the right.
pub(super) fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:>width$}"));
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::report::made_up_of;
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (value, text) in [
            (0.0, "0"),
            (1.25, "1.2"),
            (999.9, "1,000"),
            (1234.0, "1,234"),
            (1_234_567.4, "1,234,567"),
            (99.0, "99"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "12"], ["long", "3"]].map(|row| row.map(str::to_owned));
        assert_eq!(align(&rows), "   a  12\nlong   3");
    }

    #[test]
    fn a_recall_that_was_not_reached_is_said_plainly() {
        let report = |recall| {
            let settings = serde_json::json!({"settings": {"target_recall": 0.95}});
            let mut report = made_up_of(settings, &[(1, 4, 0.5, 9.0), (8, 16, recall, 1000.0)]);
            report.points[1].part = PointKind::Matched;
            targets(&report).join("\n")
        };
        let reached = report(0.951);
        assert!(
            reached.contains("reached fastest, with 8 clients, binary, by n_probes 16"),
            "{reached}"
        );
        let missed = report(0.9301);
        assert!(
            missed.contains("no setting reaches") && missed.contains("the best, 0.9301"),
            "{missed}"
        );
    }
}
