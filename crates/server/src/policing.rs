//! Holds what is wanted against the policy: the stack file's own, and `policy.toml` in the state folder.
//!
//! That file is read anew each time, and one that cannot be read lets nothing through: who broke it may have wanted to.

mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use jiff::tz::TimeZone;
use ward_plan::changes::{Between, changes};
use ward_plan::policy::{self, Built};
pub use ward_plan::policy::{Wanted, violations};
use ward_stack::{Installation, Look};
use ward_store::Log;
use ward_types::changes::Change;
use ward_types::event::{Event, State};
use ward_types::id::{Digest, EnvId, Name};
use ward_types::policy::{Day, Declared, Level, Origin, Policy, Rule, Violation};
use ward_types::release::{DataState, Environment, Release};
use ward_types::spec::EnvSpec;
use ward_types::time::{Millis, Timestamp};
use ward_types::view::{
    PolicyRequest, PolicyView, Progress, RuleView, RulesOf, WaiveRequest, WaiverView,
};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::clock::now;
use crate::configuration::known_or_awaited;
use crate::control::Control;
use crate::deploy::Stop;
use crate::reasons::says_anything;
use crate::recording::Offered;
use crate::recording::{self, Offer};
use crate::sharing::Warned;
use crate::source;

/// The installation's policy, in the state folder.
pub(crate) const FILE: &str = "policy.toml";

/// Nobody answers for longer than this.
const LONGEST_WAIVER: Millis = Millis::secs(366 * 24 * 3600);

impl Control {
    /// The installation's policy, as it stands now.
    pub(crate) fn installation(&self) -> Result<Installation, Refusal> {
        installation(&self.0.home)
    }

    /// What breaks the policy of `to`, with who answers for it, in words of the stack file.
    pub(crate) fn violations(
        &self,
        to: &Release,
        changes: &[Change],
        built: Built<'_>,
    ) -> Result<Vec<Violation>, Refusal> {
        let id = &to.spec.id;
        let known = self.known(id);
        let serves = known.as_ref().and_then(Environment::current_release);
        let holds = known.as_ref().and_then(Environment::policy);
        let served = holds.as_ref();
        let installation = self.installation()?;
        let installation = installation.of(&id.env());
        let policies = [Some(&to.spec.policy), served, Some(installation)];
        let policies: Vec<&Policy> = policies.into_iter().flatten().collect();
        let way = self.way(to, built, &policies);
        let wanted = policy::Wanted {
            spec: &to.spec,
            changes,
            served,
            region: self.0.region.as_ref().map(Name::as_str),
            lost: &self.lost(serves, &to.spec),
            registry: &self.0.registry_address,
            way: way.as_ref(),
            today: &today,
        };
        let mut found = policy::violations(&wanted, installation);
        if let Some(env) = &known {
            found.extend(at_its_end(env, to, installation));
            policy::waive(&mut found, &env.waivers, now());
        }
        Ok(found)
    }

    /// Lets through what breaks no rule that denies it. Nothing is recorded of what is refused.
    ///
    /// # Errors
    /// [`Progress::Forbidden`], with places in the stack file of `dir` where there is one.
    pub(crate) fn permitted(
        &self,
        actor: &Actor,
        (spec, origin, built): Offered<'_>,
        dir: Option<&Path>,
        forced: Forced,
    ) -> Result<Allowed, Stop> {
        let env = self.known_or_new(&spec.id);
        let from = env.current_release();
        // Before anything is built it is held against the images that there are: what is found then stays true.
        let images = built.images.or(from.map(|from| &from.build.images));
        let images = images.cloned().unwrap_or_default();
        let offer = Offer {
            spec: spec.clone(),
            images,
            stack_file: built.stack_file.map(str::to_owned),
            provenance: None,
            origin: origin.cloned(),
            version: None,
            promoted: None,
        };
        let Some((to, changes)) = self.becoming(actor, &env, &offer, forced) else {
            return Ok(Allowed::default());
        };
        self.volumes_fit(spec)?;
        let mut warned = self.links_lead(from, spec)?;
        let mut found = self.violations(&to, &changes, built)?;
        let rendered = rendered(dir, spec, &mut found);
        if found.iter().any(Violation::is_denied) {
            return Err(Stop::Word(Box::new(Progress::Forbidden {
                env: Some(spec.id.clone()),
                rendered,
                violations: found,
                way_up: env.way_up(),
            })));
        }
        warned.extend(self.unsaid(from, spec, &found));
        warned.extend(self.past_its_gates(&to, built, &found));
        Ok(Allowed { found, warned })
    }

