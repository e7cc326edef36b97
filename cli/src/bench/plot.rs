//! Recall against queries per second as an SVG that needs nothing else. It knows reports and no server.

use super::args::Wire;
use super::axis::Axis;
use super::error::BenchError;
use super::report::{Point, PointKind, Report};
use super::table::{load, number};
use crate::output::printable;
use std::cmp::Ordering;
use std::fs;
use std::path::Path;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 48.0;
/// Of the area inside the axes.
const HEIGHT: f64 = 360.0;
/// From the area down to the first line of the legend.
const LEGEND: f64 = 72.0;
const LINE: f64 = 20.0;

/// Of medium lightness, so that each stands out from white and from black.
const COLOURS: [&str; 8] = [
    "#2f81c4", "#d9772b", "#3a9a5b", "#c9508f", "#8a6fd6", "#a38a1f", "#2a9d9d", "#c8534a",
];

/// What a reader's choice of light or dark changes.
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}\
.back{fill:#ffffff}.grid{stroke:#d8dee4}.frame{stroke:#656d76;fill:none}\
polyline{fill:none;stroke-width:2}.first{stroke-dasharray:5 4}\
circle{stroke-width:1.5}.open{fill:#ffffff}.title{font-size:14px;font-weight:600}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.back,.open{fill:#0d1117}.grid{stroke:#30363d}.frame{stroke:#8b949e}}";

/// Some reports in one picture: a curve for each report, route and number of clients.
pub(super) struct Plot {
    title: String,
    curves: Vec<Curve>,
}

struct Curve {
    label: String,
    colour: &'static str,
    /// Of the first of several reports: broken lines and open dots.
    is_first: bool,
    /// By recall, then by speed.
    dots: Vec<Dot>,
}

struct Dot {
    recall: f64,
    queries_per_second: f64,
    /// Searched for, not swept over.
    is_matched: bool,
    label: String,
}

impl Plot {
    /// Of each report with its name, which may be empty if there is but one. `None` where no queries were measured.
    pub(super) fn of(reports: &[(&str, &Report)]) -> Option<Self> {
        let (_, first) = reports.first()?;
        let mut loads = Vec::new();
        let mut curves: Vec<Curve> = Vec::new();
        for (number, (name, report)) in reports.iter().enumerate() {
            let is_first = reports.len() > 1 && number == 0;
            for point in report.points.iter().filter(|point| is_drawn(point)) {
                let label = curve_label(name, point);
                let known = curves
                    .iter()
                    .position(|curve| (&curve.label, curve.is_first) == (&label, is_first));
                let at = known.unwrap_or_else(|| {
                    let colour = colour_of((point.wire, point.clients), &mut loads);
                    let dots = Vec::new();
                    curves.push(Curve {
                        label,
                        colour,
                        is_first,
                        dots,
                    });
                    curves.len() - 1
                });
                curves[at].dots.push(Dot::of(point));
            }
        }
        for curve in &mut curves {
            let place = |dot: &Dot| [dot.recall, dot.queries_per_second];
            curve
                .dots
                .sort_by(|a, b| place(a).partial_cmp(&place(b)).unwrap_or(Ordering::Equal));
        }
        let title = format!("recall@{} against queries/s, {}", first.k(), first.data.name);
        (!curves.is_empty()).then_some(Self { title, curves })
    }

    /// Writes the picture.
    pub(super) fn write(&self, path: &Path) -> Result<(), BenchError> {
        fs::write(path, self.svg()).map_err(|source| BenchError::Output {
            name: "--plot",
            path: path.into(),
            source,
        })
    }

    fn svg(&self) -> String {
        let dots = || self.curves.iter().flat_map(|curve| &curve.dots);
        let area = Area {
            recall: Axis::shares(dots().map(|dot| dot.recall)),
            speed: Axis::logarithmic(dots().map(|dot| dot.queries_per_second)),
        };
        let height = TOP + HEIGHT + LEGEND + LINE * self.curves.len() as f64;
        let mut lines = vec![
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
                 height=\"{height}\" role=\"img\">"
            ),
            format!("<style>{STYLE}</style>"),
            format!("<rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>"),
            text(LEFT, TOP - 20.0, "class=\"title\"", &self.title),
        ];
        lines.extend(area.axes());
        for (number, curve) in self.curves.iter().enumerate() {
            lines.extend(curve.lines(&area));
            lines.extend(curve.legend(TOP + HEIGHT + LEGEND + LINE * number as f64));
        }
        if dots().any(|dot| dot.is_matched) {
            let words = "large dots: at matched recall";
            lines.push(text(WIDTH - RIGHT, TOP - 20.0, "text-anchor=\"end\"", words));
        }
        lines.push("</svg>\n".into());
        lines.join("\n")
    }
}

/// One query per request, all items, after training.
fn is_drawn(point: &Point) -> bool {
    let is_search = matches!(point.part, PointKind::Query | PointKind::Matched);
    is_search && point.queries_per_second.is_normal()
}

/// The same load has the same colour in every report.
fn colour_of(load: (Wire, usize), loads: &mut Vec<(Wire, usize)>) -> &'static str {
    let known = loads.iter().position(|known| *known == load);
    let at = known.unwrap_or_else(|| {
        loads.push(load);
        loads.len() - 1
    });
    COLOURS[at % COLOURS.len()]
}

