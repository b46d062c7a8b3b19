//! A registry by itself: `registry FOLDER ADDRESS`. Prints the address that it listens on.

#![allow(
    clippy::disallowed_macros,
    reason = "an example has no printer but these"
)]

use std::process::ExitCode;
use std::sync::Arc;

use ward_registry::{Registry, serve};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(address)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: registry FOLDER ADDRESS");
        return ExitCode::from(2);
    };
    match run(&folder, &address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &str, address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let registry = Registry::open(folder)?;
        let listener = tokio::net::TcpListener::bind(address).await?;
        println!("{}", listener.local_addr()?);
        let interrupted = async {
            if let Err(error) = tokio::signal::ctrl_c().await {
                eprintln!("cannot wait for an interrupt: {error}");
            }
        };
        serve(listener, registry, Arc::new(()), interrupted).await;
        Ok(())
    })
}
