//! Memory at rest: proportional set size, from /proc/PID/smaps_rollup, of examples/returns after a while without
//! a request.

use std::path::Path;
use std::time::Duration;

use super::Measured;
use crate::error::Error;
use crate::process;
use crate::report::{Bar, informs};
use crate::sample::Sample;
use crate::ward::Ward;
use crate::workshop::Workshop;

const PLATFORM: Bar = Bar {
    name: "memory: server and gateway together, at rest",
    unit: "MB",
    most: 60.0,
};
const KEEPER: Bar = Bar {
    name: "memory: one keeper, at rest, median",
    unit: "MB",
    most: 3.0,
};
pub(super) const BARS: &[Bar] = &[PLATFORM, KEEPER];

const REST: Duration = Duration::from_secs(5);

pub(super) async fn measure(workshop: &Workshop) -> Measured {
    let ward = workshop.returns().await?;
    ward.up().await?;
    tokio::time::sleep(REST).await;
    let server = ward.status().await?.server;
    let gateway = server
        .gateway_pid
        .ok_or_else(|| Error::Unexpected("`ward status` shows no gateway".to_owned()))?;
    let (server, gateway) = (megabytes(server.pid)?, megabytes(gateway)?);
    let keepers = keepers(&ward)?;
    let (mut alone, mut whole) = (Sample::default(), Sample::default());
    for (keeper, init) in &keepers {
        let own = megabytes(*keeper)?;
        alone.add(own);
        whole.add(own + init.map_or(Ok(0.0), megabytes)?);
    }
    ward.stop().await?;
    let rows = vec![
        PLATFORM.row(server + gateway),
        informs("memory: server", server, "MB"),
        informs("memory: gateway", gateway, "MB"),
        KEEPER.row(alone.median()),
        informs("memory: one keeper, max", alone.max(), "MB"),
        informs(
            "memory: one keeper and its sandbox's first process, median",
            whole.median(),
            "MB",
        ),
    ];
    let note = format!(
        "proportional set size after {} s without a request; {} keepers.",
        REST.as_secs(),
        alone.len()
    );
    Ok((rows, vec![note]))
}

/// Each keeper, and the process of the same program that it started in the sandbox.
pub(super) fn keepers(ward: &Ward) -> Result<Vec<(u32, Option<u32>)>, Error> {
    let exe = ward.exe();
    let all = process::of_folder(ward.home());
    let is_keeper = |pid: &u32| {
        process::arguments(*pid)
            .get(1)
            .is_some_and(|word| word == "keeper")
            && runs(*pid, exe)
    };
    let below = |pid: u32| {
        process::children(pid)
            .into_iter()
            .find(|child| runs(*child, exe))
    };
    // The sandbox's first process is a copy of its keeper, arguments included: it is no keeper.
    let keepers: Vec<u32> = all.into_iter().filter(is_keeper).collect();
    let own = |pid: &u32| process::parent(*pid).is_none_or(|parent| !keepers.contains(&parent));
    let found: Vec<_> = keepers
        .iter()
        .copied()
        .filter(own)
        .map(|pid| (pid, below(pid)))
        .collect();
    if found.is_empty() {
        return Err(Error::Unexpected("no keeper was found".to_owned()));
    }
    Ok(found)
}

/// Megabytes of all of these; one that has ended meanwhile has none.
pub(super) fn megabytes_of(pids: &[u32]) -> f64 {
    let bytes = pids
        .iter()
        .filter_map(|pid| process::proportional_set_size(*pid));
    bytes.sum::<u64>() as f64 / 1e6
}

fn runs(pid: u32, exe: &Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == exe)
}

fn megabytes(pid: u32) -> Result<f64, Error> {
    let bytes = process::proportional_set_size(pid);
    let bytes = bytes
        .ok_or_else(|| Error::Unexpected(format!("the memory of process {pid} cannot be read")))?;
    Ok(bytes as f64 / 1e6)
}
