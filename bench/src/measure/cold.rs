//! An environment from nothing: `ward up examples/returns` in a state folder that holds only what cargo compiled
//! before, to the first good answer of the start page.
//!
//! Included: server and gateway, the certificate authority, the images (packed, pushed, unpacked), `initdb`,
//! PostgreSQL's start, the migrations, the instances and their health checks. The clock stops at the first
//! answer to a request that is sent when the command has ended, because only then an address is known.

use std::time::{Duration, Instant};

use super::Measured;
use super::under_load::HOST;
use crate::error::Error;
use crate::load::{KeepAlive, Target};
use crate::report::{Bar, informs, say};
use crate::sample::Sample;
use crate::workshop::Workshop;

const COLD: Bar = Bar {
    name: "cold: environment from nothing, images' binaries compiled, to first good answer, median",
    unit: "s",
    most: 5.0,
};
pub(super) const BARS: &[Bar] = &[COLD];

const TIMES: u32 = 3;

pub(super) async fn measure(workshop: &Workshop) -> Measured {
    let uncompiled = workshop.first_build().await?;
    let (mut warm, mut again) = (Sample::default(), Sample::default());
    for _ in 0..TIMES {
        let (first, second) = once(workshop).await?;
        say(&format!(
            "  {:.2} s from nothing, {:.2} s again with the data",
            first.as_secs_f64(),
            second.as_secs_f64()
        ));
        warm.add(first.as_secs_f64());
        again.add(second.as_secs_f64());
    }
    let rows = vec![
        COLD.row(warm.median()),
        informs("cold: the same, max", warm.max(), "s"),
        informs(
            "cold: the same with nothing compiled, cargo included (`ward up` alone), once",
            uncompiled.map(|took| took.as_secs_f64()),
            "s",
        ),
        informs(
            "cold: up again after `ward down`, data and images kept, median",
            again.median(),
            "s",
        ),
    ];
    let note = format!(
        "{TIMES} times. The state folder is new but for cargo's target folder in builds/: registry, layers, certificate \
         authority and database are made within the time."
    );
    Ok((rows, vec![note]))
}

/// From nothing to the first good answer; and the same again after `ward down`.
async fn once(workshop: &Workshop) -> Result<(Duration, Duration), Error> {
    let ward = workshop.returns().await?;
    let started = Instant::now();
    ward.up().await?;
    let up = started.elapsed();
    let first = up + first_answer(&Target::of(&ward, HOST).await?).await?;
    ward.run(&["down"]).await?;
    let started = Instant::now();
    ward.up().await?;
    let up = started.elapsed();
    let second = up + first_answer(&Target::of(&ward, HOST).await?).await?;
    ward.stop().await?;
    Ok((first, second))
}

/// The answer must be good at once: `ward up` has said that the environment is up.
async fn first_answer(target: &Target) -> Result<Duration, Error> {
    let asked = Instant::now();
    let answer = KeepAlive::new(target, "/").get().await;
    answer.map_err(|why| {
        Error::Unexpected(format!(
            "`ward up` ended well, and the first request failed: {why}"
        ))
    })?;
    Ok(asked.elapsed())
}
