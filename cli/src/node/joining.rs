//! Joining a deployment: asks the coordinators in turn until one lets the node in, or says for good that none will.

use super::{Identified, NodeArgs, NodeError};
use sealdex_core::{DeploymentId, NodeId, SecretText};
use sealdex_crypto::Credential;
use sealdex_peer::{Credentials, Directory, Identity, PeerError, Registered, Role, is_of_other_authority};
use sealdex_proto::PEER_VERSION;
use sealdex_proto::peer::{JoinReply, JoinRequest, Member};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

/// How long one coordinator may take to answer, and the pause after all were asked.
const ANSWER_MAX: Duration = Duration::from_secs(5);
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// How long a node of the same name may be about: one that is set up anew on an empty disk waits until its predecessor is known to be lost.
const NAMESAKE_MAX: Duration = Duration::from_secs(30);

/// Shorter tokens can be guessed.
const TOKEN_BYTES_MIN: usize = 32;

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// It cannot be read.
    #[error("cannot read the join token {}: {cause}; name its file with --join-token-file", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// It is too short.
    #[error("the join token in {} is shorter than 32 characters; make one with: openssl rand -hex 32", .0.display())]
    TooShort(PathBuf),
}

/// What lets a node join.
pub(crate) struct JoinToken {
    text: SecretText,
    compared: Credential,
}

impl JoinToken {
    /// Reads it; white space around it is not part of it.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(path).map_err(|cause| TokenError::Io {
            path: path.to_owned(),
            cause,
        })?;
        let text = SecretText::new(text);
        let text = SecretText::new(text.expose().trim().to_owned());
        if text.expose().len() < TOKEN_BYTES_MIN {
            return Err(TokenError::TooShort(path.to_owned()));
        }
        let compared = Credential::new(text.expose());
        Ok(Self { text, compared })
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        std::str::from_utf8(shown).is_ok_and(|shown| self.compared.matches(shown))
    }
}

/// Whose data directory it is that a node comes with.
#[derive(Clone, Copy)]
pub(crate) struct Disk {
    /// Drawn when the directory was made.
    pub(crate) install: [u8; 16],
    /// The deployment that it is of, if it is of one.
    pub(crate) of: Option<DeploymentId>,
}

/// Under this name an answer says where to ask instead.
pub(crate) const ASK_AT: &str = "sealdex-ask-at";

/// A node that was let in, and those it was told of.
pub(crate) struct Joined {
    pub(crate) identified: Identified,
    pub(crate) members: Vec<Member>,
}

/// Asks until a coordinator lets the node in. An error is one that asking again does not mend, or has not for long.
pub(crate) async fn join(
    args: &NodeArgs,
    credentials: &Credentials,
    token: &JoinToken,
    disk: Disk,
) -> Result<Joined, NodeError> {
    let mut waiting = Waiting::new(args);
    loop {
        for address in &args.join {
            let answer = ask_on(args, credentials, token, disk, address).await;
            match answer.unless_final()? {
                Ok(reply) => return read(reply),
                Err(error) => waiting.after(address, &error)?,
            }
        }
        sleep(PAUSE).await;
    }
}

/// What came of asking, and who was asked in the end.
pub(super) struct Answer {
    pub(super) from: String,
    pub(super) outcome: Result<JoinReply, PeerError>,
}

impl Answer {
    /// A refusal that asking again does not mend is an error of this node.
    fn unless_final(self) -> Result<Result<JoinReply, PeerError>, NodeError> {
        match self.outcome {
            Err(PeerError::Status(status)) if is_final(status.code()) => Err(refused(&self.from, &status)),
            outcome => Ok(outcome),
        }
    }

    /// Where it says to ask instead.
    fn hint(&self) -> Option<&str> {
        let Err(PeerError::Status(status)) = &self.outcome else {
            return None;
        };
        status.metadata().get(ASK_AT)?.to_str().ok()
    }
}

/// Asks, and asks again where the answer says to.
pub(super) async fn ask_on(
    args: &NodeArgs,
    credentials: &Credentials,
    token: &JoinToken,
    disk: Disk,
    address: &str,
) -> Answer {
    let answer = ask(args, credentials, token, disk, address).await;
    match answer.hint() {
        Some(at) => ask(args, credentials, token, disk, at).await,
        None => answer,
    }
}

/// What a node waits for that is not let in yet, and for how long it has.
pub(super) struct Waiting {
    since: Instant,
    patience: Option<Duration>,
    /// Since when a node of its name is in its way.
    namesake: Option<Instant>,
    /// What each address was last said to keep the node waiting with.
    told: BTreeMap<String, String>,
    /// The authority that the node believes.
    ca: PathBuf,
    /// The addresses of others that are asked.
    others: BTreeSet<String>,
    /// Those of them whose last certificate was of another authority.
    foreign: BTreeSet<String>,
}

impl Waiting {
    pub(super) fn new(args: &NodeArgs) -> Self {
        let (patience, mine) = (args.join_patience_seconds, args.advertised());
        let others = args.join.iter().filter(|address| **address != mine);
        Self {
            since: Instant::now(),
            patience: (patience > 0).then(|| Duration::from_secs(patience)),
            namesake: None,
            told: BTreeMap::new(),
            ca: args.authority(),
            others: others.cloned().collect(),
            foreign: BTreeSet::new(),
        }
    }

