//! A deployment of several nodes answers as one process does: the same items to the same queries, whichever coordinator is asked,
//! and as much of the truth where clusters decide what is looked at.

#![allow(clippy::unwrap_used)]

use sealdex_tests::fashion;
use sealdex_tests::index::{Hit, Index};
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::oracle::{nearest, recall};
use sealdex_tests::server::Home;
use serde_json::{Value, json};

const K: usize = 10;
const ITEMS: usize = 6_000;
const QUERIES: usize = 100;

/// One index as seen from several places, the process that does everything first.
struct Places {
    seen: Vec<Index>,
    items: Vec<Item>,
    queries: Vec<Vec<f32>>,
}

impl Places {
    /// What each place answers, in the order of the places.
    async fn answers(&self, settings: &Value) -> Vec<Vec<Vec<Hit>>> {
        let mut answers = Vec::new();
        for index in &self.seen {
            answers.push(index.query_batch(&self.queries, K, settings.clone()).await);
        }
        answers
    }

    /// Fails unless every place answers the same.
    async fn same(&self, settings: Value) {
        let answers = self.answers(&settings).await;
        for (place, answer) in answers.iter().enumerate().skip(1) {
            for (query, (one, several)) in answers[0].iter().zip(answer).enumerate() {
                assert_eq!(ids(one), ids(several), "place {place}, query {query}, {settings}");
            }
        }
    }

    /// The recall of each place's answers with default parameters. Coordinators of one deployment see one generation, and answer alike.
    async fn recalls(&self) -> Vec<f64> {
        let answers = self.answers(&json!({})).await;
        for (place, answer) in answers.iter().enumerate().skip(2) {
            for (query, (first, other)) in answers[1].iter().zip(answer).enumerate() {
                assert_eq!(ids(first), ids(other), "place {place}, query {query}");
            }
        }
        let of = |answers: &Vec<Vec<Hit>>| {
            let each = self
                .queries
                .iter()
                .zip(answers)
                .map(|(query, found)| recall(found, &nearest("euclidean", self.items.iter(), query, K)));
            each.sum::<f64>() / QUERIES as f64
        };
        answers.iter().map(of).collect()
    }
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_answer_as_one_process_does() {
    let home = Home::new();
    let server = home.start().await;
    let mut nodes = Nodes::new(3, 3);
    nodes.start_all().await;
    let mut items = fashion::items();
    items.truncate(ITEMS);
    let settings = json!({"metric": "euclidean", "dimension": fashion::DIMENSION});
    let key = "5c".repeat(32);
    let one = Index::create(&server.http, "fashion", &key, settings.clone()).await;
    let first = Index::create(&nodes.http(0), "fashion", &key, settings).await;
    let coordinators = nodes.all(Kind::Coordinator);
    let through = coordinators.iter().map(|n| first.through(&nodes.http(*n)));
    let places = Places {
        seen: [one.clone()].into_iter().chain(through).collect(),
        items,
        queries: fashion::queries().into_iter().take(QUERIES).collect(),
    };
    for index in [&one, &first] {
        index.upsert_binary(&places.items).await;
    }
    places.same(json!({})).await;

    for index in [&one, &first] {
        index.train().await;
    }
    let everything = json!({"n_probes": 1_000_000, "rerank_mult": 100});
    places.same(everything.clone()).await;
    let recalls = places.recalls().await;
    println!(
        "recall@{K}, trained: one process {:.4}, through each coordinator {:.4?}",
        recalls[0],
        &recalls[1..]
    );
    let as_one_process = |recall: &f64| *recall >= 0.95 && (recall - recalls[0]).abs() <= 0.02;
    assert!(recalls.iter().all(as_one_process), "{recalls:?}");

    let gone: Vec<String> = places
        .items
        .iter()
        .step_by(3)
        .map(|item| item.id.clone())
        .collect();
    one.delete(&gone).await;
    places.seen[2].delete(&gone).await;
    places.same(everything).await;
}
