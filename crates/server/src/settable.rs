//! Which secrets can be set and unset, as far as that can be told before anything is sealed.

use std::collections::BTreeSet;

use ward_types::release::Environment;
use ward_types::secrets::SecretName;
use ward_types::spec::EnvSpec;
use ward_types::view::{Others, SecretRequest, SecretSetting};

use crate::actor::{Refusal, RefusalKind};
use crate::configuration::base;

/// The longest value, in bytes. The kernel takes 128 KiB for a variable with its name.
const LONGEST: usize = 32 * 1024;
/// How many secrets an environment may have.
const MOST: usize = 200;

/// Whether what is set now is kept: a purge that is under way removes all secrets, also those that are newer.
pub(crate) fn kept(env: &Environment) -> Result<(), Refusal> {
    if !env.is_being_purged() {
        return Ok(());
    }
    let id = &env.id;
    let message =
        format!("the data of {id} is being removed, and its secrets with it; nothing was changed");
    Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "wait until its data is gone: `ward down --purge --env {id}` does, and `ward status` says what is waited for; \
         then set it again"
    )))
}

pub(crate) fn allowed(env: &Environment, request: &SecretRequest) -> Result<(), Refusal> {
    let invalid = |message: String, hint: &str| {
        Err(Refusal::new(RefusalKind::Invalid, message).hint(hint.to_owned()))
    };
    if request.changes.is_empty() {
        return invalid("no secret was named".to_owned(), "NAME=VALUE, one a line");
    }
    let mut named = BTreeSet::new();
    for SecretSetting { name, value } in &request.changes {
        if !named.insert(name) {
            return invalid(format!("{name} is named twice"), "name it once");
        }
        if name.database().is_some() {
            let hint = format!("`ward secret rotate {name}` lets Ward make another one");
            let message = format!("{name} is a database's password, which Ward makes itself");
            return invalid(message, &hint);
        }
        match value.as_ref().map(|value| value.expose()) {
            Some("") => {
                let hint = "give it on standard input: `ward secret set NAME < FILE`; or type it at a terminal";
                return invalid(format!("the value of {name} is empty"), hint);
            }
            Some(value) if value.len() > LONGEST => {
                let bytes = value.len();
                let message =
                    format!("the value of {name} has {bytes} bytes; {LONGEST} is the most");
                return invalid(message, "larger things are files, in the image");
            }
            Some(value) if value.contains('\0') => {
                let message = format!("the value of {name} holds a NUL character");
                return invalid(
                    message,
                    "no environment variable can; encode it, in base64 for instance",
                );
            }
            Some(_) => {}
            None => can_be_unset(env, name, request.others)?,
        }
    }
    let count = set_after(env, &request.changes);
    if count > MOST {
        let message = format!("{} would have {count} secrets; {MOST} are the most", env.id);
        return invalid(message, "`ward secret unset` takes away what is not used");
    }
    Ok(())
}

/// How many secrets are set once these changes are made. Passwords of databases are none that anybody set.
fn set_after(env: &Environment, changes: &[SecretSetting]) -> usize {
    let held = env.secrets.iter();
    let own = held.filter(|(name, held)| held.current.is_some() && name.database().is_none());
    let mut set: BTreeSet<&SecretName> = own.map(|(name, _)| name).collect();
    for SecretSetting { name, value } in changes {
        match value {
            Some(_) => set.insert(name),
            None => set.remove(name),
        };
    }
    set.len()
}

fn can_be_unset(env: &Environment, name: &SecretName, others: Others) -> Result<(), Refusal> {
    if env.secret(name).is_none() {
        let set = env
            .secrets
            .iter()
            .filter(|(_, held)| held.current.is_some());
        let set: Vec<&str> = set.map(|(name, _)| name.as_str()).collect();
        let message = format!("{name} is not set in {}", env.id);
        let hint = match ward_stack::closest(name.as_str(), set.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if set.is_empty() => "no secret is".to_owned(),
            None => format!("set are: {}", set.join(", ")),
        };
        return Err(Refusal::new(RefusalKind::NotFound, message).hint(hint));
    }
    let Some(base) = base(env, others) else {
        return Ok(());
    };
    let users: Vec<String> = base
        .spec
        .users_of(name)
        .iter()
        .map(ToString::to_string)
        .collect();
    if users.is_empty() {
        return Ok(());
    }
    let message = format!("{name} is a secret of {} in {}", users.join(", "), base.id);
    Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "take it out of the `secrets` in the stack file and deploy that first; `ward secret set {name}` gives it another \
         value"
    )))
}

/// The names that no service gets, as far as that can be told, each in a sentence.
pub(crate) fn unused(
    env: &Environment,
    declared: Option<&EnvSpec>,
    request: &SecretRequest,
) -> Vec<String> {
    let newest = env
        .releases
        .values()
        .next_back()
        .map(|release| &release.spec);
    let specs: Vec<&EnvSpec> = declared.into_iter().chain(newest).collect();
    if specs.is_empty() {
        return Vec::new();
    }
    let known: BTreeSet<SecretName> = specs.iter().flat_map(|spec| spec.secret_names()).collect();
    let set = request
        .changes
        .iter()
        .filter(|change| change.value.is_some());
    let unknown = set.filter(|change| !known.contains(&change.name));
    unknown
        .map(|change| {
            let meant =
                ward_stack::closest(change.name.as_str(), known.iter().map(SecretName::as_str));
            let meant = meant.map(|meant| format!(" (did you mean `{meant}`?)"));
            format!(
                "no service gets {}{}",
                change.name,
                meant.unwrap_or_default()
            )
        })
        .collect()
}
