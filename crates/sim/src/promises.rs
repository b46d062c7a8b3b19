//! What must hold in every world, whatever breaks.

use std::collections::BTreeMap;

use ward_types::id::{DeploymentId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceFacts, Role};
use ward_types::life::Filling;
use ward_types::release::{DataState, Deployment, Goal, Phase, Reason, Verdict};
use ward_types::spec::{Schema, Strategy};
use ward_types::table::Pool;
use ward_types::time::Millis;

use crate::engine::Copy;
use crate::inner::Inner;
use crate::specs::phase_limit;

/// Room for what kept the driver from its work, in milliseconds.
const ROOM: u64 = 5000;

impl Inner {
    // Of what is done.

    pub(crate) fn must_be_out(&mut self, id: &InstanceId, verb: &str) {
        let names = self.gateway.may_name(id);
        self.must(!names, || {
            format!("{id} is {verb} although it may get requests")
        });
    }

    /// Requests may take `drain_timeout`, from when their instance left the table, and long connections
    /// `long_drain_timeout` and a little for their end.
    pub(crate) fn must_have_had_its_budget(&mut self, id: &InstanceId) {
        let left = self.left.get(id).copied().unwrap_or(0);
        let budget = self.engine.get(id).and_then(|copy| {
            let release = self.env().releases.get(&copy.facts.release)?;
            let service = release.spec.services.get(&copy.facts.component)?;
            let (requests, long) = self.gateway.under_way(id);
            let ordinary = u64::from(requests > 0) * service.drain_timeout.0;
            Some(ordinary.max(u64::from(long > 0) * (service.long_drain().0 + 5000)))
        });
        let had = self.clock_was_set || self.now - left >= budget.unwrap_or(0);
        self.must(had, || format!("{id} is cut before its time"));
    }

    /// A table that serves is replaced only by one that serves, or by one without the service. With a lag
    /// nobody can know better.
    pub(crate) fn must_go_on_serving(&mut self, table: &[Pool]) {
        let healthy = |pool: &Pool| {
            let mut ids = pool.endpoints.iter().map(|e| &e.instance);
            ids.any(|id| self.engine.get(id).is_some_and(Copy::is_healthy))
        };
        let env = self.env();
        let mut releases: Vec<_> = table.iter().flat_map(|p| &p.endpoints).collect();
        releases.sort_by_key(|e| e.release);
        releases.dedup_by_key(|e| e.release);
        let release = match releases.as_slice() {
            [one] => Some(one.release),
            _ => env.current,
        };
        let spec = release.and_then(|r| env.releases.get(&r)).map(|r| &r.spec);
        let serving = self.gateway.table.iter().filter(|pool| healthy(pool));
        let mut serving = serving.filter(|pool| !self.is_apart(&pool.service));
        let broken = serving.find(|pool| {
            let wanted = spec.is_none_or(|s| {
                let service = s.services.get(&pool.service);
                service.is_some_and(|s| s.port.is_some())
            });
            let next = table.iter().find(|p| p.service == pool.service);
            wanted && !next.is_some_and(healthy)
        });
        let broken = broken.map(|pool| pool.service.clone());
        if let Some(service) = broken.filter(|_| env.is_awake() && self.lag == 0) {
            self.violate(format!("{service} stops being served"));
        }
    }

    /// Whether any release has such a service that must not overlap: its requests may have to wait.
    fn is_apart(&self, service: &Name) -> bool {
        let specs = self.env().releases.values().map(|r| &r.spec);
        let mut services = specs.filter_map(|s| s.services.get(service));
        services.any(|s| !s.overlap)
    }

    /// The bounds of a rolling service, while a release is deployed that never ran before: how many are in
    /// rotation at least, and how many run at most. With a lag nobody can know better.
    fn rolling(&self, service: &Name) -> Option<(usize, usize)> {
        let env = self.env();
        let moves = |d: &&Deployment| {
            let moves = matches!(d.phase, Phase::Rolling { .. } | Phase::Reverting { .. });
            moves && d.reason == Reason::Deploy && self.lag == 0
        };
        let active = env.active().filter(moves)?;
        let first = env.deployments.values().filter(|d| d.to == active.to);
        let old = env.current_release().filter(|r| r.id != active.to)?;
        let old = old.spec.services.get(service)?;
        let new = env.releases.get(&active.to)?.spec.services.get(service)?;
        let Strategy::Rolling { surge, .. } = &new.strategy else {
            return None;
        };
        let (a, b) = (old.instances, new.instances);
        let most = a.max(b) + surge.of(b);
        let shared = first.count() == 1 && a > 0 && b > 0 && old.overlap && new.overlap;
        shared.then_some((a.min(b) as usize, most as usize))
    }

