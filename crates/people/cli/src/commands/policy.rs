//! `policy`: the rules of an environment, and who answers for what breaks them.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use ward_types::policy::{Day, Level, Origin, Rule};
use ward_types::text;
use ward_types::time::{Millis, Timestamp};
use ward_types::unit::parse_duration;
use ward_types::view::{PolicyRequest, PolicyView, RulesOf, WaiveRequest, WaiverView};

use super::status::moment;
use super::{Context, Trouble};
use crate::args;
use crate::printer::Status;

pub(crate) async fn policy(context: &Context, asked: args::Policy) -> Result<Status, Trouble> {
    let view = match asked {
        args::Policy::Show(of) => {
            let (env, dir) = crate::env::find_or_declared(context, of.env.as_deref()).await?;
            let env = Some(env);
            let request = PolicyRequest { env, dir };
            context.client.post("/v1/policy", &request).await?
        }
        args::Policy::Waive {
            rule,
            env,
            until,
            why,
        } => {
            return waived(
                context,
                rule,
                waive(context, rule, &env, Some(until), why).await?,
            );
        }
        args::Policy::Enforce { rule, env, why } => {
            return waived(
                context,
                rule,
                waive(context, rule, &env, None, why.text).await?,
            );
        }
    };
    match context.printer.is_json() {
        true => context.printer.json(&view),
        false => shown(context, &view),
    }
    Ok(Status::Success)
}

/// What became of one rule: `show` has the others.
fn waived(context: &Context, rule: Rule, view: PolicyView) -> Result<Status, Trouble> {
    if context.printer.is_json() {
        context.printer.json(&view);
        return Ok(Status::Success);
    }
    let env = &view.env;
    let line = match view.waivers.iter().find(|one| one.rule == rule) {
        Some(one) => format!("{env}: {}", waiver(one)),
        None => format!("{env}: {rule} holds again, and nobody answers for breaking it"),
    };
    context.printer.sentence(&line);
    Ok(Status::Success)
}

fn waiver(one: &WaiverView) -> String {
    let (rule, waiver) = (one.rule, &one.waiver);
    let holds = match one.holds {
        true => "waived until",
        false => "was waived until",
    };
    let (until, by, why) = (moment(waiver.until), &waiver.by, &waiver.why);
    format!("{rule} {holds} {until} by {by}: {}", text::shown(why))
}

/// Whose rules these are: a deploy that was refused leaves none behind.
fn whose(view: &PolicyView) -> String {
    let env = &view.env;
    match (view.of, view.release) {
        (RulesOf::Release, Some(release)) => {
            format!("{env}   the rules of {release}, which serves")
        }
        (RulesOf::Release, None) => format!("{env}   the rules of what served last"),
        (RulesOf::File, _) => format!("{env}   the rules of the stack file in this folder"),
        (RulesOf::Nothing, _) => format!("{env}   the rules of the installation"),
    }
}

async fn waive(
    context: &Context,
    rule: Rule,
    env: &args::OfEnv,
    until: Option<Timestamp>,
    why: String,
) -> Result<PolicyView, Trouble> {
    let (env, dir) = crate::env::find_or_declared(context, env.env.as_deref()).await?;
    let request = WaiveRequest {
        env: Some(env),
        rule,
        until,
        why,
        dir,
    };
    Ok(context.client.post("/v1/policy/waive", &request).await?)
}

fn shown(context: &Context, view: &PolicyView) {
    context.printer.sentence(&whose(view));
    let mut table = Table::new();
    table.load_style(NOTHING);
    for rule in &view.rules {
        let by = match (rule.level, rule.origin) {
            (Level::Off, _) => "",
            (_, Origin::Stack) => "stack file",
            (_, Origin::Installation) => "installation",
        };
        let detail = rule.detail.clone().unwrap_or_default();
        let (name, level) = (rule.rule.as_str(), rule.level.as_str());
        table.add_row([name, level, &detail, by, &rule.about]);
    }
    context.printer.table(&table, " ");
    match view.of {
        RulesOf::Release => context.printer.say(
            "a deploy is held against those of its own stack file: `ward check` shows what would break one",
        ),
        RulesOf::File => context
            .printer
            .say("no release has these yet: they are the stack file's, which a deploy asks"),
        RulesOf::Nothing => context.printer.say(
            "there is no release yet: a deploy also asks what its stack file declares; in its folder this shows it",
        ),
    }
    if let Some(sentence) = &view.outlasting {
        context.printer.say(sentence);
    }
    for one in &view.waivers {
        context.printer.sentence(&waiver(one));
    }
}

/// Reads `2026-12-31`, to the end of that day in UTC, or how long from now on, such as `7d`.
pub(crate) fn until(text: &str) -> Result<Timestamp, String> {
    let wrong =
        || format!("{text:?} is neither a day such as 2026-12-31 nor a duration such as 7d");
    let end = match Day::parse(text) {
        Some(day) => {
            let day = jiff::civil::date(
                i16::try_from(day.year).map_err(|_| wrong())?,
                i8::try_from(day.month).map_err(|_| wrong())?,
                i8::try_from(day.day).map_err(|_| wrong())?,
            );
            let next = day.tomorrow().map_err(|_| wrong())?;
            let next = next.to_zoned(jiff::tz::TimeZone::UTC);
            let next = next.map_err(|_| wrong())?.timestamp();
            // Its last moment, so that what is said of it is the day that was typed.
            next.checked_sub(jiff::SignedDuration::from_millis(1))
                .map_err(|_| wrong())?
        }
        None => {
            let Millis(span) = parse_duration(text).map_err(|_| wrong())?;
            let span = i64::try_from(span).map_err(|_| wrong())?;
            let span = jiff::SignedDuration::from_millis(span);
            jiff::Timestamp::now()
                .checked_add(span)
                .map_err(|_| wrong())?
        }
    };
    let millis = u64::try_from(end.as_millisecond()).map_err(|_| wrong())?;
    Ok(Timestamp(millis))
}

#[cfg(test)]
mod tests {
    use super::until;

    #[test]
    fn a_day_is_meant_to_its_end() {
        assert_eq!(
            until("2026-12-31").unwrap().to_string(),
            "2026-12-31 23:59:59Z"
        );
        for bad in ["", "tomorrow", "2026-02-30", "7", "99999999999999d"] {
            assert!(until(bad).is_err(), "{bad}");
        }
        assert!(until("7d").unwrap() > until("1h").unwrap());
    }
}
