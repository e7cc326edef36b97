//! The deployment: its nodes, which of them host what, and how that changes as they come, go and are lost.
//!
//! [`Deployment`] is replicated state and changes by [`Command`]s alone. [`Controller`] runs where the metadata group is led: it
//! hears of nodes and groups and says what is to be done. Both are pure: no IO, no clock, no randomness.
//!
//! A change of a group's membership goes through the table first and then through the group: a learner is entered and copied to
//! (`CatchingUp`); when it has caught up the table says who votes from now on and the group follows (`Switching`); when the
//! group's leader has reported so, the change is over and who left deletes its replica.

mod balancer;
mod command;
mod controller;
mod job;
mod node;
mod observed;
mod outlook;
mod planner;
mod reconciler;
mod replacer;
mod settings;
#[cfg(test)]
mod simulation;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod view;

pub use command::{Applied, Bootstrap, Command, NodeChange, Rejection};
pub use controller::{Action, Controller, Event, REPEAT_AFTER, TRANSFER_INTERVAL};
pub use job::{Claim, JobKind, JobName, JobRecord, Work, WorkState};
pub use node::{InstallId, NewNode, NodeRecord, NodeState, Role};
pub use observed::{DiskRoom, GroupReport, LOST_AFTER, NodeReport, Sightings};
pub use settings::Settings;
pub use state::Deployment;
pub use table::{Assignment, Begin, Change, Group, ReplicaRole, Step, Table};
pub use view::{Hosted, MetadataView};
