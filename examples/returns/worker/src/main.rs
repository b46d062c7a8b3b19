//! `returns-worker`: values items against the price table and credits verified returns.
//!
//! One loop with no memory: work until nothing is left, then wait for the next announced change or one
//! second, whichever comes first. The second is what makes it right; the announcement only makes it quick.
//! Any number of workers may run. On SIGTERM it finishes the transaction under way and exits 0.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use returns_domain::changes::Listener;
use returns_domain::log;
use returns_domain::pool::{self, DbError, Pool};
use returns_domain::{returns, valuation};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

const TICK: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("DATABASE_URL is not set; give the database as postgres://user:password@host:5432/name")]
struct NoDatabase;

fn main() -> ExitCode {
    log::set_level(&std::env::var("RUST_LOG").unwrap_or_default());
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error("cannot start", &[("error", &log::chain(error.as_ref()))]);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| NoDatabase)?;
    let config = pool::config(&url, "returns-worker")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let ending = ending(
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        log::info(
            "working",
            &[(
                "release",
                &std::env::var("WARD_RELEASE").unwrap_or_else(|_| "none".into()),
            )],
        );
        let pool = Pool::new(config.clone(), 1, Duration::from_secs(2));
        work(&pool, &Listener::start(config), ending).await;
        log::info("ended", &[]);
        Ok(())
    })
}

/// Becomes true at the first signal.
fn ending(mut terminate: Signal, mut interrupt: Signal) -> watch::Receiver<bool> {
    let (say, ending) = watch::channel(false);
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        log::info("ending", &[("signal", &name)]);
        say.send_replace(true);
    });
    ending
}

/// Works until told to end. A pass is never cut: the question is asked between transactions only.
async fn work(pool: &Pool, listener: &Listener, mut ending: watch::Receiver<bool>) {
    let mut news = listener.subscribe();
    let mut pause = FIRST_PAUSE;
    while !*ending.borrow() {
        // What was announced up to here is about to be looked at.
        news = news.resubscribe();
        let wait = match pass(pool, &ending).await {
            Ok(()) => {
                pause = FIRST_PAUSE;
                TICK
            }
            Err(error) => {
                log::warn(
                    "pass failed",
                    &[
                        ("error", &log::chain(&error)),
                        ("retry_ms", &pause.as_millis()),
                    ],
                );
                let longer = (pause * 2).min(LONGEST_PAUSE);
                std::mem::replace(&mut pause, longer)
            }
        };
        tokio::select! {
            _ = ending.wait_for(|ending| *ending) => {}
            _ = news.recv() => {}
            () = sleep(wait) => {}
        }
    }
}

/// Takes one return after the other until none is left.
async fn pass(pool: &Pool, ending: &watch::Receiver<bool>) -> Result<(), DbError> {
    let mut lease = pool.get().await?;
    while !*ending.borrow() {
        let valued = valuation::value_one(&mut lease, today()).await?;
        if let Some(valued) = valued {
            let number = returns::number(valued.return_id);
            log::info(
                "valued",
                &[
                    ("return", &number),
                    ("priced", &valued.priced),
                    ("without_price", &valued.unknown),
                ],
            );
        }
        let credited = valuation::credit_one(&mut lease).await?;
        if let Some((id, amount)) = credited {
            log::info(
                "credited",
                &[("return", &returns::number(id)), ("amount", &amount)],
            );
        }
        if valued.is_none() && credited.is_none() {
            break;
        }
    }
    Ok(())
}

fn today() -> Date {
    Zoned::now().with_time_zone(TimeZone::UTC).date()
}
