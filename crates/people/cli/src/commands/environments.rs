//! `env`: environments made, listed, given an end and deleted.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use owo_colors::OwoColorize;
use ward_types::environments::{
    CopiedData, CreateRequest, DeleteRequest, EnvironmentDetail, EnvironmentsView, ExtendRequest,
    NapRequest, NewEnd, Standing, Trial,
};
use ward_types::id::{EnvId, Name};
use ward_types::life::{Cause, Ending, Expiry, Life, Said, roughly};
use ward_types::sleep::{Drowsiness, Sleep};
use ward_types::text::shown;
use ward_types::time::Timestamp;
use ward_types::unit::format_duration;
use ward_types::view::{
    DeployRequest, Expect, Held, Made, Others, SecretRequest, StatusView, Unchanged, Until,
};

use super::status::{columns, moment, now};
use super::{Context, Trouble, deploy};
use crate::args;
use crate::printer::Status;

pub(crate) async fn environments(context: &Context, asked: args::Env) -> Result<Status, Trouble> {
    match asked {
        args::Env::Create(create) => {
            let data = match create.copy_data {
                true => CopiedData::Rows,
                false => CopiedData::None,
            };
            match create.from {
                Some(from) => self::create(context, &from, create.name, data, create.made).await,
                None => declared(context, create.name, create.dir, create.made).await,
            }
        }
        args::Env::Clone { from, name, made } => {
            self::create(context, &from, name, CopiedData::Rows, made).await
        }
        args::Env::List { all } => list(context, all).await,
        args::Env::Show { env } => show(context, &env).await,
        args::Env::Diff(diff) => super::plan::env_diff(context, &diff).await,
        args::Env::Extend(extend) => self::extend(context, extend).await,
        args::Env::Sleep(nap) => rest(context, "/v1/environments/sleep", nap).await,
        args::Env::Wake(nap) => rest(context, "/v1/environments/wake", nap).await,
        args::Env::Delete { env, yes, why } => delete(context, &env, yes, why.text).await,
    }
}

async fn create(
    context: &Context,
    from: &str,
    name: Name,
    data: CopiedData,
    made: args::Made,
) -> Result<Status, Trouble> {
    let from = parent(context, from).await?;
    let env = EnvId::new(&from.stack(), &name);
    context.printer.about(&env);
    let request = CreateRequest {
        from,
        name,
        data,
        restores: Vec::new(),
        hosts: made.hosts.unwrap_or_default(),
        ttl: made.ttl,
        sleep: made.sleep,
        why: made.why.text,
        until: match made.no_wait {
            true => Until::Queued,
            false => Until::Verdict,
        },
        trial: Trial::No,
    };
    copied(context, &env, &request, made.secrets.as_deref()).await
}

/// Makes a copy, with these secrets if there are any.
pub(super) async fn copied(
    context: &Context,
    env: &EnvId,
    request: &CreateRequest,
    secrets: Option<&Path>,
) -> Result<Status, Trouble> {
    let path = "/v1/environments/create";
    if let Some(file) = secrets {
        // What cannot be made, such as one whose name is taken, leaves no secrets behind.
        let trial = CreateRequest {
            trial: Trial::Yes,
            ..request.clone()
        };
        let lines = context.client.post_lines(path, &trial).await?;
        let ended = deploy::follow(context, lines).await?;
        if ended != Status::Success {
            return Ok(ended);
        }
        let file = (Some(file), request.why.as_str());
        if let Some(ended) = with_secrets(context, env, None, file).await? {
            return Ok(ended);
        }
    }
    let lines = context.client.post_lines(path, request).await?;
    deploy::follow(context, lines).await
}

/// One that a stack file declares: a deploy that makes it.
async fn declared(
    context: &Context,
    name: Name,
    dir: Option<PathBuf>,
    made: args::Made,
) -> Result<Status, Trouble> {
    let dir = deploy::absolute(&dir.unwrap_or_else(|| ".".into()))?;
    if let Some(stack) = crate::env::lacks(Path::new(&dir), &name) {
        let known = EnvId::new(&stack, &name);
        let status: StatusView = context.client.get("/v1/status").await?;
        // Of one that is there the server says what it is.
        if status.environments.iter().all(|env| env.id != known) {
            return Err(undeclared(&known));
        }
    }
    if made.secrets.is_some() {
        let stack = crate::env::stack_in(Path::new(&dir)).ok_or_else(|| {
            let message = format!("the stack file in {dir} has mistakes or is not there");
            Trouble::usage(message).with("`ward check` says more; nothing was changed".to_owned())
        })?;
        let env = EnvId::new(&stack, &name);
        let (file, why) = (made.secrets.as_deref(), &made.why.text);
        if let Some(ended) = with_secrets(context, &env, Some(&dir), (file, why)).await? {
            return Ok(ended);
        }
    }
    let request = DeployRequest {
        dir,
        env: name,
        why: made.why.text,
        unchanged: Unchanged::Keep,
        others: Others::Wait,
        until: match made.no_wait {
            true => Until::Queued,
            false => Until::Verdict,
        },
        rollback: Held::Superseded,
        strategy: None,
        made: Some(Made { ttl: made.ttl }),
    };
    deploy::send(context, &request).await
}

