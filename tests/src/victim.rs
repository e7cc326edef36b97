//! An index under attack: whatever a client sends, it gets a clear refusal, nothing is written, no key comes back, and the process
//! lives on.

use crate::http::Reply;
use crate::index::Index;
use crate::item::Item;
use crate::server::{Home, Server};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

/// The victim's index key.
pub const KEY: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

/// An index with three items, and a check that they are still all there is.
pub struct Victim {
    server: Server,
    /// The index, named `victim`, of two dimensions.
    pub index: Index,
    items: Vec<Item>,
}

impl Victim {
    /// Starts a server with the index in it.
    pub async fn new(home: &Home) -> Self {
        let server = home.start().await;
        let index = Index::create(&server.http, "victim", KEY, json!({"dimension": 2})).await;
        let items: Vec<Item> = (0..3)
            .map(|i| {
                Item::bare(format!("i{i}"), vec![i as f32, 1.0])
                    .with_metadata(json!({"n": i}))
                    .with_contents("c")
            })
            .collect();
        index.upsert(&items).await;
        Self { server, index, items }
    }

    /// Sends one request and judges the answer. `wanted` holds the status codes that are right.
    pub async fn refuses(&mut self, route: &str, body: Value, wanted: &[u16]) {
        let shown: String = body.to_string().chars().take(300).collect();
        let reply = self
            .index
            .call(route, body)
            .await
            .unwrap_or_else(|why| panic!("{route} {shown}: {}", why.0));
        self.judge(&format!("{route} {shown}"), &reply, wanted).await;
    }

    /// The same for any bytes; the index's name and key are not added.
    pub async fn refuses_bytes(&mut self, route: &str, body: impl Into<Bytes>, wanted: &[u16]) {
        let body: Bytes = body.into();
        let shown = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
        let reply = self
            .index
            .http
            .send(Method::POST, &format!("/v1/{route}"), body)
            .await;
        let reply = reply.unwrap_or_else(|why| panic!("{route} {shown}: {}", why.0));
        self.judge(&format!("{route} {shown}"), &reply, wanted).await;
    }

    async fn judge(&mut self, request: &str, reply: &Reply, wanted: &[u16]) {
        assert!(
            wanted.contains(&reply.status),
            "{request}\nwanted {wanted:?}, got {}: {}",
            reply.status,
            reply.text()
        );
        assert_body_shape(request, reply);
        self.is_unharmed(request).await;
    }

    /// Fails the test unless everything is as it was at first.
    pub async fn is_unharmed(&mut self, after: &str) {
        self.server.assert_alive();
        assert_eq!(
            self.index.count().await,
            self.items.len() as u64,
            "something was written by {after}"
        );
        let ids: Vec<String> = self.items.iter().map(|item| item.id.clone()).collect();
        assert_eq!(
            self.index.get(&ids).await,
            self.items,
            "something was changed by {after}"
        );
        let names = self
            .index
            .http
            .get("/v1/indexes/list")
            .await
            .expect("the server answers")
            .ok();
        assert_eq!(
            names,
            json!({"indexes": ["victim"]}),
            "an index was made by {after}"
        );
    }
}

/// `{status_code, detail}`; a 422 lists what is wrong where. Neither repeats the input or the key.
fn assert_body_shape(request: &str, reply: &Reply) {
    let body = reply.json();
    if reply.status == 422 {
        let errors = body["detail"]
            .as_array()
            .unwrap_or_else(|| panic!("{request}: {}", reply.text()));
        assert!(!errors.is_empty(), "{request}: an empty list of errors");
        for error in errors {
            assert!(
                error["type"].is_string() && error["loc"].is_array() && error["msg"].is_string(),
                "{request}: {error}"
            );
            assert!(error.get("input").is_none(), "{request}: the input is echoed");
        }
    } else {
        assert_eq!(body["status_code"], reply.status, "{request}: {}", reply.text());
        assert!(
            body["detail"].as_str().is_some_and(|text| text.len() > 5),
            "{request}: {}",
            reply.text()
        );
    }
    assert!(is_json(reply), "{request}: {:?}", reply.headers);
    let text = reply.text().to_lowercase();
    assert!(!text.contains(&KEY[..16]), "{request}: a key is echoed: {text}");
}

fn is_json(reply: &Reply) -> bool {
    reply
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}
