//! Why a shard refused, in the details of a gRPC status, and what a status without them means.

use parking_lot::Mutex;
use prost::Message;
use sealdex_core::NodeId;
use sealdex_index::dataplane::ShardError;
use sealdex_proto::shard as wire;
use std::collections::BTreeSet;
use std::error::Error;
use tonic::{Code, ConnectError, Status};
use wire::error::Kind;

/// Characters of a storage error's text that travel: a status is a header, and headers are short.
const TEXT_CHARS_MAX: usize = 512;

/// A refusal as a status.
pub fn status_of_error(error: &ShardError) -> Status {
    let code = Code::from_i32(error.code().grpc_code());
    let text: String = error.to_string().chars().take(TEXT_CHARS_MAX).collect();
    Status::with_details(code, text, refusal(error).encode_to_vec().into())
}

/// What a status says: the shard's own refusal, or else whether the call can have done anything.
pub fn error_of_status(status: &Status) -> ShardError {
    let told = Some(status.details()).filter(|details| !details.is_empty());
    if let Some(error) = told
        .and_then(|details| wire::Error::decode(details).ok())
        .and_then(read_refusal)
    {
        return error;
    }
    if did_nothing(status) {
        ShardError::Unreachable
    } else {
        ShardError::OutcomeUnknown
    }
}

/// Whether a call that a status without details ended can have done nothing: it was never sent, or the gate did not let it in.
pub fn did_nothing(status: &Status) -> bool {
    let refused = matches!(
        status.code(),
        Code::PermissionDenied | Code::FailedPrecondition | Code::Unauthenticated | Code::Unimplemented
    );
    refused || never_left(status)
}

/// Whether there was no connection to send it over.
fn never_left(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A refusal as a message.
pub fn refusal(error: &ShardError) -> wire::Error {
    let mut message = wire::Error::default();
    let kind = match error {
        ShardError::LeaseRequired => Kind::LeaseRequired,
        ShardError::UnknownIndex => Kind::UnknownIndex,
        ShardError::StaleGeneration => Kind::StaleGeneration,
        ShardError::BlocksGone => Kind::BlocksGone,
        ShardError::Busy => Kind::Busy,
        ShardError::Stopped => Kind::Stopped,
        ShardError::DiskFull {
            free_bytes,
            needed_bytes,
        } => {
            (message.free_bytes, message.needed_bytes) = (*free_bytes, *needed_bytes);
            Kind::DiskFull
        }
        ShardError::Corrupt(what) => {
            message.text = (*what).to_owned();
            Kind::Corrupt
        }
        ShardError::Storage(text) => {
            message.text = text.chars().take(TEXT_CHARS_MAX).collect();
            Kind::Storage
        }
        ShardError::BadEntry(what) => {
            message.text = (*what).to_owned();
            Kind::BadEntry
        }
        ShardError::NotSigned => Kind::NotSigned,
        ShardError::NotLeader { leader } => {
            message.leader = leader.map(|node| node.0);
            Kind::NotLeader
        }
        ShardError::NotHosted => Kind::NotHosted,
        ShardError::Unreachable => Kind::Unreachable,
        ShardError::OutcomeUnknown => Kind::OutcomeUnknown,
    };
    message.set_kind(kind);
    message
}

/// A refusal from its message; `None` for a kind that only a later version knows.
pub fn read_refusal(message: wire::Error) -> Option<ShardError> {
    Some(match message.kind() {
        Kind::Unspecified => return None,
        Kind::LeaseRequired => ShardError::LeaseRequired,
        Kind::UnknownIndex => ShardError::UnknownIndex,
        Kind::StaleGeneration => ShardError::StaleGeneration,
        Kind::BlocksGone => ShardError::BlocksGone,
        Kind::Busy => ShardError::Busy,
        Kind::Stopped => ShardError::Stopped,
        Kind::DiskFull => ShardError::DiskFull {
            free_bytes: message.free_bytes,
            needed_bytes: message.needed_bytes,
        },
        Kind::Corrupt => ShardError::Corrupt(interned(message.text)),
        Kind::Storage => ShardError::Storage(message.text),
        Kind::BadEntry => ShardError::BadEntry(interned(message.text)),
        Kind::NotSigned => ShardError::NotSigned,
        Kind::NotLeader => ShardError::NotLeader {
            leader: message.leader.map(NodeId),
        },
        Kind::NotHosted => ShardError::NotHosted,
        Kind::Unreachable => ShardError::Unreachable,
        Kind::OutcomeUnknown => ShardError::OutcomeUnknown,
    })
}

/// The names of kinds of records and of parts of entries are literals of the program on the other side. There are some dozens; each is
/// kept once, for good, and more than there can be are not.
fn interned(text: String) -> &'static str {
    const NAMES_MAX: usize = 256;
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock();
    if let Some(known) = names.get(text.as_str()) {
        return known;
    }
    if names.len() == NAMES_MAX {
        return "record";
    }
    let name: &'static str = Box::leak(text.into_boxed_str());
    names.insert(name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_comes_back_as_it_went() {
        for error in [
            ShardError::LeaseRequired,
            ShardError::UnknownIndex,
            ShardError::StaleGeneration,
            ShardError::BlocksGone,
            ShardError::Busy,
            ShardError::Stopped,
            ShardError::DiskFull {
                free_bytes: 1,
                needed_bytes: u64::MAX,
            },
            ShardError::Corrupt("vector"),
            ShardError::Storage("IO error: \u{e9}".into()),
            ShardError::BadEntry("row place"),
            ShardError::NotSigned,
            ShardError::NotLeader { leader: None },
            ShardError::NotHosted,
            ShardError::NotLeader {
                leader: Some(NodeId(7)),
            },
            ShardError::Unreachable,
            ShardError::OutcomeUnknown,
        ] {
            assert_eq!(error_of_status(&status_of_error(&error)), error);
        }
    }

    #[test]
    fn a_status_without_details_says_whether_anything_can_have_happened() {
        for (status, error) in [
            (Status::permission_denied("removed"), ShardError::Unreachable),
            (
                Status::failed_precondition("another node"),
                ShardError::Unreachable,
            ),
            (
                Status::unavailable("connection reset"),
                ShardError::OutcomeUnknown,
            ),
            (Status::cancelled("Timeout expired"), ShardError::OutcomeUnknown),
            (Status::internal("h2"), ShardError::OutcomeUnknown),
        ] {
            assert_eq!(error_of_status(&status), error);
        }
        let unconnected = Status::from_error(Box::new(ConnectError("refused".into())));
        assert_eq!(error_of_status(&unconnected), ShardError::Unreachable);
    }
}
