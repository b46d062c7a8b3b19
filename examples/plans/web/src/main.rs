//! `plans-web`: the web service, and the commands that prepare its database.
//!
//! ```text
//! plans-web            serve pages and the JSON API
//! plans-web migrate    bring the database's schema up to date
//! plans-web seed       add synthetic data, once
//! ```

mod api;
mod assets;
mod command;
mod failure;
mod form;
mod guard;
mod health;
mod pages;
mod report;
mod serve;

use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "plans-web: which benefits plan costs an employer and its people the least

Usage: plans-web [COMMAND]

Commands:
  serve       serve (what it does without a command)
  migrate     bring the database's schema up to date, then exit
  seed        add synthetic employers, once, then exit

Environment:
  DATABASE_URL    postgres://user:password@host:5432/name (required)
  PORT            port to serve on, all addresses (default 8080; 0 takes a free one)
  DATABASE_POOL   most connections to the database (default 6)
  RUST_LOG        error, warn, info, debug or off (default info)
  WARD_RELEASE, WARD_INSTANCE, WARD_VERSION    shown by /version
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] | ["serve"] => serve::run(),
        ["migrate"] => command::migrate(),
        ["seed"] => command::seed(),
        ["help" | "--help" | "-h"] => {
            let _ = std::io::stdout().write_all(USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        _ => {
            let _ = std::io::stderr().write_all(USAGE.as_bytes());
            return ExitCode::from(2);
        }
    };
    plans_service::serve::ended(result)
}
