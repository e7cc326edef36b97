//! Connections of clients.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Observes connections.
pub struct Connections {
    open: Gauge,
    opened: Counter,
    refused: Counter,
    displaced: Counter,
}

impl Connections {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let connections = Self {
            open: Gauge::default(),
            opened: Counter::default(),
            refused: Counter::default(),
            displaced: Counter::default(),
        };
        registry.register(
            "connections",
            "Connections that are open",
            connections.open.clone(),
        );
        registry.register(
            "connections_opened",
            "Connections that found a place",
            connections.opened.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections for which there was no room, told to come back or closed at once",
            connections.refused.clone(),
        );
        registry.register(
            "connections_displaced",
            "Waiting connections whose place another took",
            connections.displaced.clone(),
        );
        connections
    }

    /// A connection has found a place, which it keeps until what is returned is dropped.
    pub fn opened(&self) -> Open<'_> {
        self.opened.inc();
        self.open.inc();
        Open(self)
    }

    /// There was no room for one.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// One lost its place to another.
    pub fn displaced(&self) {
        self.displaced.inc();
    }
}

/// An open connection.
pub struct Open<'a>(&'a Connections);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}
