//! One build for several environments, brought to one after the other.
//!
//! Decision: everything that can be known before is found out before the first of them changes: what the stack
//! file says of each, whether each can run beside the others, and every image. From there on each environment
//! has a deployment like any other; the first that does not succeed is the last that is begun, because those
//! behind it are there to be protected from what failed before them.
//!
//! Nobody waits meanwhile for an environment whose turn is far away: its lane is left when its images are made, and
//! taken again at its turn. Who came in between was later than this command, and is not overruled ([`crate::moved`]).

use std::path::Path;

use ward_types::id::{EnvId, Name};
use ward_types::life::Origin;
use ward_types::release::{Build, Environment, Verdict};
use ward_types::source::Provenance;
use ward_types::spec::EnvSpec;
use ward_types::view::{EachRequest, Held, Others, Progress, Unchanged, Until};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::admission::Admitted;
use crate::builds::Building;
use crate::control::Control;
use crate::deploy::{Steps, Stop, ended_builds, say, unreadable, warned_of, with_strategy};
use crate::hosts::apart;
use crate::making::{Made, Once, turn_of};
use crate::moved::Since;
use crate::policing::{Forced, made_of, unmade};
use crate::recording::{Offer, Settled, Terms, provenance_of};
use crate::source;

/// One environment whose turn is to come.
struct Next<'a> {
    building: Building,
    since: Since,
    made: Made<'a>,
    declared: Declared,
}

/// What an environment should be, and what it is a copy of.
type Declared = (EnvSpec, Option<Origin>);

