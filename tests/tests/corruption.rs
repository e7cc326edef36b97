//! One flipped byte in any stored file: the server refuses to start and says why, or a request fails, or the answer is right. Never a
//! wrong answer. `SEALDEX_FLIPS` sets how many bytes are tried, each on a fresh copy of the data directory.
#![allow(clippy::unwrap_used)]

use sealdex_tests::folder;
use sealdex_tests::index::{Hit, Index, by_id, hits_of, items_of};
use sealdex_tests::item::Item;
use sealdex_tests::oracle::{fault, nearest, recall};
use sealdex_tests::random::{Random, clumped};
use sealdex_tests::scanner::files_under;
use sealdex_tests::server::{Home, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const DIMENSION: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_never_gives_a_wrong_answer() {
    let flips: usize = std::env::var("SEALDEX_FLIPS").map_or(120, |given| given.parse().unwrap());
    let mut random = Random::from_clock("flips", "SEALDEX_FLIP_SEED");
    let mut tally = Tally::default();
    let mut faults = Vec::new();
    // Stopped in good order, everything is in its place; after a kill much is still in the write-ahead log.
    for killed in [false, true] {
        let home = Home::new();
        let worlds = build(&home, killed, &mut random).await;
        for world in &worlds {
            world.is_answered_exactly(&home).await;
        }
        let mut plan: Vec<Option<Damage>> = (0..flips / 2).map(|_| None).collect();
        if !killed {
            plan.extend(every_byte_at_the_top(&home.data()).into_iter().map(Some));
        }
        for planned in plan {
            let damaged = Home::new();
            folder::copy(&home.data(), &damaged.data());
            let damage = planned.unwrap_or_else(|| Damage::anywhere(&damaged.data(), &mut random));
            damage.inflict(&damaged.data());
            match try_everything(&damaged, &worlds).await {
                Ok(outcome) => tally.count(&damage, outcome),
                Err(wrong) => faults.push(format!("{damage}: {wrong}")),
            }
        }
    }
    println!("{tally:#?}");
    assert!(
        faults.is_empty(),
        "{} wrong answers:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(
        tally.refused + tally.errors > 0,
        "no flip was noticed at all: the flips hit nothing that is read"
    );
}

/// An index and the items that belong in it.
struct World {
    name: &'static str,
    key: String,
    items: BTreeMap<String, Item>,
}

/// What became of one flip.
enum Outcome {
    Refused,
    SomeErrors,
    AllRight,
}

#[derive(Debug, Default)]
struct Tally {
    refused: usize,
    errors: usize,
    unnoticed: usize,
    files: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, damage: &Damage, outcome: Outcome) {
        match outcome {
            Outcome::Refused => self.refused += 1,
            Outcome::SomeErrors => self.errors += 1,
            Outcome::AllRight => self.unnoticed += 1,
        }
        *self.files.entry(damage.kind()).or_default() += 1;
    }
}

/// A small untrained index and a trained one, then the end of the server: in good order, or by a kill.
async fn build(home: &Home, killed: bool, random: &mut Random) -> Vec<World> {
    let server = home.start().await;
    let mut worlds = Vec::new();
    for (name, rows) in [("untrained", 300), ("trained", 1_500)] {
        let key = random.hex(32);
        let settings = json!({"dimension": DIMENSION, "metric": "squared_euclidean"});
        let index = Index::create(&server.http, name, &key, settings).await;
        let items = clumped(random, rows, 30, DIMENSION)
            .into_iter()
            .enumerate()
            .map(|(i, vector)| {
                Item::bare(format!("{name}{i}"), vector)
                    .with_metadata(json!({"i": i}))
                    .with_contents(format!("{name} {i}"))
            });
        let mut items = by_id(items.collect());
        index
            .upsert_binary(&items.values().cloned().collect::<Vec<_>>())
            .await;
        if name == "trained" {
            index.must("indexes/train", json!({"n_lists": 8})).await;
        }
        let deleted: Vec<String> = items.keys().step_by(10).cloned().collect();
        index.delete(&deleted).await;
        items.retain(|id, _| !deleted.contains(id));
        worlds.push(World { name, key, items });
    }
    if killed {
        server.kill()
    } else {
        server.stop().await
    }
    worlds
}

/// Starts a server on the damaged data and asks for everything. A wrong answer is an error that says what was wrong.
async fn try_everything(home: &Home, worlds: &[World]) -> Result<Outcome, String> {
    let server = match home.try_start().await {
        Ok(server) => server,
        Err(refused) if refused.status.success() => {
            return Err("the server ended as if all were well".to_owned());
        }
        Err(refused) if refused.said.len() < 20 => {
            return Err(format!("the server ended without a reason: {:?}", refused.said));
        }
        Err(_) => return Ok(Outcome::Refused),
    };
    let mut errors = 0;
    for world in worlds {
        // A server that ends itself over what it read leaves requests unanswered; those are errors too.
        errors += world.ask_for_everything(&server).await?;
    }
    Ok(if errors > 0 {
        Outcome::SomeErrors
    } else {
        Outcome::AllRight
    })
}

impl World {
    async fn is_answered_exactly(&self, home: &Home) {
        let copy = Home::new();
        folder::copy(&home.data(), &copy.data());
        let server = copy.start().await;
        assert_eq!(
            self.ask_for_everything(&server).await,
            Ok(0),
            "{} is wrong before any damage",
            self.name
        );
    }

