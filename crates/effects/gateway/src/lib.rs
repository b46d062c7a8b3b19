//! What clients talk to: routes, balances, drains.
