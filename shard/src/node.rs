//! A node: its partitions, its leases, and every question a coordinator may ask. Thin: what happens is in the modules
//! it joins.

mod hosting;

use crate::lease::Leases;
use crate::maintenance;
use crate::partition::{Directory, WriteKey, list_inbox, read_inbox};
use crate::pool::{Crew, Pool};
use crate::replica::{Replica, disk_full};
use crate::scan::{self, Access};
use crate::session::{Session, SessionId};
use crate::storage::{self, Database, Dropped, Family, Housekeeper, Keys};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use parking_lot::{Mutex, RwLock};
use prost::Message;
use sealdex_consensus::{Host, Purpose, Room, Space};
use sealdex_core::{
    BlobLabel, ClusterLabel, Generation, IndexId, ItemLabel, KeyEpoch, NodeId, Op, PartitionId, ReadIndex,
};
use sealdex_crypto::{BatchContext, DataKeys, Lease, WritePublicKey};
use sealdex_index::dataplane::{
    Applied, ClusterRows, Counted, FetchRequest, Fetched, FoldRequest, InboxReply, InboxRequest,
    ResealRequest, Resealed, ResolveReply, ResolveRequest, ScanReply, ScanRequest, ShardError, Target,
    WalkReply, WalkRequest,
};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{Entry, entry::Command};
use sealdex_telemetry::{Call, Store, call, metrics};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Batches up to this size are verified where they arrive, in some 100 µs: less than a turn on the pool may take.
const VERIFIED_INLINE_BYTES_MAX: usize = 64 * 1024;

/// How to run a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it keeps its data. Made if it does not exist.
    pub path: PathBuf,
    /// Partitions of the deployment; fixed for the life of the data.
    pub partitions: u16,
    /// Memory for sealed blocks and records that were read before.
    pub block_cache_bytes: usize,
    /// Threads that read, open and scan.
    pub threads: usize,
    /// Requests that may be under way or wait.
    pub queue: usize,
}

/// A running node. Share it in an `Arc`.
pub struct Node {
    database: Arc<Database>,
    host: Arc<Host>,
    replicas: RwLock<BTreeMap<PartitionId, Arc<Replica>>>,
    leases: Leases,
    pool: Pool,
    /// Until the node closes.
    housekeeper: Mutex<Option<Housekeeper>>,
}

impl Node {
    /// Opens the data directory, whose disk `space` watches. The partitions' logs are kept by `host`. Blocks.
    pub fn open(options: Options, space: Arc<Space>, host: Arc<Host>) -> Result<Node, ShardError> {
        metrics().at_scrape(&space, |space| {
            if let Some(room) = space.room() {
                metrics()
                    .disk
                    .set(Store::Shard, room.free_bytes, room.needed_bytes);
            }
        });
        let database = Arc::new(Database::open(
            &options.path,
            options.block_cache_bytes,
            options.threads,
            space,
        )?);
        storage::claim(&database, options.partitions)?;
        let leases = Leases::new().map_err(|error| ShardError::Storage(error.to_string()))?;
        let pool = Pool::new(options.threads, options.queue)?;
        let housekeeper = Housekeeper::start(Arc::clone(&database))
            .map_err(|error| ShardError::Storage(error.to_string()))?;
        Ok(Node {
            database,
            host,
            replicas: RwLock::default(),
            leases,
            pool,
            housekeeper: Mutex::new(Some(housekeeper)),
        })
    }

    /// The log of the groups that are here.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// How many key leases this node holds.
    pub fn leases(&self) -> usize {
        self.leases.held()
    }

    /// How much room the disk has that the data is on. `None` if the file system does not say.
    pub fn room(&self) -> Option<Room> {
        self.database.space().room()
    }

    /// Finishes what is under way, refuses the rest, and leaves the data as the next [`open`](Self::open) likes it.
    pub async fn close(&self) {
        self.database.space().close();
        let replicas: Vec<Arc<Replica>> = self.replicas.read().values().cloned().collect();
        // All at once: each moves the node's last writes into tables, and what one has moved the others have not to.
        join_all(replicas.iter().map(|replica| replica.stop())).await;
        let database = Arc::clone(&self.database);
        let housekeeper = self.housekeeper.lock().take();
        let flushed = self.pool.run(move |_| {
            let room = database.space().has(database.unwritten_bytes());
            let flushed = if room { database.flush() } else { Ok(()) };
            if let Some(housekeeper) = housekeeper {
                housekeeper.stop(&database);
            }
            flushed
        });
        if let Err(error) = flushed.await {
            // Nothing is lost: the next start reads the log again.
            tracing::warn!(%error, "the last writes were not moved into tables");
        }
        self.pool.stop().await;
    }

