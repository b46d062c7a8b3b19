//! Promotion: another environment gets the build that serves in one, the same images by digest and the same
//! stack file, resolved for it. Nothing is built.
//!
//! What is refused: a release that never succeeded where it comes from, because then nobody has seen it work;
//! another stack's; an environment that the stack file of that build does not declare; one whose overrides
//! build or fetch a service from elsewhere, because then other images than those that were tried would serve; and a build
//! that has not passed the gates before that environment, where its stack file has a pipeline that leads there.

use std::collections::BTreeMap;

use ward_plan::pipeline::Bar;
use ward_store::Log;
use ward_types::event::State;
use ward_types::id::{Digest, EnvId, Name, ReleaseId};
use ward_types::life::Origin;
use ward_types::release::{Build, Environment, Goal, Promoted, Release};
use ward_types::source::KeptBuild;
use ward_types::spec::EnvSpec;
use ward_types::view::{Held, PromoteRequest, Unchanged};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::control::Control;
use crate::deploy::{Steps, Stop, say, stack_of, warned_of};
use crate::images::Images;
use crate::recording::{Offer, Settled, Terms};

impl Control {
    /// Releases the build of one environment in another one; tells how it goes, to the end.
    pub async fn promote(self, actor: Actor, request: PromoteRequest, steps: Steps) {
        let last = match self.promoted(&actor, &request, &steps).await {
            Ok(settled) => {
                let (env, until) = (&request.to, request.until);
                self.seen_through(env, settled, until, &steps).await
            }
            Err(stop) => stop.word(),
        };
        self.warn(&steps).await;
        let _ = steps.send(last).await;
    }

    async fn promoted(
        &self,
        actor: &Actor,
        request: &PromoteRequest,
        steps: &Steps,
    ) -> Result<Settled, Stop> {
        let _admitted = self.admit()?;
        // Nothing is collected until the release refers to the images, too.
        let _unrecorded = self.0.unrecorded.read().await;
        let offer = self.promotable(request)?;
        self.releasable(&offer.spec, offer.origin.as_ref()).await?;
        let (from, version) = (&request.from, offer.version.as_deref().unwrap_or_default());
        say(steps, format!("{version} of {from} is taken as it is")).await;
        self.images_at_hand(&offer).await?;
        let desk = self.desk_for(&request.why).await;
        // Again, where nobody else decides: somebody may have denied the build meanwhile, or rolled it back.
        let again = self.promotable(request)?;
        if again.images != offer.images || again.version != offer.version {
            let message = format!("{from} serves another build by now; nothing was promoted");
            return Err(Refusal::new(RefusalKind::Conflict, message).into());
        }
        let forced = self.told_anew(&offer.spec.id, offer.provenance.as_deref());
        let warned = self.permitted(actor, offer.as_offered(), None, forced)?;
        let terms = Terms {
            why: &request.why,
            unchanged: Unchanged::Keep,
            others: request.others,
            rollback: Held::Superseded,
            made: None,
            stage_of: None,
            plan: None,
        };
        let settled = self.recorded(&desk, actor, terms, &offer).await?;
        drop(desk);
        self.live(&request.to);
        warned_of(&warned, steps).await;
        Ok(settled)
    }

    /// What a promotion would release.
    pub(crate) fn promotable(&self, request: &PromoteRequest) -> Result<Offer, Stop> {
        same_stack(&request.from, &request.to)?;
        let from = self.environment(Some(&request.from))?;
        let env = self.known(&from).unwrap_or_else(|| Environment::new(from));
        let release = tried(&env, request.release)?;
        let state = self.store().state();
        let named = format!("ward.toml of {} {}", env.id, release.id);
        let resolve = |name: &str, text: &str| self.resolved_in(name, text, &request.to.env());
        let offer = offered(&env.id, release, resolve)?;
        let made = (&release.build, &BTreeMap::new());
        self.by_its_pipeline(&state, made, &request.to, &named)?;
        Ok(offer)
    }

    pub(crate) async fn images_at_hand(&self, offer: &Offer) -> Result<(), Refusal> {
        self.images_ready(&offer.spec.id, &offer.images).await
    }

    /// Unpacks what is not unpacked; not for whoever has the desk.
    pub(crate) async fn images_ready(
        &self,
        env: &EnvId,
        images: &BTreeMap<Name, Digest>,
    ) -> Result<(), Refusal> {
        for (name, digest) in images {
            let repository = Images::repository(&env.stack(), name);
            let ready = self.0.images.ready(&repository, digest).await;
            ready.map_err(|error| {
                Refusal::failed(&format!("the image of {name} cannot be used"), &error)
                    .hint(self.untouched(env))
            })?;
        }
        Ok(())
    }

