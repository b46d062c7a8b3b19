//! What stacks share, across environments: which links lead nowhere, and whose links a change would cut off.
//!
//! Decision: a link is refused where it is new and the environment that it leads to is there and does not let it in.
//! Where that environment is not there yet the link is made all the same: of two stacks one comes first. What served with
//! a link is not kept from its next release either, because the other stack would hold it up by that. All of this is said;
//! requests are let in or not by the gateway alone, by the release that serves there.

use ward_store::Log;
use ward_types::id::{EnvId, Name};
use ward_types::policy::{Rule, Violation};
use ward_types::release::{Environment, Goal, Release};
use ward_types::sharing::{self, Admission, Importer, SharedLink};
use ward_types::spec::EnvSpec;
use ward_types::view::{ExportView, LinkState, Progress, SharedLinkView, SharingView};

use crate::actor::{Refusal, RefusalKind};
use crate::control::Control;
use crate::deploy::Steps;

/// Something that speaks against what is done, and forbids nothing.
pub(crate) struct Warned {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Says what speaks against it.
pub(crate) async fn warn_of(warned: &[Warned], steps: &Steps) {
    for Warned { message, hint } in warned {
        let (message, hint) = (message.clone(), hint.clone());
        let _ = steps.send(Progress::Warning { message, hint }).await;
    }
}

/// One link of a release that is, or would be.
struct Led<'a> {
    from: &'a EnvId,
    service: &'a Name,
    link: &'a SharedLink,
    to: EnvId,
    state: LinkState,
}

impl Led<'_> {
    fn sentence(&self) -> String {
        let (service, from, link, to) = (self.service, self.from, self.link, &self.to);
        let what = match self.state {
            LinkState::Open => "requests pass".to_owned(),
            LinkState::NotThere => format!("{to} is not there"),
            LinkState::Down => format!("{to} is down"),
            LinkState::NoService => format!("{to} has no service {}", link.service),
            LinkState::NotExported => format!("{to} does not export {} to {from}", link.service),
        };
        format!("{service} of {from} links to {link}, and {what}")
    }

    fn way_out(&self) -> String {
        let stack = &self.link.stack;
        match self.state {
            LinkState::Open => String::new(),
            LinkState::NotThere => format!(
                "`ward up --env {0}` in the folder of {stack} brings it up, where its stack file declares it; \
                 `ward env create {0} --from {stack}/NAME` makes it as a copy",
                self.to.env()
            ),
            LinkState::Down => {
                format!(
                    "`ward env list` shows it; `ward up --env {}` in the folder of {stack} brings it up",
                    self.to.env()
                )
            }
            LinkState::NoService => {
                format!("link to a service that {stack} exports; a database cannot be exported")
            }
            LinkState::NotExported => {
                let (own, other) = (self.from, &self.to);
                let export = match own.env() == other.env() {
                    true => own.stack().to_string(),
                    false => own.to_string(),
                };
                format!(
                    "`export = [\"{export}\"]` in `[service.{}]` of the stack file of {stack} lets it in, once that is deployed",
                    self.link.service
                )
            }
        }
    }

    /// Where it is said and not refused.
    fn warned(&self) -> Warned {
        Warned {
            message: format!(
                "{}; until that changes the link answers with 503",
                self.sentence()
            ),
            hint: self.way_out(),
        }
    }

    fn refused(&self) -> Refusal {
        let message = format!("{}; nothing was changed", self.sentence());
        Refusal::new(RefusalKind::Conflict, message).hint(self.way_out())
    }
}

impl Control {
    /// Whether requests would pass a link.
    fn link_state(&self, from: &EnvId, link: &SharedLink, to: &EnvId) -> LinkState {
        let known = self.known(to).filter(is_there);
        let release = known.as_ref().and_then(Environment::current_release);
        let Some((known, release)) = known.as_ref().zip(release) else {
            return LinkState::NotThere;
        };
        match sharing::admission(&release.spec, &link.service, from) {
            Admission::NoService => LinkState::NoService,
            Admission::NotExported => LinkState::NotExported,
            Admission::Exported if known.goal != Goal::Up => LinkState::Down,
            Admission::Exported => LinkState::Open,
        }
    }

