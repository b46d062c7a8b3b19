//! `releases show`: who brought a release, when, from which commit, who approved it, why, and what proves it.

use owo_colors::OwoColorize;
use ward_types::id::ReleaseId;
use ward_types::view::{MoveView, ReleaseDetail, WaiverView, ending};

use super::super::pipeline::{quoted, stages};
use super::super::status::moment;
use super::super::{Context, Trouble};
use super::images;
use crate::args::OfEnv;
use crate::printer::Status;

/// The name of a line, and room behind it.
const NAMES: usize = 10;

pub(super) async fn show(
    context: &Context,
    env: &OfEnv,
    release: ReleaseId,
) -> Result<Status, Trouble> {
    let env = crate::env::find(context, env.env.as_deref()).await?;
    let path = format!("/v1/releases/show?env={env}&release={}", release.0);
    let detail: ReleaseDetail = context.client.get(&path).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&detail);
        return Ok(Status::Success);
    }
    for line in lines(&detail) {
        printer.sentence(&line);
    }
    if let Some(run) = &detail.pipeline {
        stages(context, run);
    }
    let events: Vec<String> = detail.events.iter().map(ToString::to_string).collect();
    printer.sentence(&named("events", &events.join(", ")));
    printer.say(&format!(
        "`ward events --env {env} --release {release}` shows what they say"
    ));
    printer.say("`ward audit verify` proves that none was altered");
    Ok(Status::Success)
}

fn named(name: &str, text: &str) -> String {
    format!("  {name:<NAMES$} {text}")
}

fn lines(detail: &ReleaseDetail) -> Vec<String> {
    let release = &detail.release;
    let serves = match (release.current, release.down) {
        (true, false) => "   serves",
        (true, true) => "   served last; it is down",
        (false, _) => "",
    };
    let mut lines = vec![format!("{} of {}{serves}", release.id.bold(), detail.env)];
    let mut line = |name: &str, text: String| lines.push(named(name, &text));
    let from = release.promoted.as_ref();
    let from = from.map_or_else(String::new, |from| format!(", the build of {from}"));
    line("build", format!("{}{from}", release.version));
    match &release.provenance {
        Some(provenance) => line("commit", provenance.to_string()),
        None => line("commit", "none is known".to_owned()),
    }
    line("images", images(&release.images));
    let way = &release.way;
    line(
        "recorded",
        format!(
            "by {} on {}{}",
            release.by,
            moment(release.recorded),
            quoted(&way.why)
        ),
    );
    if !way.values.is_empty() {
        line("changed", way.values.join(", "));
    }
    let secrets = detail.secrets.iter();
    let secrets = secrets.map(|(name, version)| format!("{name} {version}"));
    let secrets: Vec<String> = secrets.collect();
    let secrets = match secrets.is_empty() {
        true => "no secrets".to_owned(),
        false => format!("secrets {}", secrets.join(", ")),
    };
    let config = match release.config {
        0 => "nothing set".to_owned(),
        version => format!("configuration {version}"),
    };
    line("values", format!("{config}; {secrets}"));
    for WaiverView { rule, waiver, .. } in &detail.waivers {
        let (by, until) = (&waiver.by, moment(waiver.until));
        let why = quoted(&waiver.why);
        line("waived", format!("{rule}, by {by} until {until}{why}"));
    }
    for one in &detail.deployments {
        line("deployed", told(one));
    }
    if let Some(change) = &release.barred {
        line(
            "barred",
            format!("it does not run on the schema since {change}"),
        );
    }
    match &detail.pipeline {
        Some(run) => {
            let found = match way.run {
                Some(_) => "",
                None => "none brought it; it was found here by ",
            };
            line(
                "pipeline",
                format!(
                    "{found}{} of {}, begun by {} on {}{}: {}",
                    run.id,
                    run.pipeline,
                    run.author,
                    moment(run.began),
                    quoted(&run.why),
                    run.stands
                ),
            );
        }
        None => match way.run {
            Some(run) => line(
                "pipeline",
                format!("{run}, which is not remembered any more"),
            ),
            None => line("pipeline", "none brought it".to_owned()),
        },
    }
    lines
}

fn told(one: &MoveView) -> String {
    let reason = one.reason;
    let plan = one.plan.as_ref();
    let plan = plan.map_or_else(String::new, |plan| format!(", by the plan {plan}"));
    let end = match (one.verdict, one.ended) {
        (Some(verdict), Some(at)) => format!(
            "{} on {}",
            ending(verdict, one.cancelled.as_ref()),
            moment(at)
        ),
        _ => "not ended".to_owned(),
    };
    format!(
        "{} ({reason}) asked for by {} on {}{}{plan}: {end}",
        one.id,
        one.by,
        moment(one.requested),
        quoted(&one.why)
    )
}
