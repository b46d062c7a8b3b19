//! Processes: what they use, and which are a state folder's.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{field, kibibytes};

/// A program in a session of its own, as services are. Processor time is divided among sessions first (sched(7)), and
/// one that shares its clients' is compared with another measure.
pub(crate) fn service(program: &Path) -> Command {
    let mut command = Command::new("/usr/bin/setsid");
    command.arg(program);
    command
}

/// A program that has only the processor time that nobody else wants, as if it ran on a machine of its own: attackers do.
pub(crate) fn elsewhere(program: &Path) -> Command {
    // Of sessions, and then of processes of one (sched(7), "The autogroup feature").
    let last = "echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 \"$@\"";
    let mut command = Command::new("/usr/bin/setsid");
    command.args(["sh", "-c", last, "sh"]).arg(program);
    command
}

/// Processes that hold something of this folder open, have it in their arguments or run in it. Keepers are
/// found by their sockets and logs, because nothing else of them names the folder.
pub(crate) fn of_folder(folder: &Path) -> Vec<u32> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own && uses(*pid, folder))
        .collect()
}

fn uses(pid: u32, folder: &Path) -> bool {
    let named = || {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|word| Path::new(&*String::from_utf8_lossy(word)).starts_with(folder))
    };
    let open = || {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|path| path.starts_with(folder))
    };
    named() || open()
}

/// Kills each and waits until it is gone, a few seconds at most.
pub(crate) fn kill_all(pids: &[u32]) {
    for pid in pids {
        kill9(*pid);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while pids.iter().any(|pid| lives(*pid)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills a process, if it lives.
pub(crate) fn kill9(pid: u32) {
    send(pid, Signal::KILL);
}

/// Stops a process (SIGSTOP) until [`go_on`].
pub(crate) fn stop(pid: u32) {
    send(pid, Signal::STOP);
}

/// Lets a stopped process go on.
pub(crate) fn go_on(pid: u32) {
    send(pid, Signal::CONT);
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// A process, and all that it started, directly or not.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        all.extend(children(*pid));
        next += 1;
    }
    all
}

/// Whether it runs. One that has ended and was not yet waited for does not.
pub(crate) fn lives(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

/// The arguments of a process, the program first.
pub(crate) fn arguments(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// The process that started it.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "PPid")?.parse().ok()
}

/// The processes that it started.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Processor time since it was started, user and system, of threads that have ended, too: as precise as the kernel keeps it,
/// where /proc/PID/stat has hundredths of a second.
pub(crate) fn processor_time(pid: u32) -> Option<Duration> {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().ok()?);
    let clock = nix::time::ClockId::pid_cpu_clock_id(pid).ok()?;
    Some(clock.now().ok()?.into())
}

/// Bytes of memory, each page that is shared counted in parts (proportional set size).
pub(crate) fn proportional_set_size(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    field(&rollup, "Pss").map(|value| kibibytes(&value))
}

/// How many descriptors it holds open.
pub(crate) fn descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_what_it_holds_open_and_killed() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("log")).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .stdout(file)
            .spawn()
            .unwrap();
        let (pid, deadline) = (child.id(), Instant::now() + Duration::from_secs(10));
        // Between fork and exec the child is a copy of this process.
        while arguments(pid)
            .first()
            .is_none_or(|program| program != "sleep")
        {
            assert!(Instant::now() < deadline, "{:?}", arguments(pid));
        }
        assert_eq!(of_folder(dir.path()), [pid]);
        assert!(proportional_set_size(pid).unwrap() > 4096 && lives(pid));
        assert_eq!(parent(pid), Some(std::process::id()));
        kill_all(&[pid]);
        assert!(!lives(pid));
        child.wait().unwrap();
        assert!(of_folder(dir.path()).is_empty());
    }
}