    pub(crate) fn must_have_room(&mut self, facts: &InstanceFacts) {
        let Some((_, most)) = self.rolling(&facts.component) else {
            return;
        };
        let both = [self.env().current, self.env().active().map(|d| d.to)];
        let running = self.engine.values().filter(|copy| {
            let ours = copy.facts.component == facts.component && !copy.is_over();
            ours && copy.facts.role == Role::Service && both.contains(&Some(copy.facts.release))
        });
        let running = running.count();
        let room = running < most || facts.role != Role::Service;
        let id = facts.id.clone();
        self.must(room, || format!("{id} is started beside {running} others"));
    }

    /// A release that the schema cannot take is started only where somebody wants it all the same, or it serves;
    /// and what takes something away from earlier ones is in the log before it runs.
    pub(crate) fn must_fit_the_schema(&mut self, facts: &InstanceFacts) {
        let env = self.env();
        let active = env.active().filter(|d| d.to == facts.release);
        let release = env.releases.get(&facts.release);
        let service = release.and_then(|r| r.spec.services.get(&facts.component));
        let schema = service.and_then(|s| Some(s.release.as_ref()?.schema));
        let fits = match facts.role {
            Role::Database | Role::Run(_) => true,
            Role::Drill(id) => {
                let backup = env.backups.all.get(&id);
                backup.is_some_and(|one| one.is_open() && one.file().is_some())
            }
            Role::Copy => env.copies_data() && !env.is_filled(Filling::Copy, &facts.component),
            // Behind all rows, so that what they lead to is there.
            Role::VolumeCopy => {
                let rows = release.is_some_and(|r| {
                    let mut databases = r.spec.databases.keys();
                    databases.all(|name| env.is_filled(Filling::Copy, name))
                });
                let again = env.is_filled(Filling::Volume, &facts.component);
                env.copies_data() && rows && !again
            }
            // Of what the release before had, once, and before any command.
            Role::Snapshot => active.is_some_and(|d| {
                let mut wanted = env.to_be_snapshotted(d);
                let wanted = wanted.any(|volume| *volume == facts.component);
                wanted && !env.is_snapshotted(d.id, &facts.component)
            }),
            // Only new data is seeded, and by no command again that has ended well.
            Role::Seed => {
                let seeded = env.is_filled(Filling::Seed, &facts.component);
                env.data == DataState::New && !seeded
            }
            Role::Service => {
                let wanted = active.is_some_and(|d| d.despite_schema.is_some());
                wanted || env.barred(facts.release).is_none()
            }
            Role::ReleaseCommand => {
                let recorded = |d: &Deployment| env.schema_change(d.id, &facts.component).is_some();
                let without = |d: &Deployment| {
                    let mut wanted = env.to_be_snapshotted(d);
                    wanted.any(|volume| !env.is_snapshotted(d.id, volume))
                };
                let tells = !schema.is_some_and(Schema::takes_away) || active.is_some_and(recorded);
                tells && !active.is_some_and(without)
            }
        };
        let id = facts.id.clone();
        self.must(fits, || {
            format!("{id} is started, and the schema does not let it")
        });
    }

    /// A table of a rolling service has as many healthy instances as both releases declare, or as before.
    pub(crate) fn must_keep_the_floor(&mut self, table: &[Pool]) {
        let healthy = |pool: &Pool| {
            let ids = pool.endpoints.iter().map(|e| &e.instance);
            ids.filter(|id| self.engine.get(*id).is_some_and(Copy::is_healthy))
                .count()
        };
        let below = table.iter().find(|pool| {
            let before = self.gateway.table.iter();
            let before = before.filter(|p| p.service == pool.service).map(healthy);
            let before: usize = before.sum();
            let floor = self.rolling(&pool.service);
            floor.is_some_and(|(floor, _)| healthy(pool) < before.min(floor))
        });
        if let Some(service) = below.map(|pool| pool.service.clone()) {
            self.violate(format!("{service} falls below its floor"));
        }
    }

