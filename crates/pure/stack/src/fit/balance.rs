//! Do the ways in which a service's requests are placed go together?

use crate::mistake::{Code, Mistake};
use crate::tree::{Table, Value};
use crate::value::quote;

use super::Part;

/// Everything that is wrong with how a service's requests are placed.
pub(super) fn check((name, _, service): Part<'_>) -> Vec<Mistake> {
    let both = hedged_and_kept(name, service);
    one_cookie_twice(name, service)
        .into_iter()
        .chain(both)
        .collect()
}

/// One cookie cannot say both which release and which instance.
fn one_cookie_twice(name: &str, service: &Table) -> Option<Mistake> {
    let deploy = table(service, "deploy")?;
    let (side, first) = table(deploy, "sticky")?.text("cookie")?;
    let (instance, place) = table(service, "affinity")?.text("cookie")?;
    (side == instance).then(|| {
        let message = format!(
            "the service {} keeps two things in the cookie {}",
            quote(name),
            quote(instance)
        );
        Mistake::at(place, Code::Conflict, message)
            .note("which instance a client returns to")
            .label(first, "which release it is on")
            .expected("two names")
    })
}

/// Who is sent back to an instance of its own is not helped by another one's answer.
fn hedged_and_kept(name: &str, service: &Table) -> Option<Mistake> {
    let (affinity, hedge) = (service.get("affinity")?, service.get("hedge")?);
    let message = format!(
        "the service {} has both `affinity` and `hedge`",
        quote(name)
    );
    let mistake = Mistake::at(hedge.key, Code::Conflict, message)
        .note("asks another instance")
        .label(affinity.key, "keeps a client with its own");
    Some(mistake.expected("one of them"))
}

fn table<'a>(above: &'a Table, key: &str) -> Option<&'a Table> {
    match &above.get(key)?.node.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}
