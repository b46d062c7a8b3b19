//! `serve` and `gateway`: the long-lived processes, in the foreground.

use std::path::Path;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use ward_api::Admits;
use ward_gateway::access;
use ward_server::{Actor, Heard, Options, Server, StartError, Upgrade};

use super::Context;
use crate::args::{ForGateway, Serve, Switch, Traceparent};
use crate::full;

fn log() {
    let filter = EnvFilter::try_from_env("WARD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // It would say on the same full disk that nothing can be written there, and panic because that cannot be said.
        .log_internal_errors(false)
        .init();
}

/// How `ward serve` ends when another server has the state folder already.
pub(crate) const TAKEN: u8 = 3;

pub(crate) fn gateway(context: &Context, asked: &ForGateway) -> ExitCode {
    log();
    let mut options = ward_gateway::Options::new(context.home.clone());
    options.access = (asked.access_log == Switch::On).then_some(access::AccessLog {
        bytes: asked.access_log_size.0,
        files: asked.access_log_files,
        query: match asked.access_log_query {
            Switch::On => access::Query::Logged,
            Switch::Off => access::Query::Omitted,
        },
    });
    options.limits.memory = asked.gateway_memory.map(|size| size.0);
    options.balancers = ward_gateway::Balancers(asked.proxy_protocol.clone());
    options.traces = match asked.traceparent {
        Traceparent::Sampled => ward_gateway::Traces::Sampled,
        Traceparent::Unsampled => ward_gateway::Traces::Unsampled,
        Traceparent::Pass => ward_gateway::Traces::Passed,
    };
    ward_gateway::run(options)
}

pub(crate) fn serve(context: &Context, serve: Serve) -> ExitCode {
    log();
    match run(context, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let full = full::is_cause(error.as_ref()) || full::left(&context.home).is_some();
            let hint = full.then(|| full::hint(&context.home));
            let chain = chain(error.as_ref());
            context.printer.error(&chain, hint.as_deref());
            match error.downcast_ref::<StartError>() {
                Some(error) if error.is_taken() => ExitCode::from(TAKEN),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(context: &Context, serve: Serve) -> Result<(), Box<dyn std::error::Error>> {
    let addresses = serve.addresses;
    let exe = std::env::current_exe()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let options = Options {
        home: context.home.clone(),
        exe,
        http: addresses.http(),
        https: addresses.https(),
        registry: addresses.registry(),
        metrics: addresses.metrics_addr,
        hooks: addresses.hooks_addr,
        again: [
            serve.gateway.arguments(),
            serve.acme.arguments(),
            addresses.for_hooks().into_iter().collect(),
            serve.site.arguments(),
            people_arguments(serve.people_dir.as_deref()),
        ]
        .concat(),
        gateway: serve.gateway.arguments(),
        acme: serve.acme.settings(),
        backup_dir: serve.site.backup_dir,
        region: serve.site.region,
        people: match serve.people_dir {
            Some(_) => Heard::Everybody,
            None => Heard::Owner,
        },
        upgrade: serve.upgrade.map(|why| Upgrade {
            by: Actor::of_uid(rustix::process::geteuid().as_raw()),
            why,
        }),
    };
    runtime.block_on(async {
        let mut server = Server::start(options).await?;
        let hooks = server.hooks.take();
        let (control, ending) = (&server.control, || server.control.ending());
        if let Some(listener) = hooks {
            tokio::spawn(ward_api::hooks::serve(listener, control.clone(), ending()));
        }
        let people = serve.people_dir.map(|dir| {
            let router = ward_api::people(control.clone());
            let ending = ending();
            tokio::spawn(async move {
                let people = ward_api::serve(&dir, Admits::Everybody, router, ending);
                if let Err(error) = people.await {
                    tracing::error!(error = chain(&error), "people cannot give their word");
                }
            })
        });
        let router = ward_api::router(control.clone());
        ward_api::serve(&context.home, Admits::Owner, router, ending()).await?;
        if let Some(people) = people {
            // It ends for the same reason, and removes its socket.
            people.await?;
        }
        server.finish().await;
        Ok(())
    })
}

/// The folder's argument for a server that follows this one.
fn people_arguments(dir: Option<&Path>) -> Vec<String> {
    let argument = |dir: &Path| format!("--people-dir={}", dir.display());
    dir.map(argument).into_iter().collect()
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
