//! Maintenance: begun and ended by people, kept in the log, carried out by the gateway.

use std::time::Duration;

use ward_types::event::{Event, State};
use ward_types::id::{EnvId, Name};
use ward_types::maintenance::{Begun, LONGEST_MESSAGE, Maintained, Maintenance};
use ward_types::release::{Environment, Goal};
use ward_types::table::Table;
use ward_types::text::steers;
use ward_types::view::{MaintenanceAnswer, MaintenanceRequest, MaintenanceView};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::control::Control;

/// How long whoever asks is let wait for the gateway.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);

impl Control {
    /// Begins or ends a maintenance, and waits until the gateway does so.
    ///
    /// # Errors
    /// When there is no such service, nothing to end, or the message cannot be one.
    pub async fn maintain(
        &self,
        actor: &Actor,
        request: &MaintenanceRequest,
    ) -> Result<MaintenanceAnswer, Refusal> {
        let env = self.alive(request.env.as_ref())?;
        if let Some(maintenance) = &request.begin {
            sayable(maintenance)?;
            self.shows_no_secret(&env, &maintenance.message).await?;
        }
        let desk = self.desk_for(&request.why).await;
        let decide = |state: &State| {
            let known = state
                .environments
                .get(&env)
                .ok_or_else(|| unrecorded(&env))?;
            let event = match &request.begin {
                Some(maintenance) => begun(known, request.service.as_ref(), maintenance, actor),
                None => ended(known, request.service.as_ref()),
            };
            Ok(((), vec![event?]))
        };
        self.decided(&desk, actor, &request.why, decide).await?;
        drop(desk);
        let known = self.known(&env).ok_or_else(|| unrecorded(&env))?;
        let shows =
            |table: &Table| known.goal != Goal::Up || is_shown(table, &env, &known.maintained);
        Ok(MaintenanceAnswer {
            maintenance: views(&known.maintained),
            in_force: self.0.world.routing.shows(IN_FORCE_WITHIN, shows).await,
            env: env.clone(),
        })
    }
}

fn sayable(maintenance: &Maintenance) -> Result<(), Refusal> {
    let message = maintenance.message.trim();
    let length = message.chars().count();
    if (1..=LONGEST_MESSAGE).contains(&length) && !message.contains(steers) {
        return Ok(());
    }
    let refused = format!("the message must be one line of 1 to {LONGEST_MESSAGE} characters");
    Err(Refusal::new(RefusalKind::Invalid, refused)
        .hint("say what clients shall read: `ward maintenance on --message \"Back at noon\"`"))
}

fn unrecorded(env: &EnvId) -> Refusal {
    Refusal::new(RefusalKind::Conflict, format!("nothing of {env} runs yet"))
        .hint("`ward status` shows how far it is")
}

fn begun(
    env: &Environment,
    service: Option<&Name>,
    maintenance: &Maintenance,
    actor: &Actor,
) -> Result<Event, Refusal> {
    if let Some(service) = service {
        has_route(env, service)?;
    }
    Ok(Event::MaintenanceBegan {
        env: env.id.clone(),
        service: service.cloned(),
        maintenance: maintenance.clone(),
        by: actor.who.clone(),
    })
}

fn has_route(env: &Environment, service: &Name) -> Result<(), Refusal> {
    let releases = env.current_release().into_iter();
    let releases = releases.chain(env.active().and_then(|d| env.releases.get(&d.to)));
    let services: Vec<_> = releases
        .flat_map(|release| &release.spec.services)
        .collect();
    let mut named = services
        .iter()
        .filter(|(name, _)| *name == service)
        .peekable();
    let refused = |kind, what: &str, hint: String| {
        let message = format!("{} {what} {service}", env.id);
        Err(Refusal::new(kind, message).hint(hint))
    };
    if named.peek().is_none() {
        let mut routed: Vec<&str> = services
            .iter()
            .filter(|(_, service)| !service.routes.is_empty())
            .map(|(name, _)| name.as_str())
            .collect();
        routed.sort_unstable();
        routed.dedup();
        let hint = match routed.is_empty() {
            true => "none of its services has a route".to_owned(),
            false => format!("services with routes: {}", routed.join(", ")),
        };
        return refused(RefusalKind::NotFound, "has no service", hint);
    }
    match named.any(|(_, service)| !service.routes.is_empty()) {
        true => Ok(()),
        false => {
            let hint = "only other services reach it, and links are served in maintenance, too";
            refused(RefusalKind::Conflict, "has no route to", hint.to_owned())
        }
    }
}

fn ended(env: &Environment, service: Option<&Name>) -> Result<Event, Refusal> {
    let (id, maintained) = (&env.id, &env.maintained);
    let refused = |message: String, hint: &str| {
        Err(Refusal::new(RefusalKind::Conflict, message).hint(hint.to_owned()))
    };
    let status = "`ward status` shows what is";
    match service {
        None if maintained.is_empty() => refused(format!("{id} is not in maintenance"), status),
        Some(name) if !maintained.services.contains_key(name) => match &maintained.whole {
            Some(_) => refused(
                format!("{name} is in maintenance with all of {id}"),
                "`ward maintenance off` without a service ends that",
            ),
            None => refused(format!("{name} of {id} is not in maintenance"), status),
        },
        _ => Ok(Event::MaintenanceEnded {
            env: id.clone(),
            service: service.cloned(),
        }),
    }
}

/// Whether all pools of an environment that clients reach have the pages that they should.
fn is_shown(table: &Table, env: &EnvId, maintained: &Maintained) -> bool {
    let pools = table.pools.iter().filter(|pool| pool.env == *env);
    let mut routed = pools.filter(|pool| !pool.routes.is_empty());
    routed.all(|pool| pool.maintenance.as_ref() == maintained.of(&pool.service))
}

/// What is in maintenance, the whole before its parts.
pub(crate) fn views(maintained: &Maintained) -> Vec<MaintenanceView> {
    let view = |service: Option<&Name>, begun: &Begun| MaintenanceView {
        service: service.cloned(),
        maintenance: begun.maintenance.clone(),
        by: begun.by.clone(),
        since: begun.at,
    };
    let whole = maintained.whole.iter().map(|begun| view(None, begun));
    let services = maintained.services.iter();
    whole
        .chain(services.map(|(name, begun)| view(Some(name), begun)))
        .collect()
}
