//! `returns-web`: the web service, and the commands that prepare its database.
//!
//! ```text
//! returns-web              serve pages and the JSON API
//! returns-web migrate      bring the database's schema up to date
//! returns-web seed-demo    add demonstration data, once
//! ```

mod api;
mod assets;
mod command;
mod events;
mod export;
mod failure;
mod form;
mod guard;
mod health;
mod pages;
mod serve;
mod upload;

use std::process::ExitCode;

const USAGE: &str = "returns-web: medicine returns, pages and JSON API

Usage: returns-web [COMMAND]

Commands:
  serve       serve (what it does without a command)
  migrate     bring the database's schema up to date, then exit
  seed-demo   add demonstration data, once, then exit

Environment:
  DATABASE_URL    postgres://user:password@host:5432/name (required)
  PORT            port to serve on, all addresses (default 8080; 0 takes a free one)
  DATABASE_POOL   most connections to the database (default 8, plus one that listens)
  RUST_LOG        error, warn, info, debug or off (default info)
  WARD_RELEASE, WARD_INSTANCE, WARD_VERSION    shown by /version and in the header x-release
";

fn main() -> ExitCode {
    returns_domain::log::set_level(&std::env::var("RUST_LOG").unwrap_or_default());
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] | ["serve"] => serve::run(),
        ["migrate"] => command::migrate(),
        ["seed-demo"] => command::seed_demo(),
        ["help" | "--help" | "-h"] => {
            return said(&mut std::io::stdout(), USAGE, ExitCode::SUCCESS);
        }
        ["--version" | "-V"] => {
            let version = concat!("returns-web ", env!("CARGO_PKG_VERSION"), "\n");
            return said(&mut std::io::stdout(), version, ExitCode::SUCCESS);
        }
        _ => return said(&mut std::io::stderr(), USAGE, ExitCode::from(2)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!(
                "returns-web: {}\n",
                returns_domain::log::chain(error.as_ref())
            );
            said(&mut std::io::stderr(), &text, ExitCode::FAILURE)
        }
    }
}

fn said(to: &mut dyn std::io::Write, text: &str, code: ExitCode) -> ExitCode {
    let _ = to.write_all(text.as_bytes());
    code
}
