//! How a coordinator comes to be part of a deployment: it was before, it joins, or it begins one. A deployment is begun once: by the one
//! that is told to, and only after every other coordinator has said that it knows none.

use super::{CoordinatorArgs, CoordinatorError};
use crate::node::{
    ConsensusDoor, Disk, Identified, JoinToken, NodeError, NodeFile, entered, join, knows_none, no_twin,
};
use crate::storage_error::StorageError;
use sealdex_coordinator::adapters::{CatalogError, CatalogHandle};
use sealdex_coordinator::domain::deployment::{Bootstrap, Command, InstallId, NewNode, Role, Settings};
use sealdex_core::{DeploymentId, NodeId};
use sealdex_crypto::random_16;
use sealdex_peer::{CurrentCredentials, Directory, Registered};
use std::sync::Arc;

/// Partitions of a deployment, unless it is told otherwise: a few on each of some dozens of nodes.
const PARTITIONS: u16 = 16;

/// The node that begins a deployment.
const FIRST: NodeId = NodeId(1);

/// Who this node is; enters into the directory whom it has to know to go on.
pub(super) async fn identified(
    args: &CoordinatorArgs,
    credentials: &Arc<CurrentCredentials>,
    token: &JoinToken,
    file: &mut NodeFile,
    directory: &Arc<Directory>,
) -> Result<Identified, CoordinatorError> {
    let known = file.identified().map_err(NodeError::from)?;
    let me = match known {
        Some(known) => {
            let disk = Disk {
                install: file.install().map_err(NodeError::from)?,
                of: Some(known.deployment),
            };
            no_twin(&args.node, &credentials.get(), token, disk, known).await?;
            known
        }
        None => {
            let me = begin_or_join(args, credentials, token, file, directory).await?;
            file.identify(me).map_err(NodeError::from)?;
            me
        }
    };
    let registered = Registered {
        identity: credentials.get().identity().clone(),
        address: args.node.advertised(),
        removed: false,
    };
    directory.insert(me.node, registered);
    Ok(me)
}

async fn begin_or_join(
    args: &CoordinatorArgs,
    credentials: &Arc<CurrentCredentials>,
    token: &JoinToken,
    file: &NodeFile,
    directory: &Arc<Directory>,
) -> Result<Identified, CoordinatorError> {
    let disk = Disk {
        install: file.install().map_err(NodeError::from)?,
        of: None,
    };
    // Others ask meanwhile whether this one knows a deployment.
    let door = ConsensusDoor::closed(&args.node, credentials.clone()).await?;
    let credentials = &credentials.get();
    let mine = args.node.advertised();
    let begins = args.bootstrap && (args.node.join.first() == Some(&mine) || !args.node.join.contains(&mine));
    let begun = begins && knows_none(&args.node, credentials, token, disk, &mine).await?;
    let me = if begun {
        Identified {
            deployment: DeploymentId(random_16()),
            node: FIRST,
            partitions: args.serve.partitions.unwrap_or(PARTITIONS),
        }
    } else {
        let joined = join(&args.node, credentials, token, disk).await?;
        entered(directory, &joined.members);
        joined.identified
    };
    door.close().await;
    Ok(me)
}

/// Writes the deployment's first entries, if this node begins it and has not done so.
pub(super) async fn found(
    args: &CoordinatorArgs,
    me: Identified,
    file: &NodeFile,
    catalog: &CatalogHandle,
) -> Result<(), CoordinatorError> {
    if me.node != FIRST || catalog.deployment().is_some() {
        return Ok(());
    }
    let storage = |error: CatalogError| StorageError::of(&args.serve.data_dir, error);
    catalog.found(me.node).await.map_err(storage)?;
    if catalog.deployment().is_some() {
        return Ok(());
    }
    let bootstrap = Bootstrap {
        deployment: me.deployment,
        partitions: me.partitions,
        settings: Settings {
            expected_shards: args.expected_shards,
            grace_seconds: args.grace_seconds,
            ..Settings::default()
        },
        node: NewNode {
            name: args.node.name.to_string(),
            role: Role::Coordinator,
            address: args.node.advertised(),
            zone: args.node.zone.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            install: InstallId(file.install().map_err(NodeError::from)?),
        },
    };
    catalog
        .change_deployment(Command::Bootstrap(bootstrap))
        .await
        .map(drop)
        .map_err(|error| storage(error).into())
}
