//! Master keys that a command gives.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::key::MasterKey;

/// How many keys a command may give: those that were, beside the one that is.
const MOST: usize = 16;
/// Far more than so many keys are.
const LONGEST: u64 = 16 * 1024;
/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long its answer is taken for what it would be now: an environment that starts opens many values.
const KEPT: Duration = Duration::from_secs(5);

/// What a command gave a moment ago, also that it failed. Whoever asks meanwhile waits for the same answer.
#[derive(Clone, Default)]
pub(crate) struct Given(Arc<Mutex<Option<Answer>>>);

struct Answer {
    at: Instant,
    keys: Result<Vec<MasterKey>, String>,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

impl Given {
    /// The keys that a command gives, or gave just before.
    pub(crate) fn by(&self, command: &str) -> Result<Vec<MasterKey>, Error> {
        self.asked(command, KEPT)
    }

    /// The keys that it gives now, unless it failed just before.
    pub(crate) fn anew(&self, command: &str) -> Result<Vec<MasterKey>, Error> {
        self.asked(command, Duration::ZERO)
    }

    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn asked(&self, command: &str, kept: Duration) -> Result<Vec<MasterKey>, Error> {
        let asked = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |answer: &&Answer| {
            let kept = if answer.keys.is_ok() { kept } else { KEPT };
            // One that came while this waited for its turn is of now.
            answer.at > asked || answer.at.elapsed() < kept
        };
        let keys = match last.as_ref().filter(fresh) {
            Some(answer) => answer.keys.clone(),
            None => {
                let keys = run(command, PATIENCE);
                let at = Instant::now();
                *last = Some(Answer {
                    at,
                    keys: keys.clone(),
                });
                keys
            }
        };
        keys.map_err(|what| Error::Command { what })
    }
}

/// Runs a command to its end. What it did wrong, as a predicate.
fn run(command: &str, patience: Duration) -> Result<Vec<MasterKey>, String> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).process_group(0);
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let child = shell
        .spawn()
        .map_err(|error| format!("could not be run ({error})"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (ended, end) = mpsc::sync_channel(1);
    let waiting = thread::Builder::new().name("master-key".to_owned());
    let waiting = waiting.spawn(move || ended.send(output(child)));
    if let Err(error) = waiting {
        kill(group);
        return Err(format!("could not be waited for ({error})"));
    }
    let Ok(output) = end.recv_timeout(patience) else {
        kill(group);
        return Err(format!("did not end within {} s", patience.as_secs()));
    };
    let (status, text) = output.map_err(|error| format!("could not be read ({error})"))?;
    match status.success() {
        true => keys(&text),
        false => Err(format!("ended with {status}")),
    }
}

fn output(mut child: Child) -> std::io::Result<(ExitStatus, Zeroizing<Vec<u8>>)> {
    let mut text = Zeroizing::new(Vec::new());
    // Who writes more than is taken is told so by the broken pipe.
    if let Some(output) = child.stdout.take() {
        output.take(LONGEST).read_to_end(&mut text)?;
    }
    Ok((child.wait()?, text))
}

fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended just now.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn keys(text: &[u8]) -> Result<Vec<MasterKey>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "wrote no text".to_owned())?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let keys: Option<Vec<MasterKey>> = lines.take(MOST).map(MasterKey::parse).collect();
    match keys {
        Some(keys) if !keys.is_empty() => Ok(keys),
        Some(_) => Err("wrote nothing".to_owned()),
        None => Err("wrote something that is no key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_end_is_ended_and_one_that_writes_without_end_too() {
        let never = run("echo $$ >&2; sleep 1000 & wait", Duration::from_millis(50));
        assert_eq!(never.err().unwrap(), "did not end within 0 s");
        let endless = run("yes", PATIENCE);
        assert!(endless.err().unwrap().starts_with("ended with "));
    }

    #[test]
    fn many_that_ask_at_once_are_answered_by_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let command = format!("echo run >> {}; printf %064d 7", runs.display());
        let given = Given::default();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert_eq!(given.by(&command).unwrap().len(), 1));
            }
        });
        let counted = || std::fs::read_to_string(&runs).unwrap().lines().count();
        assert_eq!(counted(), 1);
        given.anew(&command).unwrap();
        assert_eq!(counted(), 2);
        given.forget();
        given.by(&command).unwrap();
        assert_eq!(counted(), 3);
    }
}