    /// The release that an offer would become, and what would be different by it; `None`: nothing would be done.
    fn becoming(
        &self,
        actor: &Actor,
        env: &Environment,
        offer: &Offer,
        forced: Forced,
    ) -> Option<(Release, Vec<Change>)> {
        let to = recording::release(&self.store().state(), env, actor, offer);
        let changes = changes(Between::Releases, env.current_release(), Some(&to));
        let nothing = changes.is_empty() && forced == Forced::No;
        (!nothing).then_some((to, changes))
    }

    /// What forbids an offer as things are now, with nobody who answers for it.
    pub(crate) fn forbidden(
        &self,
        actor: &Actor,
        offer: &Offer,
    ) -> Result<Vec<Violation>, Refusal> {
        let env = self.known_or_new(&offer.spec.id);
        let forced = self.told_anew(&env.id, offer.provenance.as_deref());
        let Some((to, changes)) = self.becoming(actor, &env, offer, forced) else {
            return Ok(Vec::new());
        };
        let found = self.violations(&to, &changes, offer.built())?;
        Ok(found.into_iter().filter(Violation::is_denied).collect())
    }

    fn known_or_new(&self, id: &EnvId) -> Environment {
        let known = self.known(id);
        known.unwrap_or_else(|| Environment::new(id.clone()))
    }

    /// Whether the rows of an environment may be brought to life here again: its data stays in its region, whatever a
    /// copy is asked for besides.
    pub(crate) fn stays_home(&self, spec: &EnvSpec) -> Result<(), Refusal> {
        let rule = Rule::Residency;
        let here = self.0.region.as_ref().map(Name::as_str);
        let Some((message, way_out)) = policy::abroad(spec, here) else {
            return Ok(());
        };
        let known = self.known(&spec.id);
        let waived = known.is_some_and(|env| env.waivers.of(rule, now()).is_some());
        if waived || self.may_lose(spec, rule)? {
            return Ok(());
        }
        let message =
            format!("{message}: its rows go nowhere from here ({rule}); nothing was changed");
        Err(Refusal::new(RefusalKind::Conflict, message).hint(way_out))
    }

    /// Whether an environment may be made as a copy: what the installation asks of all holds for it, too. How its build
    /// came where it serves is not asked again, unless `policy.toml` names the environment, or its stack file declares it,
    /// with these rules: a copy is no way around them.
    pub(crate) fn copy_permitted(
        &self,
        release: &Release,
        declared: Option<&Policy>,
    ) -> Result<(), Refusal> {
        let id = &release.spec.id;
        let known = self.known(id);
        // What was declared once has its rules until it is deleted.
        let has_rules =
            known.is_some_and(|env| !env.is_deleted() && !env.is_copy() && env.policy().is_some());
        let named = has_rules || declared.is_some() || self.installation()?.names(&id.env());
        let mut asked = Release {
            named: Some(named),
            ..release.clone()
        };
        if let Some(declared) = declared {
            asked.spec.policy.pipeline = declared.pipeline;
            asked.spec.policy.second_person = declared.second_person;
        }
        let mut denied = self.denied(None, &asked)?;
        denied.retain(|one| match one.rule {
            Rule::Pipeline | Rule::SecondPerson => named,
            // A copy comes and goes.
            Rule::DatabaseRemoved | Rule::VolumeRemoved => false,
            _ => true,
        });
        if denied.is_empty() {
            return Ok(());
        }
        if denied.iter().any(|one| one.origin == Origin::Stack) {
            return Err(not_moved(id, &denied));
        }
        let message = format!(
            "the installation's policy forbids {id}: {}; nothing was changed",
            all(&denied)
        );
        let ways = denied.iter().map(|one| one.way_out.as_str());
        let ways: Vec<&str> = ways.collect();
        let hint = format!(
            "{}; or another policy for `[environment.{}]` in {FILE}",
            ways.join("; "),
            id.env()
        );
        Err(Refusal::new(RefusalKind::Conflict, message).hint(hint))
    }

    /// Whether an environment may go from one release to another one that nobody deploys from a stack file: with other
    /// values, or forward to one that is there.
    pub(crate) fn move_permitted(
        &self,
        from: Option<&Release>,
        to: &Release,
    ) -> Result<(), Refusal> {
        let denied = self.denied(from, to)?;
        if denied.is_empty() {
            return Ok(());
        }
        Err(not_moved(&to.spec.id, &denied))
    }

