//! What stands in the metadata of every call between nodes that know each other: which deployment, from whom, to whom, in which version.

use sealdex_core::{DeploymentId, NodeId};
use sealdex_proto::PEER_VERSION;
use std::str::FromStr;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

const DEPLOYMENT: &str = "sealdex-deployment";
const FROM: &str = "sealdex-from";
const TO: &str = "sealdex-to";
const VERSION: &str = "sealdex-version";

/// Puts the four headers into each call of a channel.
#[derive(Clone, Debug)]
pub struct Headers {
    values: [(&'static str, MetadataValue<Ascii>); 4],
}

impl Headers {
    /// Of calls between two nodes.
    pub fn new(deployment: DeploymentId, from: NodeId, to: NodeId) -> Self {
        let value = |text: String| text.parse().expect("digits are ASCII");
        Self {
            values: [
                (DEPLOYMENT, value(deployment.to_string())),
                (FROM, value(from.to_string())),
                (TO, value(to.to_string())),
                (VERSION, value(PEER_VERSION.to_string())),
            ],
        }
    }
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for (name, value) in &self.values {
            request.metadata_mut().insert(*name, value.clone());
        }
        Ok(request)
    }
}

/// The four headers as they came.
pub(crate) struct Received {
    pub(crate) deployment: DeploymentId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) version: u32,
}

impl Received {
    /// `Err` names the header that is missing or does not parse.
    pub(crate) fn of(metadata: &MetadataMap) -> Result<Self, &'static str> {
        Ok(Self {
            deployment: parsed(metadata, DEPLOYMENT)?,
            from: NodeId(parsed(metadata, FROM)?),
            to: NodeId(parsed(metadata, TO)?),
            version: parsed(metadata, VERSION)?,
        })
    }
}

fn parsed<T: FromStr>(metadata: &MetadataMap, name: &'static str) -> Result<T, &'static str> {
    let text = metadata.get(name).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).ok_or(name)
}
