//! Medicine returns: the rules, and how they are kept in PostgreSQL.
//!
//! A pharmacy opens a return, lists expired, damaged and unused medicines in it and submits it. The
//! receiving desk receives and verifies it, and the worker credits it; or the desk destroys it.
//!
//! [`ndc`], [`money`], [`state`], [`entry`], [`credit`] and [`csv`] are pure: they know no database and no
//! clock, and "today" comes in as an argument. [`pool`], [`migrate`], [`returns`], [`valuation`],
//! [`attachment`] and [`changes`] speak to PostgreSQL.

pub mod attachment;
pub mod changes;
pub mod credit;
pub mod csv;
pub mod demo;
pub mod entry;
pub mod log;
pub mod migrate;
pub mod money;
pub mod ndc;
pub mod pool;
pub mod prices;
pub mod returns;
pub mod state;
pub mod valuation;
