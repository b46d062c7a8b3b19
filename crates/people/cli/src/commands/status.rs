//! `status`: what runs.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use owo_colors::OwoColorize;
use ward_types::keeper::{Exit, InstanceState};
use ward_types::release::Goal;
use ward_types::time::{Millis, Timestamp};
use ward_types::tls::{CertificateObserved, CertificateOf};
use ward_types::view::{
    ComponentView, EnvironmentView, InstanceView, LogView, NoticesView, ServerView, StatusView,
};

use super::{Context, Trouble};
use crate::args;
use crate::hints;
use crate::printer::{Printer, Status, seconds};

pub(crate) async fn status(context: &Context, asked: args::Status) -> Result<Status, Trouble> {
    let path = match asked.env.env {
        Some(name) => format!(
            "/v1/status?keys=true&env={}",
            crate::env::find(context, Some(&name)).await?
        ),
        None => format!("/v1/status?keys=true&purged={}", asked.all),
    };
    let status: StatusView = context.client.get(&path).await?;
    if context.printer.is_json() {
        context.printer.json(&status);
        return Ok(Status::Success);
    }
    platform(&context.printer, &status);
    log(&context.printer, &status.server);
    notices(&context.printer, &status.server);
    if let Some(missing) = &status.server.keys {
        let hint = missing.hint.as_deref().unwrap_or_default();
        context.printer.warning(&missing.message, hint);
    }
    for env in &status.environments {
        environment(&context.printer, env);
    }
    Ok(Status::Success)
}

fn platform(printer: &Printer, status: &StatusView) {
    let server = &status.server;
    let gateway = server
        .gateway_pid
        .map_or("does not answer".to_owned(), |pid| format!("pid {pid}"));
    let processes = [
        format!("ward {}", server.version),
        format!("server pid {}", server.pid),
        format!("gateway {gateway}"),
    ];
    printer.phrases("", &processes);
    let addresses = [
        ("http", &server.http),
        ("https", &server.https),
        ("registry", &server.registry),
        ("metrics", &server.metrics),
    ];
    let addresses = addresses
        .into_iter()
        .filter(|(_, address)| !address.is_empty());
    let addresses: Vec<String> = addresses
        .map(|(what, address)| format!("{what} {address}"))
        .collect();
    printer.phrases("  ", &addresses);
    let told = |name: &str| {
        let mut arguments = server.arguments.iter();
        arguments.find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
    };
    let hooks = told("--hooks-addr").map(|address| format!("webhooks {address}"));
    let people = told("--people-dir").map(|dir| format!("everybody's socket in {dir}"));
    let state = Some(format!("state {}", server.home));
    let places: Vec<String> = [state, hooks, people].into_iter().flatten().collect();
    printer.phrases("  ", &places);
}

/// Says so when the log does not verify, or nobody knows yet; nothing when it does.
pub(crate) fn log(printer: &Printer, server: &ServerView) {
    match &server.log {
        LogView::Whole { .. } => {}
        LogView::Unaudited => printer.data("  the log is being audited"),
        LogView::Altered { message, hint, .. } => printer.warning(message, hint),
    }
}

/// Says so when the program that gets notices does not take them.
fn notices(printer: &Printer, server: &ServerView) {
    let notices = server.notices.as_ref();
    if let Some((trouble, hint)) = notices.and_then(not_taken) {
        printer.warning(&trouble, &hint);
    }
}

/// What is wrong with notices, and what to do.
pub(crate) fn not_taken(notices: &NoticesView) -> Option<(String, String)> {
    let left_out = match notices.left_out {
        0 => None,
        1 => Some("1 notice was never taken".to_owned()),
        many => Some(format!("{many} notices were never taken")),
    };
    let read = "`ward events` has what they said";
    let mend = "mend the program, or remove it";
    Some(match (notices.trouble.clone(), left_out) {
        (Some(trouble), Some(left_out)) => (trouble, format!("{left_out}, {read}; {mend}")),
        (Some(trouble), None) => (trouble, format!("it is tried again; {mend}")),
        (None, Some(left_out)) => (
            format!("{left_out} since this server began, and the program takes them again"),
            read.to_owned(),
        ),
        (None, None) => return None,
    })
}

fn environment(printer: &Printer, env: &EnvironmentView) {
    let release = match (&env.current, &env.version) {
        (Some(release), Some(version)) => {
            let of = env.provenance.as_ref().map(super::releases::made_of);
            let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
            format!("{release} ({version}{of})")
        }
        _ if env.life.ending.is_some() => String::new(),
        _ => "no release yet".to_owned(),
    };
    let goal = match env.goal {
        Goal::Purged if env.life.deleted.is_some() => "deleted",
        Goal::Purged if env.life.ending.is_some() => "ending",
        Goal::Up => "",
        Goal::Down => "  down",
        Goal::Purged => "  purged",
    };
    printer.data("");
    printer.sentence(&format!("{}   {release}{goal}", env.id.bold()));
    let addresses = env.addresses.iter().filter(|_| env.goal == Goal::Up);
    for address in addresses {
        printer.sentence(&format!("  {address}"));
    }
    for line in super::environments::of_status(&env.life) {
        printer.sentence(&format!("  {line}"));
    }
    if let Some(sentence) = super::environments::asleep(&env.sleep) {
        printer.sentence(&format!("  asleep {sentence}"));
    }
    for one in &env.maintenance {
        printer.sentence(&format!("  {}", super::maintenance::sentence(one).yellow()));
    }
    if let Some(outdated) = &env.outdated_config {
        let sentence = format!(
            "configuration {} is in force; the newest that was set is {} (`ward config list`)",
            outdated.in_force, outdated.newest
        );
        let sentence = hints::on(&env.id, &sentence);
        printer.sentence(&format!("  {}", sentence.yellow()));
    }
    for one in &env.certificates {
        certificate(printer, one);
    }
    let some = env.components.iter().any(|c| !c.instances.is_empty());
    let declared = env.goal == Goal::Up && !env.components.is_empty();
    if declared || some {
        let mut table = columns(&["INSTANCE", "STATE", "ROTATION", "AGE", "PID"]);
        for component in &env.components {
            rows(&mut table, component);
        }
        printer.table(&table, " ");
    }
    for volume in &env.volumes {
        printer.sentence(&format!("  {}", super::volumes::sentence(volume)));
    }
    for overdue in &env.overdue_backups {
        printer.data(&format!("  {}", super::backups::line(overdue)));
    }
    for line in super::sharing::lines(&env.id, &env.sharing) {
        printer.data(&format!("  {line}"));
    }
    if let Some(deployment) = &env.deployment {
        let (id, to, phase) = (deployment.id, deployment.to, &deployment.phase);
        let cancelled = match &deployment.cancelled {
            Some(cancelled) => format!(", cancelled by {}", cancelled.by),
            None => String::new(),
        };
        printer.sentence(&format!(
            "  deployment {id} to {to}: {phase}, asked for {} ago{cancelled}",
            seconds(deployment.took)
        ));
    }
    for sentence in &env.waiting {
        printer.sentence(&format!("  {}", hints::on(&env.id, sentence)));
    }
    for sentence in missing(env) {
        printer.sentence(&format!("  {} {sentence}", "unprotected:".yellow()));
    }
}

