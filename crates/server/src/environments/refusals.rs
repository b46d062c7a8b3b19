//! Why an environment cannot be made, changed or copied, in words.

use ward_types::environments::CreateRequest;
use ward_types::id::EnvId;
use ward_types::life::{Cause, Ending, Said, roughly};
use ward_types::release::{Environment, Goal};

use crate::actor::{Refusal, RefusalKind};
use crate::clock::now;

pub(super) fn unserved(from: &EnvId) -> Refusal {
    let message = format!("{from} has no release that serves, and so nothing to copy");
    let name = from.env();
    Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "`ward deploy --env {name}` brings one; `ward releases --env {name}` shows what there was"
    ))
}

/// That what is copied cannot be what it becomes. A backup of what is down may become an environment with its hosts.
pub(super) fn itself(from: &EnvId, goal: Goal, request: &CreateRequest) -> Refusal {
    let message = format!("{from} cannot be a copy of itself");
    let hint = match (request.restores.is_empty(), goal) {
        (true, _) => "give the copy another name".to_owned(),
        (false, Goal::Up) => {
            format!("a backup becomes a new environment beside {from}: `--into` takes another name")
        }
        (false, Goal::Down | Goal::Purged) => format!(
            "a backup becomes a new environment: `--into {}-new --hosts '{{host}}'` makes one with the hosts of {from}, \
             which is down",
            from.env()
        ),
    };
    Refusal::new(RefusalKind::Invalid, message).hint(hint)
}

pub(super) fn unrecorded(env: &EnvId) -> Refusal {
    let message = format!("nothing of {env} is recorded yet: it is just being built");
    Refusal::new(RefusalKind::Conflict, message)
        .hint("`ward status` shows how far it is; `ward deployment cancel` ends the build")
}

pub(super) fn exists(known: &Environment) -> Refusal {
    let (env, name) = (&known.id, known.id.env());
    let what = match known.life.origin.as_ref().filter(|_| known.is_copy()) {
        Some(origin) => format!(", a copy of {}", origin.from),
        None => ", declared by its stack file".to_owned(),
    };
    let created = known.life.created.as_ref().map(said).unwrap_or_default();
    let message = format!("{env} exists already{what}{created}");
    let end = match known.life.expires {
        Some(expiry) => format!("it ends in {}; ", roughly(expiry.at.since(now()))),
        None => String::new(),
    };
    // Nobody is led to give an end to what has none by being declared.
    let extend = match known.life.expires.is_some() || known.is_copy() {
        true => format!(", `ward env extend {name} --ttl 7d` gives it another end"),
        false => String::new(),
    };
    // Nor is anybody led to delete one whose name a copy cannot have.
    let room = match known.is_copy() {
        true => format!(", `ward env delete {name}` makes room"),
        false => "; a copy has another name".to_owned(),
    };
    Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "{end}`ward deploy --env {name}` brings it up to date{extend}{room}"
    ))
}

/// `, created on … by anna`.
pub(super) fn said(created: &Said) -> String {
    match created.by.as_str() {
        "" => format!(", created on {}", created.at),
        by => format!(", created on {} by {by}", created.at),
    }
}

/// Why nothing can be done with an environment any more, if that is so.
pub(crate) fn over(known: &Environment) -> Option<Refusal> {
    let ending = known.life.ending.as_ref()?;
    let (env, name) = (&known.id, known.id.env());
    let why = because(ending);
    let again = match known.life.origin.as_ref().filter(|_| known.is_copy()) {
        Some(origin) => format!(
            "`ward env create {name} --from {}` makes it again",
            origin.from
        ),
        None => format!("`ward deploy --env {name}` makes it again"),
    };
    let (message, when) = match known.life.deleted {
        Some(at) => (format!("{env} was deleted on {at}: {why}"), ""),
        None => (format!("{env} is being deleted: {why}"), " when it is gone"),
    };
    Some(Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "{again}{when}; `ward events --env {env}` shows its history"
    )))
}

pub(super) fn because(ending: &Ending) -> String {
    let Said { by, why, .. } = &ending.said;
    let why = match why.as_str() {
        "" => String::new(),
        why => format!(" (“{why}”)"),
    };
    match ending.cause {
        Cause::Expired => "its time was over".to_owned(),
        Cause::Unmade => "it could not be made".to_owned(),
        Cause::Asked => format!("{by} asked for it{why}"),
    }
}
