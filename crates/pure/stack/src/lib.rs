//! Reads a stack file and says everything that is wrong with it. Pure.
