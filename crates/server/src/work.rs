//! Whether a process works or stands still, by the processor time that the kernel accounts to it.

use std::time::Duration;

/// The unit of /proc/PID/stat: USER_HZ is 100 on every architecture that Rust knows.
const TICK: Duration = Duration::from_millis(10);
/// One that hangs may still have a timer that ticks.
const LEAST: Duration = Duration::from_millis(100);

/// Processor time since the process was started, user and system; `None` when there is no such process.
pub(crate) fn done(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map_while(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(TICK * u32::try_from(ticks).ok()?)
}

/// Whether it has done more than next to nothing since it had done so much.
pub(crate) fn goes_on(pid: Option<u32>, before: Duration) -> bool {
    let now = pid.and_then(done);
    now.is_some_and(|now| now.saturating_sub(before) >= LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::Instant;

    #[test]
    fn one_that_works_is_told_from_one_that_stands_still() {
        let mut busy = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        let pid = busy.id();
        let before = done(pid).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !goes_on(Some(pid), before) {
            assert!(Instant::now() < deadline, "it does nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert_eq!(done(pid), None);
        let mut idle = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!goes_on(Some(idle.id()), done(idle.id()).unwrap()));
        idle.kill().unwrap();
        idle.wait().unwrap();
    }
}
