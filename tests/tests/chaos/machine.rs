//! One node, as somebody sees it who may pull its plugs.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What can be done to a node. All of it blocks until it is done.
pub(crate) trait Machine: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;
    /// What it is.
    fn role(&self) -> Role;
    /// Where clients reach it, if it is one that they talk to.
    fn rest(&self) -> Option<SocketAddr>;
    /// Ends it at once (SIGKILL).
    fn kill(&self) -> Done;
    /// Asks it to end (SIGTERM) and waits until it has.
    fn stop(&self) -> Done;
    /// Starts it again with what is on its disk.
    fn start(&self) -> Done;
    /// Holds it still (SIGSTOP): it answers nothing and loses nothing.
    fn pause(&self) -> Done;
    /// Lets it go on.
    fn resume(&self) -> Done;
    /// Takes it off the network of nodes; clients still reach it. Those that are cut off together still reach each other.
    fn cut(&self) -> Done;
    /// Puts it back.
    fn mend(&self) -> Done;
    /// Empties the disk of a node that does not run.
    fn wipe(&self) -> Done;
    /// Where what it stores lies.
    fn disk(&self) -> Result<PathBuf, String>;
    /// True if it runs and says that it is well.
    fn is_well(&self) -> bool;
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Everything in one process.
    Embedded,
    /// Serves clients.
    Coordinator,
    /// Stores partitions.
    Shard,
}

/// Why it could not be done.
pub(crate) type Done = Result<(), String>;
