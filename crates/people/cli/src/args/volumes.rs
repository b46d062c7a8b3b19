//! Commands about volumes.

use clap::Subcommand;
use ward_types::id::{Name, SnapshotId};

use super::{OfEnv, Why};

#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// List the volumes: what they hold and may hold, and their snapshots
    List(OfEnv),
    /// Put what a snapshot holds in its volume's place, while the environment is down
    Restore {
        /// Which snapshot, as `ward volume list` shows it
        snapshot: SnapshotId,
        #[command(flatten)]
        env: OfEnv,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        why: Why,
    },
    /// Delete a volume that nothing has any more, with its snapshots, for ever
    Delete {
        /// Which volume
        volume: Name,
        #[command(flatten)]
        env: OfEnv,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        why: Why,
    },
}