    /// Lends this node the keys of one partition of an index. The lease ends a minute after its last use.
    pub fn grant(&self, target: Target, keys: Arc<DataKeys>) {
        self.leases.grant(target, keys);
    }

    /// Takes a lease that a coordinator of another process sealed to this node, and the session by which it will be used.
    pub(crate) fn grant_by_session(&self, target: Target, holder: NodeId, id: SessionId, lease: Lease) {
        let session = Arc::new(Session::new(id, lease.session));
        self.leases
            .grant_by_session(target, Arc::new(lease.keys), lease.term, (holder, session));
    }

    /// The session by which a coordinator uses its lease.
    pub(crate) fn session(
        &self,
        target: Target,
        holder: NodeId,
        id: &SessionId,
    ) -> Result<Arc<Session>, ShardError> {
        self.leases.session(target, holder, id)
    }

    /// Computes something that would hold up an async thread.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> Result<T, ShardError> + Send + 'static,
    ) -> Result<T, ShardError> {
        self.pool.run(move |_| task()).await
    }

    /// Proposes an entry to a partition's log, and waits until it is durable and applied. What writes items, rows or
    /// models needs the signature of somebody who may write to the index, over the encoded entry.
    ///
    /// After [`ShardError::Stopped`] it is unknown whether it was applied; every entry may be proposed again.
    pub async fn propose(
        &self,
        partition: PartitionId,
        entry: Entry,
        signature: Option<[u8; 64]>,
    ) -> Result<Applied, ShardError> {
        let encoded = Bytes::from(entry.encode_to_vec());
        if is_write(&entry) {
            let signature = signature.ok_or(ShardError::NotSigned)?;
            let index = IndexId(entry.index);
            let verified = self.verify(partition, index, encoded.clone(), signature).await;
            if matches!(verified, Err(ShardError::UnknownIndex | ShardError::NotSigned)) {
                // A node that leads no more, and does not know it, does not know of later indexes and keys either.
                self.replica(partition)?.led_here().await?;
                self.verify(partition, index, encoded.clone(), signature).await?;
            } else {
                verified?;
            }
        }
        self.log(partition, &entry, encoded).await
    }

    /// Whether the index's pinned write key, or one of two, made the signature. A large batch takes the pool's time, not the caller's
    /// thread.
    async fn verify(
        &self,
        partition: PartitionId,
        index: IndexId,
        encoded: Bytes,
        signature: [u8; 64],
    ) -> Result<(), ShardError> {
        let replica = self.replica(partition)?;
        let state = replica.as_leader().await?.state(index);
        let of_epoch = |pinned: WriteKey| {
            let context = BatchContext {
                index,
                epoch: KeyEpoch(pinned.epoch),
                partition,
            };
            let key = WritePublicKey::from_slice(&pinned.public).ok_or(ShardError::Corrupt("write key"))?;
            Ok((context, key))
        };
        let pinned = state.ok_or(ShardError::UnknownIndex)?.write_keys().map(of_epoch);
        let pinned = pinned.collect::<Result<Vec<_>, ShardError>>()?;
        let small = encoded.len() <= VERIFIED_INLINE_BYTES_MAX;
        let verify = move || {
            let signed =
                |(context, key): &(BatchContext, WritePublicKey)| key.verify(context, &encoded, &signature);
            if pinned.iter().any(|pinned| signed(pinned).is_ok()) {
                Ok(())
            } else {
                Err(ShardError::NotSigned)
            }
        };
        if small {
            verify()
        } else {
            self.pool.run(move |_| verify()).await
        }
    }

    /// Puts an entry into the log, whoever made it.
    async fn log(
        &self,
        partition: PartitionId,
        entry: &Entry,
        encoded: Bytes,
    ) -> Result<Applied, ShardError> {
        let dropped = dropped_by(partition, entry);
        let forgotten = matches!(entry.command, Some(Command::DropIndex(_))).then_some(IndexId(entry.index));
        let replica = self.replica(partition)?;
        let reply = call(Call::Propose, replica.propose(purpose_of(entry), encoded)).await;
        if let Some(index) = forgotten {
            self.leases.revoke(index);
        }
        if let (Some(dropped), Some(housekeeper)) = (dropped, &*self.housekeeper.lock()) {
            housekeeper.reclaim(dropped);
        }
        reply
    }

    /// Scores the rows of clusters.
    pub async fn scan(&self, request: ScanRequest) -> Result<ScanReply, ShardError> {
        let since = request.since;
        let scan = self.read(Call::Scan, request.target, since, move |access, crew| {
            scan::search(access, &request, crew)
        });
        let scanned = scan.await?;
        metrics().shard.rows_scored(scanned.scored.iter().sum());
        Ok(scanned)
    }

    /// Tells which candidates are current, and their exact distances.
    pub async fn resolve(&self, request: ResolveRequest) -> Result<ResolveReply, ShardError> {
        let since = request.since;
        let resolve = self.read(Call::Resolve, request.target, since, move |access, crew| {
            scan::resolve(access, &request, crew)
        });
        let resolved = resolve.await?;
        metrics().shard.candidates_resolved(resolved.len() as u64);
        Ok(resolved)
    }

    /// Opens items, in the order asked; `None` for one that does not exist or of which another write is current. Shorter
    /// than the request if that takes up more than it may.
    pub async fn fetch(&self, request: FetchRequest) -> Result<Vec<Option<Fetched>>, ShardError> {
        self.read(Call::Fetch, request.target, request.since, move |access, _| {
            scan::fetch(access, &request)
        })
        .await
    }

    /// Opens the partition's items in the order of their labels.
    pub async fn walk(&self, request: WalkRequest) -> Result<WalkReply, ShardError> {
        self.read(Call::Walk, request.target, None, move |access, _| {
            scan::walk(access, &request)
        })
        .await
    }

    /// A piece of a generation's model, still sealed.
    pub async fn blob(
        &self,
        target: Target,
        generation: Generation,
        label: BlobLabel,
    ) -> Result<Option<Vec<u8>>, ShardError> {
        let directory = self.replica(target.partition)?.current().await?;
        let database = Arc::clone(&self.database);
        let key = Keys::new(target.partition, target.index).blob(generation, &label);
        let read = move |_: &Crew| {
            Ok(database
                .latest()
                .get(Family::Blobs, &key)?
                .map(|blob| blob.to_vec()))
        };
        whole(&directory, call(Call::Blob, self.pool.run(read))).await
    }

    /// The rows of a cluster, current or not.
    pub async fn cluster_rows(
        &self,
        target: Target,
        generation: Generation,
        cluster: ClusterLabel,
    ) -> Result<ClusterRows, ShardError> {
        self.read(Call::ClusterRows, target, None, move |access, _| {
            scan::cluster_rows(access, generation, cluster)
        })
        .await
    }

    /// Which of these writes are their items' current ones. Those that are not never will be: a write whose sender was not told what became
    /// of it may be in the log and not committed yet, so the log is waited for. For the node that leads alone.
    pub async fn current(
        &self,
        target: Target,
        writes: Vec<(ItemLabel, Op)>,
    ) -> Result<Vec<bool>, ShardError> {
        let settled = self.replica(target.partition)?.settle().await?;
        self.read(Call::Current, target, Some(settled), move |access, _| {
            scan::current(access, &writes)
        })
        .await
    }

    /// Rewrites blocks of a cluster. Blocks that are well filled and have lost no row stay as they are.
    pub async fn fold(&self, request: FoldRequest) -> Result<Applied, ShardError> {
        let target = request.target;
        let fold = self.read(Call::Fold, target, None, move |access, _| {
            maintenance::fold(access, &request)
        });
        let folded = fold.await?;
        let Some(replaced) = folded else {
            return Ok(Applied::default());
        };
        let command = Some(Command::ReplaceBlocks(replaced));
        let entry = Entry {
            version: ENTRY_VERSION,
            index: target.index.0,
            command,
        };
        let encoded = entry.encode_to_vec().into();
        self.log(target.partition, &entry, encoded).await
    }

    /// Seals the next records again under the key epoch that the lease's keys seal under.
    pub async fn reseal(&self, request: ResealRequest) -> Result<Resealed, ShardError> {
        let target = request.target;
        let reseal = self.read(Call::Reseal, target, None, move |access, _| {
            maintenance::reseal(access, request.from)
        });
        let (commands, resealed) = reseal.await?;
        let proposals = commands.into_iter().map(|command| async move {
            let entry = Entry {
                version: ENTRY_VERSION,
                index: target.index.0,
                command: Some(command),
            };
            let encoded = entry.encode_to_vec().into();
            match self.log(target.partition, &entry, encoded).await {
                // Folded meanwhile, or its generation was retired: what there is now is sealed as it should be.
                Err(ShardError::BlocksGone | ShardError::StaleGeneration) => Ok(()),
                logged => logged.map(drop),
            }
        });
        try_join_all(proposals).await?;
        Ok(resealed)
    }

    /// Rewrites the files that hold the index's records, those of the partition's log among them, so that nothing that was replaced or
    /// deleted before is in any. A replica that follows first applies what was acknowledged: else that would come only afterwards.
    pub async fn purge(&self, partition: PartitionId, index: IndexId) -> Result<(), ShardError> {
        let replica = self.replica(partition)?;
        replica.current().await?;
        let prefix = Keys::new(partition, index).index().to_vec();
        let purged = match &*self.housekeeper.lock() {
            Some(housekeeper) => housekeeper.purge(prefix),
            None => return Err(ShardError::Stopped),
        };
        purged.await.map_err(|_| ShardError::Stopped)??;
        let log = replica.group().purge_applied().await;
        log.map_err(|fault| ShardError::Storage(fault.to_string()))
    }

    /// How many items the index has in the partition.
    pub async fn count(&self, partition: PartitionId, index: IndexId) -> Result<Counted, ShardError> {
        let (directory, at) = self.replica(partition)?.current_at().await?;
        let state = directory.state(index).ok_or(ShardError::UnknownIndex)?;
        Ok(Counted {
            items: state.items,
            at,
        })
    }

    /// What waits in an index's inbox, still sealed.
    pub async fn inbox(&self, request: InboxRequest) -> Result<InboxReply, ShardError> {
        let directory = self.replica(request.partition)?.current().await?;
        if let Some(listed) = list_inbox(&directory, &request)? {
            return Ok(listed);
        }
        let (database, state) = (Arc::clone(&self.database), Arc::clone(&directory));
        let read = move |_: &Crew| read_inbox(&database, &state, &request);
        whole(&directory, call(Call::Inbox, self.pool.run(read))).await
    }

    /// Refuses what is about to write so many bytes in all if the node's disk has no room for it.
    pub fn check_room(&self, bytes: u64) -> Result<(), ShardError> {
        let space = self.database.space();
        space.check(Purpose::Grow, bytes).map_err(disk_full)
    }

    /// Bytes of the blocks that an index has in the partition, over all its generations.
    pub async fn block_bytes(&self, partition: PartitionId, index: IndexId) -> Result<u64, ShardError> {
        Ok(self.replica(partition)?.current().await?.block_bytes(index))
    }

    /// The indexes that the partition knows.
    pub async fn indexes(&self, partition: PartitionId) -> Result<Vec<IndexId>, ShardError> {
        Ok(self.replica(partition)?.current().await?.indexes())
    }

    /// Runs a job that opens records, if the node has a lease for it. With `since`, as of then or later.
    async fn read<T: Send + 'static>(
        &self,
        kind: Call,
        target: Target,
        since: Option<ReadIndex>,
        job: impl FnOnce(&Access, &Crew) -> Result<T, ShardError> + Send + 'static,
    ) -> Result<T, ShardError> {
        let replica = self.replica(target.partition)?;
        let keys = self.leases.keys(target)?;
        let directory = replica.since(since).await?;
        let access = Access {
            database: Arc::clone(&self.database),
            directory: Arc::clone(&directory),
            target,
            keys,
        };
        whole(
            &directory,
            call(kind, self.pool.run(move |crew| job(&access, crew))),
        )
        .await
    }

    fn replica(&self, id: PartitionId) -> Result<Arc<Replica>, ShardError> {
        let replicas = self.replicas.read();
        replicas.get(&id).cloned().ok_or(ShardError::NotHosted)
    }
}