/// Sets what a new environment is to have before it is made; how that ended, where it did not succeed.
async fn with_secrets(
    context: &Context,
    env: &EnvId,
    dir: Option<&str>,
    (file, why): (Option<&Path>, &str),
) -> Result<Option<Status>, Trouble> {
    let Some(file) = file else {
        return Ok(None);
    };
    let request = SecretRequest {
        env: Some(env.clone()),
        expect: Expect::Absent,
        dir: dir.map(ToOwned::to_owned),
        changes: super::secret::imported(file)?,
        others: Others::Wait,
        until: Until::Queued,
        why: why.to_owned(),
    };
    let lines = context.client.post_lines("/v1/secrets", &request).await?;
    let ended = deploy::follow(context, lines).await?;
    Ok((ended != Status::Success).then_some(ended))
}

fn undeclared(env: &EnvId) -> Trouble {
    let (stack, name) = (env.stack(), env.env());
    let message = format!(
        "the stack `{stack}` declares no environment `{name}`, and nothing says what it is a copy of"
    );
    let hint = format!(
        "`ward env create {name} --from ENV` makes a copy of one that is there; or declare `[environment.{name}]` in \
         ward.toml, and this makes it"
    );
    Trouble::usage(message).with(hint)
}

/// What is to be copied. Whoever slips is told what was meant, and what there is.
async fn parent(context: &Context, asked: &str) -> Result<EnvId, Trouble> {
    let found = crate::env::named(context, Some(asked)).await;
    let known = found.as_ref().ok();
    let status: StatusView = context.client.get("/v1/status").await?;
    let there: Vec<&EnvId> = status.environments.iter().map(|env| &env.id).collect();
    match known.is_some_and(|env| there.contains(&env)) {
        true => found,
        false => Err(no_parent(asked, &there)),
    }
}

fn no_parent(asked: &str, there: &[&EnvId]) -> Trouble {
    let same = there.iter().filter(|env| env.env().as_str() == asked);
    let several: Vec<&str> = same.map(|env| env.as_str()).collect();
    if several.len() > 1 {
        let message = format!("several stacks have {asked}: {}", several.join(", "));
        return Trouble::failure(message, Some("name one, as STACK/NAME".to_owned()));
    }
    let name = |env: &&EnvId| match asked.contains('/') {
        true => env.to_string(),
        false => env.env().to_string(),
    };
    let names: Vec<String> = there.iter().map(name).collect();
    let message = format!("there is no environment {asked} to copy");
    let all: Vec<&str> = there.iter().map(|env| env.as_str()).collect();
    let hint = match ward_stack::closest(asked, names.iter().map(String::as_str)) {
        _ if all.is_empty() => "bring one up with `ward up DIR`".to_owned(),
        Some(meant) => format!("did you mean {meant}? There are: {}", all.join(", ")),
        None => format!("there are: {}", all.join(", ")),
    };
    Trouble::failure(message, Some(hint))
}

async fn list(context: &Context, all: bool) -> Result<Status, Trouble> {
    let path = format!("/v1/environments?gone={all}");
    let view: EnvironmentsView = context.client.get(&path).await?;
    if context.printer.is_json() {
        context.printer.json(&view);
        return Ok(Status::Success);
    }
    if view.environments.is_empty() {
        let hint = match all {
            true => "there never was an environment; `ward up DIR` brings one up",
            false => {
                "there is no environment; `ward up DIR` brings one up, `--all` shows those that are gone"
            }
        };
        context.printer.say(hint);
        return Ok(Status::Success);
    }
    let header = [
        "ENVIRONMENT",
        "STATE",
        "RELEASE",
        "COPY OF",
        "CREATED",
        "BY",
        "ENDS",
    ];
    let mut table = columns(&header);
    for env in &view.environments {
        table.add_row(row(env));
    }
    context.printer.table(&table, "");
    for env in &view.environments {
        if let (Some(at), Some(ending)) = (env.deleted, &env.ending) {
            let (id, because) = (&env.id, because(ending));
            let line = format!("{id} was deleted on {}: {because}", moment(at));
            context.printer.sentence(&line);
        }
    }
    Ok(Status::Success)
}