impl Control {
    /// Builds once, then deploys to each environment in their order; tells how it goes, to the end.
    pub async fn deploy_each(self, actor: Actor, request: EachRequest, steps: Steps) {
        let last = match self.each(&actor, &request, &steps).await {
            Ok(last) => last,
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn each(
        &self,
        actor: &Actor,
        request: &EachRequest,
        steps: &Steps,
    ) -> Result<Progress, Stop> {
        let (all, text) = self.declared(request)?;
        let specs: Vec<&EnvSpec> = all.iter().map(|(spec, _)| spec).collect();
        apart(&specs)?;
        let (dir, forced) = (Path::new(&request.dir), forced(request));
        let each: Vec<_> = all
            .iter()
            .map(|(spec, from)| (spec, from.as_ref()))
            .collect();
        let stack = specs.first().map(|spec| spec.id.stack());
        if let Some(stack) = stack {
            self.declarable(&stack, &each, Some(&text)).await?;
        }
        for (spec, origin) in &all {
            self.reasoned(actor, &request.why, spec)?;
            let offered = (spec, origin.as_ref(), unmade(&text));
            self.permitted(actor, offered, Some(dir), forced)?;
        }
        let provenance = provenance_of(dir).await;
        let all = self.all_made(actor, request, all, steps).await?;
        let names: Vec<Name> = request.envs.clone();
        let of = names.len();
        let mut version = None;
        let mut served = Vec::new();
        for (at, next) in all.into_iter().enumerate() {
            let env = next.declared.0.id.clone();
            say(steps, format!("{env}: {} of {of}", at + 1)).await;
            let offer = (text.as_str(), version.clone(), provenance.clone());
            let outcome = match self.one(actor, request, next, offer, steps).await {
                Ok(settled) => {
                    let build = self.build_of(&env, &settled);
                    version = version.or_else(|| Some(build.as_ref()?.version.clone()));
                    served.extend(build);
                    let until = Until::Verdict;
                    self.seen_through(&env, settled, until, steps).await
                }
                Err(stop) => {
                    self.record_end(actor, &request.why, &env, &stop).await;
                    stop.word()
                }
            };
            let succeeded = succeeded(&outcome);
            let outcome = Progress::Environment {
                env: env.clone(),
                number: at + 1,
                of,
                outcome: Box::new(outcome),
            };
            let _ = steps.send(outcome).await;
            if !succeeded {
                return Ok(stopped(&env, &names[at + 1..]));
            }
        }
        Ok(Progress::Done {
            message: all_serve(&names, &served),
            addresses: Vec::new(),
        })
    }

    /// The images of all of them, before the first is deployed.
    async fn all_made(
        &self,
        actor: &Actor,
        request: &EachRequest,
        declared: Vec<Declared>,
        steps: &Steps,
    ) -> Result<Vec<Next<'_>>, Stop> {
        let lanes = self.lanes(actor, request, &declared, steps).await?;
        let (once, dir) = (Once::default(), Path::new(&request.dir));
        let mut all = Vec::new();
        for (declared, (building, asked)) in declared.into_iter().zip(lanes) {
            let spec = &declared.0;
            let making = async {
                turn_of(&building, steps).await;
                let since = asked.unwrap_or_else(|| self.since_now());
                let made = self.images_made(dir, spec, &building, &once, steps);
                Ok((since, made.await?))
            };
            let made = tokio::select! {
                biased;
                end = building.ended() => Err(self.cut_off(&building, &spec.id, &end).into()),
                made = making => made,
            };
            building.step_aside();
            match made {
                Ok((since, made)) => all.push(Next {
                    building,
                    since,
                    made,
                    declared,
                }),
                Err(stop) => {
                    self.record_end(actor, &request.why, &spec.id, &stop).await;
                    return Err(stop);
                }
            }
        }
        Ok(all)
    }

    /// A place in the lane of each environment, and since when it must not be moved by others; that begins with its
    /// turn where some were ahead, because they were asked for before. Taken all at once at the desk: two of these
    /// that name the same environments in different orders would wait for each other for ever.
    async fn lanes(
        &self,
        actor: &Actor,
        request: &EachRequest,
        declared: &[Declared],
        steps: &Steps,
    ) -> Result<Vec<(Building, Option<Since>)>, Refusal> {
        let doors: Result<Vec<Admitted>, Refusal> = declared.iter().map(|_| self.admit()).collect();
        let doors = doors?;
        let desk = self.desk().await;
        let begun = declared.iter().zip(doors);
        let lanes: Vec<Building> = begun
            .map(|((spec, _), door)| self.0.builds.begin(&spec.id, actor, door))
            .collect();
        let over = match request.others {
            Others::Cancel => lanes.iter().flat_map(|b| b.supersede(actor)).collect(),
            Others::Wait => Vec::new(),
        };
        let now = self.since_now();
        let since = |building: &Building| building.ahead().is_none().then_some(now);
        let lanes = lanes.into_iter().map(|building| {
            let since = since(&building);
            (building, since)
        });
        let lanes = lanes.collect();
        drop(desk);
        ended_builds(&over, "superseded", steps).await;
        Ok(lanes)
    }

    async fn one(
        &self,
        actor: &Actor,
        request: &EachRequest,
        next: Next<'_>,
        (text, version, provenance): (&str, Option<String>, Option<Box<Provenance>>),
        steps: &Steps,
    ) -> Result<Settled, Stop> {
        let Next {
            mut building,
            since,
            made,
            declared: (spec, origin),
        } = next;
        let id = spec.id.clone();
        building.come_back();
        tokio::select! {
            biased;
            end = building.ended() => return Err(self.cut_off(&building, &id, &end).into()),
            () = turn_of(&building, steps) => {}
        }
        let desk = self.desk_for(&request.why).await;
        let wanted = building.wanted();
        wanted.map_err(|end| self.cut_off(&building, &id, &end))?;
        let (dir, built) = (Path::new(&request.dir), made_of(&made.images, text));
        let forced = forced(request).or(self.told_anew(&id, provenance.as_deref()));
        let warned = self.permitted(actor, (&spec, origin.as_ref(), built), Some(dir), forced)?;
        let offer = Offer {
            spec,
            images: made.images.clone(),
            stack_file: Some(text.to_owned()),
            provenance,
            origin,
            version,
            promoted: None,
        };
        self.unmoved(&desk, since, &offer)?;
        let terms = Terms {
            why: &request.why,
            unchanged: request.unchanged,
            others: request.others,
            rollback: Held::Superseded,
            made: None,
            stage_of: None,
            plan: None,
        };
        let settled = self.recorded(&desk, actor, terms, &offer).await?;
        drop((building, made, desk));
        self.live(&id);
        warned_of(&warned, steps).await;
        Ok(settled)
    }

    /// The build that an environment came to.
    fn build_of(&self, env: &EnvId, settled: &Settled) -> Option<Build> {
        let known: Environment = self.known(env)?;
        let release = settled.release(&known)?;
        Some(known.releases.get(&release)?.build.clone())
    }
}

impl Control {
    /// What each environment should be, by one reading of the stack file.
    fn declared(&self, request: &EachRequest) -> Result<(Vec<Declared>, String), Stop> {
        named_once(&request.envs)?;
        let (name, text) = source::read(Path::new(&request.dir)).map_err(unreadable)?;
        let mut all = Vec::new();
        for env in &request.envs {
            let (mut spec, origin) = self.resolved_in(&name, &text, env)?;
            with_strategy(&mut spec, request.strategy.as_ref())?;
            all.push((spec, origin));
        }
        Ok((all, text))
    }
}

fn forced(request: &EachRequest) -> Forced {
    match request.unchanged {
        Unchanged::Keep => Forced::No,
        Unchanged::Redeploy => Forced::Yes,
    }
}

/// At least one environment, and none of them twice.
pub(crate) fn named_once(envs: &[Name]) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(RefusalKind::Invalid, message));
    let twice = |name: &&Name| envs.iter().filter(|other| other == name).count() > 1;
    match envs.iter().find(twice) {
        _ if envs.is_empty() => invalid("no environment is named".to_owned()),
        Some(twice) => invalid(format!("the environment {twice} is named twice")),
        None => Ok(()),
    }
}

