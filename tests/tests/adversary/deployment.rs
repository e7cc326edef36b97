//! The deployment that is attacked: a real server with two indexes, its files, and its users.

use crate::files::Files;
use sealdex_coordinator::domain::{IndexRecord, UserRecord};
use sealdex_core::UserId;
use sealdex_crypto::{TokenAuthority, UserToken};
use sealdex_tests::http::Http;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::server::{Home, Server};
use serde_json::json;
use std::sync::Arc;

pub(crate) const ROOT: &str = "the root key of this test";
pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
pub(crate) const OTHER_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
pub(crate) const PARTITIONS: u16 = 4;

/// A deployment with the indexes `mine` and `other`, two items in each.
pub(crate) struct Deployment {
    pub(crate) home: Home,
}

/// A user as the server made it.
pub(crate) struct User {
    pub(crate) id: UserId,
    text: String,
}

impl Deployment {
    pub(crate) async fn new() -> (Self, Server) {
        let home = Home::new()
            .with_variable("SEALDEX_ROOT_KEY", ROOT)
            .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "0")
            .with_variable("SEALDEX_PARTITIONS", &PARTITIONS.to_string());
        let server = home.start().await;
        let root = Arc::new(server.http.with_header("x-api-key", ROOT));
        for (name, key) in [("mine", KEY), ("other", OTHER_KEY)] {
            let index = Index::create(&root, name, key, json!({"dimension": 2})).await;
            let items = [("a", [1.0, 2.0]), ("b", [3.0, 4.0])];
            let items = items.map(|(id, vector)| {
                Item::bare(id, vector.to_vec()).with_contents(format!("the secret of {id} in {name}"))
            });
            index.upsert(&items).await;
        }
        (Self { home }, server)
    }

    pub(crate) async fn start(&self) -> Server {
        self.home.start().await
    }

    /// The catalogue of a stopped server, as whoever may write its files has it.
    pub(crate) async fn catalog(&self) -> Files {
        Files::open(&self.home.data()).await
    }
}

impl User {
    pub(crate) async fn new(server: &Server, index: &str, permissions: &[&str]) -> Self {
        let root = server.http.with_header("x-api-key", ROOT);
        let key = if index == "mine" { KEY } else { OTHER_KEY };
        let body = json!({"permissions": permissions, "index_key": key});
        let made = root
            .post(&format!("/v1/indexes/{index}/users"), &body)
            .await
            .unwrap()
            .ok();
        Self {
            id: made["user_id"].as_str().unwrap().parse().unwrap(),
            text: made["api_key"].as_str().unwrap().to_owned(),
        }
    }

    /// What the text holds. The root key stands here for taking the text apart, which needs none.
    pub(crate) fn token(&self) -> UserToken {
        TokenAuthority::new(ROOT).verify(&self.text).unwrap()
    }

    pub(crate) fn client(&self, server: &Server) -> Http {
        server.http.with_header("x-api-key", &self.text)
    }

    pub(crate) fn record(&self, index: &IndexRecord) -> UserRecord {
        index
            .users
            .iter()
            .find(|user| user.id == self.id)
            .unwrap()
            .clone()
    }
}