fn curve_label(name: &str, point: &Point) -> String {
    let load = load(point);
    if name.is_empty() {
        load
    } else {
        format!("{name}, {load}")
    }
}

/// The area inside the axes.
struct Area {
    recall: Axis,
    speed: Axis,
}

impl Area {
    fn x(&self, recall: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * self.recall.place(recall)
    }

    fn y(&self, speed: f64) -> f64 {
        TOP + HEIGHT * (1.0 - self.speed.place(speed))
    }

    fn axes(&self) -> Vec<String> {
        let (right, bottom, width) = (WIDTH - RIGHT, TOP + HEIGHT, WIDTH - LEFT - RIGHT);
        let mut lines = Vec::new();
        for tick in &self.recall.ticks {
            let x = self.x(*tick);
            lines.push(format!(
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>"
            ));
            let share = format!("{tick:.3}");
            let share = share.trim_end_matches('0').trim_end_matches('.');
            lines.push(text(x, bottom + 18.0, "text-anchor=\"middle\"", share));
        }
        for tick in &self.speed.ticks {
            let y = self.y(*tick);
            lines.push(format!(
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>"
            ));
            lines.push(text(LEFT - 8.0, y + 4.0, "text-anchor=\"end\"", &number(*tick)));
        }
        lines.push(format!(
            "<rect class=\"frame\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{HEIGHT}\"/>"
        ));
        let middle = "text-anchor=\"middle\"";
        lines.push(text(LEFT + width / 2.0, bottom + 40.0, middle, "recall"));
        let (x, y) = (18.0, TOP + HEIGHT / 2.0);
        let turned = format!("{middle} transform=\"rotate(-90 {x} {y})\"");
        lines.push(text(x, y, &turned, "queries/s"));
        lines
    }
}

impl Curve {
    /// A dot for each point, and a line through those that no other beats in both recall and speed.
    fn lines(&self, area: &Area) -> Vec<String> {
        let best = self.frontier();
        let corners: Vec<String> = best
            .iter()
            .map(|dot| format!("{:.1},{:.1}", area.x(dot.recall), area.y(dot.queries_per_second)))
            .collect();
        let line = format!(
            "<polyline{} stroke=\"{}\" points=\"{}\"/>",
            self.class(" class=\"first\""),
            self.colour,
            corners.join(" ")
        );
        let dots = self.dots.iter().map(|dot| {
            let (x, y) = (area.x(dot.recall), area.y(dot.queries_per_second));
            let radius = if dot.is_matched { 7.0 } else { 4.0 };
            format!(
                "<circle{} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{}</title></circle>",
                self.paint(),
                escaped(&format!("{}: {}", self.label, dot.label))
            )
        });
        std::iter::once(line).chain(dots).collect()
    }

    fn frontier(&self) -> Vec<&Dot> {
        let mut fastest = 0.0;
        let mut best = Vec::new();
        // From the greatest recall down, whatever is faster than all before.
        for dot in self.dots.iter().rev() {
            if dot.queries_per_second > fastest {
                fastest = dot.queries_per_second;
                best.push(dot);
            }
        }
        best
    }

    fn legend(&self, y: f64) -> [String; 2] {
        let (from, to) = (LEFT, LEFT + 32.0);
        let sample = format!(
            "<polyline{} stroke=\"{}\" points=\"{from},{y} {to},{y}\"/>",
            self.class(" class=\"first\""),
            self.colour
        );
        [sample, text(to + 10.0, y + 4.0, "", &self.label)]
    }

