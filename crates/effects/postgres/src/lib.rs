//! Runs a real PostgreSQL as an instance like any other.