    /// All that forbids it, with nobody who answers for it: who mends one thing shall not meet the next only then.
    fn denied(&self, from: Option<&Release>, to: &Release) -> Result<Vec<Violation>, Refusal> {
        let changes = changes(Between::Releases, from, Some(to));
        let found = self.violations(to, &changes, Built::from(&to.build))?;
        Ok(found.into_iter().filter(Violation::is_denied).collect())
    }

    /// Whether the data of an environment may be removed; its backups stay.
    pub(crate) fn may_purge(&self, state: &State, id: &EnvId) -> Result<(), Refusal> {
        let Some(env) = state.environment(id) else {
            return Ok(());
        };
        self.lets_go(env, data(env), Asked::Whatever)
    }

    /// Whether an environment may be deleted: what data it has goes, and its backups, which may be the only way back.
    pub(crate) fn may_delete(&self, env: &Environment) -> Result<(), Refusal> {
        self.lets_go(env, data(env).chain(backups(env)), Asked::UnlessCopy)
    }

    /// Whether an environment may come to its end by itself one day, with whatever data it has by then.
    pub(crate) fn may_expire(&self, env: &Environment) -> Result<(), Refusal> {
        let specs = env.releases.values().map(|release| &release.spec);
        self.lets_go(env, keeps(specs).chain(backups(env)), Asked::UnlessCopy)
    }

    /// Whether a rule lets data of an environment be removed, or somebody answers for it.
    pub(crate) fn may_remove(&self, env: &Environment, rule: Rule) -> Result<(), Refusal> {
        self.lets_go(env, [rule].into_iter(), Asked::Whatever)
    }

    fn lets_go(
        &self,
        env: &Environment,
        rules: impl Iterator<Item = Rule>,
        asked: Asked,
    ) -> Result<(), Refusal> {
        let rules: BTreeSet<Rule> = rules.collect();
        if rules.is_empty() {
            return Ok(());
        }
        let installation = self.installation()?;
        let installation = asked.of(env).then(|| installation.of(&env.id.env()));
        // Where nothing has served the newest release has said what shall hold.
        let newest = || env.releases.values().next_back();
        let newest = || newest().map(|release| release.spec.policy.clone());
        let own = env.policy().or_else(newest);
        let denied = rules.into_iter().filter(|rule| {
            let mut levels = own.iter().chain(installation);
            let waived = env.waivers.of(*rule, now()).is_some();
            !waived && levels.any(|policy| policy.level(*rule) == Level::Deny)
        });
        not_removed(&env.id, &denied.collect::<Vec<_>>())
    }

    /// Whether an environment that is declared so may come to its end by itself, and its data with it.
    pub(crate) fn may_end_by_itself(&self, spec: &EnvSpec) -> Result<(), Refusal> {
        self.installation()?;
        let kept = keeps(std::iter::once(spec))
            .filter(|rule| !self.may_lose(spec, *rule).unwrap_or_default());
        let lost = not_removed(&spec.id, &kept.collect::<Vec<_>>());
        lost.map_err(|refusal| refusal.hint("without --ttl it lasts until somebody deletes it"))
    }

    /// Whether data that a rule is about may go, whoever answers for it.
    fn may_lose(&self, spec: &EnvSpec, rule: Rule) -> Result<bool, Refusal> {
        let installation = self.installation()?;
        let holds = self.known(&spec.id).and_then(|env| env.policy());
        let own = [&spec.policy, installation.of(&spec.id.env())];
        let mut levels = own.into_iter().chain(&holds);
        Ok(levels.all(|policy| policy.level(rule) != Level::Deny))
    }

