//! The admin port of a server, as a probe or a scraper sees it.

use crate::figures::Figures;
use crate::http::{Http, Reply};
use crate::server::{Home, Server};
use std::time::{Duration, Instant};

/// A client of the admin port.
pub struct Admin {
    /// For any request.
    pub http: Http,
}

/// The same place, whose servers have an admin port on a free port.
pub fn with_admin(home: Home) -> Home {
    home.with_variable("SEALDEX_ADMIN_ADDRESS", "127.0.0.1:0")
}

impl Admin {
    /// That of the server that was started last in `home`, made by [`with_admin`].
    pub fn of(home: &Home, _running: &Server) -> Self {
        let log = std::fs::read_to_string(home.log()).expect("a server has a log");
        let said = log
            .lines()
            .rev()
            .find(|line| line.contains("the admin port answers"));
        let address = said.and_then(|line| line.split("address=").nth(1));
        let address = address.and_then(|address| address.trim().parse().ok());
        Self {
            http: Http::new(address.unwrap_or_else(|| panic!("no admin port in the log:\n{log}"))),
        }
    }

    /// What it answers to `path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.http
            .get(path)
            .await
            .unwrap_or_else(|why| panic!("{path}: {}", why.0))
    }

    /// A scrape, which must keep to the conventions.
    pub async fn figures(&self) -> Figures {
        let reply = self.get("/metrics").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let figures = Figures::parse(&reply.text()).unwrap_or_else(|why| panic!("{why}"));
        let faults = figures.faults();
        assert!(faults.is_empty(), "{faults:#?}\n{}", figures.text);
        figures
    }

    /// Waits until `/readyz` has that status; returns what it says.
    pub async fn until_ready_says(&self, status: u16) -> String {
        let given_up = Instant::now() + READY_TIME_MAX;
        loop {
            let reply = self.get("/readyz").await;
            if reply.status == status {
                return reply.text();
            }
            assert!(
                Instant::now() < given_up,
                "still {}: {}",
                reply.status,
                reply.text()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A change of state is told at once; a loaded machine may be many times slower.
const READY_TIME_MAX: Duration = Duration::from_secs(30);
