//! How long the old release still answers after `ward rollback` was started.
//!
//! A client asks a thousand times a second, the next request after the last answer, and notes which release
//! answered (`ward-release`). The time is from the start of the command to the last whole answer of the release
//! that was left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::Measured;
use crate::error::Error;
use crate::load::{KeepAlive, Target};
use crate::report::{Bar, informs};
use crate::sample::Sample;
use crate::tiny;
use crate::ward::Ward;
use crate::workshop::Workshop;

const LAST: Bar = Bar {
    name: "rollback-time: command to the last request on the old release, median",
    unit: "s",
    most: 0.2,
};
pub(super) const BARS: &[Bar] = &[LAST];

const INSTANCES: u32 = 4;
/// The client goes on for so long after the command, to see that the old release answers no more.
const AFTER: Duration = Duration::from_millis(200);

pub(super) async fn measure(workshop: &Workshop, samples: u32) -> Measured {
    let ward = workshop.tiny(INSTANCES, Duration::from_millis(200))?;
    ward.up().await?;
    ward.edit("MARK = \"a\"", "MARK = \"b\"")?;
    ward.run(&["deploy"]).await?;
    let target = Target::of(&ward, tiny::HOST).await?;
    let (mut back, mut forth, mut whole) =
        (Sample::default(), Sample::default(), Sample::default());
    let mut answers = 0;
    for _ in 0..samples.max(10) {
        let moved = go(&ward, &target, "rollback").await?;
        back.add(moved.last);
        whole.add(moved.command);
        answers += moved.answers;
        forth.add(go(&ward, &target, "rollforward").await?.last);
    }
    ward.stop().await?;
    let rows = vec![
        LAST.row(back.median()),
        informs("rollback-time: the same, max", back.max(), "s"),
        informs("rollback-time: whole command, median", whole.median(), "s"),
        informs(
            "rollback-time: `ward rollforward` to the last request, median",
            forth.median(),
            "s",
        ),
        informs(
            "rollback-time: answers seen around one rollback, mean",
            answers as f64 / back.len() as f64,
            "answers",
        ),
    ];
    let note = format!(
        "{} rollbacks between two warm releases of {INSTANCES} instances; one keep-alive client at 1 kHz, closed loop.",
        back.len()
    );
    Ok((rows, vec![note]))
}

/// What one move to another release looked like, in seconds.
struct Moved {
    /// To the last answer of the release that was left.
    last: f64,
    /// To the end of the command.
    command: f64,
    /// How many answers the client saw.
    answers: usize,
}

async fn go(ward: &Ward, target: &Target, command: &str) -> Result<Moved, Error> {
    let old = ward.current().await?;
    let done = Arc::new(AtomicBool::new(false));
    let client = tokio::spawn(watch(KeepAlive::new(target, "/"), Arc::clone(&done)));
    // The client's connection is made and warm before the command starts.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    let ran = ward.run(&[command]).await;
    tokio::time::sleep(AFTER).await;
    done.store(true, Ordering::Relaxed);
    let seen = client
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
    let (_, took) = ran?;
    let seen = seen.map_err(|why| {
        Error::Unexpected(format!("a request failed during `ward {command}`: {why}"))
    })?;
    let last = judge(&seen, &old.to_string(), started)?;
    Ok(Moved {
        last: last.as_secs_f64(),
        command: took.as_secs_f64(),
        answers: seen.len(),
    })
}

/// From the start to the last answer of the old release; the new one must have answered after it.
fn judge(seen: &[(Instant, String)], old: &str, started: Instant) -> Result<Duration, Error> {
    let wrong = |what: String| Err(Error::Unexpected(what));
    if seen.last().is_none_or(|(_, release)| release == old) {
        return wrong(format!(
            "the release {old} answers after the command as it did before"
        ));
    }
    match seen.iter().rfind(|(_, release)| release == old) {
        Some((at, _)) => Ok(at.saturating_duration_since(started)),
        None => wrong(format!(
            "the release {old} should have served, and did not answer once"
        )),
    }
}

/// Asks until told to stop; when each answer had come, and of which release it was.
async fn watch(client: KeepAlive, done: Arc<AtomicBool>) -> Result<Vec<(Instant, String)>, String> {
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Vec::new();
    while !done.load(Ordering::Relaxed) {
        tick.tick().await;
        let headers = client.get().await?;
        let release = headers
            .get("ward-release")
            .and_then(|value| value.to_str().ok());
        let release = release.ok_or("the answer has no header ward-release")?;
        seen.push((Instant::now(), release.to_owned()));
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_of_the_old_release_counts_and_the_new_one_must_answer() {
        let start = Instant::now();
        let at = |millis: u64, release: &str| {
            (start + Duration::from_millis(millis), release.to_owned())
        };
        // Answers of both may come in turn while several gateway workers switch.
        let seen = [at(1, "r2"), at(20, "r1"), at(30, "r2"), at(40, "r1")];
        assert_eq!(
            judge(&seen, "r2", start).unwrap(),
            Duration::from_millis(30)
        );
        assert!(judge(&seen[..3], "r2", start).is_err());
        assert!(judge(&seen[3..], "r2", start).is_err());
        assert!(judge(&[], "r2", start).is_err());
    }
}
