//! What a Ward that was killed left running: builds and checks, which nobody waits for any more, and which would write
//! beside those that are begun again.
//!
//! Decision: each program that a build runs is told by a variable which process began it, and what it starts inherits
//! that, also outside its process group. Whoever has the variable of a process that is no more is ended. A process is
//! known by its number, the moment of its start and the namespace of its number, because numbers come again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, Signal, geteuid, kill_process};

/// The variable.
const BEGUN_BY: &str = "WARD_BEGUN_BY";

/// How often it is looked for processes that were started while others were ended.
const ROUNDS: usize = 20;

/// The variable of this process's programs.
pub(crate) fn mark() -> (&'static str, String) {
    let own = identity(Path::new("/proc/self"));
    (BEGUN_BY, own.unwrap_or_default())
}

/// Ends what processes of this user began that are no more; how many there were.
pub fn end_orphans() -> usize {
    let mut ended = 0;
    for _ in 0..ROUNDS {
        let found = orphans();
        if found.is_empty() {
            break;
        }
        for pid in found {
            // ESRCH: it has ended by itself.
            ended += usize::from(kill_process(pid, Signal::KILL).is_ok());
        }
    }
    ended
}

fn orphans() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let orphans = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let own = entry.metadata().ok()?.uid() == geteuid().as_raw();
        let begun_by = own.then(|| variable(&entry.path())).flatten()?;
        (!is_alive(&begun_by)?).then(|| Pid::from_raw(pid))?
    });
    orphans.collect()
}

/// What the variable of a process says. One that has ended, and is not waited for, has none.
fn variable(process: &Path) -> Option<String> {
    let environment = fs::read(process.join("environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let name = BEGUN_BY.as_bytes();
    let own = variables.find_map(|text| text.strip_prefix(name)?.strip_prefix(b"="))?;
    String::from_utf8(own.to_vec()).ok()
}

/// Whether a process is still there; `None` of one whose number means nothing here.
fn is_alive(identity: &str) -> Option<bool> {
    let mut parts = identity.split('.');
    let (namespace, pid, started) = (parts.next()?, parts.next()?, parts.next()?);
    pid.parse::<u32>().ok()?;
    let here = namespace_of(Path::new("/proc/self"))?;
    let process = Path::new("/proc").join(pid);
    let is_it = || start(&process).is_some_and(|(_, at)| at == started);
    (namespace == here).then(is_it)
}

/// `4026531836.4711.183204`: the namespace of its number, its number, and its start.
fn identity(process: &Path) -> Option<String> {
    let (pid, started) = start(process)?;
    Some(format!("{}.{pid}.{started}", namespace_of(process)?))
}

/// The number of a process, and when it was started in ticks since the boot (proc_pid_stat(5), field 22); of one that
/// has not ended.
fn start(process: &Path) -> Option<(String, String)> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (pid, _) = stat.split_once(' ')?;
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ended = fields.starts_with(['Z', 'X', 'x']);
    let started = fields.split(' ').nth(19).filter(|_| !ended)?;
    Some((pid.to_owned(), started.to_owned()))
}

/// The number in `pid:[4026531836]`.
fn namespace_of(process: &Path) -> Option<String> {
    let link = fs::read_link(process.join("ns/pid")).ok()?;
    let number = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
    Some(number.to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Sleeps outside the process group of whoever started it.
    fn sleeper(begun_by: &str) -> Child {
        let mut command = Command::new("setsid");
        command.args(["sleep", "1000"]).env(BEGUN_BY, begun_by);
        command.stdin(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn what_a_process_began_that_is_no_more_is_ended_and_nothing_else() {
        let (_, own) = mark();
        let mut gone = Command::new("sleep").arg("0.1").spawn().unwrap();
        let namespace = own.split('.').next().unwrap();
        // It has ended, and nobody has asked how yet.
        let path = Path::new("/proc").join(gone.id().to_string());
        let (_, started) = start(&path).unwrap_or_default();
        while start(&path).is_some() {
            std::thread::yield_now();
        }
        let of_gone = format!("{namespace}.{}.{started}", gone.id());
        let mut orphan = sleeper(&of_gone);
        let mut others = [
            sleeper(&own),
            sleeper("1.1.7"),
            sleeper("nonsense"),
            sleeper(&format!("{namespace}.x.7")),
        ];
        assert!(end_orphans() >= 1);
        assert!(!orphan.wait().unwrap().success());
        gone.wait().unwrap();
        for other in &mut others {
            assert!(other.try_wait().unwrap().is_none());
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }
}
