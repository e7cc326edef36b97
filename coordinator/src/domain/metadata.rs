//! All that the metadata group replicates: the catalogue of indexes and, beside it, the deployment.

use super::deployment::{self, Deployment};
use super::{Catalog, Command, IndexRecord, Rejection};
use std::sync::Arc;

/// The state of the metadata group.
#[derive(Clone, Default)]
pub struct Metadata {
    /// The indexes.
    pub catalog: Catalog,
    /// The deployment, once it is bootstrapped. Shared with readers; changed in a copy.
    pub deployment: Option<Arc<Deployment>>,
}

/// One entry of the metadata group's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MetadataCommand {
    /// Changes the catalogue.
    Catalog(Command),
    /// Changes the deployment.
    Deployment(deployment::Command),
}

impl MetadataCommand {
    /// Whether key material of before is gone from the state when it is applied, and has to go from every file.
    pub(crate) fn erases(&self) -> bool {
        matches!(
            self,
            Self::Catalog(
                Command::Delete { .. }
                    | Command::RemoveUser { .. }
                    | Command::Rewrap { .. }
                    | Command::FinishEpoch { .. }
            )
        )
    }
}

/// What a command did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MetadataApplied {
    /// The index as [`Catalog::apply`] returns it.
    Index(Arc<IndexRecord>),
    /// What the deployment returned.
    Deployment(deployment::Applied),
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetadataRejection {
    /// By the catalogue.
    Catalog(Rejection),
    /// By the deployment.
    Deployment(deployment::Rejection),
}

impl Metadata {
    /// Applies a command whole, or refuses it and stays as it is.
    pub fn apply(&mut self, command: MetadataCommand) -> Result<MetadataApplied, MetadataRejection> {
        match command {
            MetadataCommand::Catalog(command) => self.apply_to_catalog(command),
            MetadataCommand::Deployment(command) => self
                .apply_to_deployment(command)
                .map(MetadataApplied::Deployment)
                .map_err(MetadataRejection::Deployment),
        }
    }

    fn apply_to_catalog(&mut self, command: Command) -> Result<MetadataApplied, MetadataRejection> {
        let deletes = matches!(command, Command::Delete { .. });
        let index = self.catalog.apply(command).map_err(MetadataRejection::Catalog)?;
        if let (true, Some(deployment)) = (deletes, &mut self.deployment) {
            Arc::make_mut(deployment).forget_index(index.id);
        }
        Ok(MetadataApplied::Index(index))
    }

    fn apply_to_deployment(
        &mut self,
        command: deployment::Command,
    ) -> Result<deployment::Applied, deployment::Rejection> {
        match (command, &mut self.deployment) {
            (deployment::Command::Bootstrap(bootstrap), None) => {
                self.deployment = Some(Arc::new(Deployment::bootstrap(bootstrap)?));
                Ok(deployment::Applied::Done)
            }
            (_, None) => Err(deployment::Rejection::NotBootstrapped),
            (deployment::Command::ClaimJob { job, .. }, Some(_))
                if self.catalog.iter().all(|index| index.id != job.index) =>
            {
                Err(deployment::Rejection::NoSuchIndex)
            }
            (command, Some(deployment)) => Arc::make_mut(deployment).apply(command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::tests::index;
    use super::deployment::{
        Applied, Bootstrap, Command as Change, InstallId, JobKind, JobName, NewNode, Rejection as Refused,
        Role, Settings,
    };
    use super::*;
    use sealdex_core::{DeploymentId, IndexId, NodeId};

    fn bootstrap() -> Change {
        Change::Bootstrap(Bootstrap {
            deployment: DeploymentId([1; 16]),
            partitions: 4,
            settings: Settings::default(),
            node: NewNode {
                name: "only".into(),
                role: Role::Embedded,
                address: String::new(),
                zone: String::new(),
                version: String::new(),
                install: InstallId([1; 16]),
            },
        })
    }

    fn claim() -> Change {
        let job = JobName {
            kind: JobKind::Training,
            index: IndexId(1),
        };
        let owner = NodeId(1);
        Change::ClaimJob { job, owner }
    }

    fn change(metadata: &mut Metadata, command: Change) -> Result<Applied, Refused> {
        match metadata.apply(MetadataCommand::Deployment(command)) {
            Ok(MetadataApplied::Deployment(applied)) => Ok(applied),
            Err(MetadataRejection::Deployment(rejection)) => Err(rejection),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_deployment_is_bootstrapped_first_and_once() {
        let mut metadata = Metadata::default();
        assert_eq!(change(&mut metadata, claim()), Err(Refused::NotBootstrapped));
        change(&mut metadata, bootstrap()).unwrap();
        assert_eq!(change(&mut metadata, bootstrap()), Err(Refused::Bootstrapped));
    }

    #[test]
    fn jobs_come_and_go_with_their_index() {
        let mut metadata = Metadata::default();
        change(&mut metadata, bootstrap()).unwrap();
        assert_eq!(change(&mut metadata, claim()), Err(Refused::NoSuchIndex));
        let create = Command::Create(Box::new(index("a", 1)));
        metadata.apply(MetadataCommand::Catalog(create)).unwrap();
        change(&mut metadata, claim()).unwrap();
        let before = metadata.clone();
        let delete = Command::Delete {
            name: "a".into(),
            id: IndexId(1),
        };
        metadata.apply(MetadataCommand::Catalog(delete)).unwrap();
        assert_eq!(metadata.deployment.unwrap().jobs().count(), 0);
        assert_eq!(
            before.deployment.unwrap().jobs().count(),
            1,
            "what readers hold stays as it was"
        );
    }
}
