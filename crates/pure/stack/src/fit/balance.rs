//! Do the ways in which a service's requests are placed go together, and are there any requests?

use crate::mistake::{Code, Mistake};
use crate::tree::{Table, Value};
use crate::value::quote;

use super::{Part, SOME_PORT, intended};

/// Everything that is wrong with how a service's requests are placed.
pub(super) fn check((name, _, service): Part<'_>) -> Vec<Mistake> {
    let both = hedged_and_kept(name, service);
    one_cookie_twice(name, service)
        .into_iter()
        .chain(both)
        .chain(without_requests(name, service))
        .collect()
}

/// What is said of requests holds for none where there is no port.
fn without_requests(name: &str, service: &Table) -> Option<Mistake> {
    const OF_REQUESTS: [&str; 5] = ["limit", "concurrency", "affinity", "hedge", "retries"];
    let mut said = OF_REQUESTS.iter();
    let (key, entry) = said.find_map(|key| Some((*key, service.get(key)?)))?;
    (!intended(service, "service.*", "port")).then(|| {
        let message = format!("the service {} has `{key}`, but no port", quote(name));
        Mistake::at(entry.key, Code::Conflict, message)
            .note("is for requests, and it gets none")
            .expected(SOME_PORT)
    })
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
