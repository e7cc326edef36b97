//! What a query asks: to score rows, and to resolve candidates.

use super::MALFORMED;
use super::packed::{join, pack, pack_floats, split, unpack, unpack_floats};
use bytes::Bytes;
use sealdex_core::{ClusterLabel, Dimension, Generation, ItemLabel, Metric, Op, Precision, ReadIndex};
use sealdex_index::dataplane::{
    Candidate, ClusterProbe, ResolveReply, ResolveRequest, Resolved, ScanQuery, ScanReply, ScanRequest,
    ShardError, Target,
};
use sealdex_index::filter::Filter;
use sealdex_index::quantiser::Scorer;
use sealdex_proto::catalog;
use sealdex_proto::shard as wire;
use std::sync::Arc;

/// A scan, without its target.
pub fn scan_request(request: &ScanRequest) -> wire::ScanRequest {
    let mut filters: Vec<&Filter> = Vec::new();
    let queries = request.queries.iter().map(|query| wire::ScanQuery {
        scorer: query.scorer.to_bytes().into(),
        filter: query
            .filter
            .as_ref()
            .map(|filter| position_of(filter, &mut filters)),
        keep: query.keep as u64,
    });
    let queries = queries.collect();
    let probes = request.probes.iter().map(|probe| wire::Probe {
        cluster: Bytes::copy_from_slice(probe.cluster.as_bytes()),
        asked_by: pack(probe.asked_by.iter(), |(query, base)| {
            join::<4, 4, 8>(query.to_le_bytes(), base.to_le_bytes())
        }),
    });
    wire::ScanRequest {
        generation: request.generation.0,
        probes: probes.collect(),
        queries,
        filters: filters
            .into_iter()
            .map(|filter| filter.to_bytes().into())
            .collect(),
        since: request.since.map(|index| index.0),
    }
}

/// Most queries of a request have one filter between them.
fn position_of<'a>(filter: &'a Filter, filters: &mut Vec<&'a Filter>) -> u32 {
    let known = filters.iter().rposition(|known| known.is_same(filter));
    known.unwrap_or_else(|| {
        filters.push(filter);
        filters.len() - 1
    }) as u32
}

/// A scan of `target`, from its message.
pub fn read_scan_request(target: Target, message: &wire::ScanRequest) -> Result<ScanRequest, ShardError> {
    let filters = message.filters.iter().map(|bytes| read_filter(bytes));
    let filters = filters.collect::<Result<Vec<_>, _>>()?;
    let queries = message.queries.iter().map(|query| {
        let filter = query
            .filter
            .map(|at| filters.get(at as usize).cloned().ok_or(MALFORMED));
        Ok(ScanQuery {
            scorer: Scorer::from_bytes(&query.scorer).map_err(|_| MALFORMED)?,
            filter: filter.transpose()?,
            keep: usize::try_from(query.keep).map_err(|_| MALFORMED)?,
        })
    });
    let probes = message.probes.iter().map(|probe| {
        Ok(ClusterProbe {
            cluster: ClusterLabel::from_slice(&probe.cluster).ok_or(MALFORMED)?,
            asked_by: unpack(&probe.asked_by, |row| {
                let (query, base) = split::<4, 4, 8>(row);
                Ok((u32::from_le_bytes(query), f32::from_le_bytes(base)))
            })?,
        })
    });
    Ok(ScanRequest {
        target,
        generation: Generation(message.generation),
        probes: probes.collect::<Result<_, ShardError>>()?,
        queries: queries.collect::<Result<Vec<_>, ShardError>>()?.into(),
        since: message.since.map(ReadIndex),
    })
}

/// What a scan found, as a message.
pub fn scan_reply(reply: &ScanReply) -> wire::ScanReply {
    let of_query = reply.candidates.iter().zip(&reply.scored);
    let queries = of_query.map(|(candidates, scored)| wire::Candidates {
        rows: pack(candidates.iter(), |row| {
            join::<32, 4, 36>(join(row.label.0, row.op.0), row.estimate.to_le_bytes())
        }),
        scored: *scored,
    });
    wire::ScanReply {
        queries: queries.collect(),
    }
}

