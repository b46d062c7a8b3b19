//! The binary `ward`: commands for people, and the entry of every Ward process.
//!
//! The keeper is told apart first thing, before anything could start a second thread: it sets up a
//! sandbox, which only a process with one thread can do safely. No runtime is built before that.

mod args;
mod changes;
mod commands;
mod dotenv;
mod env;
mod exec;
mod full;
mod hints;
mod home;
mod layout;
mod platform;
mod printer;
mod pty;
mod strategy;
mod value;

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(first) if first == "keeper" => ward_engine::keeper::main(),
        _ => commands::main(),
    }
}