fn row(env: &EnvironmentDetail) -> Vec<String> {
    let none = || "-".to_owned();
    let release = match (env.release, &env.version) {
        (Some(release), Some(version)) => format!("{release} ({version})"),
        _ => none(),
    };
    let (created, by) = match &env.created {
        Some(Said { at, by, .. }) => (moment(*at), by.clone()),
        None => (none(), String::new()),
    };
    let ends = match env.expires {
        Some(expiry) => format!("in {}", roughly(expiry.at.since(now()))),
        None => none(),
    };
    vec![
        env.id.to_string(),
        word(env.state).to_owned(),
        release,
        env.origin
            .as_ref()
            .map_or_else(none, |o| o.from.to_string()),
        created,
        if by.is_empty() { none() } else { by },
        ends,
    ]
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Up => "up",
        Standing::Asleep => "asleep",
        Standing::Awaited => "to come",
        Standing::Coming => "coming up",
        Standing::Unserved => "not served",
        Standing::Down => "down",
        Standing::Purged => "purged",
        Standing::Ending => "ending",
        Standing::Deleted => "deleted",
    }
}

async fn show(context: &Context, asked: &str) -> Result<Status, Trouble> {
    let env = crate::env::find(context, Some(asked)).await?;
    let path = format!("/v1/environments?env={env}");
    let view: EnvironmentsView = context.client.get(&path).await?;
    let detail = view.environments.into_iter().next();
    let detail = detail.ok_or_else(|| Trouble::failure(format!("{env} is gone"), None))?;
    if context.printer.is_json() {
        context.printer.json(&detail);
        return Ok(Status::Success);
    }
    for line in told(&detail) {
        context.printer.sentence(&line);
    }
    Ok(Status::Success)
}

fn told(env: &EnvironmentDetail) -> Vec<String> {
    let mut lines = vec![format!("{}   {}", env.id.bold(), word(env.state))];
    let mut line = |what: &str, text: String| lines.push(format!("  {what:<10} {text}"));
    match &env.origin {
        Some(origin) => line(
            "copy of",
            format!("{}, hosts by {}", origin.from, origin.hosts),
        ),
        None => line("declared", "in its stack file".to_owned()),
    }
    if let Some(created) = &env.created {
        line("created", said(created));
    }
    if let Some(expiry) = env.expires {
        line("ends", ends(expiry));
    }
    if let Some(after) = env.sleeps_after {
        line(
            "sleeps",
            format!("when it was idle for {}", format_duration(after)),
        );
    }
    if let Some(sentence) = asleep(&env.sleep) {
        line("asleep", sentence);
    }
    if let Some(why) = &env.cannot_wake {
        line("but", why.red().to_string());
    }
    match (&env.ending, env.deleted) {
        (Some(ending), Some(at)) => {
            line("deleted", format!("{}: {}", moment(at), because(ending)));
        }
        (Some(ending), None) => line("ends now", because(ending)),
        (None, _) => {}
    }
    if let (Some(release), Some(version)) = (env.release, &env.version) {
        line("release", format!("{release} ({version})"));
    }
    if !env.services.is_empty() {
        let names: Vec<&str> = env.services.iter().map(|name| name.as_str()).collect();
        line("services", names.join(", "));
    }
    for database in &env.databases {
        let size = match database.bytes {
            Some(bytes) => format!("{} of data", size(bytes)),
            None => "no data".to_owned(),
        };
        line("database", format!("{}, {size}", database.name));
    }
    for sentence in super::sharing::lines(&env.id, &env.sharing) {
        line("shared", sentence);
    }
    for address in &env.addresses {
        line("address", address.clone());
    }
    lines
}

