//! Ids, units, events, releases: the words of design.md as types. Pure.