    /// Whether a pipeline lets a build go to an environment by hand: none has kept it back, and it has passed the gates
    /// that its own stack file puts before that environment, by the checks that it was made beside.
    pub(crate) fn by_its_pipeline(
        &self,
        state: &State,
        (build, checks): (&Build, &BTreeMap<String, Digest>),
        to: &EnvId,
        named: &str,
    ) -> Result<(), Stop> {
        let refused = |why: String, hint: String| {
            let refusal = Refusal::new(RefusalKind::Conflict, why).hint(hint);
            Err(Stop::Refused(refusal))
        };
        if let Some(Bar { run, what }) = ward_plan::pipeline::bars(state, (build, checks), to) {
            let (stands, hint) = match run.is_over() {
                true => {
                    let hint = "`ward pipeline show` says more; `ward pipeline run` begins anew";
                    (run.stands(), hint.to_owned())
                }
                false => self.stands_now(run),
            };
            return refused(format!("{what}: {stands}"), hint);
        }
        // Of a build that an older Ward made nobody knows; it is refused elsewhere.
        let Some(text) = &build.stack_file else {
            return Ok(());
        };
        let pipelines = stack_of(named, text)?.pipelines;
        let Some(unpassed) = ward_plan::pipeline::unpassed(state, (build, checks), to, &pipelines)
        else {
            return Ok(());
        };
        let (version, pipeline, gates) = (&build.version, &unpassed.pipeline, &unpassed.gates);
        let message = format!(
            "{version} has not passed the gates before {to} in the pipeline {pipeline} ({}); nothing was changed",
            gates.join(", ")
        );
        let stack = to.stack();
        let is_kept = |kept: &KeptBuild| kept.stack == stack && kept.build == *build;
        let hint = match self.kept_builds().iter().any(is_kept) {
            true => format!(
                "`ward pipeline run {pipeline} --build {version}` brings it there by its gates"
            ),
            false => format!(
                "`ward pipeline run {pipeline}` in its folder brings what lies there by its gates"
            ),
        };
        refused(message, hint)
    }
}

fn same_stack(from: &EnvId, to: &EnvId) -> Result<(), Refusal> {
    let refused = |message: String| Err(Refusal::new(RefusalKind::Invalid, message));
    match (from == to, from.stack() == to.stack()) {
        (true, _) => refused(format!("{from} cannot be promoted to itself")),
        (_, false) => refused(format!(
            "{from} and {to} are environments of different stacks: a build stays within its stack"
        )),
        (false, true) => Ok(()),
    }
}

/// The release that is asked for, or the one that serves; in any case one that succeeded there.
fn tried(env: &Environment, asked: Option<ReleaseId>) -> Result<&Release, Refusal> {
    let refused = |kind, message: String| Refusal::new(kind, message);
    let list = format!(
        "`ward releases --env {}` lists what succeeded there",
        env.id
    );
    let Some(asked) = asked else {
        let serves = env.current_release().filter(|_| env.goal == Goal::Up);
        return serves.ok_or_else(|| {
            let message = format!(
                "nothing serves in {}, so there is nothing to promote",
                env.id
            );
            let first = env.way_up();
            let first = first.unwrap_or_else(|| format!("deploy to {} first", env.id));
            let hint = format!("{first}; or name a release with --release");
            refused(RefusalKind::Conflict, message).hint(hint)
        });
    };
    let Some(release) = env.releases.get(&asked) else {
        let message = format!("{} has no release {asked}, or retains it no more", env.id);
        return Err(refused(RefusalKind::NotFound, message).hint(list));
    };
    match env.once_served().any(|id| id == asked) {
        true => Ok(release),
        false => {
            let message = format!(
                "{asked} never succeeded in {}, so it is not promoted",
                env.id
            );
            Err(refused(RefusalKind::Conflict, message).hint(list))
        }
    }
}

/// The same build for another environment.
pub(crate) fn offered(
    from: &EnvId,
    release: &Release,
    resolve: impl FnOnce(&str, &str) -> Result<(EnvSpec, Option<Origin>), Stop>,
) -> Result<Offer, Stop> {
    let Some(text) = &release.build.stack_file else {
        let message = format!(
            "{} of {from} was made by an older Ward, which did not keep its stack file",
            release.id
        );
        let hint = format!("deploy to {from} again, with --force where nothing changed");
        return Err(Refusal::new(RefusalKind::Conflict, message)
            .hint(hint)
            .into());
    };
    let name = format!("ward.toml of {from} {}", release.id);
    let (spec, origin) = resolve(&name, text)?;
    let images = same_images(&release.spec, &release.build.images, &spec)?;
    Ok(Offer {
        spec,
        images,
        stack_file: Some(text.clone()),
        provenance: release.build.provenance.clone(),
        origin,
        version: Some(release.build.version.clone()),
        promoted: Some(Promoted {
            env: from.clone(),
            release: release.id,
        }),
    })
}

