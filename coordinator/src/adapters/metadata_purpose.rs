//! How far a change of the metadata may go into what is kept free on the disk.

use crate::domain::{Command, MetadataCommand, deployment};
use sealdex_consensus::Purpose;

/// What a command is for.
pub(super) fn purpose_of(command: &MetadataCommand) -> Purpose {
    match command {
        MetadataCommand::Catalog(command) => purpose_of_catalog(command),
        MetadataCommand::Deployment(command) => purpose_of_deployment(command),
    }
}

/// A deployment goes on with what it began, loses and replaces nodes, whatever the disk; it only takes nothing new.
fn purpose_of_deployment(command: &deployment::Command) -> Purpose {
    use deployment::Command as Change;
    match command {
        Change::Bootstrap(_) | Change::RegisterNode(_) | Change::ClaimJob { .. } => Purpose::Grow,
        Change::UpdateNode { .. }
        | Change::SetNode { .. }
        | Change::MakeTable(_)
        | Change::BeginChange { .. }
        | Change::AdvanceChange { .. }
        | Change::AdvanceJob { .. }
        | Change::FinishJob { .. }
        | Change::Configure(_) => Purpose::Finish,
    }
}

fn purpose_of_catalog(command: &Command) -> Purpose {
    match command {
        Command::Create(_)
        | Command::SetUntrainedModel { .. }
        | Command::FixDimension { .. }
        | Command::BeginTraining { .. }
        | Command::AddUser { .. }
        | Command::Rewrap { .. }
        | Command::BeginEpoch { .. } => Purpose::Grow,
        Command::FinishTraining { .. }
        | Command::ReviseModel { .. }
        | Command::SwitchEpoch { .. }
        | Command::FinishEpoch { .. } => Purpose::Finish,
        Command::Delete { .. }
        | Command::AbortTraining { .. }
        | Command::RemoveUser { .. }
        | Command::ForgetModel { .. }
        | Command::ForgetGeneration { .. } => Purpose::Relieve,
    }
}
