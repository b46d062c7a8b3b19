//! The event log (a Merkle log) and its projections in SQLite.