    /// The rules of an environment, and who answers for what; before its first release those that the stack file
    /// declares, where one is at hand.
    ///
    /// # Errors
    /// When there is no such environment, or the installation's policy cannot be read.
    pub fn policy(&self, request: &PolicyRequest) -> Result<PolicyView, Refusal> {
        let declared = self.declared_in(request);
        let id = match (self.environment(request.env.as_ref()), &declared) {
            (Ok(id), _) => id,
            (Err(_), Some(spec)) => spec.id.clone(),
            (Err(refusal), None) => return Err(refusal),
        };
        let env = self.known(&id);
        let serves = env.as_ref().and_then(Environment::current_release);
        let holds = env.as_ref().and_then(Environment::policy);
        let (own, of) = match (holds, declared) {
            (Some(policy), _) => (policy, RulesOf::Release),
            (None, Some(spec)) => (spec.policy, RulesOf::File),
            (None, None) => (Policy::default(), RulesOf::Nothing),
        };
        let outlasting = env.as_ref().zip(serves).and_then(|(env, serves)| {
            let declared = env.outlasting(&serves.spec.policy)?;
            Some(outlasting(serves, declared))
        });
        let release = serves.filter(|_| of == RulesOf::Release);
        let release = release.map(|release| release.id);
        let installation = self.installation()?;
        let installation = installation.of(&id.env());
        let ends_as_copy = env.as_ref().is_some_and(|env| !Asked::UnlessCopy.of(env));
        let rule = |rule: Rule| {
            let (mine, its) = (own.level(rule), installation.level(rule));
            let (level, origin) = match its > mine {
                true => (its, Origin::Installation),
                false => (mine, Origin::Stack),
            };
            let detail = match rule {
                Rule::MinInstances if level != Level::Off => {
                    Some(format!("{}", own.instances.max(installation.instances)))
                }
                Rule::Freeze => {
                    let all = own.freeze.iter().chain(&installation.freeze);
                    let all: Vec<String> = all.map(ToString::to_string).collect();
                    (!all.is_empty()).then(|| all.join(", "))
                }
                Rule::DatabaseRemoved | Rule::VolumeRemoved if its > mine && ends_as_copy => {
                    Some("not where it is deleted or ends: it is a copy".to_owned())
                }
                _ => None,
            };
            RuleView {
                rule,
                level,
                origin,
                detail,
                about: rule.about().to_owned(),
            }
        };
        let waivers = env.map(|env| env.waivers.0).unwrap_or_default();
        let waivers = waivers.into_iter().map(|(rule, waiver)| WaiverView {
            rule,
            holds: now() < waiver.until,
            waiver,
        });
        Ok(PolicyView {
            env: id,
            rules: Rule::ALL.map(rule).into(),
            waivers: waivers.collect(),
            of,
            release,
            outlasting,
        })
    }

    /// Lets a rule be broken until a date, or no longer.
    ///
    /// # Errors
    /// When there is no such environment, and none is declared, no reason, or the date is none.
    pub async fn waive(
        &self,
        actor: &Actor,
        request: &WaiveRequest,
    ) -> Result<PolicyView, Refusal> {
        let id = self.to_answer_for(request)?;
        if let Some(until) = request.until {
            answerable(until, &request.why)?;
        }
        let desk = self.desk_for(&request.why).await;
        let rule = request.rule;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            // One that is protected before its first release is made by whoever answers for it.
            let (env, mut events) = known_or_awaited(state, &id);
            let (by, why) = (actor.who.clone(), request.why.trim().to_owned());
            let event = match request.until {
                Some(until) => Event::PolicyWaived {
                    env: id.clone(),
                    rule,
                    until,
                    reason: why,
                    by,
                },
                None if env.waivers.of(rule, now()).is_none() => {
                    let message = format!("{rule} is not waived in {id}; nothing was changed");
                    return Err(Refusal::new(RefusalKind::Conflict, message)
                        .hint("`ward policy show` lists the waivers"));
                }
                None => Event::PolicyEnforced {
                    env: id.clone(),
                    rule,
                    by,
                },
            };
            events.push(event);
            Ok(((), events))
        });
        deciding.await?;
        drop(desk);
        self.policy(&PolicyRequest {
            env: Some(id),
            dir: request.dir.clone(),
        })
    }

    /// The environment of a waiver: it is there, or the stack file declares it.
    fn to_answer_for(&self, request: &WaiveRequest) -> Result<EnvId, Refusal> {
        let refusal = match self.alive(request.env.as_ref()) {
            Ok(id) => return Ok(id),
            Err(refusal) => refusal,
        };
        let declared = self.declared_in(&PolicyRequest {
            env: request.env.clone(),
            dir: request.dir.clone(),
        });
        match declared.filter(|_| request.until.is_some()) {
            Some(spec) => Ok(spec.id),
            None => Err(refusal),
        }
    }

    /// What a stack file declares for the environment that is asked for. What is wrong with it `ward check` tells.
    fn declared_in(&self, request: &PolicyRequest) -> Option<EnvSpec> {
        let (id, dir) = (request.env.as_ref()?, request.dir.as_ref()?);
        let (spec, ..) = self.resolved(Path::new(dir), &id.env()).ok()?;
        (spec.id == *id).then_some(spec)
    }
}

