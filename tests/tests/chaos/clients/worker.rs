//! A client that writes, deletes, reads and searches items that it shares with all others.

use super::{Answer, Client, name, token_of, vector, version};
use sealdex_tests::history::{Call, Effect, Id, Token};
use sealdex_tests::index::items_of;
use sealdex_tests::item::Item;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// Works until the run is over.
pub(super) async fn work(client: Client) {
    let mut worker = Worker {
        client,
        known: VecDeque::new(),
    };
    while !worker.client.work.is_over() {
        match worker.client.random.below(100) {
            0..50 => worker.upsert().await,
            50..60 => worker.delete().await,
            60..80 => worker.get().await,
            _ => worker.query().await,
        }
    }
}

/// Lists everything once a second.
pub(super) async fn list_now_and_then(mut client: Client) {
    while !client.work.is_over() {
        client.list().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

struct Worker {
    client: Client,
    /// Versions that were there lately.
    known: VecDeque<(Id, Token)>,
}

impl Worker {
    async fn upsert(&mut self) {
        let ids = self.some_ids(8);
        let items: Vec<(Id, Token)> = ids.into_iter().map(|id| (id, self.client.work.token())).collect();
        if self.client.upsert(&items).await {
            items.into_iter().for_each(|item| self.remember(item));
        }
    }

    async fn delete(&mut self) {
        let ids = self.some_ids(4);
        let call = |effect| Call::Delete {
            ids: ids.clone(),
            effect,
        };
        let body = json!({"ids": names(&ids)});
        self.client.write("vectors/delete", body, call).await;
    }

    async fn get(&mut self) {
        let ids = self.some_ids(16);
        for item in self.client.get(&ids).await.unwrap_or_default() {
            self.remember(item);
        }
    }

    async fn query(&mut self) {
        let Some(wanted) = self
            .known
            .get(self.client.random.below(self.known.len().max(1)))
            .copied()
        else {
            return self.get().await;
        };
        let call = |rows| Call::Query { wanted, rows };
        let body = json!({
            "query_vectors": vector(wanted.1), "top_k": 5, "n_probes": 1_000_000,
            "include": ["vector", "metadata", "contents"],
        });
        let ticket = self.client.work.recorder.begin(self.client.number, call(None));
        if let Some(answer) = self.client.read("vectors/query", body).await {
            let rows = self.client.rows("vectors/query", &answer);
            self.client.work.recorder.end(ticket, call(rows));
        }
    }

    /// Ids that differ. Some come up all the time, most now and then.
    fn some_ids(&mut self, max: usize) -> Vec<Id> {
        let random = &mut self.client.random;
        let among = if random.chance(20) { HOT_IDS } else { IDS };
        let (count, first) = (1 + random.below(max), random.below(among));
        (0..count).map(|i| Id(((first + i * 7) % among) as u32)).collect()
    }

    fn remember(&mut self, item: (Id, Token)) {
        self.known.push_back(item);
        if self.known.len() > KNOWN_MAX {
            self.known.pop_front();
        }
    }
}

impl Client {
    /// Writes versions; true if that was acknowledged.
    pub(super) async fn upsert(&mut self, items: &[(Id, Token)]) -> bool {
        let call = |effect| Call::Upsert {
            items: items.to_vec(),
            effect,
        };
        let rows: Vec<Value> = items
            .iter()
            .map(|(id, token)| version(*id, *token).to_json())
            .collect();
        self.write("vectors/upsert", json!({"items": rows}), call).await
    }

    async fn write(&mut self, route: &str, body: Value, call: impl Fn(Effect) -> Call) -> bool {
        let ticket = self.work.recorder.begin(self.number, call(Effect::Unknown));
        let effect = match self.ask_about(route, body).await {
            Answer::Served(_) => Effect::Acknowledged,
            Answer::Unsent => Effect::Refused,
            Answer::Unknown => return false,
            Answer::Refused(reply) => {
                self.unexpected(route, &reply);
                Effect::Refused
            }
        };
        self.work.recorder.end(ticket, call(effect));
        effect == Effect::Acknowledged
    }

    /// The versions there are under `ids`; `None` without an answer.
    pub(super) async fn get(&mut self, ids: &[Id]) -> Option<Vec<(Id, Token)>> {
        let call = |items| Call::Get {
            ids: ids.to_vec(),
            items,
        };
        let ticket = self.work.recorder.begin(self.number, call(None));
        let answer = self.read("vectors/get", json!({"ids": names(ids)})).await?;
        let rows = self.rows("vectors/get", &answer)?;
        self.work.recorder.end(ticket, call(Some(rows.clone())));
        Some(rows)
    }

    /// The ids there are; `None` without an answer.
    pub(super) async fn list(&mut self) -> Option<usize> {
        let ticket = self.work.recorder.begin(self.number, Call::List { ids: None });
        let answer = self.read("vectors/list_ids", json!({})).await?;
        let names = answer["ids"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ids: Option<Vec<Id>> = names.iter().map(|name| super::id_of(name.as_str()?)).collect();
        if ids.is_none() {
            self.work
                .unexpected(format!("vectors/list_ids: not a list of known ids: {answer}"));
        }
        self.work.recorder.end(ticket, Call::List { ids });
        Some(names.len())
    }

    pub(super) async fn read(&mut self, route: &str, body: Value) -> Option<Value> {
        match self.ask_about(route, body).await {
            Answer::Served(reply) => Some(reply.json()),
            Answer::Refused(reply) => {
                self.unexpected(route, &reply);
                None
            }
            Answer::Unsent | Answer::Unknown => None,
        }
    }

    fn rows(&self, route: &str, answer: &Value) -> Option<Vec<(Id, Token)>> {
        let row = |item: &Item| Some((super::id_of(&item.id)?, token_of(item)));
        let rows = items_of(answer).and_then(|items| items.iter().map(row).collect());
        if rows.is_none() {
            let text: String = answer.to_string().chars().take(300).collect();
            self.work
                .unexpected(format!("{route}: not a list of items: {text}"));
        }
        rows
    }
}

fn names(ids: &[Id]) -> Vec<String> {
    ids.iter().copied().map(name).collect()
}

/// Ids that clients share; probes have others.
pub(super) const IDS: usize = 2_000;
const HOT_IDS: usize = 24;
const KNOWN_MAX: usize = 100;