    /// Returns how many requests ended in an error; a wrong answer is what fails.
    async fn ask_for_everything(&self, server: &Server) -> Result<usize, String> {
        let index = Index::new(&server.http, self.name, &self.key);
        let mut errors = 0;
        let mut ask = async |route: &str, body: Value| match index.call(route, body).await {
            Ok(reply) if reply.status == 200 => Some(reply.json()),
            _ => {
                errors += 1;
                None
            }
        };
        let ids: Vec<&String> = self.items.keys().collect();
        for part in ids.chunks(50) {
            if let Some(answer) = ask("vectors/get", json!({"ids": part})).await {
                self.judge_items(part, &answer)?;
            }
        }
        if let Some(answer) = ask("vectors/list_ids", json!({})).await {
            let mut listed: Vec<&str> = answer["ids"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            listed.sort_unstable();
            expect(listed == ids, || {
                format!(
                    "list_ids of {} lists {} of {}",
                    self.name,
                    listed.len(),
                    ids.len()
                )
            })?;
        }
        if let Some(answer) = ask("vectors/num_vectors", json!({})).await {
            expect(answer["result"] == ids.len(), || {
                format!("num_vectors of {} is {answer}, not {}", self.name, ids.len())
            })?;
        }
        for item in self.items.values().step_by(self.items.len() / QUERIES) {
            for filters in [json!({}), json!({"i": {"$gte": 0}})] {
                let body = json!({"query_vectors": item.vector, "top_k": 5, "n_probes": 1_000, "rerank_mult": 100,
                    "filters": filters, "include": ["distance", "metadata"]});
                if let Some(answer) = ask("vectors/query", body).await {
                    self.judge_hits(&item.vector, &answer)?;
                }
            }
        }
        Ok(errors)
    }

    fn judge_items(&self, ids: &[&String], answer: &Value) -> Result<(), String> {
        let read =
            items_of(answer).ok_or_else(|| format!("get of {} gives no items: {answer}", self.name))?;
        expect(read.len() == ids.len(), || {
            format!("get of {} gives {} of {} items", self.name, read.len(), ids.len())
        })?;
        let differing = read
            .iter()
            .zip(ids)
            .find(|(read, id)| !read.is_same_as(&self.items[id.as_str()]));
        expect(differing.is_none(), || {
            format!("get of {} gives another item: {differing:?}", self.name)
        })
    }

    fn judge_hits(&self, query: &[f32], answer: &Value) -> Result<(), String> {
        let hits =
            hits_of(&answer["results"]).ok_or_else(|| format!("a query of {} gives {answer}", self.name))?;
        if let Some(wrong) = fault("squared_euclidean", &hits, query, |id| self.items.get(id)) {
            return Err(format!("a query of {}: {wrong}", self.name));
        }
        let found = recall(
            &hits,
            &nearest("squared_euclidean", self.items.values(), query, 5),
        );
        expect(found == 1.0, || {
            format!("a query of {} finds {found} of what it must", self.name)
        })?;
        let right = |hit: &Hit| hit.metadata == Value::Object(self.items[&hit.id].metadata.clone());
        expect(hits.iter().all(right), || {
            format!("a query of {} gives wrong metadata", self.name)
        })
    }
}

fn expect(right: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if right { Ok(()) } else { Err(wrong()) }
}

const QUERIES: usize = 12;

/// One byte that is changed.
struct Damage {
    /// The file's path within the data directory.
    file: PathBuf,
    offset: usize,
    flipped: u8,
}

impl Damage {
    /// Half of the time any byte is as likely as another, else any file, so that small ones are hit too.
    fn anywhere(folder: &Path, random: &mut Random) -> Self {
        let mut files: Vec<(usize, PathBuf)> = files_under(folder)
            .unwrap()
            .into_iter()
            // Filler that is never read, and larger than all the rest.
            .filter(|file| !file.ends_with("headroom"))
            .map(|file| (std::fs::metadata(&file).unwrap().len() as usize, file))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        let (bytes, file) = if random.chance(50) {
            files.swap_remove(random.below(files.len()))
        } else {
            let mut byte = random.below(files.iter().map(|(bytes, _)| bytes).sum());
            let hit = files
                .iter()
                .position(|(bytes, _)| byte.checked_sub(*bytes).map(|rest| byte = rest).is_none());
            files.swap_remove(hit.expect("the byte is in one of them"))
        };
        let file = file.strip_prefix(folder).unwrap().to_owned();
        Self {
            file,
            offset: random.below(bytes),
            flipped: 1 << random.below(8),
        }
    }

    fn inflict(&self, folder: &Path) {
        let file = folder.join(&self.file);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[self.offset] ^= self.flipped;
        std::fs::write(&file, bytes).unwrap();
    }

    /// What sort of file it is: its extension, or its name without digits.
    fn kind(&self) -> String {
        let name = self
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let kind = name
            .rsplit_once('.')
            .map_or(name.clone(), |(_, extension)| extension.to_owned());
        kind.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-')
            .to_owned()
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "byte {} of {} xor {:#04x}",
            self.offset,
            self.file.display(),
            self.flipped
        )
    }
}

/// What lies at the top of the data directory describes it, is small, and is no storage engine's to check.
fn every_byte_at_the_top(folder: &Path) -> Vec<Damage> {
    let at_the_top = files_under(folder)
        .unwrap()
        .into_iter()
        .filter(|file| file.parent() == Some(folder));
    let each_byte = |file: PathBuf| {
        let bytes = std::fs::metadata(&file).unwrap().len() as usize;
        let file = file.strip_prefix(folder).unwrap().to_owned();
        (0..bytes).map(move |offset| Damage {
            file: file.clone(),
            offset,
            flipped: 1,
        })
    };
    let all: Vec<Damage> = at_the_top.flat_map(each_byte).collect();
    assert!(
        all.len() < 500,
        "{} bytes at the top of the data directory are too many to try one by one",
        all.len()
    );
    all
}
