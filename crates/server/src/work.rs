//! Decision: when a gateway that says nothing counts as one that hangs.
//!
//! Time alone does not tell. On a machine that has too much to do the kernel lets a thread that could answer
//! wait for the processor, for four seconds at a stretch on two cores; a successor would wait as well, and take
//! from the others what they have. So while an answer is awaited the kernel is asked, ten times a second,
//! whether any thread of the gateway runs or could run. One that has heard a question could, until it has
//! answered.
//!
//! - **It hangs** when no thread could run at thirty looks: it was stopped, or all wait for what does not come.
//! - **It goes round in circles** when it has not answered at two hundred looks, whatever it does.
//!
//! Looks are counted, not seconds: whoever looks may lack the processor as well, and has seen nothing meanwhile.

use std::fs;
use std::pin::pin;
use std::time::Duration;

/// How long after a look the next one is.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// How many looks find nothing to do in one that hangs.
const STILL: u32 = 30;
/// How many looks one has that could run.
const LOOKS: u32 = 200;

/// What the threads of a process do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One runs, or waits for nothing but the processor.
    CouldRun,
    /// All wait for something else, are stopped, or gone.
    Rest,
}

impl Threads {
    /// Of this process. Of one that nobody knows all rest.
    pub(crate) fn of(pid: Option<u32>) -> Self {
        let folder = pid.and_then(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        let mut threads = folder.into_iter().flatten().flatten();
        let could_run = threads.any(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat"));
            stat.is_ok_and(|stat| could_run(&stat))
        });
        match could_run {
            true => Self::CouldRun,
            false => Self::Rest,
        }
    }
}

/// Whether the state in a line of proc_pid_stat(5) is R. The name before it, in brackets, may hold anything.
fn could_run(stat: &str) -> bool {
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    fields.is_some_and(|fields| fields.trim_start().starts_with('R'))
}

/// What was seen of a gateway since it answered last.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    looks: u32,
    still: u32,
}

/// What follows from a silence so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may answer yet.
    Waits,
    /// It will not answer.
    Hangs,
}

impl Silence {
    /// One more look at one that has not answered.
    pub(crate) fn look(&mut self, seen: Threads) -> Verdict {
        self.looks += 1;
        self.still += u32::from(seen == Threads::Rest);
        match self.still >= STILL || self.looks >= LOOKS {
            true => Verdict::Hangs,
            false => Verdict::Waits,
        }
    }
}

/// Waits for an answer, which ends the silence, as long as one may come.
pub(crate) async fn patiently<T>(
    silence: &mut Silence,
    answer: impl Future<Output = T>,
    mut look: impl FnMut() -> Threads,
) -> Option<T> {
    let mut answer = pin!(answer);
    loop {
        // The question is not asked anew: whoever answers late has answered.
        if let Ok(answer) = tokio::time::timeout(LOOK, answer.as_mut()).await {
            return Some(answer);
        }
        if silence.look(look()) == Verdict::Hangs {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::time::Instant;

    use rustix::process::{Pid, Signal, kill_process};

    fn verdict(seen: &[(Threads, u32)]) -> Verdict {
        let mut silence = Silence::default();
        let looks = seen
            .iter()
            .flat_map(|(seen, times)| (0..*times).map(|_| *seen));
        let verdicts = looks.map(|seen| silence.look(seen));
        verdicts.last().unwrap()
    }

    #[test]
    fn one_that_waits_for_the_processor_does_not_hang_and_one_that_rests_does() {
        use Threads::{CouldRun, Rest};
        assert_eq!(verdict(&[(CouldRun, 199)]), Verdict::Waits);
        assert_eq!(verdict(&[(CouldRun, 200)]), Verdict::Hangs);
        assert_eq!(verdict(&[(Rest, 29)]), Verdict::Waits);
        assert_eq!(verdict(&[(Rest, 30)]), Verdict::Hangs);
        // Others of its threads may be served by and by while the one that answers waits for what never comes.
        let seen = [(Rest, 15), (CouldRun, 50), (Rest, 14)];
        assert_eq!(verdict(&seen), Verdict::Waits);
        let seen = [(Rest, 15), (CouldRun, 50), (Rest, 15)];
        assert_eq!(verdict(&seen), Verdict::Hangs);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_taken_and_an_answer_that_never_comes_is_given_up() {
        let (answer, comes) = tokio::sync::oneshot::channel();
        let (mut answer, mut looks) = (Some(answer), 0);
        let look = || {
            looks += 1;
            if looks == 60 {
                answer.take().unwrap().send("late").unwrap();
            }
            Threads::CouldRun
        };
        let mut silence = Silence::default();
        let came = patiently(&mut silence, comes, look).await;
        assert_eq!(came, Some(Ok("late")));
        let never = std::future::pending::<()>();
        let mut silence = Silence::default();
        let came = patiently(&mut silence, never, || Threads::Rest).await;
        assert_eq!((came, silence.looks), (None, STILL));
    }

    /// A process that ends with the test, however that ends.
    struct Ended(Child);

    impl Ended {
        fn start(program: &str, arguments: &[&str]) -> Self {
            Self(Command::new(program).args(arguments).spawn().unwrap())
        }

        fn threads(&self) -> Threads {
            Threads::of(Some(self.0.id()))
        }

        fn comes_to(&self, threads: Threads) {
            let deadline = Instant::now() + Duration::from_secs(60);
            while self.threads() != threads {
                assert!(Instant::now() < deadline, "it never comes to {threads:?}");
                std::thread::yield_now();
            }
        }
    }

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_kernel_tells_who_could_run_from_who_rests() {
        // One more than can run at once.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let endless = || Ended::start("sh", &["-c", "while :; do :; done"]);
        let mut busy: Vec<Ended> = (0..=cores).map(|_| endless()).collect();
        busy.iter().for_each(|one| one.comes_to(Threads::CouldRun));
        assert!(busy.iter().all(|one| one.threads() == Threads::CouldRun));
        kill_process(Pid::from_child(&busy[0].0), Signal::STOP).unwrap();
        busy[0].comes_to(Threads::Rest);
        Ended::start("sleep", &["60"]).comes_to(Threads::Rest);
        let last = &mut busy[cores].0;
        last.kill().unwrap();
        last.wait().unwrap();
        assert_eq!(busy[cores].threads(), Threads::Rest);
        assert_eq!(Threads::of(None), Threads::Rest);
    }

    #[test]
    fn a_name_with_brackets_is_no_state() {
        assert!(could_run("7 (a) R (b)) R 1 1"));
        assert!(!could_run("7 (a) R (b)) S 1 1"));
        assert!(!could_run(""));
    }
}
