//! The keeper's loop: one turn per batch of events, and the life of the instance from running to over.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use ward_sandbox::Sandbox;
use ward_types::keeper::{Exit, InstanceSpec, InstanceState, InstanceStatus};
use ward_types::time::Millis;

use super::health::{Health, Verdict};
use super::link::Links;
use super::mask::{Masker, Masks};
use super::output::{Flow, Log, Stream};
use super::peers::Peers;
use super::poll::{Poller, Source};
use super::record;

/// How long no connection is taken when there are no descriptors left.
pub(super) const REST: Duration = Duration::from_millis(100);

/// When a start is sure to be over, and nobody waits for its last microsecond.
const SETTLED: Duration = Duration::from_secs(1);

/// How often it is looked whether a signal stopped the instance; and at each health check that fails.
const STOPPED_EVERY: Duration = Duration::from_secs(5);

/// The same of one that is: who lets it go on must not see it given up.
const GOES_ON_EVERY: Duration = Duration::from_secs(1);

/// What is said of one that is stopped.
const STOPPED: &str = "it is stopped by a signal, and makes no progress";

/// SIGCONT, which has one number on all machines that Ward runs on.
const GO_ON: i32 = 18;

/// Why an instance may have ended that says no more than signal 9.
const OUT_OF_MEMORY: &str =
    "the kernel killed a process of it for want of memory: its limit is too low for what it does";

/// One instance and all that its keeper does for it.
pub(super) struct Instance {
    pub(super) spec: InstanceSpec,
    pub(super) sandbox: Sandbox,
    pub(super) poll: Poller,
    pub(super) peers: Peers,
    listener: OwnedFd,
    termination: OwnedFd,
    log: Log,
    streams: Vec<Stream>,
    links: Links,
    health: Option<Health>,
    life: Life,
    last_failure: Option<String>,
    /// Whether a signal stopped it, when that was last looked at.
    stopped: bool,
    /// When that is looked at again.
    looked_at: Instant,
    /// While there are no descriptors left for new connections.
    closed_until: Option<Instant>,
    /// When the memory that only the start needed is given back.
    tidied_at: Option<Instant>,
    pub(super) changed: bool,
}

/// Where the instance is in its life.
enum Life {
    /// It runs, and should.
    Running,
    /// It was asked to stop, and is killed at that moment.
    Stopping(Instant),
    /// It ended.
    Over(Exit, Asked),
}

/// Whether an end was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Yes,
    No,
}

impl Instance {
    /// Takes a running sandbox over.
    pub(super) fn new(
        spec: InstanceSpec,
        mut sandbox: Sandbox,
        listener: OwnedFd,
        termination: OwnedFd,
        log: Log,
        links: Links,
    ) -> io::Result<Self> {
        let poll = Poller::new()?;
        poll.add(&listener, Source::Listener, EventFlags::IN)?;
        poll.add(&termination, Source::Termination, EventFlags::IN)?;
        poll.add(sandbox.ended(), Source::Ended, EventFlags::IN)?;
        let mut streams = Vec::new();
        if let Some((output, errors)) = sandbox.take_output() {
            let masks = Masks::new(&spec.secrets.masks);
            let masker = || Masker::new(masks.clone());
            streams = vec![
                Stream::new(output, b'o', masker()),
                Stream::new(errors, b'e', masker()),
            ];
        }
        for (number, stream) in (0..).zip(&streams) {
            poll.add(&stream.pipe, Source::Output(number), EventFlags::IN)?;
        }
        links.watch(&poll)?;
        if let Some(binds) = sandbox.binds() {
            poll.add(binds, Source::Bind, EventFlags::IN)?;
        }
        let health = spec.health.clone().map(Health::new);
        Ok(Self {
            spec,
            sandbox,
            poll,
            peers: Peers::default(),
            listener,
            termination,
            log,
            streams,
            links,
            health,
            life: Life::Running,
            last_failure: None,
            stopped: false,
            looked_at: Instant::now() + STOPPED_EVERY,
            closed_until: None,
            tidied_at: Some(Instant::now() + SETTLED),
            changed: false,
        })
    }

