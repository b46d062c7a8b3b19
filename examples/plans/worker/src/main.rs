//! `plans-worker`: takes comparisons, asks the engine and the report, stores what they say.
//!
//! One loop with no memory: work until nothing is left, then look again after a moment. Any number of
//! workers may run. On SIGTERM a worker finishes the comparison it has, takes no other, and ends.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use plans_model::compare::Comparison;
use plans_service::link::LinkError;
use plans_service::settings::required;
use plans_service::{Link, log, serve};
use plans_store::comparisons::{self, Job, Outcome};
use plans_store::pool::{self, DbError, Pool};
use tokio::sync::watch;
use tokio::time::sleep;

/// How long the engine and the report may take each.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than both together: nobody else takes a comparison while its worker lives.
const LEASE: Duration = Duration::from_secs(25);
/// From one look for work to the next.
const TICK: Duration = Duration::from_millis(300);
/// After how long a comparison is tried again.
const PAUSE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    serve::ended(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let url = required("DATABASE_URL", "postgres://user:password@host:5432/name")?;
    let pool = Pool::new(
        pool::config(&url, "plans-worker")?,
        1,
        Duration::from_secs(5),
    );
    let links = Links {
        engine: Link::from_variable("ENGINE_URL")?,
        report: Link::from_variable("REPORT_URL")?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let ending = serve::ending()?;
        log::info("working", &[]);
        work(&pool, &links, ending).await;
        log::info("ended", &[]);
        Ok(())
    })
}

struct Links {
    engine: Link,
    report: Link,
}

/// Works until told to end. A comparison that was taken is never dropped.
async fn work(pool: &Pool, links: &Links, mut ending: watch::Receiver<bool>) {
    while !*ending.borrow() {
        match one(pool, links).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => log::warn("pass failed", &[("error", &log::chain(&error))]),
        }
        tokio::select! {
            _ = ending.wait_for(|ending| *ending) => {}
            () = sleep(TICK) => {}
        }
    }
}

/// Takes one comparison and ends it; `false` where there was none.
async fn one(pool: &Pool, links: &Links) -> Result<bool, DbError> {
    let Some(job) = comparisons::take(&*pool.get().await?, LEASE).await? else {
        return Ok(false);
    };
    let made = make(links, &job).await;
    let outcome = match &made {
        Ok(made) => Outcome::Done {
            recommended: &made.recommended,
            result: &made.result,
            report: &made.report,
        },
        Err(Unmade::Never(why)) => Outcome::Failed(why),
        Err(Unmade::Later(why)) => Outcome::Again(why, PAUSE),
    };
    let stored = comparisons::end(&*pool.get().await?, &job, &outcome).await?;
    let said = match &made {
        Ok(made) => made.recommended.clone(),
        Err(Unmade::Never(why) | Unmade::Later(why)) => why.clone(),
    };
    let event = match (&made, stored) {
        (_, false) => "was taken over",
        (Ok(_), _) => "compared",
        (Err(_), _) => "not compared",
    };
    log::info(
        event,
        &[
            ("comparison", &job.id),
            ("attempt", &job.attempt),
            ("outcome", &said),
        ],
    );
    Ok(true)
}

struct Made {
    recommended: String,
    result: String,
    report: String,
}

/// Why there is no result; the text is meant for the person who waits for it.
enum Unmade {
    Never(String),
    Later(String),
}

impl From<LinkError> for Unmade {
    fn from(error: LinkError) -> Self {
        let why = log::chain(&error);
        match error.is_final() {
            true => Self::Never(why),
            false => Self::Later(why),
        }
    }
}

async fn make(links: &Links, job: &Job) -> Result<Made, Unmade> {
    let result = links
        .engine
        .post("/compare", job.request.as_bytes(), PATIENCE)
        .await?;
    let unknown =
        |_| Unmade::Later("the engine gave a result that this release does not know".to_owned());
    let comparison: Comparison = serde_json::from_slice(&result).map_err(unknown)?;
    let asked = serde_json::json!({
        "employer": job.employer,
        "asked_at": job.asked_at,
        "comparison": comparison,
    });
    let report = links
        .report
        .post("/render", asked.to_string().as_bytes(), PATIENCE)
        .await?;
    Ok(Made {
        recommended: comparison.recommended().code.clone(),
        result: text(result)?,
        report: text(report)?,
    })
}

fn text(bytes: Vec<u8>) -> Result<String, Unmade> {
    String::from_utf8(bytes).map_err(|_| Unmade::Later("an answer is no text".to_owned()))
}