/// As people say it: `47 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| bytes >> shift > 0);
    match unit {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

fn said(said: &Said) -> String {
    let by = match said.by.as_str() {
        "" => String::new(),
        by => format!(" by {by}"),
    };
    format!("{}{by}{}", moment(said.at), quoted(&said.why))
}

fn quoted(why: &str) -> String {
    match why {
        "" => String::new(),
        why => format!(" (“{}”)", shown(why)),
    }
}

fn ends(expiry: Expiry) -> String {
    let left = roughly(expiry.at.since(now()));
    format!("{}, in {left}", moment(expiry.at))
}

fn because(ending: &Ending) -> String {
    match ending.cause {
        Cause::Expired => "its time was over".to_owned(),
        Cause::Unmade => "it could not be made".to_owned(),
        Cause::Asked => format!(
            "{} asked for it{}",
            ending.said.by,
            quoted(&ending.said.why)
        ),
    }
}

/// Since when it sleeps, and why.
pub(super) fn asleep(sleep: &Sleep) -> Option<String> {
    let asleep = sleep.asleep?;
    let why = match asleep.cause {
        Drowsiness::Idle => "nobody asked it for anything",
        Drowsiness::Asked => "somebody wanted it so",
    };
    let lasts = roughly(now().since(asleep.since));
    let since = moment(asleep.since);
    Some(format!(
        "since {since} ({lasts}), because {why}; its first request wakes it"
    ))
}

/// What `ward status` says of where an environment comes from and how it ends; where the end is near, in yellow.
pub(super) fn of_status(life: &Life) -> Vec<String> {
    let mut lines = Vec::new();
    match (&life.ending, life.deleted) {
        (Some(ending), Some(at)) => {
            lines.push(format!("deleted on {}: {}", moment(at), because(ending)));
            return lines;
        }
        (Some(ending), None) => {
            let line = format!("ends now: {}", because(ending));
            lines.push(line.yellow().to_string());
            return lines;
        }
        (None, _) => {}
    }
    let copy = life
        .origin
        .as_ref()
        .map(|o| format!("a copy of {}", o.from));
    let end = life.expires.map(|expiry| format!("ends {}", ends(expiry)));
    let near = life.expires.is_some_and(|expiry| expiry.is_near(now()));
    let all: Vec<String> = [copy, end].into_iter().flatten().collect();
    if !all.is_empty() {
        let line = all.join("; ");
        lines.push(match near {
            true => line.yellow().to_string(),
            false => line,
        });
    }
    lines
}

async fn extend(context: &Context, extend: args::Extend) -> Result<Status, Trouble> {
    let env = crate::env::find(context, Some(&extend.env)).await?;
    let end = match (extend.end.ttl, &extend.end.until) {
        (Some(ttl), _) => NewEnd::In(ttl),
        (None, Some(until)) => NewEnd::At(point(until)?),
        (None, None) => NewEnd::Never,
    };
    if let Some(sooner) = sooner(context, &env, end).await?
        && !extend.yes
    {
        let refused = format!("{sooner}, and there is no terminal to ask at");
        if !deploy::agreed(&format!("{sooner}. Go on?"), &refused)? {
            context.printer.say("nothing was changed");
            return Ok(Status::Failure);
        }
    }
    let request = ExtendRequest {
        env,
        end,
        why: extend.why.text,
    };
    let path = "/v1/environments/extend";
    let detail: EnvironmentDetail = context.client.post(path, &request).await?;
    if context.printer.is_json() {
        context.printer.json(&detail);
        return Ok(Status::Success);
    }
    let line = match detail.expires {
        Some(expiry) => format!("{} ends {}", detail.id, ends(expiry)),
        None => format!("{} lasts until somebody deletes it", detail.id),
    };
    context.printer.sentence(&line);
    Ok(Status::Success)
}

/// That an environment would end earlier than it does now, or at all, where that is so.
async fn sooner(context: &Context, env: &EnvId, end: NewEnd) -> Result<Option<String>, Trouble> {
    let at = match end {
        NewEnd::Never => return Ok(None),
        NewEnd::In(ttl) => now() + ttl,
        NewEnd::At(at) => at,
    };
    let path = format!("/v1/environments?env={env}");
    let view: EnvironmentsView = context.client.get(&path).await?;
    let known = view
        .environments
        .first()
        .filter(|known| known.created.is_some());
    // What is not there, ends already, or is no end to come, the server tells.
    let living = known.filter(|known| known.ending.is_none() && at > now());
    Ok(living.and_then(|known| shortened(env, at, known.expires)))
}

fn shortened(env: &EnvId, at: Timestamp, now: Option<Expiry>) -> Option<String> {
    let before = match now {
        None => "it has no end now".to_owned(),
        Some(expiry) if at < expiry.at => format!("now it ends on {}", moment(expiry.at)),
        Some(_) => return None,
    };
    let at = moment(at);
    Some(format!(
        "{env} would end on {at}, and its data and its backups with it; {before}"
    ))
}

/// `2026-12-01T18:00:00Z`, or a date, or a date and a time of day, in the machine's own time zone.
pub(super) fn point(text: &str) -> Result<Timestamp, Trouble> {
    let exact = text.parse::<jiff::Timestamp>().ok();
    let local = || {
        let civil = text.parse::<DateTime>().ok()?;
        let zoned = civil.to_zoned(TimeZone::system()).ok()?;
        Some(zoned.timestamp())
    };
    let millis = exact.or_else(local).map(jiff::Timestamp::as_millisecond);
    let millis = millis.and_then(|millis| u64::try_from(millis).ok());
    millis.map(Timestamp).ok_or_else(|| {
        Trouble::usage(format!(
            "`{text}` is not a moment such as 2026-12-01, 2026-12-01T18:00 or 2026-12-01T18:00:00Z"
        ))
    })
}

/// Puts to sleep, or wakes.
async fn rest(context: &Context, path: &str, nap: args::Nap) -> Result<Status, Trouble> {
    let env = crate::env::find(context, Some(&nap.env)).await?;
    let why = nap.why.text;
    let lines = context
        .client
        .post_lines(path, &NapRequest { env, why })
        .await?;
    deploy::follow(context, lines).await
}

async fn delete(context: &Context, asked: &str, yes: bool, why: String) -> Result<Status, Trouble> {
    let env = crate::env::find(context, Some(asked)).await?;
    if !yes {
        let what = format!("Delete {env}, its data and its backups for good?");
        let refused = format!(
            "deleting {env} removes its data and its backups, and there is no terminal to ask at"
        );
        if !deploy::agreed(&what, &refused)? {
            context.printer.say("nothing was changed");
            return Ok(Status::Failure);
        }
    }
    let request = DeleteRequest { env, why };
    let path = "/v1/environments/delete";
    let lines = context.client.post_lines(path, &request).await?;
    deploy::follow(context, lines).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_with_and_without_a_zone() {
        assert_eq!(point("1970-01-01T00:00:07Z").unwrap(), Timestamp(7000));
        assert_eq!(
            point("1970-01-02T00:00:00+01:00").unwrap(),
            Timestamp(82_800_000)
        );
        assert!(point("2026-12-01").is_ok() && point("2026-12-01 18:00").is_ok());
        for wrong in ["", "tomorrow", "2026-13-01", "18:00"] {
            assert!(point(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_life_is_shortened_by_an_end_where_there_was_none_and_by_an_earlier_one() {
        let env = EnvId::parse("shop/dev").unwrap();
        let ends = |at: u64| {
            Some(Expiry {
                at: Timestamp(at),
                set: Timestamp(0),
                warned: None,
            })
        };
        let endless = shortened(&env, Timestamp(5000), None).unwrap();
        assert!(
            endless.contains("its data and its backups with it; it has no end now"),
            "{endless}"
        );
        let earlier = shortened(&env, Timestamp(5000), ends(6000)).unwrap();
        assert!(earlier.contains("now it ends on 1970-01-01"), "{earlier}");
        assert_eq!(shortened(&env, Timestamp(5000), ends(5000)), None);
        assert_eq!(shortened(&env, Timestamp(7000), ends(6000)), None);
    }

    #[test]
    fn whoever_slips_is_told_what_was_meant() {
        let ids = [
            EnvId::parse("shop/prod").unwrap(),
            EnvId::parse("shop/dev").unwrap(),
        ];
        let there: Vec<&EnvId> = ids.iter().collect();
        let hint = |asked| no_parent(asked, &there).hint.unwrap();
        assert!(hint("prd").starts_with("did you mean prod? There are: shop/prod, shop/dev"));
        assert!(hint("shop/prd").starts_with("did you mean shop/prod?"));
        assert_eq!(hint("elsewhere"), "there are: shop/prod, shop/dev");
    }

    #[test]
    fn what_several_stacks_have_is_not_said_to_be_nowhere() {
        let all = ["plans/prod", "shop/dev", "shop/prod"].map(|id| EnvId::parse(id).unwrap());
        let there: Vec<&EnvId> = all.iter().collect();
        let said = |asked: &str| no_parent(asked, &there).message;
        assert_eq!(
            said("prod"),
            "several stacks have prod: plans/prod, shop/prod"
        );
        assert_eq!(said("prd"), "there is no environment prd to copy");
    }
}