    /// How it is.
    pub(super) fn status(&self) -> InstanceStatus {
        let state = match &self.life {
            Life::Running => self.state(),
            Life::Stopping(_) => InstanceState::Stopping,
            Life::Over(exit, asked) => InstanceState::Exited {
                exit: *exit,
                asked: *asked == Asked::Yes,
            },
        };
        let over = matches!(self.life, Life::Over(..));
        InstanceStatus {
            state,
            pid: self.sandbox.pid().filter(|_| !over),
            keeper_pid: std::process::id(),
            last_failure: match self.stopped {
                true => Some(STOPPED.to_owned()),
                false => self.last_failure.clone(),
            },
            missing: self.sandbox.missing().to_vec(),
            stopped: self.stopped,
        }
    }

    /// How it is while it runs and should. One that is stopped is not well, whatever was last heard of it.
    fn state(&self) -> InstanceState {
        let checked = self.health.as_ref().map(Health::state);
        match checked.unwrap_or(InstanceState::Healthy) {
            InstanceState::Healthy if self.stopped => InstanceState::Unhealthy,
            state => state,
        }
    }

    /// Whether it runs, and should.
    pub(super) fn runs(&self) -> bool {
        matches!(self.life, Life::Running)
    }

    /// Begins a health check now; which one, counted from the first. `None`: how it is can be said without.
    pub(super) fn check_now(&mut self) -> Option<u64> {
        if !self.runs() {
            return None;
        }
        self.look_whether_stopped(Instant::now());
        let health = self.health.as_mut().filter(|_| !self.stopped);
        health.map(Health::hurry)
    }

    /// How many health checks are over; `None`: there is no other.
    pub(super) fn checked(&self) -> Option<u64> {
        let health = self.health.as_ref().filter(|_| self.runs());
        health.map(Health::over)
    }

    fn look_whether_stopped(&mut self, now: Instant) {
        let stopped = self.sandbox.is_stopped();
        self.looked_at = now
            + match stopped {
                true => GOES_ON_EVERY,
                false => STOPPED_EVERY,
            };
        self.changed |= stopped != self.stopped;
        self.stopped = stopped;
    }

    /// Runs until the instance is over and everybody who watches knows.
    pub(super) fn run(mut self) -> io::Result<()> {
        while !matches!(self.life, Life::Over(..)) {
            if std::mem::take(&mut self.changed) {
                self.tell_watchers();
            }
            for (source, flags) in self.poll.wait(self.deadline())? {
                self.turn(source, flags);
            }
            self.on_time(Instant::now());
        }
        self.leave();
        Ok(())
    }