    /// A verdict is what the gateway shows (promise P3).
    pub(crate) fn must_be_true(&mut self, id: DeploymentId, phase: &Phase) {
        let Phase::Finished { verdict, .. } = phase else {
            return;
        };
        let env = self.env();
        // One that never began has no part in what another one switches to at this moment.
        let queued = |d: &Deployment| d.phase == Phase::Queued;
        if env.deployments.get(&id).is_some_and(queued) {
            return;
        }
        let serving = match verdict {
            Verdict::Succeeded => env.deployments.get(&id).map(|d| d.to),
            Verdict::RolledBack | Verdict::FailedOldServing => env.current,
            Verdict::FailedDegraded | Verdict::Unknown => None,
        };
        // What goes down served until the very step that gives the verdict.
        let goes_down = env.goal != Goal::Up && self.gateway.table.is_empty();
        if let Some(release) = serving {
            let serves = goes_down || self.serves(release);
            let word = verdict.as_str();
            self.must(serves, || {
                format!("{id} ends as {word}, and {release} does not serve")
            });
        }
    }

    /// Whoever was answered by a release is not told later that it never served.
    pub(crate) fn must_tell_that_it_served(&mut self, id: DeploymentId, phase: &Phase) {
        let Phase::Finished { verdict, .. } = phase else {
            return;
        };
        let denied = *verdict == Verdict::FailedOldServing && self.served.contains(&id);
        self.must(!denied, || {
            format!("{id} ends as {}, and had served", verdict.as_str())
        });
    }

    /// Every request goes to a release, and each of its reachable services has an instance in the table
    /// that was healthy when that could last be seen.
    fn serves(&self, release: ReleaseId) -> bool {
        let Some(spec) = self.env().releases.get(&release).map(|r| &r.spec) else {
            return false;
        };
        let since = self.now.saturating_sub(self.lag + ROOM);
        let served = |pool: &Pool| {
            let ids = pool.endpoints.iter().map(|e| &e.instance);
            let mut copies = ids.filter_map(|id| self.engine.get(id));
            copies.any(|copy| copy.was_healthy_since(since))
        };
        let only = self.releases_in_table().iter().all(|r| *r == release);
        let mut reachable = spec.services.iter().filter(|(_, s)| s.port.is_some());
        only && reachable.all(|(name, service)| {
            let pool = self.gateway.table.iter().find(|p| p.service == *name);
            service.instances == 0 || pool.is_some_and(served)
        })
    }

    // Of what is.

    /// Everything that must hold at any moment.
    pub(crate) fn hold_promises(&mut self) {
        self.no_two_releases_overlap();
        self.nobody_asks_what_was_stopped();
        self.one_release_serves();
        self.what_can_serve_serves();
        self.nothing_ill_keeps_requests();
        self.surge_is_bounded();
        self.each_phase_ends();
        self.each_deployment_ends_once();
    }

    /// Counted from what really runs, whatever the driver was shown of it: where releases of a service do not
    /// overlap, all that runs of it is of one release, and no more than that declares.
    pub(crate) fn no_two_releases_overlap(&mut self) {
        let mut running: BTreeMap<&Name, BTreeMap<ReleaseId, u32>> = BTreeMap::new();
        let services = self
            .engine
            .values()
            .filter(|c| c.facts.role == Role::Service);
        for copy in services.filter(|copy| !copy.is_over()) {
            let of_it = running.entry(&copy.facts.component).or_default();
            *of_it.entry(copy.facts.release).or_default() += 1;
        }
        let declared = |release: &ReleaseId, name: &Name| {
            let release = self.env().releases.get(release);
            release.and_then(|r| r.spec.services.get(name))
        };
        let broken = running.into_iter().find(|(name, releases)| {
            let specs = releases
                .iter()
                .map(|(r, count)| (declared(r, name), *count));
            let mut apart = specs.filter_map(|(s, count)| Some((s?, count)));
            apart.any(|(s, count)| !s.overlap && (releases.len() > 1 || count > s.instances))
        });
        let broken = broken.map(|(name, releases)| (name.clone(), releases));
        if let Some((service, releases)) = broken {
            self.violate(format!("{service} runs {releases:?} at once"));
        }
    }

    fn nobody_asks_what_was_stopped(&mut self) {
        let endpoints = self.gateway.table.iter().flat_map(|p| &p.endpoints);
        let mut ids = endpoints.map(|e| &e.instance);
        let stopped = |id: &&InstanceId| self.engine.get(*id).is_none_or(Copy::was_stopped);
        if let Some(id) = ids.find(stopped).cloned() {
            self.violate(format!("requests go to {id}, which Ward stopped"));
        }
    }

