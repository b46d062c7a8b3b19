//! Decides what to do next, and checks what was decided. Pure.