fn succeeded(outcome: &Progress) -> bool {
    match outcome {
        Progress::Done { .. } => true,
        Progress::Ended { deployment, .. } => deployment.verdict == Some(Verdict::Succeeded),
        _ => false,
    }
}

fn stopped(env: &EnvId, left: &[Name]) -> Progress {
    let rest = match left {
        [] => String::new(),
        [one] => format!("; {one} was not begun"),
        several => format!("; {} were not begun", listed(several)),
    };
    Progress::Failed {
        message: format!("{env} did not succeed{rest}"),
        hint: Some(
            "mend it, and run the same command again: what serves already is left as it is"
                .to_owned(),
        ),
    }
}

/// What serves in them in the end. Who had something that is the same but for its version keeps that.
fn all_serve(names: &[Name], served: &[Build]) -> String {
    let Some((first, others)) = served.split_first() else {
        return format!("nothing changed in {}", listed(names));
    };
    let version = &first.version;
    if others.iter().all(|other| other.version == *version) {
        return format!("{version} serves in {}", listed(names));
    }
    let what = match others.iter().all(|other| other.images == first.images) {
        true => "the same images serve",
        false => "what the stack file says serves",
    };
    let each = names.iter().zip(served);
    let each: Vec<String> = each
        .map(|(name, build)| format!("{name} ({})", build.version))
        .collect();
    format!("{what} in {}", listed(&each))
}

/// `dev, test and qa`.
fn listed(names: &[impl ToString]) -> String {
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let last = names.pop().unwrap_or_default();
    match names.is_empty() {
        true => last,
        false => format!("{} and {last}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<Name> {
        let names = text.split_whitespace();
        names
            .map(|name| Name::parse(name).expect("a name"))
            .collect()
    }

    #[test]
    fn what_was_not_begun_is_said() {
        let env = EnvId::parse("shop/qa").expect("an id");
        let said = |left: &str| match stopped(&env, &names(left)) {
            Progress::Failed { message, .. } => message,
            _ => String::new(),
        };
        assert_eq!(said(""), "shop/qa did not succeed");
        assert_eq!(said("prod"), "shop/qa did not succeed; prod was not begun");
        let several = "shop/qa did not succeed; prod, eu and us were not begun";
        assert_eq!(said("prod eu us"), several);
    }

    #[test]
    fn an_environment_is_named_once_and_at_least_one_is() {
        let refused = |envs: &str| match named_once(&names(envs)) {
            Err(refusal) => refusal.message,
            Ok(()) => String::new(),
        };
        assert_eq!(refused(""), "no environment is named");
        assert_eq!(refused("dev qa dev"), "the environment dev is named twice");
        assert_eq!(refused("dev qa"), "");
    }
}