    fn one_release_serves(&mut self) {
        let releases = self.releases_in_table();
        let specs = self.env().releases.values().map(|r| &r.spec);
        let mut services = specs.flat_map(|s| &s.services);
        let staged = services.any(|(_, s)| s.strategy != Strategy::default() || !s.overlap);
        self.must(releases.len() <= 1 || staged, || {
            format!("{releases:?} in one table")
        });
        let unsaid = self.gateway.table.iter().find(|pool| {
            let mut releases: Vec<_> = pool.endpoints.iter().map(|e| e.release).collect();
            releases.sort();
            releases.dedup();
            let specs = self.env().releases.values().map(|r| &r.spec);
            let mut services = specs.filter_map(|s| s.services.get(&pool.service));
            let rolls = services.any(|s| matches!(s.strategy, Strategy::Rolling { .. }));
            releases.len() > 1 && pool.split.is_none() && !rolls
        });
        if let Some(service) = unsaid.map(|pool| pool.service.clone()) {
            self.violate(format!("{service} is shared although nothing says so"));
        }
    }

    /// An environment that is up and whose gateway is well has in each pool a healthy instance, if the
    /// release in the table has one.
    fn what_can_serve_serves(&mut self) {
        let quiet = self.gateway.is_well(self.now) && !self.disturbed && self.lag == 0;
        let env = self.env();
        if !env.is_awake() || !quiet {
            return;
        }
        let cold = env.active().is_some_and(|d| Some(d.to) == env.current);
        // A rollback that has switched, and exchanges its workers.
        let switched = env.active().filter(|d| {
            d.reason != Reason::Deploy && matches!(d.phase, Phase::Rolling { stage: 1.. })
        });
        let switched = switched.map(|d| d.to);
        let mut pools = self.gateway.table.iter();
        let idle = pools.find(|pool| {
            if self.is_apart(&pool.service) {
                return false;
            }
            let releases = pool.endpoints.iter().map(|e| e.release);
            let shown = releases.max().or(switched).or(env.current);
            let could = self.engine.values().any(|copy| {
                let fits =
                    Some(copy.facts.release) == shown && copy.facts.component == pool.service;
                fits && copy.is_healthy()
            });
            let ids = pool.endpoints.iter().map(|e| &e.instance);
            let mut copies = ids.filter_map(|id| self.engine.get(id));
            could && !copies.any(Copy::is_healthy)
        });
        let idle = idle.map(|pool| pool.service.clone());
        if let Some(service) = idle.filter(|_| !cold) {
            self.violate(format!("{service} could be served and is not"));
        }
    }

    fn surge_is_bounded(&mut self) {
        let env = self.env();
        let to = env.active().map(|d| d.to);
        let to = to.filter(|to| env.current != Some(*to));
        let releases: Vec<ReleaseId> = env.current.into_iter().chain(to).collect();
        let mut running: BTreeMap<_, usize> = BTreeMap::new();
        let services = self.engine.values().filter(|copy| copy.is_declared());
        for copy in services.filter(|copy| copy.facts.role == Role::Service) {
            if releases.contains(&copy.facts.release) {
                *running.entry(&copy.facts.component).or_default() += 1;
            }
        }
        let over = running.into_iter().find(|(service, running)| {
            let releases = releases.iter().filter_map(|r| env.releases.get(r));
            let specs = releases.filter_map(|r| r.spec.services.get(*service));
            let most = specs.map(|s| s.instances as usize).max().unwrap_or(0);
            *running > 2 * most
        });
        let over = over.map(|(service, running)| (service.clone(), running));
        if let Some((service, running)) = over {
            self.violate(format!("{running} instances of {service} run"));
        }
    }

    fn each_phase_ends(&mut self) {
        let env = self.env();
        let Some(active) = env.active() else {
            return;
        };
        let Some(spec) = env.releases.get(&active.to).map(|r| &r.spec) else {
            return;
        };
        let word = match active.phase {
            Phase::Preparing => "preparing",
            Phase::Rolling { .. } => "rolling",
            Phase::Reverting { .. } | Phase::Queued | Phase::Finished { .. } => "reverting",
        };
        let day = if active.paused.is_some() {
            24 * 3_600_000
        } else {
            0
        };
        let limit = phase_limit(env, spec, word) + ROOM + self.lag + day;
        let since = self.entered.get(&active.id).copied().unwrap_or(self.now);
        let (id, full) = (active.id, self.log_full_until + limit > self.now);
        let took = self.now - since;
        self.must(took <= limit || full, || {
            format!("{id} is {word} for {took} ms")
        });
    }