/// What was read from storage, if the partition's records were there all the time: on a replica that follows, a snapshot may take their
/// place, and a replica that is given up loses them. Somebody else is asked then.
async fn whole<T>(
    directory: &Directory,
    read: impl Future<Output = Result<T, ShardError>>,
) -> Result<T, ShardError> {
    let edition = directory.edition();
    let outcome = read.await;
    if edition.is_none() || directory.edition() != edition {
        return Err(ShardError::NotLeader { leader: None });
    }
    outcome
}

/// Whether an entry carries items, rows or models, or takes items away. The rest is the catalogue's doing. Folds are
/// made by the node itself.
fn is_write(entry: &Entry) -> bool {
    !matches!(
        entry.command,
        Some(Command::BeginGeneration(_) | Command::RetireGeneration(_) | Command::DropIndex(_))
    )
}

/// How far an entry may go into what is kept free on the disk. Items are committed after their rows were let in, and
/// half of an upsert helps nobody.
fn purpose_of(entry: &Entry) -> Purpose {
    match entry.command {
        Some(Command::CommitItems(_) | Command::PromoteItems(_) | Command::DropWriteKeys(_)) => {
            Purpose::Finish
        }
        Some(Command::DeleteItems(_) | Command::RetireGeneration(_) | Command::DropIndex(_)) => {
            Purpose::Relieve
        }
        _ => Purpose::Grow,
    }
}

/// What an entry deletes whole.
fn dropped_by(partition: PartitionId, entry: &Entry) -> Option<Dropped> {
    let keys = Keys::new(partition, IndexId(entry.index));
    match entry.command.as_ref()? {
        Command::DropIndex(_) => Some(Dropped {
            families: &Family::OF_AN_INDEX,
            prefix: keys.index().to_vec(),
        }),
        Command::RetireGeneration(retired) => Some(Dropped {
            families: &Family::OF_A_GENERATION,
            prefix: keys.generation(Generation(retired.generation)).to_vec(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