    fn led<'a>(&self, spec: &'a EnvSpec) -> Vec<Led<'a>> {
        let links = sharing::links(spec);
        let led = links.map(|(service, link, to)| Led {
            from: &spec.id,
            service,
            link,
            state: self.link_state(&spec.id, link, &to),
            to,
        });
        led.collect()
    }

    /// What is to be said of the links of a release that would be made.
    ///
    /// # Errors
    /// The first that is new, and that an environment which is there does not let in.
    pub(crate) fn links_lead(
        &self,
        from: Option<&Release>,
        spec: &EnvSpec,
    ) -> Result<Vec<Warned>, Refusal> {
        let served = |led: &Led<'_>| {
            let service = from.and_then(|from| from.spec.services.get(led.service));
            service.is_some_and(|service| service.shared_links.contains(led.link))
        };
        let mut warned = Vec::new();
        for led in self.led(spec) {
            match led.state {
                LinkState::Open => {}
                LinkState::NoService | LinkState::NotExported if !served(&led) => {
                    return Err(led.refused());
                }
                LinkState::NoService
                | LinkState::NotExported
                | LinkState::NotThere
                | LinkState::Down => warned.push(led.warned()),
            }
        }
        Ok(warned)
    }

    /// The links of other stacks that lead to an environment, of the releases that serve.
    fn importers(&self, to: &EnvId) -> Vec<Importer> {
        let state = self.store().state();
        let others = state
            .environments
            .values()
            .filter(|env| env.id != *to && is_there(env));
        let releases = others.filter_map(|env| env.current_release());
        releases
            .flat_map(|release| sharing::importers(&release.spec, to))
            .collect()
    }

    /// The links of other stacks that what serves lets in, and another release would not.
    pub(crate) fn lost(&self, serves: Option<&Release>, to: &EnvSpec) -> Vec<Importer> {
        let serves = serves.filter(|serves| exports(&serves.spec));
        serves.map_or(Vec::new(), |serves| {
            sharing::lost(&serves.spec, to, &self.importers(&to.id))
        })
    }

    /// What a release takes away from other stacks, where the policy has not said it.
    pub(crate) fn unsaid(
        &self,
        serves: Option<&Release>,
        to: &EnvSpec,
        found: &[Violation],
    ) -> Vec<Warned> {
        if found.iter().any(|one| one.rule == Rule::ExportRemoved) {
            return Vec::new();
        }
        let lost = self.lost(serves, to);
        let warned = lost.into_iter().map(|one| Warned {
            message: format!(
                "{one} links to {} of {}, which is not exported to it any more; from the switch on the link answers with 503",
                one.to, to.id
            ),
            hint: "`policy.export_removed = \"deny\"` refuses such a deploy".to_owned(),
        });
        warned.collect()
    }

    /// The same two of a release that was there before, which nothing of this forbids.
    pub(crate) fn links_of_move(&self, serves: Option<&Release>, to: &Release) -> Vec<Warned> {
        let mut warned = self.links_lead(Some(to), &to.spec).unwrap_or_default();
        warned.extend(self.unsaid(serves, &to.spec, &[]));
        warned
    }

    /// The same two for whoever reads a plan.
    pub(crate) fn links_noted(
        &self,
        serves: Option<&Release>,
        to: &EnvSpec,
        found: &[Violation],
    ) -> Vec<String> {
        let mut notes: Vec<String> = match self.links_lead(serves, to) {
            Ok(warned) => warned.into_iter().map(|one| one.message).collect(),
            // That is no note: a deploy is refused.
            Err(_) => Vec::new(),
        };
        let unsaid = self.unsaid(serves, to, found);
        notes.extend(unsaid.into_iter().map(|one| one.message));
        notes
    }

    /// Whose links lead nowhere when environments are taken away together.
    pub(crate) fn cut_off_from(&self, taken: &[EnvId]) -> Vec<Warned> {
        let importers = taken.iter().flat_map(|env| {
            let all = self.importers(env).into_iter();
            all.map(move |one| (env, one))
        });
        let runs = |env: &EnvId| self.known(env).is_some_and(|env| env.goal == Goal::Up);
        let cut_off = importers.filter(|(_, one)| !taken.contains(&one.env) && runs(&one.env));
        let warned = cut_off.map(|(env, one)| Warned {
            message: format!(
                "{one} links to {} of {env}; from now on the link answers with 503",
                one.to
            ),
            hint: format!("requests pass again when {env} runs"),
        });
        warned.collect()
    }

    /// What an environment shares with other stacks, and links to there.
    pub(crate) fn sharing(&self, env: &Environment) -> SharingView {
        let Some(release) = env.current_release().filter(|_| is_there(env)) else {
            return SharingView::default();
        };
        let links = self
            .led(&release.spec)
            .into_iter()
            .map(|led| SharedLinkView {
                service: led.service.clone(),
                to: led.link.service.clone(),
                env: led.to,
                state: led.state,
            });
        let services = release.spec.services.iter();
        let exports = services.filter(|(_, service)| !service.exports.is_empty());
        let exports = exports.map(|(name, service)| ExportView {
            service: name.clone(),
            to: service.exports.clone(),
        });
        SharingView {
            links: links.collect(),
            exports: exports.collect(),
            importers: self.importers(&env.id),
        }
    }
}

/// Whether it is neither purged nor on its way to its end.
fn is_there(env: &Environment) -> bool {
    env.goal != Goal::Purged && env.ending().is_none() && !env.is_deleted()
}

fn exports(spec: &EnvSpec) -> bool {
    spec.services
        .values()
        .any(|service| !service.exports.is_empty())
}
