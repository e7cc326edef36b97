//! Upkeep of clusters: folds the many small blocks that writes leave, and drops rows that are no longer current.

use super::fanout::Fanout;
use super::session::{LoadedModel, Session, Upkeep};
use parking_lot::Mutex;
use sealdex_core::{ClusterLabel, Generation, ItemLabel, Op, PartitionId};
use sealdex_index::dataplane::{Applied, ClusterRows, FoldRequest, ShardError};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Clusters that may wait for a fold. When more are crowded, they are folded when they are written to again.
const QUEUE: usize = 16_384;
/// Clusters folded behind one pause of writes.
const FOLDS_PER_PAUSE: usize = 64;
/// Rows of a cluster that ceased to be current before it is folded for them alone.
const ORPHANS_MAX: u32 = 32;

/// Clusters of one index.
type Clusters = Vec<(Generation, ClusterLabel)>;

struct Task {
    session: Arc<Session>,
    generation: Generation,
    cluster: ClusterLabel,
}

/// The background task that folds.
pub(crate) struct Maintenance {
    queue: mpsc::Sender<Task>,
    stopping: Arc<Notify>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Maintenance {
    pub(crate) fn start(fanout: Fanout) -> Self {
        let (queue, tasks) = mpsc::channel(QUEUE);
        let stopping = Arc::new(Notify::new());
        let worker = tokio::spawn(work(fanout, tasks, stopping.clone()));
        Self {
            queue,
            stopping,
            worker: Mutex::new(Some(worker)),
        }
    }

    /// Takes note of what a write left behind. Never waits.
    pub(crate) fn note(&self, session: &Arc<Session>, applied: &Applied) {
        let mut upkeep = session.upkeep.lock();
        let mut due = applied.crowded.clone();
        for cluster in &applied.orphaned {
            let orphans = upkeep.orphans.entry(*cluster).or_default();
            *orphans += 1;
            if *orphans >= ORPHANS_MAX {
                due.push(*cluster);
            }
        }
        self.enqueue(session, &mut upkeep, due);
    }

    /// Has all clusters of a generation folded. Never waits.
    pub(crate) fn sweep(&self, session: &Arc<Session>, model: &LoadedModel) {
        let generation = model.model.generation;
        let all = model
            .labels
            .iter()
            .map(|cluster| (generation, *cluster))
            .collect();
        self.enqueue(session, &mut session.upkeep.lock(), all);
    }

    fn enqueue(&self, session: &Arc<Session>, upkeep: &mut Upkeep, due: Clusters) {
        for (generation, cluster) in due {
            if upkeep.queued.insert((generation, cluster)) {
                let task = Task {
                    session: session.clone(),
                    generation,
                    cluster,
                };
                if self.queue.try_send(task).is_err() {
                    upkeep.queued.remove(&(generation, cluster));
                    return;
                }
            }
        }
    }

    /// Ends the worker after the fold it is at.
    pub(crate) async fn stop(&self) {
        self.stopping.notify_one();
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            let _ = worker.await;
        }
    }
}

async fn work(fanout: Fanout, mut tasks: mpsc::Receiver<Task>, stopping: Arc<Notify>) {
    let mut batch = Vec::with_capacity(FOLDS_PER_PAUSE);
    loop {
        tokio::select! {
            biased;
            () = stopping.notified() => return,
            received = tasks.recv_many(&mut batch, FOLDS_PER_PAUSE) => if received == 0 { return },
        }
        let mut of_sessions: Vec<(Arc<Session>, Clusters)> = Vec::new();
        for task in batch.drain(..) {
            task.session
                .upkeep
                .lock()
                .queued
                .remove(&(task.generation, task.cluster));
            match of_sessions
                .iter_mut()
                .find(|(session, _)| Arc::ptr_eq(session, &task.session))
            {
                Some((_, clusters)) => clusters.push((task.generation, task.cluster)),
                None => of_sessions.push((task.session, vec![(task.generation, task.cluster)])),
            }
        }
        for (session, clusters) in of_sessions {
            match fold_clusters(&fanout, &session, &clusters).await {
                // The index or the generation went away meanwhile, or another fold was first: nothing is lost.
                Ok(())
                | Err(ShardError::UnknownIndex | ShardError::StaleGeneration | ShardError::BlocksGone) => {}
                // Folded when they are written to again, and that is when there is room again, or when other coordinators answer.
                Err(ShardError::DiskFull { .. } | ShardError::Busy) => {}
                Err(error) => tracing::warn!(%error, "fold failed"),
            }
        }
    }
}

/// Folds clusters of one index: reads which rows they hold, waits until no write is half way, and asks the rows'
/// homes which of them are current.
async fn fold_clusters(
    fanout: &Fanout,
    session: &Session,
    clusters: &[(Generation, ClusterLabel)],
) -> Result<(), ShardError> {
    let mut read = Vec::new();
    for &(generation, cluster) in clusters {
        let Some(model) = session.models.lock().get(&generation).cloned() else {
            continue;
        };
        let partition = fanout.placement.of_cluster(&cluster);
        let rows = fanout
            .leased(session, partition, |target| {
                fanout.shards.cluster_rows(target, generation, cluster)
            })
            .await?;
        if !rows.blocks.is_empty() {
            read.push((model, cluster, rows));
        }
    }
    session.writes.settled().await;
    let settled = fanout.fellows.settle_writes(session.id).await;
    settled.map_err(|_| ShardError::Busy)?;
    for (model, cluster, rows) in read {
        fold_cluster(fanout, session, &model, cluster, rows).await?;
    }
    Ok(())
}

async fn fold_cluster(
    fanout: &Fanout,
    session: &Session,
    model: &LoadedModel,
    cluster: ClusterLabel,
    rows: ClusterRows,
) -> Result<(), ShardError> {
    let generation = model.model.generation;
    let dead = dead_rows(fanout, session, &rows.rows).await?;
    let partition = fanout.placement.of_cluster(&cluster);
    fanout
        .leased(session, partition, |target| {
            fanout.shards.fold(FoldRequest {
                target,
                generation,
                cluster,
                blocks: rows.blocks.clone(),
                dead: dead.clone(),
                codec: model.model.quantiser.codec(),
                dimension: model.model.dimension,
            })
        })
        .await?;
    session.upkeep.lock().orphans.remove(&(generation, cluster));
    Ok(())
}

async fn dead_rows(
    fanout: &Fanout,
    session: &Session,
    rows: &[(ItemLabel, Op)],
) -> Result<Vec<(ItemLabel, Op)>, ShardError> {
    let mut by_home: BTreeMap<PartitionId, Vec<(ItemLabel, Op)>> = BTreeMap::new();
    for row in rows {
        by_home
            .entry(fanout.placement.of_item(&row.0))
            .or_default()
            .push(*row);
    }
    let mut dead = Vec::new();
    for (partition, of_home) in by_home {
        let current = fanout
            .leased(session, partition, |target| {
                fanout.shards.current(target, of_home.clone())
            })
            .await?;
        dead.extend(
            of_home
                .into_iter()
                .zip(current)
                .filter(|(_, current)| !current)
                .map(|(row, _)| row),
        );
    }
    Ok(dead)
}
