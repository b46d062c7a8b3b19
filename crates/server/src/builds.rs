//! What is being built and is in no log yet: who asked for it, since when, and how far it is.
//!
//! It is held in memory only: a build that was cut off has changed nothing. Of one environment one deploy is
//! built at a time, in the order in which they were asked for; the others wait in its lane.
//!
//! The order that no race gets around: a deploy makes sure that it is still wanted, and records, at the desk
//! ([`crate::control::Control::desk`]). Whoever ends builds does so at the same desk, together with the events
//! that belong to it. So either the deploy is in the log by then, and goes the way of all deployments that
//! are there; or it finds that its build was ended, even one that was finished a moment before, and records
//! nothing. One that is asked for later is another wish, and is built.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use ward_types::id::{EnvId, Name};
use ward_types::time::Timestamp;

use crate::actor::Actor;
use crate::admission::Admitted;
use crate::clock::now;
use crate::control::lock;

/// A build that was ended is gone at once, but for what its task does at that very moment.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Every build under way. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Builds(Arc<Inner>);

#[derive(Default)]
struct Inner {
    works: Mutex<Works>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Works {
    next: Number,
    /// In the order in which they were asked for.
    all: BTreeMap<Number, Work>,
}

/// The place of a build among those that this server was ever asked for.
type Number = u64;

struct Work {
    env: EnvId,
    by: String,
    doing: Doing,
    since: Timestamp,
    end: watch::Sender<Option<End>>,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Another deploy of the environment is being built.
    Waiting,
    /// The image of this service is built.
    Building(Name),
    /// The image of this service is fetched from another registry.
    Fetching(Name),
    /// The image of this service is unpacked.
    Unpacking(Name),
}

/// Why a build goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Its environment was taken down.
    Down { by: String },
    /// Somebody did not want to wait for it.
    Superseded { by: String },
    /// Somebody cancelled it.
    Cancelled { by: String },
}

impl End {
    /// As what comes behind "ended".
    pub(crate) fn because(&self, env: &EnvId) -> String {
        match self {
            End::Down { by } => format!("because {env} was taken down by {by}"),
            End::Superseded { by } => format!("because {by} superseded it"),
            End::Cancelled { by } => format!("because {by} cancelled it"),
        }
    }
}

/// A build that was just ended.
#[derive(Debug, Clone)]
pub(crate) struct Over {
    number: Number,
    pub(crate) env: EnvId,
    /// Who had asked for it.
    pub(crate) by: String,
}

impl Work {
    fn sentence(&self) -> String {
        let (env, by) = (&self.env, &self.by);
        let seconds = now().since(self.since).0 / 1000;
        let does = |verb: &str, service: &Name| {
            format!("{verb} {service} of {env} since {seconds} s, asked for by {by}.")
        };
        match &self.doing {
            Doing::Building(service) => does("Building", service),
            Doing::Fetching(service) => does("Fetching the image for", service),
            Doing::Unpacking(service) => does("Unpacking", service),
            Doing::Waiting => {
                format!("The deploy of {env} asked for by {by} {seconds} s ago waits to be built.")
            }
        }
    }

    /// Once: who ends it first has ended it.
    fn end(&self, number: Number, end: &End) -> Option<Over> {
        let first = self.end.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert_with(|| end.clone());
            first
        });
        first.then(|| Over {
            number,
            env: self.env.clone(),
            by: self.by.clone(),
        })
    }
}

impl Builds {
    /// Puts a build at the end of its environment's lane. It holds the platform's door open until it is over.
    pub(crate) fn begin(&self, env: &EnvId, actor: &Actor, admitted: Admitted) -> Building {
        let (end, ended) = watch::channel(None);
        let work = Work {
            env: env.clone(),
            by: actor.who.clone(),
            doing: Doing::Waiting,
            since: now(),
            end,
        };
        let mut works = lock(&self.0.works);
        let number = works.next;
        works.next += 1;
        works.all.insert(number, work);
        Building {
            builds: self.clone(),
            number,
            env: env.clone(),
            ended,
            admitted: Some(admitted),
        }
    }

    /// The environments that something is built for, or waits to be.
    pub(crate) fn environments(&self) -> Vec<EnvId> {
        let works = lock(&self.0.works);
        works.all.values().map(|work| work.env.clone()).collect()
    }

    /// What is built for an environment and what waits behind it, in sentences.
    pub(crate) fn sentences(&self, env: &EnvId) -> Vec<String> {
        let works = lock(&self.0.works);
        let own = works.all.values().filter(|work| work.env == *env);
        own.map(Work::sentence).collect()
    }

    /// Ends all of an environment.
    pub(crate) fn end_all(&self, env: &EnvId, end: &End) -> Vec<Over> {
        self.end_before(env, Number::MAX, end)
    }

    /// Ends the first of an environment: the others have their turn.
    pub(crate) fn end_first(&self, env: &EnvId, end: &End) -> Option<Over> {
        let works = lock(&self.0.works);
        let mut own = works.all.iter().filter(|(_, work)| work.env == *env);
        own.find_map(|(number, work)| work.end(*number, end))
    }

    fn end_before(&self, env: &EnvId, before: Number, end: &End) -> Vec<Over> {
        let works = lock(&self.0.works);
        let own = works.all.range(..before);
        own.filter(|(_, work)| work.env == *env)
            .filter_map(|(number, work)| work.end(*number, end))
            .collect()
    }