/// What is to be said of what is let through.
#[derive(Default)]
pub(crate) struct Allowed {
    /// What the policy warns of, and who answers for what it forbids.
    pub(crate) found: Vec<Violation>,
    /// What else speaks against it.
    pub(crate) warned: Vec<Warned>,
}

/// Whose rules are asked before data goes, beside the environment's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The installation's.
    Whatever,
    /// The installation's, unless it is a copy: those come and go, but for one that a release of its own protects.
    UnlessCopy,
}

impl Asked {
    /// Whether the installation's are.
    fn of(self, env: &Environment) -> bool {
        self == Asked::Whatever || !env.is_copy()
    }
}

/// Whether a deploy makes a release of what serves already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forced {
    No,
    Yes,
}

impl Forced {
    pub(crate) fn or(self, other: Self) -> Self {
        match self {
            Forced::Yes => self,
            Forced::No => other,
        }
    }
}

/// That the rules of a newer build hold on, in a sentence without a full stop.
pub(crate) fn outlasting(serves: &Release, declared: &Declared) -> String {
    let (id, version) = (serves.id, &declared.version);
    format!(
        "{id} asks for less than {version} did, whose rules hold on: a release goes back, rules do not"
    )
}

/// What is known of a build before it is made.
pub(crate) fn unmade(stack_file: &str) -> Built<'_> {
    Built {
        images: None,
        stack_file: Some(stack_file),
    }
}

/// One that is made.
pub(crate) fn made_of<'a>(images: &'a BTreeMap<Name, Digest>, stack_file: &'a str) -> Built<'a> {
    Built {
        images: Some(images),
        stack_file: Some(stack_file),
    }
}

/// What is forbidden, as clauses in one sentence.
pub(crate) fn all(violations: &[Violation]) -> String {
    let denied = violations.iter().filter(|one| one.is_denied());
    let clauses = denied.map(|one| format!("{} ({})", one.message, one.rule));
    clauses.collect::<Vec<_>>().join("; ")
}

/// That rules keep an environment from a release.
fn not_moved(id: &EnvId, denied: &[Violation]) -> Refusal {
    let message = format!(
        "the policy of {id} forbids it: {}; nothing was changed",
        all(denied)
    );
    let ways = denied.iter().map(|one| format!("{}, or", one.way_out));
    let waivers = waivers(id, denied.iter().map(|one| one.rule));
    let hint = ways.chain(waivers).collect::<Vec<_>>().join("\n");
    Refusal::new(RefusalKind::Conflict, message).hint(hint)
}

/// By what somebody answers for breaking rules, each once.
fn waivers(id: &EnvId, rules: impl Iterator<Item = Rule>) -> Vec<String> {
    let rules: BTreeSet<Rule> = rules.collect();
    let waiver = |rule: Rule| format!("{} answers for it", rule.waiver(Some(id)));
    rules.into_iter().map(waiver).collect()
}

/// That rules keep the data of an environment.
fn not_removed(id: &EnvId, denied: &[Rule]) -> Result<(), Refusal> {
    if denied.is_empty() {
        return Ok(());
    }
    let rules: Vec<&str> = denied.iter().map(|rule| rule.as_str()).collect();
    let message = format!(
        "the policy of {id} forbids to remove its data ({}); nothing was changed",
        rules.join(", ")
    );
    let hint = waivers(id, denied.iter().copied()).join("\n");
    let hint = format!("`ward down` keeps the data;\n{hint}");
    Err(Refusal::new(RefusalKind::Conflict, message).hint(hint))
}

/// The rules that are asked before what an environment holds is removed.
fn keeps<'a>(specs: impl Iterator<Item = &'a EnvSpec>) -> impl Iterator<Item = Rule> {
    let (mut databases, mut volumes) = (false, false);
    for spec in specs {
        databases |= !spec.databases.is_empty();
        volumes |= !spec.volumes.is_empty();
    }
    let databases = databases.then_some(Rule::DatabaseRemoved);
    databases
        .into_iter()
        .chain(volumes.then_some(Rule::VolumeRemoved))
}

/// The rules that are asked before the data that an environment has is removed.
fn data(env: &Environment) -> impl Iterator<Item = Rule> {
    // Nothing is to be lost where no release has come so far as to serve on it, or its removal is under way.
    let there = env.data == DataState::Kept && !env.is_being_purged();
    // What an earlier release had may be there still, whatever serves.
    let releases = env.releases.values().filter(move |_| there);
    keeps(releases.map(|release| &release.spec))
}

