//! `ward-bench`: what `cargo xtask bench` runs. It measures the real binary, against bars that the project
//! has set itself and against the programs that people use today, in the same run on the same machine.
//!
//! Everything happens on the loopback device and in a temporary folder, and is gone afterwards, also after a
//! failure or Ctrl-C.

mod args;
mod clerk;
mod error;
mod load;
mod machine;
mod measure;
mod process;
mod report;
mod sample;
mod tiny;
mod ward;
mod workshop;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::error::{Error, doing};
use crate::measure::Bench;
use crate::report::{Report, say};

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        measure::list();
        return ExitCode::SUCCESS;
    }
    let told = match (&args.turns, &args.attack) {
        (Some(told), _) => Some(measure::turns(told)),
        (None, Some(told)) => Some(measure::attack(told)),
        (None, None) => None,
    };
    if let Some(ended) = told {
        return match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        };
    }
    let ended = doing(
        "start",
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build(),
    )
    .and_then(|runtime| runtime.block_on(run(&args)));
    match ended {
        Ok(report) => {
            report.print(args.output);
            if report.is_whole() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> ExitCode {
    say(&format!("error: {}", error.sentence()));
    ExitCode::FAILURE
}

/// Measures, unless a signal asks to stop: then what is under way is dropped, which stops and removes it.
async fn run(args: &Args) -> Result<Report, Error> {
    let mut interrupt = doing("wait for Ctrl-C", signal(SignalKind::interrupt()))?;
    let mut terminate = doing("wait for SIGTERM", signal(SignalKind::terminate()))?;
    let bench = Bench::new(args)?;
    tokio::select! {
        report = bench.run(args) => Ok(report),
        _ = interrupt.recv() => Err(Error::Interrupted),
        _ = terminate.recv() => Err(Error::Interrupted),
    }
}
