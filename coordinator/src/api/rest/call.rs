//! A request with a JSON body, ready for its handler.

use super::body::Share;
use super::edge::Edge;
use super::errors::ApiError;
use super::json::{Malformed, parse};
use crate::auth::{AuthError, Caller, Forbidden};
use crate::service::ServiceError;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

/// An authenticated request whose body has the right shape.
pub(super) struct Call<T> {
    pub(super) caller: Caller,
    pub(super) payload: T,
    /// The length of the body.
    pub(super) bytes: usize,
    /// Held until the request is done with, since what was parsed takes up as much again.
    _share: Share,
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<Edge> for Call<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, ApiError> {
        Self::received(request, edge, |_| Ok(())).await
    }
}

/// The same of somebody who administers the server.
pub(super) struct AdminCall<T>(pub(super) Call<T>);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Edge> for AdminCall<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, ApiError> {
        Call::received(request, edge, Caller::require_admin)
            .await
            .map(Self)
    }
}

/// The same of the holder of the root key.
pub(super) struct RootCall<T>(pub(super) Call<T>);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Edge> for RootCall<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, ApiError> {
        Call::received(request, edge, Caller::require_root)
            .await
            .map(Self)
    }
}

impl<T: DeserializeOwned + Send + 'static> Call<T> {
    /// The order of refusals is the contract's: grammar, credentials, rights, shape.
    async fn received(
        request: Request,
        edge: &Edge,
        may: impl FnOnce(&Caller) -> Result<(), Forbidden>,
    ) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let received = edge
            .bodies
            .receive(body, parts.headers.contains_key(header::EXPECT))
            .await?;
        let (bytes, body) = (received.bytes.len(), received.bytes);
        let is_json = is_json(&parts.headers);
        let parsed = edge
            .compute(bytes, move || {
                if is_json {
                    parse(&body)
                } else {
                    Err(Malformed::NotSentAsJson)
                }
            })
            .await?;
        if let Some(malformed) = parsed
            .as_ref()
            .err()
            .filter(|malformed| malformed.precedes_authentication())
        {
            return Err(malformed.clone().into());
        }
        let caller = caller(&parts)?;
        may(&caller).map_err(ServiceError::from)?;
        Ok(Self {
            caller,
            payload: parsed?,
            bytes,
            _share: received.share,
        })
    }
}

/// Whoever sent a request without a body.
pub(super) struct Identified(pub(super) Caller);

impl FromRequestParts<Edge> for Identified {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _edge: &Edge) -> Result<Self, ApiError> {
        Ok(Identified(caller(parts)?))
    }
}

/// The caller that the outermost layer has established.
fn caller(parts: &Parts) -> Result<Caller, ServiceError> {
    let established = parts.extensions.get::<Result<Caller, AuthError>>().cloned();
    let caller = established.ok_or_else(|| ServiceError::internal("a route is not behind authentication"))?;
    Ok(caller?)
}

/// A body without a type is taken for JSON, except from a web page: a page of another site may send such a request
/// without asking, and must not reach a server on its visitor's own machine.
fn is_json(headers: &HeaderMap) -> bool {
    match headers.get(header::CONTENT_TYPE) {
        None => !headers.contains_key(header::ORIGIN),
        Some(value) => {
            let essence = value
                .to_str()
                .unwrap_or_default()
                .split(';')
                .next()
                .unwrap_or_default()
                .trim();
            let essence = essence.to_ascii_lowercase();
            essence == "application/json"
                || (essence.starts_with("application/") && essence.ends_with("+json"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn which_bodies_are_json() {
        let with = |headers: &[(header::HeaderName, &'static str)]| {
            headers
                .iter()
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
                .collect::<HeaderMap>()
        };
        let typed = |value| is_json(&with(&[(header::CONTENT_TYPE, value)]));
        for accepted in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.api+json",
        ] {
            assert!(typed(accepted), "{accepted}");
        }
        for refused in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "text/json",
            "multipart/form-data",
            "",
        ] {
            assert!(!typed(refused), "{refused}");
        }
        assert!(is_json(&HeaderMap::new()));
        assert!(!is_json(&with(&[(header::ORIGIN, "https://elsewhere.example")])));
    }
}
