//! Benefits plans in PostgreSQL: schema, employers, plans, employees, comparisons.

pub mod comparisons;
pub mod employers;
pub mod migrate;
pub mod pool;
pub mod seed;

pub use pool::{DbError, Pool};
