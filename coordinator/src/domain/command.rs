//! The changes that the catalogue knows, and why one may be refused.

use super::{Epochs, GenerationRecord, IndexRecord, KeyEnvelope, ModelRef, UserRecord};
use sealdex_core::{Dimension, Generation, IndexId, KeyEpoch, UserId};

/// A change of the catalogue. All but the first name the index by name and id, so that a command meant for a deleted
/// index never hits its successor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// A new index.
    Create(Box<IndexRecord>),
    /// Its record, and with it its keys, are gone.
    Delete {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
    },
    /// The first upsert fixes dimension and untrained model. If somebody else was first, theirs stays.
    SetUntrainedModel {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The dimension of the first vectors.
        dimension: Dimension,
        /// The model made from them.
        model: ModelRef,
    },
    /// The first upsert is by somebody who may not read: they cannot make a model, and fix the dimension alone.
    FixDimension {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The dimension of the first vectors.
        dimension: Dimension,
    },
    /// Writers write to this generation too from now on.
    BeginTraining {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The generation, whose model is stored already.
        building: GenerationRecord,
    },
    /// The generation being built becomes the active one.
    FinishTraining {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The generation being built.
        generation: Generation,
    },
    /// The generation being built is given up.
    AbortTraining {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The generation being built.
        generation: Generation,
    },
    /// Another model of the active generation: some of its clusters are being replaced, or have been.
    ReviseModel {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The active generation.
        generation: Generation,
        /// The model in use: of two revisions at a time one is refused.
        replaces: ModelRef,
        /// The model that takes its place, which is stored already.
        model: ModelRef,
        /// Its clusters.
        clusters: u32,
    },
    /// Nothing is left of a model that another took the place of.
    ForgetModel {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The active generation.
        generation: Generation,
        /// The model.
        model: ModelRef,
    },
    /// One more user.
    AddUser {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The epochs that the grants are of: refused if the index is in others by now.
        epochs: Epochs,
        /// The user.
        user: Box<UserRecord>,
    },
    /// A user's grants are gone. Taking away who is not there succeeds.
    RemoveUser {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The user.
        user: UserId,
    },
    /// Another index key for the same bundle: commitment, sealed bundle and source are replaced together.
    Rewrap {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The commitment of the key that is replaced: of two rewraps at a time one is refused.
        replaces: [u8; 32],
        /// The new envelope, of the same epoch.
        key: Box<KeyEnvelope>,
    },
    /// A next key epoch can be read from now on; nothing is sealed under it yet. May bring another index key, too.
    BeginEpoch {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The commitment of the key that opened the bundle.
        replaces: [u8; 32],
        /// The new envelope: the present epoch's keys, and the next one's beside them.
        key: Box<KeyEnvelope>,
        /// The users, with grants of both. Who is not among them any more is passed over.
        users: Vec<UserRecord>,
    },
    /// Everything is sealed under the next key epoch from now on.
    SwitchEpoch {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The next epoch.
        epoch: KeyEpoch,
    },
    /// Nothing is left of the epoch before: its keys and grants are erased.
    FinishEpoch {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The epoch that is left.
        epoch: KeyEpoch,
    },
    /// Every partition has dropped a retiring generation.
    ForgetGeneration {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The generation.
        generation: Generation,
    },
}

/// Why a command was refused. The catalogue is as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rejection {
    /// The name is in use.
    NameTaken,
    /// There is no such index (any more).
    NoSuchIndex,
    /// The index has another dimension.
    DimensionDiffers,
    /// The index is not in the state the command is for.
    OutOfTurn,
    /// The index has as many users as it may have.
    TooManyUsers,
}
