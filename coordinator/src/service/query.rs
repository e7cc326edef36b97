//! Queries: checked, tried on the generation of the moment, and tried again if a training or a write overtakes them.

mod answer;
mod breadth;
mod round;
mod scan_plan;
mod scanner;
mod waiting;

use super::inbox::Waited;
use super::open_items::AnswerSize;
use super::session::Session;
use super::{Hit, OpenIndex, Query, Service, ServiceError};
use answer::Answering;
use round::Round;
use scanner::Scanner;
use sealdex_core::{ErrorCode, limits};
use sealdex_index::dataplane::ShardError;
use sealdex_telemetry::{Stage, stage};
use std::sync::Arc;

/// How often a query is tried: a training may finish under it, or a write replace what it has found.
const ATTEMPTS_MAX: usize = 8;

/// What to do about a query whose answer is too large.
const ASK_LESS: &str = "lower top_k, send fewer queries, or leave vector, metadata and contents out of include and get them by id";

impl Service {
    /// The nearest items of each query, nearest first; ties in the order of their ids.
    pub async fn query(
        self: &Arc<Self>,
        index: &OpenIndex,
        query: Query,
    ) -> Result<Vec<Vec<Hit>>, ServiceError> {
        let session = index.reader("query")?;
        let _reading = session.reads.begin();
        check_limits(&query)?;
        let query = Arc::new(query);
        for attempt in 1..=ATTEMPTS_MAX {
            let _quiet = session.inbox.quiet(attempt).await;
            match self
                .query_once(index, session, &query, attempt == ATTEMPTS_MAX)
                .await
            {
                Err(Interrupted::StaleGeneration | Interrupted::Overtaken) => continue,
                Err(Interrupted::Failed(error)) => return Err(error),
                Ok(hits) => {
                    self.tend(index, session).await;
                    return Ok(hits);
                }
            }
        }
        Err(ShardError::Busy.into())
    }

    async fn query_once(
        &self,
        index: &OpenIndex,
        session: &Arc<Session>,
        query: &Arc<Query>,
        last: bool,
    ) -> Result<Vec<Vec<Hit>>, Interrupted> {
        let record = self.current_record(index)?;
        let dimension = record.dimension.ok_or_else(dimension_unknown)?;
        if query.vectors.dimension() != dimension {
            return Err(ServiceError::invalid(format!(
                "The dimension of the query vectors ({}) doesn't match the index's ({dimension}).",
                query.vectors.dimension()
            ))
            .into());
        }
        let all = self.fanout.all_partitions();
        let before = stage(Stage::Inbox, self.inbox_before(index, session, &all)).await?;
        let model = stage(Stage::Model, self.fanout.model(session, &record.active)).await?;
        let mut census = None;
        let neighbours = match &model {
            None => vec![Vec::new(); query.vectors.len()],
            Some(model) => {
                let scanner = Scanner {
                    service: self,
                    session,
                    query,
                    model,
                };
                let (counted, early) = scanner.count_and_begin(index).await?;
                let census = census.insert(counted);
                check_size(query, census.items())?;
                let round = Round {
                    record: &record,
                    scanner: &scanner,
                    census,
                    filter: query.filter.clone().map(Arc::new),
                };
                round.run(early).await?
            }
        };
        let after = stage(Stage::Inbox, self.inbox_after(index, session, &all)).await?;
        let waited = Arc::new(Waited { before, after });
        if waited.may_have_missed() {
            return Err(Interrupted::Overtaken);
        }
        let neighbours = self
            .with_waiting(record.metric, query, neighbours, &waited)
            .await?;
        let answering = Answering {
            service: self,
            index,
            record: &record,
            session,
            query,
            waited: &waited,
            census: census.as_ref(),
            last,
        };
        stage(Stage::Answer, answering.answer(neighbours)).await
    }
}

/// Why an attempt did not finish.
enum Interrupted {
    /// The generation was replaced meanwhile.
    StaleGeneration,
    /// What was found was replaced or deleted before it could be opened.
    Overtaken,
    Failed(ServiceError),
}

impl From<ShardError> for Interrupted {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::StaleGeneration => Interrupted::StaleGeneration,
            error => Interrupted::Failed(error.into()),
        }
    }
}

impl From<ServiceError> for Interrupted {
    fn from(error: ServiceError) -> Self {
        Interrupted::Failed(error)
    }
}

fn check_limits(query: &Query) -> Result<(), ServiceError> {
    let too_large = |what: String| Err(ServiceError::new(ErrorCode::TooLarge, what));
    if query.top_k == 0 {
        return Err(ServiceError::invalid("top_k must be at least 1."));
    }
    if query.vectors.is_empty() {
        return Err(ServiceError::invalid("Send at least one query vector."));
    }
    if query.top_k > limits::TOP_K_MAX {
        return too_large(format!("top_k may be at most {}.", limits::TOP_K_MAX));
    }
    if query.vectors.len() > limits::QUERIES_PER_REQUEST_MAX {
        return too_large(format!(
            "A request may hold at most {} query vectors.",
            limits::QUERIES_PER_REQUEST_MAX
        ));
    }
    let results = query.vectors.len().saturating_mul(query.top_k);
    if results > limits::RESULTS_PER_REQUEST_MAX {
        return too_large(format!(
            "A request may ask for at most {} results in all; lower top_k or send fewer queries.",
            limits::RESULTS_PER_REQUEST_MAX
        ));
    }
    Ok(())
}

/// Whether the vectors that are asked for may be too many to answer, before they are looked for.
fn check_size(query: &Query, everything: u64) -> Result<(), ServiceError> {
    if !query.include.vector || query.filter.is_some() {
        return Ok(());
    }
    let each = query.top_k.min(everything as usize);
    let items = each.saturating_mul(query.vectors.len());
    AnswerSize::new(ASK_LESS).check_vectors(items, query.vectors.dimension().get())
}

fn dimension_unknown() -> ServiceError {
    ServiceError::invalid(
        "Index dimension is not set. Upsert vectors first, or create the index with a dimension.",
    )
}