    fn each_deployment_ends_once(&mut self) {
        let twice = self.ended.iter().find(|(_, times)| **times > 1);
        if let Some((id, _)) = twice.map(|(id, times)| (*id, *times)) {
            self.violate(format!("{id} ends twice"));
        }
    }

    /// A run has one instance at a time.
    pub(crate) fn must_be_the_only_attempt(&mut self, facts: &InstanceFacts) {
        if !matches!(facts.role, Role::Run(_)) {
            return;
        }
        let mut copies = self.engine.values();
        let other = copies.find(|copy| copy.facts.role == facts.role && !copy.is_over());
        let other = other.map(|copy| copy.facts.id.clone());
        let id = facts.id.clone();
        self.must(other.is_none(), || {
            format!("{id} is started beside {other:?}, an attempt of the same run")
        });
    }

    /// Whether an attempt of a run was started at a moment that the clock has not come to again, or hardly.
    pub(crate) fn is_run_ahead(&self) -> bool {
        let wall = self.wall();
        let mut copies = self.engine.values().filter(|copy| !copy.is_over());
        copies.any(|copy| {
            let ends = copy.facts.started + Millis::secs(60);
            matches!(copy.facts.role, Role::Run(_)) && ends > wall
        })
    }

    /// Every run ends.
    pub(crate) fn no_run_is_open(&mut self) {
        let open = self.env().runs.open.keys().next().copied();
        self.must(open.is_none(), || format!("{open:?} has not ended"));
    }

    /// At rest: each service has its instances, all healthy and in rotation, and nothing else runs but
    /// databases.
    pub(crate) fn must_be_as_declared(&mut self) {
        let Some(current) = self.env().current_release().cloned() else {
            return self.violate("nothing serves");
        };
        for (name, service) in &current.spec.services {
            let copies = self.engine.values().filter(|copy| {
                let facts = &copy.facts;
                facts.role == Role::Service && facts.component == *name && copy.is_healthy()
            });
            let (healthy, declared) = (copies.count(), service.instances as usize);
            self.must(healthy == declared, || {
                format!("{healthy} of {declared} instances of {name} at rest")
            });
            let pool = self.gateway.table.iter().find(|p| p.service == *name);
            let routed = pool.map_or(0, |p| p.endpoints.len());
            let wanted = service.port.map_or(0, |_| declared);
            self.must(routed == wanted, || {
                format!("{routed} of {wanted} instances of {name} in rotation at rest")
            });
        }
        let altered = self
            .engine
            .values()
            .find(|copy| copy.facts.role == Role::Service && copy.is_altered());
        if let Some(id) = altered.map(|copy| copy.facts.id.clone()) {
            self.violate(format!("{id} runs from changed files at rest"));
        }
        let orphan = self
            .engine
            .values()
            .find(|copy| copy.facts.role == Role::Service && copy.facts.release != current.id);
        if let Some(id) = orphan.map(|copy| copy.facts.id.clone()) {
            self.violate(format!("{id} is left at rest"));
        }
        let unfinished = self.env().deployments.values();
        let mut unfinished = unfinished.filter(|d| !matches!(d.phase, Phase::Finished { .. }));
        if let Some(id) = unfinished.next().map(|d| d.id) {
            self.violate(format!("{id} has no verdict at rest"));
        }
    }

    /// Asleep: nothing runs, and whatever comes for what is reached is held.
    pub(crate) fn must_be_still(&mut self) {
        let asleep = self.env().asleep().map(|asleep| asleep.since);
        self.must(asleep.is_some(), || "it does not sleep".into());
        if let Some(id) = self.engine.keys().next().cloned() {
            self.violate(format!("{id} is left asleep"));
        }
        let current = self.env().current_release().cloned();
        let services = current.into_iter().flat_map(|r| r.spec.services);
        for (name, _) in services.filter(|(_, s)| s.port.is_some()) {
            let mut pools = self.gateway.table.iter();
            let pool = pools.find(|pool| pool.service == name);
            let held = pool.is_some_and(|p| p.asleep == asleep && p.endpoints.is_empty());
            self.must(held, || format!("requests for {name} are not held"));
        }
    }

    /// After a purge: nothing.
    pub(crate) fn must_be_empty(&mut self) {
        let left = self.engine.keys().next().cloned();
        if let Some(id) = left {
            self.violate(format!("{id} is left after a purge"));
        }
        let empty = self.gateway.table.is_empty() && self.purged > 0;
        self.must(empty, || "routes or data are left after a purge".into());
    }
}