/// Says so when a file with certificates cannot be used, or what is in use ends soon; nothing when all is well.
fn certificate(printer: &Printer, one: &CertificateObserved) {
    let of = match one.of {
        CertificateOf::Host => "certificate",
        CertificateOf::Clients => "clients' authorities",
    };
    let what = format!("{of} of {}", one.host);
    match (&one.problem, one.until) {
        (Some(problem), Some(_)) => {
            let sentence = format!("{what}: {problem}");
            printer.sentence(&format!("  {}", sentence.yellow()));
        }
        (Some(problem), None) => {
            let sentence = format!("{what}: {problem}; none is in use");
            printer.sentence(&format!("  {}", sentence.red()));
        }
        (None, Some(until)) if ends_soon(one.from.unwrap_or_default(), until) => {
            let (until, file) = (moment(until), one.file.display());
            let sentence = format!("{what}: ends on {until}; renew {file}");
            printer.sentence(&format!("  {}", sentence.yellow()));
        }
        _ => {}
    }
}

/// Whether somebody should have renewed it: within its last tenth, and the last fortnight. ACME renews sooner.
fn ends_soon(from: Timestamp, until: Timestamp) -> bool {
    let tenth = Millis(until.since(from).0 / 10);
    until.since(now()) < tenth.min(Millis::secs(14 * 24 * 3600))
}

fn missing(env: &EnvironmentView) -> Vec<&str> {
    let instances = env
        .components
        .iter()
        .flat_map(|component| &component.instances);
    let mut all: Vec<&str> = instances
        .flat_map(|i| i.missing.iter().map(String::as_str))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn rows(table: &mut Table, component: &ComponentView) {
    if component.instances.is_empty() {
        table.add_row(vec![component.name.to_string(), "no instance".to_owned()]);
    }
    for instance in &component.instances {
        let rotation = if instance.in_rotation { "yes" } else { "-" };
        table.add_row(vec![
            instance.id.to_string(),
            state(instance),
            rotation.to_owned(),
            age(instance.started),
            instance.pid.map_or("-".to_owned(), |pid| pid.to_string()),
        ]);
    }
}

fn state(instance: &InstanceView) -> String {
    let why = instance
        .last_failure
        .as_deref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    if let Some(backup) = instance.drill {
        return format!("drill: {backup} is restored in it to see whether it can be{why}");
    }
    let drift = instance.drift.as_deref();
    let drift = drift
        .map(|drift| format!("; it {drift}"))
        .unwrap_or_default();
    match &instance.state {
        InstanceState::Starting => format!("starting{why}{drift}"),
        InstanceState::Healthy => format!("healthy{drift}"),
        InstanceState::Unhealthy if !drift.is_empty() => format!("unhealthy{drift}"),
        InstanceState::Unhealthy => format!("unhealthy{why}"),
        InstanceState::Stopping => "stopping".to_owned(),
        InstanceState::Exited { exit, .. } => format!("exited, {}", ended(*exit)),
        InstanceState::Failed { message } => format!("failed: {message}"),
        InstanceState::Lost => "lost (its keeper was killed)".to_owned(),
    }
}

/// How a process ended, in words.
pub(crate) fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("status {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

fn age(since: Timestamp) -> String {
    let Millis(age) = now().since(since);
    match age / 1000 {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7200 => format!("{}m", s / 60),
        s @ 7200..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

pub(super) fn now() -> Timestamp {
    Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

/// A table without lines, its columns padded.
pub(crate) fn columns(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header.iter().map(|text| (*text).to_owned()));
    table
}

/// A moment in the machine's own time zone, and which that is: `2026-11-21 09:02:52Z`.
pub(crate) fn moment(at: Timestamp) -> String {
    moment_as(at, "%Y-%m-%d %H:%M:%S")
}

/// The same in another form, to which the time zone is added.
pub(super) fn moment_as(at: Timestamp, form: &str) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    let Ok(moment) = jiff::Timestamp::from_millisecond(millis) else {
        return at.0.to_string();
    };
    let local = moment.to_zoned(jiff::tz::TimeZone::system());
    let zone = match local.offset().seconds() {
        0 => "Z",
        _ => "%:z",
    };
    local.strftime(&format!("{form}{zone}")).to_string()
}
