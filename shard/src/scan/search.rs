//! A scan: for every query, the best rows of the clusters it probes.

use super::access::Access;
use super::blocks::until_whole;
use super::sweep::{Sweep, Task};
use crate::partition::BlockRef;
use crate::pool::Crew;
use sealdex_core::{ClusterLabel, Generation};
use sealdex_index::dataplane::{ClusterProbe, ScanReply, ScanRequest, ShardError};

/// Bytes of blocks that are worth a thread of their own.
const BYTES_PER_PART: u64 = 1024 * 1024;

/// Scores the rows of the probed clusters and returns the best of each query.
pub(crate) fn search(access: &Access, request: &ScanRequest, crew: &Crew) -> Result<ScanReply, ShardError> {
    let index = access.target.index;
    let blocks =
        |generation: Generation, cluster: &ClusterLabel| access.directory.blocks(index, generation, cluster);
    search_listed(access, request, crew, blocks)
}

/// [`search`], with blocks listed by `list`.
pub(crate) fn search_listed(
    access: &Access,
    request: &ScanRequest,
    crew: &Crew,
    list: impl Fn(Generation, &ClusterLabel) -> Vec<BlockRef>,
) -> Result<ScanReply, ShardError> {
    let asks = |probe: &ClusterProbe| {
        probe
            .asked_by
            .iter()
            .all(|(query, _)| (*query as usize) < request.queries.len())
    };
    if !request.probes.iter().all(asks) {
        return Err(ShardError::BadEntry("query of a probe"));
    }
    let check_live = || {
        access
            .directory
            .check_live(access.target.index, request.generation)
    };
    let mut found = Sweep::new(access, request);
    let mut pending: Vec<usize> = (0..request.probes.len()).collect();
    until_whole(&access.directory, || {
        check_live()?;
        let tasks = tasks(&request.probes, &pending, |cluster| {
            list(request.generation, cluster)
        });
        let parts = split(&tasks, crew.parts());
        let sweeps = crew.each(&parts, |tasks| {
            let mut sweep = Sweep::new(access, request);
            sweep.run(tasks)?;
            Ok(sweep)
        })?;
        pending.clear();
        for sweep in sweeps {
            pending.extend(found.absorb(sweep));
        }
        pending.sort_unstable();
        pending.dedup();
        Ok(pending.is_empty().then_some(()))
    })?;
    // Had it been retired meanwhile, its blocks would be gone from lists and storage alike.
    check_live()?;
    Ok(found.finish())
}

/// The blocks of the pending probes, in the order of the probes.
fn tasks<'a>(
    probes: &'a [ClusterProbe],
    pending: &[usize],
    list: impl Fn(&ClusterLabel) -> Vec<BlockRef>,
) -> Vec<Task<'a>> {
    let of_probe = |number: &usize| {
        let (number, probe) = (*number, &probes[*number]);
        list(&probe.cluster)
            .into_iter()
            .map(move |block| Task { number, probe, block })
    };
    pending.iter().flat_map(of_probe).collect()
}

/// At most `parts` runs of about as many bytes each, none of them much smaller than is worth a thread.
fn split<'a, 'b>(tasks: &'b [Task<'a>], parts: usize) -> Vec<&'b [Task<'a>]> {
    let bytes: u64 = tasks.iter().map(|task| u64::from(task.block.bytes)).sum();
    let share = (bytes / parts.max(1) as u64).max(BYTES_PER_PART);
    let mut runs = Vec::with_capacity(parts);
    let (mut start, mut taken) = (0, 0);
    for (n, task) in tasks.iter().enumerate() {
        taken += u64::from(task.block.bytes);
        if taken >= share && runs.len() + 1 < parts {
            runs.push(&tasks[start..=n]);
            (start, taken) = (n + 1, 0);
        }
    }
    runs.push(&tasks[start..]);
    runs
}