    /// The next moment at which something must be done unasked.
    fn deadline(&self) -> Option<Instant> {
        let killing = match self.life {
            Life::Stopping(at) => Some(at),
            _ => None,
        };
        // One that is stopping is not checked any more.
        let running = self.runs();
        let health = self.health.as_ref().filter(|_| running);
        let health = health.and_then(Health::deadline);
        [
            killing,
            health,
            Some(self.looked_at).filter(|_| running),
            self.links.deadline(),
            self.peers.deadline(),
            self.closed_until,
            self.tidied_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn turn(&mut self, source: Source, flags: EventFlags) {
        match source {
            Source::Listener => self.welcome(),
            Source::Ended => self.check_end(),
            Source::Termination => self.terminated(),
            Source::Output(number) => self.read_output(number),
            Source::Peer(number) => self.peer_is_ready(number, flags),
            Source::Connecting(number) => self.connection_is_decided(number),
            Source::Program(number) => self.program_ended(number),
            Source::Health => self.check_health(|health, poll| health.is_ready(poll)),
            Source::LinkListener(number) => self.links.accept(number, &self.poll),
            Source::Link(number) => self.links.is_ready(number, &self.poll),
            Source::Bind => self.answer_bind(flags),
        }
    }

    fn on_time(&mut self, now: Instant) {
        if matches!(self.life, Life::Stopping(at) if at <= now) {
            self.sandbox.kill();
            // Its end is an event; until then there is nothing more to do.
            self.life = Life::Stopping(now + Duration::from_secs(3600));
        }
        if self.runs() {
            self.check_health(|health, poll| health.on_time(poll, now));
            if self.looked_at <= now {
                self.look_whether_stopped(now);
            }
        }
        if self.closed_until.is_some_and(|until| until <= now) {
            self.closed_until = None;
            let _ = self
                .poll
                .change(&self.listener, Source::Listener, EventFlags::IN);
        }
        if self.tidied_at.is_some_and(|at| at <= now) {
            self.tidied_at = None;
            ward_sandbox::let_go_of_code();
        }
        self.links.on_time(&self.poll, now);
        self.connect_again(now);
        self.give_up_connections(now);
    }

    fn check_health(&mut self, step: impl FnOnce(&mut Health, &Poller) -> Option<Verdict>) {
        let Some(health) = &mut self.health else {
            return;
        };
        let before = health.state();
        let Some(verdict) = step(health, &self.poll) else {
            return;
        };
        let failure = match verdict {
            Verdict::Good => None,
            Verdict::Bad(reason) => Some(reason),
        };
        self.changed |= before != health.state() || failure != self.last_failure;
        // A failure may be one of a stopped instance, and an answer shows that it goes on.
        let differs = failure.is_some() != self.stopped;
        let starts = health.state() == InstanceState::Starting;
        self.last_failure = failure;
        if differs && !starts && self.runs() {
            self.look_whether_stopped(Instant::now());
        }
        self.answer_checked();
    }

    /// Asks the application to stop, and sets the moment at which it is killed. Asking again can only make it
    /// sooner.
    pub(super) fn stop(&mut self, grace: Millis) {
        let at = Instant::now() + grace.duration();
        match self.life {
            Life::Over(..) => {}
            Life::Stopping(before) => self.life = Life::Stopping(before.min(at)),
            Life::Running => {
                // One that is over already needs no signal; its end is an event.
                let _ = self.sandbox.signal(self.spec.stop_signal);
                if self.sandbox.is_stopped() {
                    // Or it would not hear that before it is killed.
                    let _ = self.sandbox.signal(GO_ON);
                }
                self.life = Life::Stopping(at);
                self.stopped = false;
                self.changed = true;
                self.answer_checked();
            }
        }
    }

    /// The machine shuts down, or somebody ended the keeper by hand.
    fn terminated(&mut self) {
        let mut record = [0; 128];
        let _ = rustix::io::read(&self.termination, &mut record);
        self.stop(self.spec.stop_timeout);
    }

    fn read_output(&mut self, number: u32) {
        let Some(stream) = self.streams.get_mut(number as usize) else {
            return;
        };
        if stream.take(&mut self.log) == Flow::Closed {
            self.poll.remove(stream.pipe.as_fd());
        }
    }

    fn answer_bind(&mut self, flags: EventFlags) {
        if flags.contains(EventFlags::IN) {
            // Who asked may be gone, which is no harm.
            let _ = self.sandbox.answer_bind();
        } else if let Some(binds) = self.sandbox.binds() {
            // Nobody is left who could ask; the end of the sandbox is an event of its own.
            self.poll.remove(binds);
        }
    }

    fn check_end(&mut self) {
        let Some(exit) = self.sandbox.exit() else {
            return;
        };
        let asked = match self.life {
            Life::Running => Asked::No,
            _ => Asked::Yes,
        };
        self.life = Life::Over(exit, asked);
    }

    fn welcome(&mut self) {
        if let Err(error) = self.peers.accept(self.listener.as_fd(), &self.poll) {
            // No descriptors left, most likely. Those who wait stay in the queue; without a rest the loop would
            // spin on them.
            let _ = writeln!(io::stderr(), "taking a connection failed: {error}");
            let _ = self
                .poll
                .change(&self.listener, Source::Listener, EventFlags::empty());
            self.closed_until = Some(Instant::now() + REST);
        }
    }

    /// The end. First what can be lost, then those who wait, then the name, by which nobody shall find us any more.
    fn leave(mut self) {
        for stream in &mut self.streams {
            stream.finish(&mut self.log);
        }
        let reason = self
            .sandbox
            .out_of_memory()
            .then(|| OUT_OF_MEMORY.to_owned());
        if reason.is_some() {
            self.last_failure.clone_from(&reason);
        }
        if let Life::Over(exit, asked) = self.life {
            let ended = record::Ended {
                exit,
                asked: asked == Asked::Yes,
                at: record::now(),
                reason,
            };
            if let Err(error) = record::ended(&self.spec.dir, &ended) {
                let _ = writeln!(io::stderr(), "exit.json could not be written: {error}");
            }
        }
        self.farewell();
        record::remove_socket(&self.spec.dir);
    }
}
