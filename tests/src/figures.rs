//! Figures as a server exposes them: read line by line as OpenMetrics has it, looked up by name and labels, and held against the
//! conventions of Prometheus.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
pub struct Figures {
    /// The whole text.
    pub text: String,
    samples: Vec<Sample>,
}

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Figures {
    /// Reads an exposition; says which line is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).ok_or_else(|| format!("not a sample: {line}")));
        Ok(Self {
            samples: samples.collect::<Result<_, _>>()?,
            text: text.to_owned(),
        })
    }

    /// The sum of all samples of that name that have at least these labels; 0 if there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            let labelled =
                |(name, value): &(&str, &str)| sample.labels.get(*name).map(String::as_str) == Some(*value);
            sample.name == name && labels.iter().all(labelled)
        };
        self.samples.iter().filter(has).map(|sample| sample.value).sum()
    }

    /// What is wrong with the figures by the conventions of Prometheus.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
        let mut helped = BTreeSet::new();
        for line in self.text.lines().filter(|line| line.starts_with('#')) {
            let mut words = line.splitn(4, ' ').skip(1);
            match (words.next(), words.next(), words.next()) {
                (Some("TYPE"), Some(family), Some(kind)) => {
                    if kinds.insert(family, kind).is_some() {
                        faults.push(format!("{family} is declared twice"));
                    }
                    faults.extend(fault_of_name(family));
                }
                (Some("HELP"), Some(family), Some(help)) if help.len() > 3 => {
                    helped.insert(family);
                }
                (Some("UNIT"), Some(family), Some(unit)) if !family.ends_with(&format!("_{unit}")) => {
                    faults.push(format!("{family} does not end in its unit, {unit}"));
                }
                (Some("UNIT" | "EOF"), ..) => {}
                _ => faults.push(format!("what is this? {line}")),
            }
        }
        for family in kinds.keys().filter(|family| !helped.contains(*family)) {
            faults.push(format!("{family} has no help"));
        }
        let mut series = BTreeSet::new();
        for sample in &self.samples {
            faults.extend(sample.fault(&kinds));
            if !series.insert((&sample.name, &sample.labels)) {
                faults.push(format!("{} {:?} stands there twice", sample.name, sample.labels));
            }
        }
        if self.text.lines().last() != Some("# EOF") {
            faults.push("does not end in # EOF".to_owned());
        }
        faults
    }
}

impl Sample {
    fn fault(&self, kinds: &BTreeMap<&str, &str>) -> Option<String> {
        let suffixes: [(&str, &str); 6] = [
            ("_total", "counter"),
            ("_bucket", "histogram"),
            ("_sum", "histogram"),
            ("_count", "histogram"),
            ("_info", "info"),
            ("", "gauge"),
        ];
        let declared = suffixes.iter().find(|(suffix, kind)| {
            let family = self.name.strip_suffix(suffix);
            family.is_some_and(|family| kinds.get(family) == Some(kind))
        });
        let reserved = |label: &String| label == "le" && !self.name.ends_with("_bucket");
        let odd = |label: &String| !is_word(label) || label.starts_with("__");
        match declared {
            None => Some(format!(
                "{} is of no declared family, or has another's suffix",
                self.name
            )),
            _ if self.labels.keys().any(reserved) => Some(format!("{} has a label le", self.name)),
            _ if self.labels.keys().any(odd) => Some(format!("{} has an odd label", self.name)),
            Some((_, "counter")) if self.value < 0.0 => Some(format!("{} is below 0", self.name)),
            _ => None,
        }
    }
}

/// Ours are named `sealdex_…`, in small letters, in base units, without what is added by itself.
fn fault_of_name(family: &str) -> Option<String> {
    let units = [
        "_ms",
        "_millis",
        "_milliseconds",
        "_us",
        "_micros",
        "_minutes",
        "_kib",
        "_mib",
        "_kilobytes",
        "_percent",
    ];
    let added = ["_total", "_count", "_sum", "_bucket", "_info"];
    if !family.starts_with("sealdex_") || !is_word(family) {
        Some(format!(
            "{family} is not named sealdex_ and words in small letters"
        ))
    } else if units.iter().any(|unit| family.ends_with(unit)) {
        Some(format!("{family} is not in a base unit"))
    } else if added.iter().any(|suffix| family.ends_with(suffix)) {
        Some(format!("{family} ends in what is added by itself"))
    } else {
        None
    }
}

fn is_word(name: &str) -> bool {
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.chars().all(small) && name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.contains("__")
}

/// `name{label="value",…} number`, or without labels.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, mut rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        // None of ours holds a quotation mark.
        let (value, after) = after.split_once('"')?;
        labels.insert(label.to_owned(), value.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# HELP sealdex_calls Calls by name.
# TYPE sealdex_calls counter
sealdex_calls_total{name=\"scan\",kind=\"a\"} 3
sealdex_calls_total{name=\"fetch\",kind=\"a\"} 4
# HELP sealdex_wait_seconds Time waited.
# TYPE sealdex_wait_seconds histogram
# UNIT sealdex_wait_seconds seconds
sealdex_wait_seconds_sum 0.5
sealdex_wait_seconds_count 2
sealdex_wait_seconds_bucket{le=\"+Inf\"} 2
# HELP sealdex_open Open ones.
# TYPE sealdex_open gauge
sealdex_open 7
# EOF
";

    #[test]
    fn figures_are_read() {
        let figures = Figures::parse(GOOD).unwrap();
        assert_eq!(figures.sum("sealdex_calls_total", &[("kind", "a")]), 7.0);
        assert_eq!(figures.sum("sealdex_calls_total", &[("name", "scan")]), 3.0);
        assert_eq!(figures.sum("sealdex_calls_total", &[("name", "walk")]), 0.0);
        assert_eq!(figures.sum("sealdex_open", &[]), 7.0);
        assert!(figures.faults().is_empty(), "{:?}", figures.faults());
        assert!(Figures::parse("sealdex_open{a=\"b} 7\n").is_err());
    }

    #[test]
    fn what_breaks_a_convention_is_found() {
        for (good, bad) in [
            ("# HELP sealdex_open Open ones.\n", ""),
            ("sealdex_open", "sealdexOpen"),
            ("sealdex_open", "open"),
            ("sealdex_open", "sealdex_open_ms"),
            ("sealdex_open", "sealdex_open_total"),
            ("sealdex_calls_total{", "sealdex_calls{"),
            (
                "# UNIT sealdex_wait_seconds seconds",
                "# UNIT sealdex_wait_seconds bytes",
            ),
            ("sealdex_open 7\n", "sealdex_open 7\nsealdex_open 8\n"),
            ("sealdex_open 7\n", "sealdex_other 7\n"),
            ("kind=", "Kind="),
            ("name=", "le="),
            ("# EOF\n", ""),
        ] {
            let text = GOOD.replace(good, bad);
            assert_ne!(text, GOOD);
            let figures = Figures::parse(&text).unwrap();
            assert!(!figures.faults().is_empty(), "{good} -> {bad}");
        }
    }
}
