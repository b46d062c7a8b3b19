//! What can go wrong, one variant per operation.

use std::io;
use std::path::PathBuf;

use ward_types::id::{EnvId, InstanceId};

use crate::client::ClientError;
use crate::image::LayerError;

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of the state folder could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was to be done, as a verb: `create`, `read`, `write`, `remove`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The keeper's program could not be started.
    #[error("cannot start a keeper for {id} with {}", exe.display())]
    Spawn {
        /// The instance.
        id: InstanceId,
        /// The program.
        exe: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The instance's specification could not be handed to its keeper.
    #[error("the keeper of {id} did not take its instructions: {said}")]
    Instruct {
        /// The instance.
        id: InstanceId,
        /// What the keeper last said on its standard error, if anything.
        said: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The keeper refused, in its own words.
    #[error("{id} did not start: {message}")]
    Refused {
        /// The instance.
        id: InstanceId,
        /// The keeper's words.
        message: String,
    },
    /// The keeper ended without a word.
    #[error("the keeper of {id} ended before it was ready: {said}")]
    Mute {
        /// The instance.
        id: InstanceId,
        /// What it last said on its standard error.
        said: String,
    },
    /// The keeper did not become ready in time; it was killed.
    #[error("the keeper of {id} was not ready after {seconds} s and was killed")]
    Late {
        /// The instance.
        id: InstanceId,
        /// How long was waited.
        seconds: u64,
    },
    /// The keeper could not be asked.
    #[error("cannot {action} {id} of {env}")]
    Keeper {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The environment.
        env: EnvId,
        /// The instance.
        id: InstanceId,
        /// Why not.
        #[source]
        source: ClientError,
    },
    /// The keeper did not answer in time.
    #[error("the keeper of {id} of {env} did not answer within {seconds} s to {action}")]
    NoAnswer {
        /// What was to be done.
        action: &'static str,
        /// The environment.
        env: EnvId,
        /// The instance.
        id: InstanceId,
        /// How long was waited.
        seconds: u64,
    },
    /// The engine does not know the instance.
    #[error("{env} has no instance {id}")]
    Unknown {
        /// The environment.
        env: EnvId,
        /// The instance.
        id: InstanceId,
    },
    /// The instance still runs.
    #[error("{id} of {env} still runs; stop it first")]
    StillRuns {
        /// The environment.
        env: EnvId,
        /// The instance.
        id: InstanceId,
    },
    /// A specification contradicts itself.
    #[error("the specification of {id} is wrong: {what}")]
    Spec {
        /// The instance.
        id: InstanceId,
        /// What is wrong.
        what: String,
    },
    /// An image's manifest or configuration cannot be used.
    #[error("the image cannot be used: {what}")]
    Image {
        /// What is wrong.
        what: String,
    },
    /// A layer of an image cannot be unpacked.
    #[error("cannot unpack the layer {digest}")]
    Layer {
        /// The layer.
        digest: ward_types::id::Digest,
        /// Why not.
        #[source]
        source: LayerError,
    },
}

pub(crate) fn file(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}
