//! Only who may write to an index gets a write into its log.

use super::bench::*;
use prost::Message;
use sealdex_core::{IndexId, KeyEpoch, Metric, PartitionId};
use sealdex_crypto::{BatchContext, BatchSigner, Bundle};
use sealdex_index::dataplane::ShardError;
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition as wire;
use sealdex_proto::partition::entry::Command;

fn entry(index: IndexId, command: Command) -> wire::Entry {
    wire::Entry {
        version: ENTRY_VERSION,
        index: index.0,
        command: Some(command),
    }
}

fn writes() -> [Command; 10] {
    [
        Command::AppendBlocks(wire::AppendBlocks::default()),
        Command::ReplaceBlocks(wire::ReplaceBlocks::default()),
        Command::CommitItems(wire::CommitItems::default()),
        Command::DeleteItems(wire::DeleteItems::default()),
        Command::PutBlobs(wire::PutBlobs::default()),
        Command::PutInbox(wire::PutInbox::default()),
        Command::PromoteItems(wire::PromoteItems::default()),
        Command::PinWriteKey(wire::PinWriteKey::default()),
        Command::DropWriteKeys(wire::DropWriteKeys::default()),
        Command::ResealItems(wire::ResealItems::default()),
    ]
}

async fn bench() -> Bench {
    let vectors = Numbers(3).rows(20, 8);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    bench
}

fn sign(
    signer: &BatchSigner,
    index: IndexId,
    epoch: KeyEpoch,
    partition: PartitionId,
    entry: &wire::Entry,
) -> [u8; 64] {
    let context = BatchContext {
        index,
        epoch,
        partition,
    };
    signer.sign(&context, &entry.encode_to_vec())
}

#[tokio::test]
async fn writes_without_the_right_signature_are_refused_and_change_nothing() {
    let bench = bench().await;
    let partition = PartitionId(1);
    let before = bench.node.count(partition, INDEX).await.unwrap().items;
    let stranger = Bundle::generate().write_cap().signer();
    for command in writes() {
        let entry = entry(INDEX, command);
        let right = bench.sign(partition, &entry);
        let mut flipped = right;
        flipped[10] ^= 1;
        let other_partition = bench.sign(PartitionId(0), &entry);
        let other_index = sign(&bench.signer, IndexId(9), EPOCH, partition, &entry);
        let other_epoch = sign(&bench.signer, INDEX, KeyEpoch(EPOCH.0 + 1), partition, &entry);
        let strangers = sign(&stranger, INDEX, EPOCH, partition, &entry);
        let wrong = [
            flipped,
            other_partition,
            other_index,
            other_epoch,
            strangers,
            [0; 64],
        ];
        for signature in wrong.into_iter().map(Some).chain([None]) {
            let refused = bench.node.propose(partition, entry.clone(), signature).await;
            assert_eq!(refused, Err(ShardError::NotSigned));
        }
    }
    // A signature of one entry on another.
    let delete = |label: u8| {
        let labels = vec![vec![label; 16].into()];
        entry(INDEX, Command::DeleteItems(wire::DeleteItems { labels }))
    };
    let signature = bench.sign(partition, &delete(1));
    let refused = bench.node.propose(partition, delete(2), Some(signature)).await;
    assert_eq!(refused, Err(ShardError::NotSigned));
    assert!(
        bench
            .node
            .propose(partition, delete(1), Some(signature))
            .await
            .is_ok()
    );
    assert_eq!(bench.node.count(partition, INDEX).await.unwrap().items, before);
}

#[tokio::test]
async fn a_write_key_cannot_be_exchanged_by_whoever_edits_metadata() {
    let bench = bench().await;
    let partition = PartitionId(0);
    let forged = Bundle::generate();
    let begin = Command::BeginGeneration(wire::BeginGeneration {
        generation: GENERATION.0 + 1,
        epoch: EPOCH.0,
        write_key: forged.public_keys().write.as_bytes().to_vec().into(),
    });
    let refused = bench.node.propose(partition, entry(INDEX, begin), None).await;
    assert_eq!(refused, Err(ShardError::BadEntry("write key")));
    let delete = entry(INDEX, Command::DeleteItems(wire::DeleteItems::default()));
    let signature = sign(&forged.write_cap().signer(), INDEX, EPOCH, partition, &delete);
    let refused = bench.node.propose(partition, delete, Some(signature)).await;
    assert_eq!(refused, Err(ShardError::NotSigned));
    let bench = bench.reopen().await;
    let delete = entry(INDEX, Command::DeleteItems(wire::DeleteItems::default()));
    let signature = bench.sign(partition, &delete);
    assert!(
        bench
            .node
            .propose(partition, delete, Some(signature))
            .await
            .is_ok(),
        "the key is kept"
    );
}

#[tokio::test]
async fn a_large_batch_is_verified_as_a_small_one_is() {
    let bench = bench().await;
    let partition = PartitionId(2);
    let labels = (0..20_000u32)
        .map(|n| [&[0; 12], &n.to_be_bytes()[..]].concat().into())
        .collect();
    let large = entry(INDEX, Command::DeleteItems(wire::DeleteItems { labels }));
    let signature = bench.sign(partition, &large);
    assert!(
        bench
            .node
            .propose(partition, large.clone(), Some(signature))
            .await
            .is_ok()
    );
    let refused = bench.node.propose(partition, large, Some([7; 64])).await;
    assert_eq!(refused, Err(ShardError::NotSigned));
}