    /// Says of each address once what keeps the node waiting, and ends the wait when it took too long, or when it is in vain.
    pub(super) fn after(&mut self, address: &str, error: &PeerError) -> Result<(), NodeError> {
        if let PeerError::Status(status) = error
            && status.code() == Code::AlreadyExists
            && self.namesake.get_or_insert_with(Instant::now).elapsed() >= NAMESAKE_MAX
        {
            return Err(refused(address, status));
        }
        let is_foreign = is_of_other_authority(error);
        if is_foreign {
            self.foreign.insert(address.to_owned());
        } else {
            self.foreign.remove(address);
        }
        let waited = self.since.elapsed();
        let too_long = self.patience.is_some_and(|patience| waited >= patience);
        // One that is foreign may be a mistake of its own; if all are, it is this node that is.
        if let Some(foreign) = self.foreign.first()
            && (too_long || self.foreign.is_superset(&self.others))
        {
            return Err(self.of_other_authority(foreign));
        }
        let says = match is_foreign {
            true => self.of_other_authority(address).to_string(),
            false => error.to_string(),
        };
        if too_long {
            return Err(NodeError::Alone(waited.as_secs(), format!("{address}: {says}")));
        }
        if self.told.get(address) != Some(&says) {
            tracing::info!(
                address,
                reason = says,
                "not joined yet; coordinators are asked again"
            );
            self.told.insert(address.to_owned(), says);
        }
        Ok(())
    }

    fn of_other_authority(&self, address: &str) -> NodeError {
        NodeError::OtherAuthority {
            address: address.to_owned(),
            ca: self.ca.clone(),
        }
    }
}

pub(super) fn refused(address: &str, status: &Status) -> NodeError {
    NodeError::Refused(format!(
        "{address} does not let this node join: {}",
        status.message()
    ))
}

/// Asks every coordinator but this one until each has said that it knows no deployment (`true`), or one lets the node in (`false`: join).
pub(crate) async fn knows_none(
    args: &NodeArgs,
    credentials: &Credentials,
    token: &JoinToken,
    disk: Disk,
    mine: &str,
) -> Result<bool, NodeError> {
    let mut left: Vec<&String> = args.join.iter().filter(|address| *address != mine).collect();
    let mut waiting = Waiting::new(args);
    while !left.is_empty() {
        let mut unsaid = Vec::new();
        for address in left {
            let answer = ask(args, credentials, token, disk, address).await;
            match answer.unless_final()? {
                Ok(_) => return Ok(false),
                Err(PeerError::Status(status)) if status.code() == Code::NotFound => {}
                // It is part of one, and will let this node in, or say why not.
                Err(PeerError::Status(status)) if status.code() == Code::AlreadyExists => return Ok(false),
                Err(PeerError::Status(status)) if status.code() == Code::Unavailable && !is_away(&status) => {
                    return Ok(false);
                }
                Err(error) => {
                    waiting.after(address, &error)?;
                    unsaid.push(address);
                }
            }
        }
        left = unsaid;
        if !left.is_empty() {
            sleep(PAUSE).await;
        }
    }
    Ok(true)
}

/// Whether nobody answered, as opposed to somebody who said that it cannot at the moment.
fn is_away(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

async fn ask(
    args: &NodeArgs,
    credentials: &Credentials,
    token: &JoinToken,
    disk: Disk,
    address: &str,
) -> Answer {
    let deployment = disk.of.map(|of| of.0.to_vec()).unwrap_or_default();
    let request = JoinRequest {
        version: PEER_VERSION,
        token: token.text.expose().as_bytes().to_vec().into(),
        address: args.advertised(),
        zone: args.zone.clone(),
        install: disk.install.to_vec().into(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        deployment: deployment.into(),
    };
    Answer {
        from: address.to_owned(),
        outcome: sealdex_peer::join(credentials, address, request, ANSWER_MAX).await,
    }
}

fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::PermissionDenied | Code::InvalidArgument | Code::FailedPrecondition
    )
}

pub(super) fn read(reply: JoinReply) -> Result<Joined, NodeError> {
    let malformed =
        || NodeError::Refused("the coordinator's answer cannot be read; upgrade this node".to_owned());
    let deployment: [u8; 16] = reply.deployment.as_ref().try_into().map_err(|_| malformed())?;
    Ok(Joined {
        identified: Identified {
            deployment: DeploymentId(deployment),
            node: NodeId(reply.node),
            partitions: reply.partitions.try_into().map_err(|_| malformed())?,
        },
        members: reply.members,
    })
}

/// Enters into the directory what a coordinator said of other nodes. Who cannot be understood is left out.
pub(crate) fn entered(directory: &Directory, members: &[Member]) {
    for member in members {
        let role = match member.role() {
            sealdex_proto::peer::Role::Coordinator => Role::Coordinator,
            sealdex_proto::peer::Role::Shard => Role::Shard,
            sealdex_proto::peer::Role::Unspecified => continue,
        };
        if let Ok(name) = member.name.parse() {
            let node = Registered {
                identity: Identity { role, name },
                address: member.address.clone(),
                removed: false,
            };
            directory.insert(NodeId(member.node), node);
        }
    }
}