    /// Returns when nothing is left of builds that were ended: their processes are killed, and they hold
    /// the platform's door no longer.
    pub(crate) async fn gone(&self, over: &[Over]) {
        let left = |works: &Works| over.iter().any(|o| works.all.contains_key(&o.number));
        let _ = tokio::time::timeout(GONE_WITHIN, self.until(|works| !left(works))).await;
    }

    async fn until(&self, so: impl Fn(&Works) -> bool) {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let done = so(&lock(&self.0.works));
            if done || changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// One's own build. While it lives it is under way.
pub(crate) struct Building {
    builds: Builds,
    number: Number,
    env: EnvId,
    ended: watch::Receiver<Option<End>>,
    admitted: Option<Admitted>,
}

impl Building {
    /// What it has to wait for, in a sentence, when it is not its turn.
    pub(crate) fn ahead(&self) -> Option<String> {
        let works = lock(&self.builds.0.works);
        let mut own = works.all.range(..self.number).map(|(_, work)| work);
        let first = own.find(|work| work.env == self.env)?;
        Some(format!("Waiting for another deploy: {}", first.sentence()))
    }

    /// Returns when it is its turn.
    pub(crate) async fn turn(&self) {
        let first = |works: &Works| {
            let mut before = works.all.range(..self.number);
            !before.any(|(_, work)| work.env == self.env)
        };
        self.builds.until(first).await;
    }

    /// Says how far it is.
    pub(crate) fn does(&self, doing: Doing) {
        if let Some(work) = lock(&self.builds.0.works).all.get_mut(&self.number) {
            work.doing = doing;
            work.since = now();
        }
    }

    /// Ends those that were asked for before.
    pub(crate) fn supersede(&self, actor: &Actor) -> Vec<Over> {
        let by = actor.who.clone();
        let end = End::Superseded { by };
        self.builds.end_before(&self.env, self.number, &end)
    }

    /// Returns when somebody ended it, and why.
    pub(crate) async fn ended(&self) -> End {
        let mut ended = self.ended.clone();
        let end = match ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone(),
            Err(_) => None,
        };
        match end {
            Some(end) => end,
            None => std::future::pending().await,
        }
    }

    /// Whether nobody has ended it; to be asked at the desk.
    ///
    /// # Errors
    /// Why it was ended.
    pub(crate) fn wanted(&self) -> Result<(), End> {
        self.ended.borrow().clone().map_or(Ok(()), Err)
    }

    /// Whether it was its turn at all.
    pub(crate) fn has_begun(&self) -> bool {
        let works = lock(&self.builds.0.works);
        let own = works.all.get(&self.number);
        own.is_some_and(|work| work.doing != Doing::Waiting)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // The door first: whoever waits until this is gone may want to end the platform.
        drop(self.admitted.take());
        lock(&self.builds.0.works).all.remove(&self.number);
        self.builds.0.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Admission;

    fn actor() -> Actor {
        Actor::of_uid(0)
    }

    fn begin(builds: &Builds, admission: &Admission, env: &str) -> Building {
        let env = EnvId::parse(env).unwrap();
        builds.begin(&env, &actor(), admission.enter().unwrap())
    }

    #[tokio::test]
    async fn one_of_an_environment_has_its_turn_and_the_next_when_it_is_over() {
        let (builds, admission) = (Builds::default(), Admission::default());
        let first = begin(&builds, &admission, "shop/dev");
        let other = begin(&builds, &admission, "shop/test");
        let second = begin(&builds, &admission, "shop/dev");
        first.turn().await;
        other.turn().await;
        first.does(Doing::Building(Name::parse("web").unwrap()));
        let ahead = second.ahead().unwrap();
        assert!(
            ahead.contains("Building web of shop/dev since 0 s"),
            "{ahead}"
        );
        let mut turn = std::pin::pin!(second.turn());
        let early = tokio::time::timeout(Duration::ZERO, &mut turn).await;
        assert!(early.is_err(), "it is the first one's turn");
        drop(first);
        turn.await;
    }

    #[tokio::test]
    async fn what_is_superseded_is_what_was_asked_for_before() {
        let (builds, admission) = (Builds::default(), Admission::default());
        let before = begin(&builds, &admission, "shop/dev");
        let own = begin(&builds, &admission, "shop/dev");
        let later = begin(&builds, &admission, "shop/dev");
        let over = own.supersede(&actor());
        assert_eq!(over.len(), 1);
        assert!(own.supersede(&actor()).is_empty(), "it is ended once");
        assert!(matches!(before.ended().await, End::Superseded { .. }));
        assert_eq!((own.wanted(), later.wanted()), (Ok(()), Ok(())));
        drop(before);
        builds.gone(&over).await;
    }

    #[tokio::test]
    async fn what_is_gone_does_not_hold_the_door() {
        let (builds, admission) = (Builds::default(), Admission::default());
        let building = begin(&builds, &admission, "shop/dev");
        let env = EnvId::parse("shop/dev").unwrap();
        let down = End::Down {
            by: "uid:0".to_owned(),
        };
        let over = builds.end_all(&env, &down);
        let ends = tokio::spawn(async move { drop(building.ended().await) });
        builds.gone(&over).await;
        let closed = admission.close(|inside| if inside == 0 { Ok(()) } else { Err(inside) });
        assert_eq!(closed, Ok(()));
        ends.await.unwrap();
        assert!(builds.environments().is_empty());
    }
}
