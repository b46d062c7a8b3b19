//! How long a deploy takes beyond what it cannot be quicker than.
//!
//! From the start of `ward deploy` to its end, of a release whose image is built, with four instances. What is
//! taken off: the application's own start, measured in turn with the deploys by starting the same program four
//! times at once on the host itself, to the last one's first good answer; and the health interval between the
//! good answers that make an instance healthy. What stays is Ward's: the command, the release, the sandboxes,
//! the switch, the verdict.

use std::time::Duration;

use super::{Measured, blocking};
use crate::report::{Bar, informs};
use crate::sample::Sample;
use crate::tiny;
use crate::workshop::Workshop;

const BEYOND: Bar = Bar {
    name: "deploy-time: deploy of 4 instances beyond their own start and health interval, median",
    unit: "s",
    most: 0.5,
};
pub(super) const BARS: &[Bar] = &[BEYOND];

const INSTANCES: u32 = 4;
/// What the application takes to start, by design.
const START: Duration = Duration::from_millis(200);

pub(super) async fn measure(workshop: &Workshop, samples: u32) -> Measured {
    let ward = workshop.tiny(INSTANCES, START)?;
    ward.up().await?;
    let binary = ward.stack().join("tiny-server");
    let waited = tiny::INTERVAL * (tiny::HEALTHY - 1);
    let (mut beyond, mut whole, mut own) =
        (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..samples.max(10) {
        let program = binary.clone();
        let start = blocking(move || tiny::own_start(&program, INSTANCES, START)).await?;
        let (_, took) = ward.run(&["deploy", "--force"]).await?;
        own.add(start.as_secs_f64());
        whole.add(took.as_secs_f64());
        beyond.add(took.as_secs_f64() - start.as_secs_f64() - waited.as_secs_f64());
    }
    ward.stop().await?;
    let rows = vec![
        BEYOND.row(beyond.median()),
        informs("deploy-time: the same, max", beyond.max(), "s"),
        informs("deploy-time: whole command, median", whole.median(), "s"),
        informs(
            "deploy-time: own start of 4 at once on the host, median",
            own.median(),
            "s",
        ),
        informs(
            "deploy-time: health interval taken off",
            waited.as_secs_f64(),
            "s",
        ),
    ];
    let note = format!(
        "{} deploys by `ward deploy --force`, source unchanged. Taken off each: the start of 4 of the same program at \
         once on the host, just before ({} ms of it by design), and one health interval of {} ms ({} good answers).",
        beyond.len(),
        START.as_millis(),
        tiny::INTERVAL.as_millis(),
        tiny::HEALTHY,
    );
    Ok((rows, vec![note]))
}
