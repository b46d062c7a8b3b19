//! `check`: everything that is wrong with a stack file, and what it names for its builds and is not there.

use std::collections::BTreeMap;
use std::io::Write;

use ward_server::policing::{Wanted, violations};
use ward_stack::{Look, Mistake, Stack};
use ward_types::id::EnvId;
use ward_types::policy::{Rule, Violation, Waiver};
use ward_types::text::shown;
use ward_types::view::{PolicyRequest, PolicyView};

use super::status::moment;
use super::{Context, Trouble};
use crate::args;
use crate::hints;
use crate::printer::{Status, ways_out};

pub(crate) async fn check(context: &Context, check: &args::Check) -> Result<Status, Trouble> {
    let (name, text) = ward_server::source::read(&check.dir)
        .map_err(|error| Trouble::failure(error.to_string(), error.hint()))?;
    let reading = ward_stack::read(&name, &text);
    let mistakes = match &reading.stack {
        Some(stack) => ward_build::absent_inputs(&check.dir, &stack.all_inputs()).await,
        None => reading.mistakes,
    };
    let broken = match &reading.stack {
        Some(stack) if mistakes.is_empty() => breaches(context, stack, &name, &text).await?,
        _ => Vec::new(),
    };
    if context.printer.is_json() {
        let against = broken.iter().flat_map(|breach| &breach.mistakes);
        let all: Vec<Mistake> = mistakes.iter().chain(against).cloned().collect();
        context.printer.json(&ward_stack::views(&name, &text, &all));
    } else if mistakes.is_empty() {
        context.printer.say(&format!("{name}: no mistakes"));
        for breach in &broken {
            said(context, breach, &name, &text);
        }
    } else {
        let rendered = ward_stack::render(&name, &text, &mistakes, Look::Colour, 100);
        let _ = write!(anstream::stderr(), "{rendered}");
    }
    Ok(if !mistakes.is_empty() {
        Status::Usage
    } else if broken.iter().any(|breach| breach.is_denied()) {
        Status::Failure
    } else {
        Status::Success
    })
}

/// What breaks the policy of one environment.
struct Breach {
    env: EnvId,
    found: Vec<Violation>,
    /// The same, as mistakes of the file.
    mistakes: Vec<Mistake>,
}

impl Breach {
    fn is_denied(&self) -> bool {
        self.found.iter().any(Violation::is_denied)
    }
}

/// What a deploy would be refused or warned for, in each environment. No mistake of the file: somebody may answer for it.
async fn breaches(
    context: &Context,
    stack: &Stack,
    name: &str,
    text: &str,
) -> Result<Vec<Breach>, Trouble> {
    let registry = args::Addresses::default().registry().to_string();
    let installation = ward_server::policing::installation(&context.home)
        .map_err(|refusal| Trouble::failure(refusal.message, refusal.hint))?;
    let mut broken = Vec::new();
    for env in &stack.environments {
        let Ok(spec) = stack.resolve(env) else {
            continue;
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
        if !mistakes.is_empty() {
            let env = spec.id.clone();
            broken.push(Breach {
                env,
                found,
                mistakes,
            });
        }
    }
    Ok(broken)
}

/// A denial is an error, as `ward plan` and `ward deploy` have it.
fn said(context: &Context, breach: &Breach, name: &str, text: &str) {
    let shown = ward_stack::render(name, text, &breach.mistakes, Look::Colour, 100);
    let end = shown.trim_end().rfind('\n').map_or(0, |at| at + 1);
    context.printer.text(&shown[..end]);
    let (env, many) = (breach.env.env(), times(breach.found.len()));
    let message = format!("{env} breaks its policy {many}");
    if breach.is_denied() {
        let hint = hints::on(&breach.env, &ways_out(&breach.found));
        let message = format!("{message}; a deploy would be refused");
        context.printer.error(&message, Some(&hint));
    } else {
        let hint = "a deploy would say the same, and go on";
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
        let until = moment(*until);
        context.printer.say(&format!(
            "{env}: {message} ({rule}), for which {by} answers until {until}: {}",
            shown(why)
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
