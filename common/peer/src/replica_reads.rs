//! What coordinators and shard nodes say to each other, in the metadata of calls, about reads that any replica may answer.

use sealdex_core::NodeId;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response};

const ANY_REPLICA: &str = "sealdex-any-replica";
const LEADER: &str = "sealdex-leader";

/// Asks for an answer even of a replica that does not lead.
pub fn allow_any_replica<T>(request: &mut Request<T>) {
    let yes = MetadataValue::from_static("1");
    request.metadata_mut().insert(ANY_REPLICA, yes);
}

/// Whether a replica may answer that does not lead. Without the header it names the leader instead.
pub fn allows_any_replica<T>(request: &Request<T>) -> bool {
    request.metadata().contains_key(ANY_REPLICA)
}

/// Tells with an answer who leads the partition.
pub fn tell_leader<T>(response: &mut Response<T>, leader: NodeId) {
    if let Ok(leader) = leader.to_string().parse() {
        response.metadata_mut().insert(LEADER, leader);
    }
}

/// Who leads the partition, as far as who answered knows.
pub fn told_leader<T>(response: &Response<T>) -> Option<NodeId> {
    let told = response.metadata().get(LEADER)?.to_str().ok()?;
    told.parse().ok().map(NodeId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_says_the_other_understands() {
        let mut request = Request::new(());
        assert!(!allows_any_replica(&request));
        allow_any_replica(&mut request);
        assert!(allows_any_replica(&request));
        let mut response = Response::new(());
        assert_eq!(told_leader(&response), None);
        tell_leader(&mut response, NodeId(17));
        assert_eq!(told_leader(&response), Some(NodeId(17)));
    }
}