/// The images of a build that was made as `declared` says, for what is made in the same way.
pub(crate) fn same_images(
    declared: &EnvSpec,
    images: &BTreeMap<Name, Digest>,
    spec: &EnvSpec,
) -> Result<BTreeMap<Name, Digest>, Refusal> {
    let from = &declared.id;
    let image = |name: &Name| {
        let source = |spec: &EnvSpec| spec.services.get(name).map(|s| s.source.clone());
        let same = source(declared) == source(spec);
        let digest = images.get(name).filter(|_| same);
        digest.cloned().ok_or_else(|| {
            let to = &spec.id;
            let message = format!(
                "{to} makes the image of {name} in another way than {from}: the images that were tried there are not \
                 those that would serve"
            );
            let hint = format!(
                "take `build` and `image` of {name} out of `[environment.{}]`, or use `ward deploy --env {}`",
                to.env(),
                to.env()
            );
            Refusal::new(RefusalKind::Conflict, message).hint(hint)
        })
    };
    let services = spec.services.keys();
    services
        .map(|name| Ok((name.clone(), image(name)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use ward_types::release::{Phase, Verdict};
    use ward_types::time::Timestamp;

    use super::*;
    use crate::deploy::mistaken;

    const FILE: &str = r#"
stack = { name = "shop", version = "1.0" }
[service.web]
image = "web:1"
[environment.qa]
[environment.prod]
service.web.instances = 3
[environment.own]
service.web.image = "other:1"
"#;

    fn id(name: &str) -> EnvId {
        EnvId::parse(name).expect("an id")
    }

    fn resolve(env: &str) -> impl Fn(&str, &str) -> Result<(EnvSpec, Option<Origin>), Stop> {
        let env = id(env).env();
        move |name, text| match stack_of(name, text)?.resolve(&env) {
            Ok(spec) => Ok((spec, None)),
            Err(mistakes) => Err(mistaken(name, text, &mistakes)),
        }
    }

    fn release(number: u64) -> Release {
        let spec = resolve("shop/qa")("ward.toml", FILE).map(|(spec, _)| spec);
        let digest = Digest::from_sha256(&[7; 32]);
        Release {
            id: ReleaseId(number),
            build: Build {
                version: format!("1.0.{number}"),
                images: BTreeMap::from([(Name::parse("web").expect("a name"), digest)]),
                stack_file: Some(FILE.to_owned()),
                provenance: None,
            },
            spec: spec.ok().expect("it holds no mistake"),
            config: ward_types::configuration::Configured::default(),
            secrets: BTreeMap::new(),
            recorded: Timestamp(1),
            by: "anna".into(),
            named: None,
            promoted: None,
        }
    }

    /// r1 succeeded, r2 did not.
    fn qa() -> Environment {
        let mut env = Environment::new(id("shop/qa"));
        env.releases = [1, 2].map(|n| (ReleaseId(n), release(n))).into();
        env.current = Some(ReleaseId(1));
        for (number, verdict) in [(1, Verdict::Succeeded), (2, Verdict::FailedOldServing)] {
            let text = format!(
                r#"{{"id":{number},"reason":"deploy","from":null,"to":{number},"requested":1,"started":1,
                "phase_since":1,"by":"anna","phase":{{"state":"queued"}}}}"#
            );
            let mut deployment: ward_types::release::Deployment =
                serde_json::from_str(&text).expect("a deployment");
            deployment.phase = Phase::Finished {
                verdict,
                failure: None,
                at: Timestamp(2),
            };
            env.deployments.insert(deployment.id, deployment);
        }
        env
    }

    #[test]
    fn only_what_succeeded_is_promoted() {
        let mut env = qa();
        assert_eq!(tried(&env, None).expect("it serves").id, ReleaseId(1));
        let why = |env: &Environment, asked| tried(env, asked).expect_err("refused").message;
        assert!(why(&env, Some(ReleaseId(2))).contains("never succeeded"));
        assert!(why(&env, Some(ReleaseId(3))).contains("has no release r3"));
        env.goal = Goal::Down;
        assert!(why(&env, None).contains("nothing serves"));
        assert!(tried(&env, Some(ReleaseId(1))).is_ok());
    }

    #[test]
    fn the_other_environment_gets_the_same_images_by_its_own_declaration() {
        let offer = offered(&id("shop/qa"), &release(1), resolve("shop/prod"));
        let offer = offer.ok().expect("it can be promoted");
        assert_eq!(offer.images, release(1).build.images);
        assert_eq!(offer.version.as_deref(), Some("1.0.1"));
        let web = offer.spec.services.values().next().expect("web");
        assert_eq!((offer.spec.id.as_str(), web.instances), ("shop/prod", 3));
    }

    #[test]
    fn what_would_serve_other_images_or_is_not_declared_is_refused() {
        let stop = |to| {
            offered(&id("shop/qa"), &release(1), resolve(to))
                .err()
                .expect("refused")
        };
        let Stop::Refused(own) = stop("shop/own") else {
            panic!("a refusal")
        };
        assert!(own.message.contains("in another way"), "{}", own.message);
        assert!(matches!(stop("shop/nowhere"), Stop::Word(_)));
        let mut old = release(1);
        old.build.stack_file = None;
        assert!(offered(&id("shop/qa"), &old, resolve("shop/prod")).is_err());
        assert!(same_stack(&id("shop/qa"), &id("other/prod")).is_err());
        assert!(same_stack(&id("shop/qa"), &id("shop/qa")).is_err());
    }
}
