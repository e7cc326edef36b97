//! What a report's figures are figures of. Those of different tasks mean different things.

use super::report::Report;
use crate::output::printable;
use std::path::Path;

/// Data, queries, metric and number of neighbours: what each is called, and what it is.
pub(super) struct Task([(&'static str, String); 6]);

impl Task {
    /// The task of a run. Its data files may lie anywhere.
    pub(super) fn of(report: &Report) -> Self {
        let (data, settings) = (&report.data, &report.settings);
        let name = match settings["data"].as_str() {
            Some(path) => file_name(path),
            None => data.name.clone(),
        };
        // Where there is no file of queries, the seed says which vectors are asked for.
        let queries = match settings["queries"].as_str() {
            Some(path) => file_name(path),
            None => format!("drawn with seed {}", settings["seed"]),
        };
        Self([
            ("data", name),
            ("numbers of vectors", data.vectors.to_string()),
            ("dimensions", data.own_dimension.to_string()),
            ("metrics", data.metric.clone()),
            ("values of --k", report.k().to_string()),
            ("queries", format!("{} {queries}", data.queries)),
        ])
    }

    /// What first tells it from `other`, in words.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let mut facts = self.0.iter().zip(&other.0);
        let ((what, own), (_, others)) = facts.find(|(own, others)| own != others)?;
        Some(format!(
            "their {what} differ: {} and {}",
            printable(own),
            printable(others)
        ))
    }
}

fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name();
    name.map_or(path.to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::report::made_up_of;
    use super::*;
    use serde_json::{Value, json};

    fn task(changes: Value) -> Task {
        Task::of(&made_up_of(changes, &[]))
    }

    #[test]
    fn whatever_changes_the_meaning_of_figures_is_a_difference() {
        for (changes, named) in [
            (json!({"settings": {"k": 100}}), "--k differ: 10 and 100"),
            (json!({"data": {"metric": "cosine"}}), "euclidean and cosine"),
            (json!({"data": {"name": "clustered:9x9:9"}}), "clustered:9x9:9"),
            (json!({"data": {"vectors": 7}}), "1000 and 7"),
            (json!({"data": {"own_dimension": 9}}), "8 and 9"),
            (
                json!({"data": {"queries": 5}}),
                "100 drawn with seed 7 and 5 drawn with seed 7",
            ),
            (json!({"settings": {"seed": 8}}), "seed 8"),
            (json!({"settings": {"data": "/a/fashion.npy"}}), "fashion.npy"),
        ] {
            let difference = task(json!({})).difference(&task(changes)).unwrap();
            assert!(difference.contains(named), "{difference}");
        }
    }

    #[test]
    fn folders_padding_and_the_seed_of_what_is_not_drawn_are_none() {
        let given = |folder: &str, seed: u64| {
            let (data, queries) = (format!("{folder}base.npy"), format!("{folder}queries.npy"));
            task(json!({"settings": {"data": data, "queries": queries, "seed": seed}}))
        };
        assert_eq!(given("/here/", 1).difference(&given("", 2)), None);
        let padded = task(json!({"data": {"dimension": 16}}));
        assert_eq!(task(json!({})).difference(&padded), None);
    }
}
