//! What a coordinator says of itself twice a second: to whoever leads the metadata group, or to itself where it does.

use crate::adapters::CatalogHandle;
use crate::domain::deployment::{DiskRoom, NodeReport};
use crate::service::Service;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// See the module. Share it in an `Arc`.
pub struct OwnWord {
    catalog: Arc<CatalogHandle>,
    service: OnceLock<Weak<Service>>,
    stopping: AtomicBool,
}

impl OwnWord {
    /// Of a coordinator that serves nobody yet.
    pub fn new(catalog: Arc<CatalogHandle>) -> Self {
        Self {
            catalog,
            service: OnceLock::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on it tells what background work the service is at.
    pub fn serves(&self, service: &Arc<Service>) {
        // There is one service in a process.
        let _ = self.service.set(Arc::downgrade(service));
    }

    /// From now on it says that it is on its way out.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn report(&self) -> NodeReport {
        let disk = self.catalog.room().map(DiskRoom::from);
        let service = self.service.get().and_then(Weak::upgrade);
        NodeReport {
            stopping: self.stopping.load(Ordering::Relaxed),
            full: disk.is_some_and(DiskRoom::is_full),
            disk,
            work: service.map(|service| service.work()).unwrap_or_default(),
            ..NodeReport::default()
        }
    }
}
