//! `sealdex health`: asks a node whether it is ready, for supervisors that can run a command and for images without a shell. Knows
//! two addresses and no credential.

use crate::client::{ClientError, Connection, Endpoint};
use clap::Args;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Options of `sealdex health`. Without any it asks the node that this environment configures.
#[derive(Args)]
pub(crate) struct HealthArgs {
    /// Admin address, HOST:PORT or a port on this machine; where it is given, /readyz there is asked and nothing else
    #[arg(long, env = "SEALDEX_ADMIN_ADDRESS", value_name = "ADDRESS")]
    admin: Option<String>,

    /// REST address, whose /v1/health is asked; http only. By default --port on this machine
    #[arg(long, env = "SEALDEX_URL", value_name = "URL")]
    url: Option<String>,

    /// REST port on this machine
    #[arg(long, env = "SEALDEX_PORT", value_name = "PORT", default_value_t = 8000)]
    port: u16,

    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// Why a node counts as not ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    /// It does not answer, or says that it is not.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system gives no means to ask.
    #[error("{0}")]
    Runtime(std::io::Error),
}

/// Succeeds if the node is ready.
pub(crate) fn start(args: HealthArgs) -> Result<(), HealthError> {
    let (url, path) = args.question();
    let endpoint = Endpoint::new(&url, None)?;
    let mut connection = Connection::new(&endpoint, Duration::from_secs(args.timeout));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HealthError::Runtime)?;
    runtime.block_on(connection.get(path))?;
    println!("ready");
    Ok(())
}

impl HealthArgs {
    fn question(&self) -> (String, &'static str) {
        match (&self.admin, &self.url) {
            (Some(admin), _) => (format!("http://{}", reachable(admin)), "/readyz"),
            (None, Some(url)) => (url.clone(), "/v1/health"),
            (None, None) => (format!("http://127.0.0.1:{}", self.port), "/v1/health"),
        }
    }
}

/// Where what a node listens on is reached from its own machine: a port, or every address, on loopback; anything else as it is.
fn reachable(listens: &str) -> String {
    let port = listens
        .parse::<u16>()
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    match port.or_else(|_| listens.parse()) {
        Ok(SocketAddr::V4(address)) if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())).to_string()
        }
        Ok(SocketAddr::V6(address)) if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())).to_string()
        }
        Ok(address) => address.to_string(),
        Err(_) => listens.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_reached_on_loopback() {
        for (listens, reached) in [
            ("9000", "127.0.0.1:9000"),
            ("0.0.0.0:9000", "127.0.0.1:9000"),
            ("[::]:9000", "[::1]:9000"),
            ("10.0.0.7:9000", "10.0.0.7:9000"),
            ("shard-1:9000", "shard-1:9000"),
        ] {
            assert_eq!(reachable(listens), reached);
        }
    }

    #[test]
    fn the_admin_port_is_asked_where_there_is_one() {
        let asked = |admin: Option<&str>, url: Option<&str>| {
            let args = HealthArgs {
                admin: admin.map(str::to_owned),
                url: url.map(str::to_owned),
                port: 8123,
                timeout: 1,
            };
            args.question()
        };
        let ready = ("http://127.0.0.1:9000".to_owned(), "/readyz");
        assert_eq!(asked(Some("0.0.0.0:9000"), Some("http://other:1")), ready);
        assert_eq!(
            asked(None, Some("http://other:1")),
            ("http://other:1".to_owned(), "/v1/health")
        );
        assert_eq!(
            asked(None, None),
            ("http://127.0.0.1:8123".to_owned(), "/v1/health")
        );
    }
}
