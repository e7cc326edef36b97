//! Users of an index, as its owner makes them and as they see it.

use crate::http::Http;
use crate::index::Index;
use crate::server::{Home, Server};
use serde_json::{Value, json};
use std::sync::Arc;

/// The root key of servers with users.
pub const ROOT: &str = "the root key of this test";

/// A place whose servers have users, and do not slow down who guesses.
pub fn with_users(home: Home) -> Home {
    home.with_variable("SEALDEX_ROOT_KEY", ROOT)
        .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "0")
}

/// A client of the server that sends this credential.
pub fn caller(server: &Server, credential: &str) -> Arc<Http> {
    Arc::new(server.http.with_header("x-api-key", credential))
}

/// Makes a user of an index; returns their token.
pub async fn make_user(owned: &Index, permissions: &[&str]) -> String {
    let mut body = json!({"permissions": permissions});
    if !owned.key.is_empty() {
        body["index_key"] = json!(owned.key);
    }
    let path = format!("/v1/indexes/{}/users", owned.name.replace(' ', "%20"));
    let made: Value = owned
        .http
        .post(&path, &body)
        .await
        .unwrap_or_else(|why| panic!("{}", why.0))
        .ok();
    made["api_key"].as_str().expect("a token is text").to_owned()
}

/// An index as a user sees it, who has a token and no key.
pub fn as_user(server: &Server, name: &str, token: &str) -> Index {
    Index::new(&caller(server, token), name, "")
}
