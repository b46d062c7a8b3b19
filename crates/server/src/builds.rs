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
//!
//! One of several environments steps aside when its images are made: nobody waits for it while those before it are
//! deployed. When their turn is over it comes back to the end of the lane. It can be ended all the while.

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
    /// The platform's door, held open until it is over; one that was ended aside has nothing to end there.
    door: Option<Admitted>,
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
    /// Everything is made; environments before this one are deployed, and nobody waits for it.
    Aside,
    /// Everything is made, and it waits for its turn again.
    Back,
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
            Doing::Aside => format!(
                "The deploy of {env} asked for by {by} is built, and comes when the environments before it are done."
            ),
            Doing::Back => {
                format!("The deploy of {env} asked for by {by} is built, and waits for its turn.")
            }
        }
    }

    /// Whether others of its environment wait for it.
    fn is_in_lane(&self) -> bool {
        self.doing != Doing::Aside
    }

    /// Once: who ends it first has ended it.
    fn end(&mut self, number: Number, end: &End) -> Option<Over> {
        let first = self.end.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert_with(|| end.clone());
            first
        });
        if !self.is_in_lane() {
            // Its task looks at it again when its turn comes, which may be long after.
            drop(self.door.take());
        }
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
            door: Some(admitted),
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

    /// Ends the first of an environment, those aside last: the others have their turn.
    pub(crate) fn end_first(&self, env: &EnvId, end: &End) -> Option<Over> {
        let mut works = lock(&self.0.works);
        let own = works.all.iter_mut().filter(|(_, work)| work.env == *env);
        let (lane, aside): (Vec<_>, Vec<_>) = own.partition(|(_, work)| work.is_in_lane());
        let mut own = lane.into_iter().chain(aside);
        own.find_map(|(number, work)| work.end(*number, end))
    }

    fn end_before(&self, env: &EnvId, before: Number, end: &End) -> Vec<Over> {
        let mut works = lock(&self.0.works);
        let own = works.all.range_mut(..before);
        own.filter(|(_, work)| work.env == *env)
            .filter_map(|(number, work)| work.end(*number, end))
            .collect()
    }

    /// Returns when nothing is left of builds that were ended: their processes are killed, and they hold
    /// the platform's door no longer.
    pub(crate) async fn gone(&self, over: &[Over]) {
        let there = |work: &Work| work.door.is_some();
        let left = |works: &Works| {
            let mut over = over.iter().filter_map(|over| works.all.get(&over.number));
            over.any(there)
        };
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
}

impl Building {
    /// What it has to wait for, in a sentence, when it is not its turn.
    pub(crate) fn ahead(&self) -> Option<String> {
        let works = lock(&self.builds.0.works);
        let mut own = works.all.range(..self.number).map(|(_, work)| work);
        let first = own.find(|work| work.env == self.env && work.is_in_lane())?;
        Some(format!("Waiting for another deploy: {}", first.sentence()))
    }

    /// Returns when it is its turn.
    pub(crate) async fn turn(&self) {
        let first = |works: &Works| {
            let mut before = works.all.range(..self.number);
            !before.any(|(_, work)| work.env == self.env && work.is_in_lane())
        };
        self.builds.until(first).await;
    }

    /// Leaves the lane, with everything made: the next has its turn.
    pub(crate) fn step_aside(&self) {
        let mut works = lock(&self.builds.0.works);
        if let Some(work) = works.all.get_mut(&self.number) {
            work.doing = Doing::Aside;
            if self.ended.borrow().is_some() {
                drop(work.door.take());
            }
        }
        drop(works);
        self.builds.0.changed.send_replace(());
    }

    /// Comes back to the end of the lane; one that was ended meanwhile stays where it is.
    pub(crate) fn come_back(&mut self) {
        let mut works = lock(&self.builds.0.works);
        if self.ended.borrow().is_some() {
            return;
        }
        let number = works.next;
        works.next += 1;
        if let Some(mut work) = works.all.remove(&self.number) {
            work.doing = Doing::Back;
            works.all.insert(number, work);
            self.number = number;
        }
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

    /// What it was that somebody ended, in words.
    pub(crate) fn what_ended(&self) -> &'static str {
        let works = lock(&self.builds.0.works);
        match works.all.get(&self.number).map(|work| &work.doing) {
            None | Some(Doing::Waiting) => "the deploy was ended before it was built",
            Some(Doing::Aside | Doing::Back) => "the deploy was ended before its turn came",
            Some(Doing::Building(_) | Doing::Fetching(_) | Doing::Unpacking(_)) => {
                "the build was ended"
            }
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // With its door, and before anybody is told: whoever waits until this is gone may want to end the platform.
        let work = lock(&self.builds.0.works).all.remove(&self.number);
        drop(work);
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

    #[tokio::test]
    async fn nobody_waits_for_one_that_stepped_aside_and_it_comes_back_behind_them() {
        let (builds, admission) = (Builds::default(), Admission::default());
        let mut first = begin(&builds, &admission, "shop/qa");
        let hotfix = begin(&builds, &admission, "shop/qa");
        first.does(Doing::Building(Name::parse("web").unwrap()));
        assert!(hotfix.ahead().is_some());
        first.step_aside();
        assert_eq!(hotfix.ahead(), None);
        hotfix.turn().await;
        first.come_back();
        let ahead = first.ahead().unwrap();
        assert!(ahead.contains("waits to be built"), "{ahead}");
        drop(hotfix);
        first.turn().await;
        assert_eq!(first.wanted(), Ok(()));
    }

    #[tokio::test]
    async fn one_aside_is_ended_behind_what_is_built_and_holds_no_door_then() {
        let (builds, admission) = (Builds::default(), Admission::default());
        let mut aside = begin(&builds, &admission, "shop/qa");
        aside.step_aside();
        let hotfix = begin(&builds, &admission, "shop/qa");
        let env = EnvId::parse("shop/qa").unwrap();
        let by = "uid:0".to_owned();
        let end = End::Cancelled { by };
        let over = builds.end_first(&env, &end).unwrap();
        assert!(hotfix.wanted().is_err() && aside.wanted().is_ok());
        drop(hotfix);
        builds.gone(&[over]).await;
        let over = builds.end_first(&env, &end).unwrap();
        builds.gone(&[over]).await;
        let closed = admission.close(|inside| if inside == 0 { Ok(()) } else { Err(inside) });
        assert_eq!(closed, Ok(()), "though its task has not looked yet");
        aside.come_back();
        assert!(matches!(aside.ended().await, End::Cancelled { .. }));
        assert_eq!(
            aside.what_ended(),
            "the deploy was ended before its turn came"
        );
    }
}
