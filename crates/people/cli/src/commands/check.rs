//! `check`: everything that is wrong with a stack file, and what it names for its builds and is not there.

use std::collections::BTreeMap;
use std::io::Write;

use ward_server::policing::{Wanted, violations};
use ward_stack::{Look, Stack};
use ward_types::id::EnvId;
use ward_types::policy::{Rule, Violation, Waiver};
use ward_types::view::{PolicyRequest, PolicyView};

use super::{Context, Trouble};
use crate::args;
use crate::printer::Status;

pub(crate) async fn check(context: &Context, check: &args::Check) -> Result<Status, Trouble> {
    let (name, text) = ward_server::source::read(&check.dir)
        .map_err(|error| Trouble::failure(error.to_string(), error.hint()))?;
    let reading = ward_stack::read(&name, &text);
    let mistakes = match &reading.stack {
        Some(stack) => ward_build::absent_inputs(&check.dir, &stack.all_inputs()).await,
        None => reading.mistakes,
    };
    if context.printer.is_json() {
        context
            .printer
            .json(&ward_stack::views(&name, &text, &mistakes));
    } else if mistakes.is_empty() {
        context.printer.say(&format!("{name}: no mistakes"));
        if let Some(stack) = &reading.stack {
            breaches(context, stack, &name, &text).await;
        }
    } else {
        let rendered = ward_stack::render(&name, &text, &mistakes, Look::Colour, 100);
        let _ = write!(anstream::stderr(), "{rendered}");
    }
    Ok(match mistakes.is_empty() {
        true => Status::Success,
        false => Status::Usage,
    })
}

/// What a deploy would be refused or warned for, in each environment. No mistake: somebody may answer for it.
async fn breaches(context: &Context, stack: &Stack, name: &str, text: &str) {
    let registry = args::Addresses::default().registry().to_string();
    for env in &stack.environments {
        let Ok(spec) = stack.resolve(env) else {
            continue;
        };
        let installation = match ward_server::policing::installation(&context.home) {
            Ok(installation) => installation,
            Err(refusal) => {
                let hint = refusal.hint.unwrap_or_default();
                return context.printer.warning(&refusal.message, &hint);
            }
        };
        // Only the server knows where it is; who says it here, too, is told.
        let region = std::env::var("WARD_REGION").ok();
        let meant = spec.region.as_ref().map(|region| region.as_str());
        let wanted = Wanted {
            spec: &spec,
            changes: &[],
            served: None,
            region: region.as_deref().or(meant),
            lost: &[],
            way: None,
            registry: &registry,
            today: &ward_server::policing::today,
        };
        let found = violations(&wanted, installation.of(env));
        let mut found = not_waived(context, &spec.id, found).await;
        let mistakes = ward_stack::violations(name, text, env, &mut found);
        if mistakes.is_empty() {
            continue;
        }
        let shown = ward_stack::render(name, text, &mistakes, Look::Colour, 100);
        let end = shown.trim_end().rfind('\n').map_or(0, |at| at + 1);
        context.printer.text(&shown[..end]);
        let message = format!("{env} breaks its policy {}", times(found.len()));
        let hint = "a deploy is refused for what is denied, unless somebody answers for it (`ward policy waive`)";
        context.printer.warning(&message, hint);
    }
}

/// What nobody answers for; who answers for the rest is said, as far as a server that runs knows.
async fn not_waived(context: &Context, env: &EnvId, found: Vec<Violation>) -> Vec<Violation> {
    if found.is_empty() {
        return found;
    }
    let request = PolicyRequest {
        env: Some(env.clone()),
        dir: None,
    };
    let asked = context.client.post::<PolicyView>("/v1/policy", &request);
    let waivers = asked.await.map(|policy| policy.waivers).unwrap_or_default();
    let held = waivers.into_iter().filter(|waiver| waiver.holds);
    let held: BTreeMap<Rule, Waiver> = held.map(|one| (one.rule, one.waiver)).collect();
    let (waived, left): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|one| held.contains_key(&one.rule));
    for one in &waived {
        let Some(Waiver { by, until, why, .. }) = held.get(&one.rule) else {
            continue;
        };
        let (env, rule, message) = (env.env(), one.rule, &one.message);
        context.printer.say(&format!(
            "{env}: {message} ({rule}), for which {by} answers until {until}: {why}"
        ));
    }
    left
}

fn times(many: usize) -> String {
    match many {
        1 => "once".to_owned(),
        many => format!("{many} times"),
    }
}