/// The rule that is asked before the backups of an environment are removed.
fn backups(env: &Environment) -> Option<Rule> {
    (!env.backups.all.is_empty()).then_some(Rule::DatabaseRemoved)
}

/// What keeps data that goes when the time of its environment is over, which nobody is asked about then.
fn at_its_end(env: &Environment, to: &Release, installation: &Policy) -> Vec<Violation> {
    // A life that is over has had its end.
    let Some(expiry) = env.life.expires.filter(|_| !env.is_deleted()) else {
        return Vec::new();
    };
    let holds = env.policy();
    let own = std::iter::once(&to.spec.policy).chain(&holds);
    let own = own.map(|policy| (policy, Origin::Stack));
    let installation = (installation, Origin::Installation);
    let asked = to.is_named() || Asked::UnlessCopy.of(env);
    let installation = asked.then_some(installation);
    let levels: Vec<(&Policy, Origin)> = own.chain(installation).collect();
    let releases = env.releases.values().chain(std::iter::once(to));
    let kept = keeps(releases.map(|release| &release.spec));
    let rules: BTreeSet<Rule> = kept.chain(backups(env)).collect();
    let broken = rules.into_iter().filter_map(|rule| {
        let of = |(policy, origin): &(&Policy, Origin)| (policy.level(rule), *origin);
        let (level, origin) = levels
            .iter()
            .rev()
            .map(of)
            .max_by_key(|(level, _)| *level)?;
        (level != Level::Off).then(|| Violation {
            rule,
            level,
            origin,
            path: format!("policy.{rule}"),
            message: format!("{} ends on {}, and its data with it", env.id, expiry.at),
            way_out: format!("`ward env extend {} --forever`", env.id),
            place: None,
            waived: None,
        })
    });
    broken.collect()
}

fn answerable(until: Timestamp, why: &str) -> Result<(), Refusal> {
    let refused = |message: String| Err(Refusal::new(RefusalKind::Invalid, message));
    if !says_anything(why) {
        return refused("a waiver needs a reason (--why)".to_owned());
    }
    if until <= now() {
        return refused(format!("{until} is over; a waiver ends in the future"));
    }
    if until > now() + LONGEST_WAIVER {
        return refused(format!(
            "{until} is too far away; a waiver ends within a year"
        ));
    }
    Ok(())
}

/// The installation's policy in this state folder; without the file there is none.
///
/// # Errors
/// Everything that is wrong with it.
pub fn installation(home: &Path) -> Result<Installation, Refusal> {
    let path = home.join(FILE);
    let hint = "until it is mended nothing is deployed; going back is possible";
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Installation::default()),
        Err(error) => {
            let message = format!(
                "the installation's policy {} cannot be read",
                path.display()
            );
            return Err(Refusal::failed(&message, &error).hint(hint));
        }
    };
    ward_stack::installation(&text).map_err(|mistakes| {
        let shown = ward_stack::render(
            &path.display().to_string(),
            &text,
            &mistakes,
            Look::Plain,
            100,
        );
        let message = format!(
            "the installation's policy has mistakes:\n{}",
            shown.trim_end()
        );
        Refusal::new(RefusalKind::Conflict, message).hint(hint)
    })
}

/// What breaks the policy for people: underlined in the stack file where there is one.
pub(crate) fn rendered(dir: Option<&Path>, spec: &EnvSpec, found: &mut [Violation]) -> String {
    let file = dir.and_then(|dir| source::read(dir).ok());
    let Some((name, text)) = file.filter(|_| !found.is_empty()) else {
        let lines = found.iter().map(|one| {
            format!(
                "  {}: {} ({})\n    instead: {}\n",
                one.path, one.message, one.rule, one.way_out
            )
        });
        return lines.collect();
    };
    let mistakes = ward_stack::violations(&name, &text, &spec.id.env(), found);
    let shown = ward_stack::render(&name, &text, &mistakes, Look::Plain, 100);
    // The last line counts them as mistakes of the file, which they are not.
    let end = shown.trim_end().rfind('\n').map_or(0, |at| at + 1);
    shown[..end].to_owned()
}

/// Which day it is in a time zone that this machine knows.
pub fn today(zone: &str) -> Option<Day> {
    let zone = match zone {
        "UTC" => TimeZone::UTC,
        zone => TimeZone::get(zone).ok()?,
    };
    let date = jiff::Timestamp::now().to_zoned(zone).date();
    Some(Day {
        year: u16::try_from(date.year()).ok()?,
        month: u8::try_from(date.month()).ok()?,
        day: u8::try_from(date.day()).ok()?,
    })
}
