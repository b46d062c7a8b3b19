//! Whether a process works or stands still, by the processor time that the kernel accounts to it.

use std::time::Duration;

pub(crate) use ward_sandbox::processor_time as done;

/// One that hangs may still have a timer that ticks.
const LEAST: Duration = Duration::from_millis(100);

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
