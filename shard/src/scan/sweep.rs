//! One thread's share of a scan: opens blocks and scores their rows for all queries that ask for them.

use super::access::Access;
use super::blocks::{DAMAGED, OpenBlock, Place};
use super::reservoir::{Reservoir, Row};
use super::scratch::Scratch;
use crate::partition::BlockRef;
use crate::storage::Pinned;
use sealdex_index::columns::RowSet;
use sealdex_index::dataplane::{ClusterProbe, ScanQuery, ScanReply, ScanRequest, ShardError};

/// Sealed bytes that are read at a time. A query's probes are mostly far below, so that it takes one look-up.
const BYTES_PER_READ: u64 = 8 * 1024 * 1024;

/// One block to be scanned.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    /// The probe's position in the request.
    pub(super) number: usize,
    pub(super) probe: &'a ClusterProbe,
    pub(super) block: BlockRef,
}

/// What a scan has found so far.
pub(super) struct Sweep<'a> {
    access: &'a Access,
    request: &'a ScanRequest,
    best: Vec<Reservoir>,
    scored: Vec<u64>,
    /// Probes, by their position, of which a block was gone.
    vanished: Vec<usize>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(access: &'a Access, request: &'a ScanRequest) -> Self {
        let best = request
            .queries
            .iter()
            .map(|query| Reservoir::new(query.keep))
            .collect();
        Self {
            access,
            request,
            best,
            scored: vec![0; request.queries.len()],
            vanished: Vec::new(),
        }
    }

    /// Scans the blocks of `tasks` in their order.
    pub(super) fn run(&mut self, tasks: &[Task<'_>]) -> Result<(), ShardError> {
        let mut rest = tasks;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |task: &&Task<'_>| {
                bytes += u64::from(task.block.bytes);
                bytes <= BYTES_PER_READ
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            Scratch::lend(|scratch| self.read(now, scratch))?;
            rest = later;
        }
        Ok(())
    }

    /// Takes over what another sweep of the same request found, and tells which probes have to be scanned again.
    pub(super) fn absorb(&mut self, other: Sweep<'_>) -> Vec<usize> {
        for (mine, theirs) in self.best.iter_mut().zip(other.best) {
            mine.absorb(theirs);
        }
        for (mine, theirs) in self.scored.iter_mut().zip(other.scored) {
            *mine += theirs;
        }
        other.vanished
    }

    pub(super) fn finish(self) -> ScanReply {
        ScanReply {
            candidates: self.best.into_iter().map(Reservoir::into_candidates).collect(),
            scored: self.scored,
        }
    }

    fn read(&mut self, tasks: &[Task<'_>], scratch: &mut Scratch) -> Result<(), ShardError> {
        let places: Vec<Place> = tasks.iter().map(|task| self.place(task)).collect();
        let sealed = self.access.get_blocks(&places)?;
        // A cluster with a gap is left out whole: its other blocks may be on their way out too.
        let gaps = tasks.iter().zip(&sealed).filter(|(_, sealed)| sealed.is_none());
        let gone: Vec<usize> = gaps.map(|(task, _)| task.number).collect();
        for (number, (task, sealed)) in (0..).zip(tasks.iter().zip(&sealed)) {
            if let Some(sealed) = sealed
                && !gone.contains(&task.number)
            {
                let block = self.access.open_block(places[number as usize], sealed)?;
                self.score(number, task.probe, &block, scratch)?;
            }
        }
        self.vanished.extend(gone);
        self.name(&places, &sealed, scratch)
    }

    /// Offers the block's rows to the queries that ask for them.
    fn score(
        &mut self,
        number: u32,
        probe: &ClusterProbe,
        block: &OpenBlock<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), ShardError> {
        let queries = &self.request.queries;
        let asking = || {
            probe
                .asked_by
                .iter()
                .map(|(query, base)| (*query as usize, &queries[*query as usize], *base))
        };
        let filtered = asking().any(|(_, query, _)| query.filter.is_some());
        let selected: Vec<Option<RowSet>> = if filtered {
            let columns = block.metadata(&mut scratch.metadata)?;
            let select = |query: &ScanQuery| {
                query
                    .filter
                    .as_ref()
                    .map(|filter| filter.select(&columns))
                    .transpose()
            };
            asking()
                .map(|(_, query, _)| select(query))
                .collect::<Result<_, _>>()
                .map_err(|_| DAMAGED)?
        } else {
            Vec::new()
        };
        if filtered
            && selected
                .iter()
                .all(|rows| rows.as_ref().is_some_and(RowSet::is_empty))
        {
            return Ok(());
        }
        let Some((_, any, _)) = asking().next() else {
            return Ok(());
        };
        let codes = block.codes(any.scorer.codec(), any.scorer.dimension(), &mut scratch.codes)?;
        for (n, (position, query, base)) in asking().enumerate() {
            let selected = selected.get(n).and_then(Option::as_ref);
            if selected.is_some_and(RowSet::is_empty) {
                continue;
            }
            let best = &mut self.best[position];
            let threshold = best.threshold();
            let mut offer = |row, estimate| best.offer(estimate, Row::Place { block: number, row });
            query.scorer.scan(&codes, base, selected, threshold, &mut offer);
            self.scored[position] += u64::from(selected.map_or(codes.rows(), RowSet::count));
        }
        Ok(())
    }

    /// Opens the identities of the blocks that hold a kept row, and of no others.
    fn name(
        &mut self,
        places: &[Place],
        sealed: &[Option<Pinned<'_>>],
        scratch: &mut Scratch,
    ) -> Result<(), ShardError> {
        let mut unnamed: Vec<(u32, u32, &mut Row)> = Vec::new();
        for best in &mut self.best {
            unnamed.extend(best.best().iter_mut().filter_map(|kept| match kept.row {
                Row::Place { block, row } => Some((block, row, &mut kept.row)),
                Row::Name(..) => None,
            }));
        }
        unnamed.sort_unstable_by_key(|(block, row, _)| (*block, *row));
        for of_block in unnamed.chunk_by_mut(|(a, ..), (b, ..)| a == b) {
            let number = of_block[0].0 as usize;
            let sealed = sealed[number]
                .as_ref()
                .expect("a row that was scored is in a block that was read");
            let block = self.access.open_block(places[number], sealed)?;
            let identities = block.identities(&mut scratch.identities)?;
            for (_, row, kept) in of_block {
                let (label, op) = identities.get(*row).ok_or(DAMAGED)?;
                **kept = Row::Name(label, op);
            }
        }
        Ok(())
    }

    fn place(&self, task: &Task<'_>) -> Place {
        Place {
            generation: self.request.generation,
            cluster: task.probe.cluster,
            block: task.block.id,
        }
    }
}
