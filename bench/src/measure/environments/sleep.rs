//! The first request to an environment that sleeps, from its first byte to the last of a good answer.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::load::{KeepAlive, Target};
use crate::measure::Measured;
use crate::report::{Bar, informs};
use crate::sample::Sample;
use crate::tiny;
use crate::ward::Ward;
use crate::workshop::Workshop;

pub(super) const WITH_POSTGRES: Bar = Bar {
    name: "environments: asleep, examples/plans with PostgreSQL: first request answered, median",
    unit: "s",
    most: 1.5,
};
pub(super) const WITHOUT: Bar = Bar {
    name: "environments: asleep, one small service: first request answered, median",
    unit: "s",
    most: 0.3,
};

const TIMES: u32 = 10;

pub(super) async fn measure(workshop: &Workshop) -> Measured {
    let ward = workshop.tiny(1, Duration::ZERO)?;
    ward.up().await?;
    let target = Target::of(&ward, tiny::HOST).await?;
    let woken = woken(&ward, &target, "dev", TIMES).await?;
    ward.stop().await?;
    let rows = vec![
        WITHOUT.row(woken.median()),
        informs("environments: the same, max", woken.max(), "s"),
    ];
    let note = format!(
        "{TIMES} times `ward env sleep`, then one request; the small service is asked for its health each {} ms and is \
         healthy after {} good answers.",
        tiny::INTERVAL.as_millis(),
        tiny::HEALTHY
    );
    Ok((rows, vec![note]))
}

/// How long each first request took, of an environment that is put to sleep before it.
pub(super) async fn woken(
    ward: &Ward,
    target: &Target,
    env: &str,
    times: u32,
) -> Result<Sample, Error> {
    let mut woken = Sample::default();
    for _ in 0..times {
        ward.run(&["env", "sleep", env]).await?;
        let asked = Instant::now();
        let answer = KeepAlive::new(target, "/").get().await;
        answer.map_err(|why| {
            Error::Unexpected(format!(
                "the first request to {env}, which slept, failed: {why}"
            ))
        })?;
        woken.add(asked.elapsed().as_secs_f64());
    }
    Ok(woken)
}
