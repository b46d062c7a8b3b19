//! The control plane's composition root: it wires everything and holds no rules of its own.
//!
//! What should be is the fold of the log ([`ward_store`]); what is comes from the engine and the gateway.
//! One loop per environment ([`driver`]) observes, plans, has the plan checked, and acts. Everything
//! else here brings requests to the log, or shows what is there.

mod access;
mod actor;
mod addresses;
mod admission;
pub mod audit;
mod backups;
mod builds;
mod clock;
mod collect;
mod compose;
mod configuration;
mod control;
mod deploy;
mod deployments;
mod digests;
pub mod doctor;
mod down;
mod driver;
mod each;
mod elders;
mod environments;
mod exec;
mod follow;
mod goto;
mod history;
mod hosts;
mod images;
mod issuing;
mod kept;
pub mod keys;
mod logs;
mod looking;
mod maintenance;
mod making;
mod measuring;
mod moved;
mod notices;
pub mod once;
mod opening;
mod passwords;
mod pipelines;
mod planning;
mod plans;
pub mod policing;
mod promote;
mod reasons;
mod recording;
mod restoring;
mod rotation;
mod routing;
mod runs;
mod schedule;
mod secrets;
mod server;
mod settable;
mod sharing;
mod sleep;
mod sought;
pub mod source;
mod sources;
mod traffic;
mod views;
mod volumes;
mod work;

pub use actor::{Actor, Refusal, RefusalKind};
pub use control::{Control, Direction};
pub use logs::LogQuery;
pub use plans::as_written;
pub use server::{Heard, METRICS, Options, Reading, ReadingOptions, Server, StartError, Upgrade};
pub use sought::Sought;
pub use sources::{Hook, Proof};
pub use views::{Keys, Purged};
