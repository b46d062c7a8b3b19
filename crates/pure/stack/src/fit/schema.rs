//! Does a release command leave a schema that the release before can serve on for as long as it has to?

use crate::mistake::{Code, Mistake, Span};
use crate::tree::{Table, Value};
use crate::value::quote;

/// After an irreversible command the release before does not run: it may go on serving until the switch, and
/// no longer. Whichever service the command belongs to: the data is the stack's.
pub(super) fn check(env: &Table) -> Vec<Mistake> {
    let beside: Vec<(&str, String, Span)> = env.tables("service").filter_map(beside).collect();
    let mut mistakes = Vec::new();
    for (name, _, service) in env.tables("service") {
        let release = service.table("release");
        let Some(("irreversible", place)) = release.and_then(|r| r.text("schema")) else {
            continue;
        };
        for (other, how, kept) in &beside {
            let message = format!(
                "the release command of {} is irreversible, but {how} keeps the release before of {} serving beside the new one",
                quote(name),
                quote(other)
            );
            let mistake = Mistake::at(place, Code::IrreversibleBeside, message)
                .note("the release before does not run on what it leaves")
                .label(*kept, "needs both releases to run")
                .expected("a command that expands and, in a later release, one that contracts; or `blue_green` without `bake`");
            mistakes.push(mistake);
        }
    }
    mistakes
}

/// What keeps the release before of a service, and where it is said.
fn beside<'a>((name, _, service): super::Part<'a>) -> Option<(&'a str, String, Span)> {
    let deploy = service.table("deploy")?;
    if let Some((strategy @ ("rolling" | "canary"), place)) = deploy.text("strategy") {
        return Some((name, format!("`strategy = \"{strategy}\"`"), place));
    }
    let entry = deploy.get("bake")?;
    let Value::Text(bake) = &entry.node.value else {
        return None;
    };
    let bakes = ward_types::unit::parse_duration(bake).is_ok_and(|bake| bake.0 > 0);
    bakes.then(|| (name, "`bake`".to_owned(), entry.key))
}
