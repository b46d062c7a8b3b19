//! Time: the driver turns whenever something happens, and the world is held against the promises.

use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll, Waker};

use ward_drive::{Driver, Next, Turn};

use crate::inner::{Faults, Inner};
use crate::world::Shared;

/// So many turns in a row without time going by are a circle.
const CIRCLE: u32 = 200;

/// The driver looks at least so often, in milliseconds. The real one does so more often; what it decides by
/// the clock it has an alarm for.
const TICK: u64 = 5000;

/// A world and its driver.
pub(crate) struct Simulation {
    world: Shared,
    /// It is at work elsewhere only during a turn.
    driver: Option<Driver<Shared>>,
    /// Those that were stopped in the middle of a turn, and succeeded since.
    elders: Vec<Turning>,
    next: Option<u64>,
}

/// A driver's turn, under way.
type Turning = Pin<Box<dyn Future<Output = (Driver<Shared>, Turn)> + Send>>;

impl Simulation {
    pub(crate) fn new(env: &str, transcript: Option<String>) -> Self {
        let inner = Inner::new(env, transcript);
        let id = inner.id.clone();
        let world = Shared::new(inner);
        Self {
            driver: Some(Driver::new(id, world.clone())),
            elders: Vec::new(),
            world,
            next: None,
        }
    }

    /// The world, to look at or to change.
    pub(crate) fn world(&self) -> MutexGuard<'_, Inner> {
        self.world.lock()
    }

    pub(crate) fn fault(&mut self, faults: Faults) {
        self.world().faults = faults;
    }

    /// Turns until nothing is left to do now.
    fn drive(&mut self) {
        self.world().disturbed = false;
        for _ in 0..CIRCLE {
            let Some(turn) = self.turn() else {
                continue; // It was killed, and another one takes over.
            };
            let now = self.world().now;
            let wall = self.world().wall();
            match turn.next {
                Next::Now => {}
                Next::Later => {
                    self.world().disturbed = true;
                    self.next = Some(now + 200);
                    return;
                }
                Next::Alarm { at, settles, .. } => {
                    self.must_say_why(&turn);
                    let at = at.filter(|at| *at > wall).map(|at| self.world().moment(at));
                    let settles = settles.map(|after| now + after.as_millis() as u64);
                    self.next = at.into_iter().chain(settles).min();
                    return;
                }
            }
            if self.world().violation.is_some() {
                return;
            }
        }
        self.world().violate("the driver runs in circles");
    }

    /// One turn; whether it found anything to do.
    pub(crate) fn is_busy(&mut self) -> bool {
        self.turn().is_none_or(|turn| turn.next == Next::Now)
    }

    /// One turn; `None`: the driver was killed or stopped, and another one takes over, which knows nothing.
    fn turn(&mut self) -> Option<Turn> {
        let mut driver = self.driver.take().unwrap_or_else(|| self.successor());
        let mut turning: Turning = Box::pin(async move {
            let turn = driver.turn().await;
            (driver, turn)
        });
        let turned = look(&mut turning);
        let (crashed, stalled) = {
            let mut world = self.world();
            let was = (world.crashed, world.stalled);
            (world.crashed, world.stalled) = (false, false);
            was
        };
        if stalled && !crashed {
            self.elders.push(turning);
        }
        if crashed || stalled {
            self.driver = Some(self.successor());
            self.world().begin_phase_again();
            return None;
        }
        match turned {
            Poll::Ready((driver, turn)) => {
                self.driver = Some(driver);
                Some(turn)
            }
            Poll::Pending => {
                self.world()
                    .violate("a turn waits for what nobody announces");
                None
            }
        }
    }

    fn successor(&self) -> Driver<Shared> {
        let id = self.world().id.clone();
        Driver::new(id, self.world.succeeded())
    }

    /// Those who were stopped go on with what they had begun. Nothing of it may come to anything.
    fn wake_elders(&mut self) {
        for mut elder in std::mem::take(&mut self.elders) {
            self.world()
                .say(|| "~ a driver that was succeeded wakes".into());
            let _ = look(&mut elder);
            self.world().crashed = false;
        }
    }

    /// What is under way is waited for by name (promise P12), and no plan meets an objection.
    fn must_say_why(&self, turn: &Turn) {
        let mut world = self.world();
        let objection = turn.live.troubles.first().cloned();
        if let Some(objection) = objection.filter(|trouble| trouble.starts_with("the checker")) {
            world.violate(objection);
        }
        let env = world.env();
        let busy = env.active().is_some() || env.next_queued().is_some();
        let told = [&turn.live.waiting, &turn.live.queued, &turn.live.troubles];
        let says = told.iter().any(|list| !list.is_empty());
        world.must(!busy || says, || "it waits without a word".into());
    }

    /// Lets so many milliseconds pass, stopping wherever something happens.
    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.world().now + millis;
        self.drive();
        self.wake_elders();
        while self.world().now < end && self.world().violation.is_none() {
            self.advance(end);
            self.drive();
            self.world().hold_promises();
        }
    }

    fn advance(&mut self, end: u64) {
        let next = self.next;
        let mut world = self.world();
        let (now, lag) = (world.now, world.lag);
        let copies = world.engine.values();
        let events = copies.filter_map(|copy| copy.next_event(now, lag));
        let events = events.chain(world.gateway.next_event(now)).chain(next);
        let soonest = events.filter(|at| *at > now).min();
        world.now = soonest.unwrap_or(end).min(now + TICK).min(end);
        world.happen();
    }

    /// Until no deployment is under way.
    pub(crate) fn settle(&mut self) {
        for waited in 0..2000 {
            self.run(1000);
            let mut world = self.world();
            // Who is asked says yes, after a while.
            if waited % 120 == 119 {
                world.go_on();
            }
            let env = world.env();
            let busy = env.active().is_some() || env.next_queued().is_some();
            if !busy || world.violation.is_some() {
                return;
            }
        }
        self.world().violate("a deployment does not end");
    }
}

fn look(turning: &mut Turning) -> Poll<(Driver<Shared>, Turn)> {
    turning
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

impl Inner {
    /// Lets everything happen that is due.
    fn happen(&mut self) {
        let (now, wall) = (self.now, self.wall());
        let mut told = Vec::new();
        for (id, copy) in &mut self.engine {
            if let Some(what) = copy.advance(now, wall) {
                told.push((id.clone(), what));
            }
        }
        for (id, what) in told {
            self.say(|| format!("~ {id} {what}"));
        }
        if self.gateway.advance(now) {
            self.say(|| "~ the gateway has the table in force".into());
        }
        self.note_table();
    }
}
