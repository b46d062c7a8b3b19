//! Environments of two small services on this machine: whether a hundred answer, what they take, and how many there can
//! be.

mod further;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, doing};
use crate::load::{KeepAlive, Target};
use crate::measure::{Measured, memory};
use crate::process;
use crate::report::{Floor, Row, informs, say};
use crate::sample::Sample;
use crate::tiny;
use crate::ward::Ward;
use crate::workshop::Workshop;

pub(super) const ANSWERING: Floor = Floor {
    name: "environments: of two small services, all awake, all answering",
    unit: "environments",
    least: 100.0,
};

const COUNT: usize = 100;
/// So many people ask for environments at once.
const AT_ONCE: usize = 4;
const SERVICES: [&str; 2] = ["web", "api"];
/// How often each service of each is asked.
const ROUNDS: usize = 10;
/// What was begun with the last environment ends meanwhile.
const SETTLES: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_secs(10);

const STACK: &str = r#"[stack]
name = "many"
version = "1.0"

[service.web]
build = { files = ["tiny-server"], run = ["/app/tiny-server"], base = "empty" }
port = 8000
health = { path = "/healthz" }
links = ["api"]
route = { host = "web.many.localhost" }

[service.api]
build = { files = ["tiny-server"], run = ["/app/tiny-server"], base = "empty" }
port = 8000
health = { path = "/healthz" }
route = { host = "api.many.localhost" }

[environment.dev]
"#;

pub(super) async fn measure(workshop: &Workshop) -> Measured {
    let stack = workshop.folder("many")?;
    tiny::compile(&stack.join("tiny-server"))?;
    let file = stack.join("ward.toml");
    doing(
        format!("write {}", file.display()),
        std::fs::write(&file, STACK),
    )?;
    let ward = workshop.of(&stack);
    ward.up().await?;
    let base = Target::of(&ward, "web.many.localhost").await?;
    let names: Vec<String> = (2..=COUNT).map(|number| format!("e{number:03}")).collect();
    let started = Instant::now();
    let (each, failed) = created(&ward, &names).await;
    let all = started.elapsed().as_secs_f64();
    say(&format!(
        "  {} environments after {all:.1} s",
        each.len() + 1
    ));
    let (answering, latency, mut failures) = asked(&base, &names).await;
    failures.extend(failed);
    tokio::time::sleep(SETTLES).await;
    let rest = at_rest(&ward).await?;
    let one_more = Instant::now();
    ward.run(&["env", "create", "one-more", "--from", "dev"])
        .await?;
    let one_more = one_more.elapsed();
    let mut all_names = names.clone();
    all_names.push("one-more".to_owned());
    let reached = match answering == COUNT {
        true => further::measure(&ward, &base, all_names).await,
        false => further::Reached {
            answering,
            because: "not all of the first answered".to_owned(),
        },
    };
    let down = Instant::now();
    ward.stop().await?;
    let mut rows = vec![
        ANSWERING.row(reached.answering as f64),
        informs(
            format!(
                "environments: creation of {} copies, {AT_ONCE} at a time",
                names.len()
            ),
            all,
            "s",
        ),
        informs(
            "environments: creation of one of them, median",
            each.median(),
            "s",
        ),
        informs(
            "environments: creation of one of them, max",
            each.max(),
            "s",
        ),
        informs(
            "environments: creation of one more, alone",
            one_more.as_secs_f64(),
            "s",
        ),
        informs(
            "environments: request to each while all are awake, p50",
            latency.median(),
            "ms",
        ),
        informs("environments: the same, p99", latency.quantile(0.99), "ms"),
    ];
    rows.extend(rest);
    rows.push(informs(
        "environments: all of them taken down, data removed",
        down.elapsed().as_secs_f64(),
        "s",
    ));
    let mut notes = vec![
        format!(
            "{COUNT} environments of one stack of two services, one instance each, health checks each second, made by `ward env \
         create`; both services of each asked {ROUNDS} times through the gateway, one after the other. At rest: {} s after \
         the last request, over {} s; memory is the proportional set size.",
            SETTLES.as_secs(),
            REST.as_secs()
        ),
        format!("what they take is of {COUNT}. {}", reached.said()),
    ];
    if !failures.is_empty() {
        notes.push(format!(
            "the first failures:\n  {}",
            first(&failures).join("\n  ")
        ));
    }
    Ok((rows, notes))
}

fn first(failures: &[String]) -> &[String] {
    &failures[..failures.len().min(5)]
}

