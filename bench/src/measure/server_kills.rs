//! The server is killed with -9 under load, and started again by `ward up`.

use std::time::{Duration, Instant};

use super::{Measured, under_load};
use crate::error::Error;
use crate::load::{Load, Target};
use crate::process;
use crate::report::{Bar, informs, say};
use crate::sample::Sample;
use crate::ward::Ward;
use crate::workshop::Workshop;

const FAILED: Bar = Bar {
    name: "server-kills: failed requests while the server is killed",
    unit: "requests",
    most: 0.0,
};
pub(super) const BARS: &[Bar] = &[FAILED];

/// How long there is no server, and how long there is one again before it is killed the next time.
const GONE: Duration = Duration::from_millis(500);
const BACK: Duration = Duration::from_millis(500);

pub(super) async fn measure(workshop: &Workshop, kills: u32) -> Measured {
    let ward = workshop.returns().await?;
    ward.up().await?;
    let target = Target::of(&ward, under_load::HOST).await?;
    let load = Load::returns(&target).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut back = Sample::default();
    for _ in 0..kills {
        back.add_millis(kill(&ward, &target).await?);
        tokio::time::sleep(BACK).await;
    }
    say(&format!(
        "  killed {kills} times: {} requests failed",
        load.failed()
    ));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let load = load.end().await;
    ward.stop().await?;

    let mut rows = vec![FAILED.row(load.failed() as f64)];
    rows.extend(under_load::rows("server-kills", &load));
    rows.push(informs(
        "server-kills: `ward up` until the server is back, median",
        back.median(),
        "ms",
    ));
    let mut notes = under_load::notes(&load);
    notes.insert(
        0,
        format!(
            "killed {kills} times, for {} ms and the time of `ward up` each.",
            GONE.as_millis()
        ),
    );
    Ok((rows, notes))
}

/// Kills the server, and starts one again after a while; how long the start took.
async fn kill(ward: &Ward, target: &Target) -> Result<Duration, Error> {
    let server = ward.status().await?.server.pid;
    process::kill9(server);
    let deadline = Instant::now() + Duration::from_secs(5);
    while process::lives(server) {
        if Instant::now() > deadline {
            return Err(Error::Unexpected(format!(
                "the server, process {server}, survived SIGKILL"
            )));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(GONE).await;
    let took = ward.up_alone().await?;
    let after = ward.status().await?.server;
    if after.http != target.http.to_string() || after.https != target.https.to_string() {
        return Err(Error::Unexpected(format!(
            "after a kill the gateway listens at {}, before at {}",
            after.http, target.http
        )));
    }
    Ok(took)
}
