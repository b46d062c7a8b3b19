//! The words of the design as types: ids, units, events, releases.
//!
//! Pure: nothing here does I/O, reads a clock or draws a random number. Time and ids come in as
//! arguments, which is what lets the whole control plane run in a simulator.

pub mod access;
pub mod backup;
pub mod balance;
pub mod changes;
pub mod checkup;
pub mod configuration;
pub mod copy;
pub mod environments;
pub mod event;
pub mod guard;
pub mod histogram;
pub mod id;
pub mod keeper;
pub mod life;
pub mod maintenance;
pub mod person;
pub mod pipeline;
pub mod policy;
pub mod range;
pub mod release;
pub mod route;
pub mod run;
pub mod schema;
pub mod secret;
pub mod secrets;
pub mod sharing;
pub mod sleep;
pub mod source;
pub mod spec;
pub mod table;
pub mod tally;
pub mod text;
pub mod time;
pub mod tls;
pub mod unit;
pub mod view;
pub mod volume;