/// What a scan found, from its message.
pub fn read_scan_reply(message: &wire::ScanReply) -> Result<ScanReply, ShardError> {
    let candidates = message.queries.iter().map(|query| {
        unpack(&query.rows, |row| {
            let (write, estimate) = split::<32, 4, 36>(row);
            let (label, op) = split::<16, 16, 32>(&write);
            Ok(Candidate {
                label: ItemLabel(label),
                op: Op(op),
                estimate: f32::from_le_bytes(estimate),
            })
        })
    });
    Ok(ScanReply {
        candidates: candidates.collect::<Result<_, _>>()?,
        scored: message.queries.iter().map(|query| query.scored).collect(),
    })
}

/// A resolve, without its target.
pub fn resolve_request(request: &ResolveRequest) -> wire::ResolveRequest {
    wire::ResolveRequest {
        metric: metric(request.metric).into(),
        precision: precision(request.precision).into(),
        dimension: request.dimension.get() as u32,
        queries: pack_floats(&request.queries),
        candidates: pack(request.candidates.iter(), |(query, label, op)| {
            join::<4, 32, 36>(query.to_le_bytes(), join(label.0, op.0))
        }),
        filter: request.filter.as_ref().map(|filter| filter.to_bytes().into()),
        since: request.since.map(|index| index.0),
    }
}

/// A resolve at `target`, from its message.
pub fn read_resolve_request(
    target: Target,
    message: &wire::ResolveRequest,
) -> Result<ResolveRequest, ShardError> {
    let dimension = Dimension::new(u64::from(message.dimension)).map_err(|_| MALFORMED)?;
    let filter = message
        .filter
        .as_ref()
        .map(|bytes| read_filter(bytes).map(Arc::new));
    Ok(ResolveRequest {
        target,
        metric: read_metric(message.metric())?,
        precision: read_precision(message.precision())?,
        queries: unpack_floats(&message.queries)?.into(),
        dimension,
        candidates: unpack(&message.candidates, |row| {
            let (query, write) = split::<4, 32, 36>(row);
            let (label, op) = split::<16, 16, 32>(&write);
            Ok((u32::from_le_bytes(query), ItemLabel(label), Op(op)))
        })?,
        filter: filter.transpose()?,
        since: message.since.map(ReadIndex),
    })
}

/// What was resolved, as a message.
pub fn resolve_reply(reply: &ResolveReply) -> wire::ResolveReply {
    let resolved = pack(reply.iter(), |resolved| match resolved {
        None => [0; 25],
        Some(Resolved { op, distance }) => join::<1, 24, 25>([1], join(op.0, distance.to_le_bytes())),
    });
    wire::ResolveReply { resolved }
}

/// What was resolved, from its message.
pub fn read_resolve_reply(message: &wire::ResolveReply) -> Result<ResolveReply, ShardError> {
    unpack(&message.resolved, |row| {
        let ([there], rest) = split::<1, 24, 25>(row);
        let (op, distance) = split::<16, 8, 24>(&rest);
        match there {
            0 => Ok(None),
            1 => Ok(Some(Resolved {
                op: Op(op),
                distance: f64::from_le_bytes(distance),
            })),
            _ => Err(MALFORMED),
        }
    })
}

fn read_filter(bytes: &[u8]) -> Result<Filter, ShardError> {
    Filter::from_bytes(bytes).map_err(|_| MALFORMED)
}

fn metric(metric: Metric) -> catalog::Metric {
    match metric {
        Metric::Euclidean => catalog::Metric::Euclidean,
        Metric::SquaredEuclidean => catalog::Metric::SquaredEuclidean,
        Metric::Cosine => catalog::Metric::Cosine,
    }
}

fn read_metric(metric: catalog::Metric) -> Result<Metric, ShardError> {
    match metric {
        catalog::Metric::Euclidean => Ok(Metric::Euclidean),
        catalog::Metric::SquaredEuclidean => Ok(Metric::SquaredEuclidean),
        catalog::Metric::Cosine => Ok(Metric::Cosine),
        catalog::Metric::Unspecified => Err(MALFORMED),
    }
}

pub(super) fn precision(precision: Precision) -> catalog::Precision {
    match precision {
        Precision::Float32 => catalog::Precision::Float32,
        Precision::Float16 => catalog::Precision::Float16,
    }
}

pub(super) fn read_precision(precision: catalog::Precision) -> Result<Precision, ShardError> {
    match precision {
        catalog::Precision::Float32 => Ok(Precision::Float32),
        catalog::Precision::Float16 => Ok(Precision::Float16),
        catalog::Precision::Unspecified => Err(MALFORMED),
    }
}
