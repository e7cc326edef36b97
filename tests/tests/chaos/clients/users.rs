//! Users that are made, work, are revoked, and go on trying.

use super::{Answer, Client, name};
use bytes::Bytes;
use hyper::Method;
use sealdex_tests::history::{Call, Effect, Id, User};
use sealdex_tests::http::Http;
use serde_json::{Value, json};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// A user whose token somebody has.
#[derive(Clone)]
pub(super) struct Known {
    user: User,
    user_id: String,
    token: String,
}

/// Makes users and revokes them until the run is over.
pub(super) async fn come_and_go(mut client: Client) {
    let mut made = 0;
    let mut with_rights = Vec::new();
    while !client.work.is_over() {
        if with_rights.len() < WITH_RIGHTS_MAX {
            with_rights.extend(client.mint(User(made)).await);
            made += 1;
        } else {
            let known = with_rights.remove(0);
            client.revoke(&known).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks with the token of this user or that until the run is over.
pub(super) async fn work(mut client: Client) {
    while !client.work.is_over() {
        let known = {
            let users = client.work.users();
            let lately = &users[users.len().saturating_sub(2 * WITH_RIGHTS_MAX)..];
            lately.get(client.random.below(lately.len().max(1))).cloned()
        };
        if let Some(known) = known {
            client.act(&known).await;
        }
        tokio::time::sleep(PAUSE / 4).await;
    }
}

impl super::Work {
    fn users(&self) -> MutexGuard<'_, Vec<Known>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn users_path(&self) -> String {
        format!("/v1/indexes/{}/users", self.index_name)
    }
}

impl Client {
    async fn mint(&mut self, user: User) -> Option<Known> {
        let call = |effect| Call::Mint { user, effect };
        let body = json!({"permissions": ["read"], "index_key": self.work.index_key});
        let ticket = self.work.recorder.begin(self.number, call(Effect::Unknown));
        let answer = self
            .ask(Method::POST, &self.work.users_path(), body.to_string().into())
            .await;
        let reply = match answer {
            Answer::Served(reply) => reply.json(),
            Answer::Refused(reply) => {
                self.unexpected("users", &reply);
                return None;
            }
            Answer::Unsent | Answer::Unknown => return None,
        };
        self.work.recorder.end(ticket, call(Effect::Acknowledged));
        let text = |field: &str| reply[field].as_str().map(str::to_owned);
        let known = Known {
            user,
            user_id: text("user_id")?,
            token: text("api_key")?,
        };
        self.work.users().push(known.clone());
        Some(known)
    }

    /// Revokes a user, and asks again until that is acknowledged: only the last of the requests is known to have taken effect.
    async fn revoke(&mut self, known: &Known) {
        let call = |effect| Call::Revoke {
            user: known.user,
            effect,
        };
        let path = format!("{}/{}", self.work.users_path(), known.user_id);
        while !self.work.is_over() {
            let ticket = self.work.recorder.begin(self.number, call(Effect::Unknown));
            match self.ask(Method::DELETE, &path, Bytes::new()).await {
                Answer::Served(_) => return self.work.recorder.end(ticket, call(Effect::Acknowledged)),
                Answer::Refused(reply) => return self.unexpected("users", &reply),
                Answer::Unsent => self.work.recorder.end(ticket, call(Effect::Refused)),
                Answer::Unknown => {}
            }
        }
    }

    /// One request with a user's token.
    async fn act(&mut self, known: &Known) {
        let call = |served| Call::Act {
            user: known.user,
            served,
        };
        let body: Value = json!({"index_name": self.work.index_name, "ids": [name(Id(0))]});
        let address = self.work.coordinators[self.random.below(self.work.coordinators.len())];
        let http = Http::new(address).with_header("x-api-key", &known.token);
        let ticket = self.work.recorder.begin(self.number, call(None));
        let answer = http
            .send_within(
                self.patience,
                Method::POST,
                "/v1/vectors/get",
                body.to_string().into(),
            )
            .await;
        let served = match answer.map(|reply| reply.status) {
            Ok(200) => true,
            Ok(401 | 403) => false,
            // Asked too often, or no answer: nothing is learned.
            _ => return,
        };
        self.work.recorder.end(ticket, call(Some(served)));
    }
}

const WITH_RIGHTS_MAX: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);
