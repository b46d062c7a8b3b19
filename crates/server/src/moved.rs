//! Whether somebody moved an environment while a command was on its way to it.
//!
//! Decision: what was asked for last is what is wanted. Whoever named an environment minutes ago does not know of what
//! was asked for since, so that a build that comes late to its turn does not take its place. What leads to the very
//! same build is no such thing: nothing would be undone.

use ward_store::Log;
use ward_types::event::{Event, Record};
use ward_types::release::{Deployment, Environment, Goal};

use crate::actor::{Refusal, RefusalKind};
use crate::control::{Control, Desk};
use crate::recording::Offer;

/// A moment in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since(u64);

impl Control {
    /// The moment that it is now.
    pub(crate) fn since_now(&self) -> Since {
        Since(*self.store().changed().borrow())
    }

    /// Whether an environment is where it was, or leads to what is offered.
    ///
    /// # Errors
    /// What moved it, who did that, and how to go on.
    pub(crate) fn unmoved(
        &self,
        _desk: &Desk<'_>,
        since: Since,
        offer: &Offer,
    ) -> Result<(), Refusal> {
        let id = &offer.spec.id;
        let records = self
            .store()
            .records(since.0.checked_sub(1), usize::MAX, Some(id));
        let records = records.map_err(|error| Refusal::failed("the log cannot be read", &error))?;
        let mut records = records.iter().rev();
        let Some((record, what)) = records.find_map(|record| Some((record, moves(record)?))) else {
            return Ok(());
        };
        let env = self.known(id);
        if let Event::DeploymentQueued { deployment, .. } = &record.event
            && env.is_some_and(|env| leads_to(&env, deployment, offer))
        {
            return Ok(());
        }
        let why = match record.why.is_empty() {
            true => String::new(),
            false => format!(" (\"{}\")", record.why),
        };
        let (who, left) = (&record.who, self.untouched(id));
        let message = format!("{id} {what} by {who}{why} since this was asked for; {left}");
        Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
            "`ward releases --env {id}` shows what it has now; the same command again brings this build there all the same"
        )))
    }
}

/// What somebody did to an environment, if that moves it. That it sleeps or is woken does not.
fn moves(record: &Record) -> Option<String> {
    match &record.event {
        Event::DeploymentQueued { deployment, .. } => Some(format!(
            "was moved to {} ({})",
            deployment.to, deployment.id
        )),
        Event::GoalChanged {
            goal: Goal::Down, ..
        } => Some("was taken down".to_owned()),
        Event::GoalChanged {
            goal: Goal::Purged, ..
        } => Some("was taken down and its data removed".to_owned()),
        Event::EnvironmentEnding { .. } => Some("was ended".to_owned()),
        _ => None,
    }
}

fn leads_to(env: &Environment, deployment: &Deployment, offer: &Offer) -> bool {
    let release = env.releases.get(&deployment.to);
    release.is_some_and(|release| {
        let build = &release.build;
        build.images == offer.images && build.stack_file == offer.stack_file
    })
}