/// Creates them, a few at a time: how long each took, and what failed.
async fn created(ward: &Ward, names: &[String]) -> (Sample, Vec<String>) {
    let queue = std::sync::Mutex::new(names.iter());
    let next = || {
        queue
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .next()
    };
    let lane = || async {
        let (mut took, mut failed) = (Vec::new(), Vec::new());
        while let Some(name) = next() {
            match ward.run(&["env", "create", name, "--from", "dev"]).await {
                Ok((_, each)) => took.push(each.as_secs_f64()),
                Err(error) => failed.push(error.sentence()),
            }
        }
        (took, failed)
    };
    let (mut each, mut failures) = (Sample::default(), Vec::new());
    let lanes: [_; AT_ONCE] = std::array::from_fn(|_| lane());
    for (took, failed) in futures_all(lanes).await {
        each.extend(took);
        failures.extend(failed);
    }
    (each, failures)
}

async fn futures_all<T>(lanes: [impl Future<Output = T>; AT_ONCE]) -> [T; AT_ONCE] {
    let [a, b, c, d] = lanes;
    tokio::join!(a, b, c, d).into()
}

/// How many environments answer each time, how long the requests took, and what failed.
async fn asked(base: &Target, names: &[String]) -> (usize, Sample, Vec<String>) {
    let all = std::iter::once("many").chain(names.iter().map(String::as_str));
    let (mut latency, mut failures, mut answering) = (Sample::default(), Vec::new(), 0);
    let mut clients: Vec<_> = all
        .map(|name| {
            let one = |service: &str| {
                KeepAlive::new(&base.with_host(format!("{service}.{name}.localhost")), "/")
            };
            (SERVICES.map(one), true)
        })
        .collect();
    for _ in 0..ROUNDS {
        for (services, well) in &mut clients {
            for service in services {
                let asked = Instant::now();
                match service.get().await {
                    Ok(_) => latency.add_millis(asked.elapsed()),
                    Err(why) => {
                        *well = false;
                        failures.push(why);
                    }
                }
            }
        }
    }
    answering += clients.iter().filter(|(_, well)| *well).count();
    (answering, latency, failures)
}

/// What all of it takes while nobody asks for anything.
async fn at_rest(ward: &Ward) -> Result<Vec<Row>, Error> {
    let server = ward.status().await?.server;
    let gateway = server
        .gateway_pid
        .ok_or_else(|| Error::Unexpected("`ward status` shows no gateway".to_owned()))?;
    let server = server.pid;
    let keepers: Vec<u32> = memory::keepers(ward)?
        .into_iter()
        .map(|(keeper, _)| keeper)
        .collect();
    let all = everything(ward.home());
    let spent = |pids: &[u32]| {
        pids.iter()
            .filter_map(|pid| process::processor_time(*pid))
            .sum::<Duration>()
    };
    let every: Vec<u32> = all.iter().copied().collect();
    let look = || {
        [
            spent(&[server]),
            spent(&[gateway]),
            spent(&keepers),
            spent(&every),
        ]
    };
    let before = look();
    let began = Instant::now();
    tokio::time::sleep(REST).await;
    let after = look();
    let seconds = began.elapsed().as_secs_f64();
    let mut rows = Vec::new();
    for (at, name) in ["server", "gateway", "all keepers", "everything"]
        .into_iter()
        .enumerate()
    {
        let share = after[at].saturating_sub(before[at]).as_secs_f64() / seconds * 100.0;
        rows.push(informs(
            format!("environments: at rest, processor, {name}"),
            share,
            "% of a core",
        ));
    }
    let of = |pids: &[u32]| memory::megabytes_of(pids);
    for (name, pids) in [
        ("server", &[server][..]),
        ("gateway", &[gateway]),
        ("all keepers", &keepers),
        ("everything", &every),
    ] {
        rows.push(informs(
            format!("environments: at rest, memory, {name}"),
            of(pids),
            "MB",
        ));
    }
    rows.push(informs(
        "environments: processes",
        every.len() as f64,
        "processes",
    ));
    for (name, pid) in [("server", server), ("gateway", gateway)] {
        rows.push(informs(
            format!("environments: descriptors, {name}"),
            process::descriptors(pid).map(|n| n as f64),
            "descriptors",
        ));
    }
    Ok(rows)
}

/// Every process of a state folder, with all that it started.
fn everything(home: &Path) -> BTreeSet<u32> {
    let own = process::of_folder(home);
    own.into_iter().flat_map(process::descendants).collect()
}