    fn class(&self, first: &'static str) -> &'static str {
        if self.is_first { first } else { "" }
    }

    fn paint(&self) -> String {
        match self.is_first {
            true => format!(" class=\"open\" stroke=\"{}\"", self.colour),
            false => format!(" fill=\"{}\"", self.colour),
        }
    }
}

impl Dot {
    fn of(point: &Point) -> Self {
        let is_matched = point.part == PointKind::Matched;
        let (recall, queries_per_second) = (point.score.recall, point.queries_per_second);
        Self {
            recall,
            queries_per_second,
            is_matched,
            label: format!(
                "n_probes {}, rerank_mult {}, recall {recall:.4}, {} queries/s{}",
                point.n_probes,
                point.rerank_mult,
                number(queries_per_second),
                if is_matched { ", at matched recall" } else { "" }
            ),
        }
    }
}

fn text(x: f64, y: f64, attributes: &str, words: &str) -> String {
    let words = escaped(words);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>")
}

/// Names of files may hold anything.
fn escaped(words: &str) -> String {
    let mut safe = String::new();
    for character in printable(words).chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::report::made_up;
    use super::*;

    /// The names of all elements, if every one that is opened is closed in its turn and all text is escaped.
    fn elements(xml: &str) -> Vec<String> {
        let (mut names, mut open) = (Vec::new(), Vec::new());
        for piece in xml.trim().split('<').skip(1) {
            let (tag, text) = piece.split_once('>').expect("a tag ends");
            assert!(!text.contains('>'), "{text}");
            for entity in text.split('&').skip(1) {
                assert!(
                    ["lt;", "gt;", "amp;"]
                        .iter()
                        .any(|known| entity.starts_with(known)),
                    "{text}"
                );
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name = tag.trim_matches('/').split(' ').next().unwrap().to_owned();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "closed in turn");
                continue;
            }
            names.push(name.clone());
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?} stay open");
        names
    }

    fn count(xml: &str, element: &str) -> usize {
        elements(xml).iter().filter(|name| *name == element).count()
    }

    #[test]
    fn every_point_has_its_dot_and_every_load_its_line() {
        let report = made_up(&[
            (1, 1, 0.7, 900.0),
            (1, 4, 0.95, 500.0),
            (8, 1, 0.7, 3000.0),
            (8, 4, 0.95, 1500.0),
        ]);
        let svg = Plot::of(&[("", &report)]).unwrap().svg();
        assert_eq!(count(&svg, "circle"), 4);
        // One line in the area and one in the legend for each number of clients.
        assert_eq!(count(&svg, "polyline"), 2 * 2);
        for words in [
            "recall@10",
            "queries/s",
            ">1 client, binary<",
            ">8 clients, binary<",
            "n_probes 4",
        ] {
            assert!(svg.contains(words), "{words} is not in\n{svg}");
        }
    }

    #[test]
    fn two_reports_share_colours_and_differ_in_lines() {
        let (old, new) = (
            made_up(&[(1, 1, 0.7, 900.0)]),
            made_up(&[(1, 1, 0.8, 1900.0), (1, 2, 0.9, 1000.0)]),
        );
        let svg = Plot::of(&[("old & slow", &old), ("<new>", &new)]).unwrap().svg();
        assert_eq!(count(&svg, "circle"), 3);
        assert!(svg.contains("old &amp; slow, 1 client") && svg.contains("&lt;new&gt;, 1 client"));
        assert_eq!(svg.matches("class=\"first\"").count(), 2);
        assert!(svg.contains(COLOURS[0]) && !svg.contains(COLOURS[1]));
    }

    #[test]
    fn everything_lies_inside_the_axes() {
        for points in [
            &[(1, 1, 1.0, 5000.0)][..],
            &[(1, 1, 0.0, 0.3), (1, 2, 1.0, 80_000.0)],
        ] {
            let svg = Plot::of(&[("", &made_up(points))]).unwrap().svg();
            let places = |name: &str| -> Vec<f64> {
                let begin = format!(" {name}=\"");
                let values = svg.split(begin.as_str()).skip(1);
                let values = values.map(|rest| rest.split('"').next().unwrap().parse().unwrap());
                values.collect()
            };
            assert!(places("cx").iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(x)));
            assert!(places("cy").iter().all(|y| (TOP..=TOP + HEIGHT).contains(y)));
        }
    }

    #[test]
    fn the_line_leaves_out_what_another_setting_beats() {
        let report = made_up(&[(1, 1, 0.7, 900.0), (1, 2, 0.8, 400.0), (1, 4, 0.9, 500.0)]);
        let plot = Plot::of(&[("", &report)]).unwrap();
        let recalls: Vec<f64> = plot.curves[0].frontier().iter().map(|dot| dot.recall).collect();
        assert_eq!(recalls, [0.9, 0.7]);
    }

    #[test]
    fn what_was_searched_for_stands_out() {
        let mut report = made_up(&[(1, 1, 0.7, 900.0), (1, 4, 0.95, 500.0)]);
        let explained = |report: &Report| {
            let svg = Plot::of(&[("", report)]).unwrap().svg();
            (svg.matches("r=\"7\"").count(), svg.contains("large dots"))
        };
        assert_eq!(explained(&report), (0, false));
        report.points[1].part = PointKind::Matched;
        assert_eq!(explained(&report), (1, true));
    }

    #[test]
    fn without_queries_there_is_nothing_to_draw() {
        assert!(Plot::of(&[("", &made_up(&[]))]).is_none());
    }
}
