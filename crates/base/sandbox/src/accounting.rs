//! What the kernel accounts to a process.

use std::fs;
use std::time::Duration;

/// The unit of /proc/PID/stat: USER_HZ is 100 on every architecture that Rust knows.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process since it was started, user and system, in steps of 10 ms; `None` when there is no
/// such process.
#[must_use]
pub fn processor_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map_while(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(TICK * u32::try_from(ticks).ok()?)
}
