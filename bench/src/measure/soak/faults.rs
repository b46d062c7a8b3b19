//! What is done to the platform while it moves.

use std::collections::BTreeMap;
use std::time::Duration;

use ward_types::view::StatusView;

use crate::process;

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    KillServer,
    StopServer,
    KillKeeper,
    StopKeeper,
    KillInstance,
    StopInstance,
}

impl Fault {
    fn word(self) -> &'static str {
        match self {
            Self::KillServer => "server killed",
            Self::StopServer => "server stopped",
            Self::KillKeeper => "keeper killed",
            Self::StopKeeper => "keeper stopped",
            Self::KillInstance => "instance killed",
            Self::StopInstance => "instance stopped",
        }
    }

    /// Whether a move may fail for it.
    pub(super) fn kills(self) -> bool {
        matches!(
            self,
            Self::KillServer | Self::KillKeeper | Self::KillInstance
        )
    }
}

/// A fault during a move.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) fault: Fault,
    /// How long after the move began.
    pub(super) after: Duration,
    /// How long what is stopped stays so.
    pub(super) time: Duration,
    /// Which instance, of all.
    pub(super) pick: u64,
}

/// Random faults, the same for the same seed.
pub(super) struct Faults {
    state: u64,
    made: BTreeMap<Fault, u32>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            made: BTreeMap::new(),
        }
    }

    /// A number below `bound`, by xorshift.
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound.max(1)
    }

    /// What happens during the next move.
    pub(super) fn next(&mut self) -> Option<Planned> {
        let fault = match self.below(100) {
            0..6 => Fault::KillServer,
            6..11 => Fault::StopServer,
            11..15 => Fault::KillKeeper,
            15..20 => Fault::StopKeeper,
            20..26 => Fault::KillInstance,
            26..31 => Fault::StopInstance,
            _ => return None,
        };
        Some(Planned {
            fault,
            after: Duration::from_millis(self.below(500)),
            time: Duration::from_millis(100 + self.below(900)),
            pick: self.below(1 << 30),
        })
    }

    pub(super) fn note(&mut self, made: Option<Fault>) {
        if let Some(fault) = made {
            *self.made.entry(fault).or_default() += 1;
        }
    }

    pub(super) fn made(&self) -> u32 {
        self.made.values().sum()
    }

    pub(super) fn told(&self) -> String {
        let told = self.made.iter();
        let told = told.map(|(fault, times)| format!("{} {times} times", fault.word()));
        told.collect::<Vec<_>>().join(", ")
    }
}

/// The processes of an instance of a service.
pub(super) struct Processes {
    pub(super) keeper: u32,
    pub(super) pid: u32,
    pub(super) env: String,
}

/// One instance of all that run, of whichever environment.
pub(super) fn any_instance(status: &StatusView, pick: u64) -> Option<Processes> {
    let services = status.environments.iter().flat_map(|env| {
        let services = env.components.iter().filter(|c| c.kind == "service");
        services.map(move |component| (env, component))
    });
    let instances = services.flat_map(|(env, component)| {
        let running = component.instances.iter().filter(|i| i.keeper_pid != 0);
        running.filter_map(move |instance| {
            Some(Processes {
                keeper: instance.keeper_pid,
                pid: instance.pid?,
                env: env.id.to_string(),
            })
        })
    });
    let all: Vec<_> = instances.collect();
    let index = usize::try_from(pick).unwrap_or(0) % all.len().max(1);
    all.into_iter().nth(index)
}

/// Stops processes for a while; they go on also when the bench is interrupted.
pub(super) async fn pause(pids: Vec<u32>, time: Duration) {
    struct Stopped(Vec<u32>);
    impl Drop for Stopped {
        fn drop(&mut self) {
            self.0.iter().for_each(|pid| process::go_on(*pid));
        }
    }
    pids.iter().for_each(|pid| process::stop(*pid));
    let stopped = Stopped(pids);
    tokio::time::sleep(time).await;
    drop(stopped);
}
