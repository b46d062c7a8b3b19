//! Server and gateway are replaced under load, by `ward upgrade`.

use std::time::Duration;

use super::{Measured, under_load};
use crate::load::{Load, Target};
use crate::report::{Bar, informs, say};
use crate::sample::Sample;
use crate::workshop::Workshop;

const FAILED: Bar = Bar {
    name: "upgrades: failed requests while server and gateway are replaced",
    unit: "requests",
    most: 0.0,
};
pub(super) const BARS: &[Bar] = &[FAILED];

/// From one upgrade to the next.
const BETWEEN: Duration = Duration::from_millis(1500);

pub(super) async fn measure(workshop: &Workshop, upgrades: u32) -> Measured {
    let ward = workshop.returns().await?;
    ward.up().await?;
    let target = Target::of(&ward, under_load::HOST).await?;
    let load = Load::returns(&target).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut took = Sample::default();
    for _ in 0..upgrades {
        let (_, one) = ward.run(&["upgrade"]).await?;
        took.add_millis(one);
        tokio::time::sleep(BETWEEN).await;
    }
    say(&format!(
        "  upgraded {upgrades} times: {} requests failed",
        load.failed()
    ));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let load = load.end().await;
    ward.stop().await?;

    let mut rows = vec![FAILED.row(load.failed() as f64)];
    rows.extend(under_load::rows("upgrades", &load));
    rows.push(informs(
        "upgrades: `ward upgrade`, median",
        took.median(),
        "ms",
    ));
    let mut notes = under_load::notes(&load);
    notes.insert(0, format!("{upgrades} upgrades, to the same binary."));
    Ok((rows, notes))
}
