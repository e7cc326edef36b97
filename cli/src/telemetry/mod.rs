//! What a role tells of itself: its log, its admin port, its traces. The options, and the start of log and traces; every role has the
//! same ones.

mod otlp;

use crate::admin::AdminAddress;
use clap::Args;
use otlp::Endpoint;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

pub(crate) use otlp::Traces;

/// Options that every role has.
#[derive(Args)]
pub(crate) struct TelemetryArgs {
    /// What to log: a level (error, warn, info, debug, trace) or a filter. Requests that succeed are a line each with
    /// "info,sealdex::request=debug"; those that are refused are with info, those that fail or are slow with warn
    #[arg(long, env = "SEALDEX_LOG", default_value = "info")]
    pub(crate) log: String,

    /// Address of the admin port, which answers /livez, /readyz and /metrics to whoever reaches it; a port alone listens on
    /// 127.0.0.1
    #[arg(long, env = "SEALDEX_ADMIN_ADDRESS", value_name = "ADDRESS")]
    pub(crate) admin_address: Option<AdminAddress>,

    /// Collector of OpenTelemetry traces, such as http://127.0.0.1:4317 (OTLP over gRPC); without it nothing is traced. Spans
    /// carry routes, statuses and times, and no name, id or key
    #[arg(long, env = "SEALDEX_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<Endpoint>,

    /// Share of the requests that are traced
    #[arg(long, env = "SEALDEX_OTLP_RATIO", default_value_t = 1.0, value_parser = ratio)]
    otlp_ratio: f64,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "a share is a number".to_owned())?;
    if (0.0..=1.0).contains(&ratio) {
        Ok(ratio)
    } else {
        Err("a share is at least 0 and at most 1".to_owned())
    }
}

/// Why nothing can be told. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    /// The log filter does not parse.
    #[error("--log: {0}")]
    LogFilter(String),
    /// The exporter of traces cannot be made.
    #[error("--otlp-endpoint: {0}")]
    Traces(String),
}

impl TelemetryArgs {
    /// What is logged. Of consensus, which tells of its every step, only what goes wrong, unless the filter names it.
    fn filter(&self) -> Result<EnvFilter, TelemetryError> {
        let quiet = match self.log.contains("openraft") {
            true => self.log.clone(),
            false => format!("{},openraft=error", self.log),
        };
        EnvFilter::try_new(quiet).map_err(|error| TelemetryError::LogFilter(error.to_string()))
    }

    /// Starts the log, and the export of traces if it is asked for. Once per process, within its runtime.
    pub(crate) fn start(&self) -> Result<Option<Traces>, TelemetryError> {
        let ansi = std::io::stderr().is_terminal();
        let lines = fmt::layer()
            .with_ansi(ansi)
            .with_writer(std::io::stderr)
            .with_filter(self.filter()?);
        let Some(endpoint) = &self.otlp_endpoint else {
            registry().with(lines).init();
            return Ok(None);
        };
        let (traces, spans) = Traces::to(endpoint, self.otlp_ratio).map_err(TelemetryError::Traces)?;
        registry().with(lines).with(spans).init();
        Ok(Some(traces))
    }
}
