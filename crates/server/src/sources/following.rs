//! What becomes of a commit, told to whoever pushed it or asked, until nothing more happens by itself.

use ward_plan::source::{Next, next};
use ward_store::Log;
use ward_types::id::{EnvId, Name};
use ward_types::source::{CommitId, Seen, Source, Standing, Then};
use ward_types::view::{Progress, Until};

use super::{no_source, watched};
use crate::control::Control;
use crate::deploy::{Steps, Stop, say};

impl Control {
    /// Tells what becomes of a commit, until nothing more does by itself.
    pub(super) async fn followed_commit(
        &self,
        name: &Name,
        id: &CommitId,
        until: Until,
        mut heard: watched::Heard,
        steps: &Steps,
    ) -> Progress {
        let mut changed = self.store().changed();
        let mut said = String::new();
        loop {
            changed.mark_unchanged();
            let state = self.store().state();
            let Some(source) = state.sources.get(name) else {
                return Stop::Refused(no_source(name)).word();
            };
            let Some(seen) = source.seen(id) else {
                let message = format!("{name} knows nothing of {} any more", id.short());
                return done(message);
            };
            let stands = format!("{} {}", id.short(), seen.standing);
            match &seen.standing {
                Standing::Waiting => {}
                Standing::Built { .. } if source.then == Then::Keep => return done(stands),
                Standing::Built { .. } if next(&state, source) == Next::Wait => {
                    return done(format!(
                        "{stands}, and waits for the run before it; `ward source show {name}` says how it goes on"
                    ));
                }
                Standing::Built { .. } => {}
                Standing::Failed { message } => return failed(name, id, message),
                _ => return self.followed_on(source, seen, until, &said, steps).await,
            }
            if until == Until::Queued {
                return done(format!(
                    "{stands}; `ward source show {name}` says how it goes on"
                ));
            }
            if stands != said {
                say(steps, stands.clone()).await;
                said = stands;
            }
            loop {
                tokio::select! {
                    biased;
                    Some(progress) = heard.next() => {
                        let _ = steps.send(progress).await;
                    }
                    more = changed.changed() => {
                        if more.is_err() {
                            return failed(name, id, "the server ends");
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Tells the rest as the deployment or the pipeline tells it.
    async fn followed_on(
        &self,
        source: &Source,
        seen: &Seen,
        until: Until,
        said: &str,
        steps: &Steps,
    ) -> Progress {
        let id = seen.commit.id.short();
        let stands = match seen.standing.beyond_its_build() {
            // As what it is built was said just before.
            Some(further) if !said.is_empty() => format!("{id} {further}"),
            _ => format!("{id} {}", seen.standing),
        };
        if until == Until::Queued {
            return done(stands);
        }
        let state = self.store().state();
        let kept = ward_plan::source::kept(&state, &source.name, &seen.commit.id);
        match (&seen.standing, &source.then, kept) {
            (Standing::Began { run, .. }, ..) => {
                say(steps, stands).await;
                self.tell_freezes(*run, steps).await;
                self.tell_unheard(*run, steps).await;
                self.followed_run(*run, steps).await
            }
            (
                Standing::Deployed {
                    deployment: Some(id),
                    ..
                },
                Then::Deploy(env),
                Some(kept),
            ) => {
                say(steps, stands).await;
                let env = EnvId::new(&kept.stack, env);
                self.followed(&env, *id, until, steps).await
            }
            _ => done(stands),
        }
    }
}

fn done(message: String) -> Progress {
    Progress::Done {
        message,
        addresses: Vec::new(),
    }
}

fn failed(name: &Name, id: &CommitId, message: &str) -> Progress {
    Progress::Failed {
        message: format!("{}: {message}", id.short()),
        hint: Some(format!(
            "push a commit that mends it; `ward source sync {name} --again` tries this one again"
        )),
    }
}
