//! `source`: repositories that are watched.

use std::path::Path;

use ward_types::id::Name;
use ward_types::source::{Follows, Place, Then};
use ward_types::time::Millis;
use ward_types::unit::format_duration;
use ward_types::view::{
    AddSource, AddedSource, RemoveSource, SetToken, SourceView, SyncRequest, Token, Until,
};

use super::deploy::{absolute, agreed, follow};
use super::status::{columns, moment};
use super::{Context, Trouble};
use crate::args;
use crate::platform;
use crate::printer::Status;
use crate::value::{self, LineEnd, Signals};

/// How often a repository is looked at unless somebody says otherwise.
const POLL: Millis = Millis::secs(60);

pub(crate) async fn source(context: &Context, asked: args::Source) -> Result<Status, Trouble> {
    match asked {
        args::Source::Add(asked) => add(context, *asked).await,
        args::Source::List => list(context).await,
        args::Source::Show {
            name,
            remote,
            limit,
        } => show(context, &name, remote, limit).await,
        args::Source::Remove { name, yes, why } => remove(context, name, yes, why.text).await,
        args::Source::Token { name, user, why } => token(context, name, user, why.text).await,
        args::Source::Sync {
            name,
            again,
            no_wait,
            why,
        } => {
            let request = SyncRequest {
                name,
                again,
                until: match no_wait {
                    true => Until::Queued,
                    false => Until::Verdict,
                },
                why: why.text,
            };
            let lines = context.client.post_lines("/v1/sources/sync", &request);
            follow(context, lines.await?).await
        }
    }
}

async fn add(context: &Context, asked: args::AddSource) -> Result<Status, Trouble> {
    let place = match asked.repository {
        Some(repository) => Place::Remote(place(&repository)?),
        None => Place::Hosted,
    };
    let follows = match (asked.branch, asked.tag) {
        (Some(branch), _) => Follows::Branch(branch),
        (None, Some(tag)) => Follows::Tags(tag),
        (None, None) => return Err(Trouble::usage("name a --branch or a --tag".to_owned())),
    };
    let (token, signals) = match asked.token {
        true => {
            let (token, signals) = asked_for(asked.user).await?;
            (Some(token), signals)
        }
        false => (None, None),
    };
    platform::ensure(&context.home, &asked.addresses, &context.printer).await?;
    let request = AddSource {
        name: asked.name,
        place,
        follows,
        folder: asked.folder,
        then: match (asked.pipeline, asked.env) {
            (Some(pipeline), _) => Then::Pipeline(pipeline),
            (None, Some(env)) => Then::Deploy(env),
            (None, None) => Then::Keep,
        },
        poll: Some(asked.poll.unwrap_or(POLL)),
        webhook: asked.webhook,
        each: asked.each,
        token,
        why: asked.why.text,
    };
    let adding = context.client.post("/v1/sources", &request);
    let added: AddedSource = match unless(signals, adding).await {
        Ok(added) => added?,
        Err(status) => return Ok(status),
    };
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&added);
        return Ok(Status::Success);
    }
    let (name, view) = (&added.source.source.name, &added.source);
    match view.source.place {
        Place::Hosted => {
            printer.done(&format!("{name} is hosted at {}", view.repository));
            printer.say(&format!(
                "`git remote add ward \"$(ward source show {name} --remote)\"`, then `git push ward {}`",
                match &view.source.follows {
                    Follows::Branch(branch) => branch,
                    Follows::Tags(_) => "TAG",
                }
            ));
        }
        Place::Remote(_) => printer.done(&format!(
            "{name} is watched: {} of {}",
            view.source.follows, view.repository
        )),
    }
    for note in &added.notes {
        printer.say(note);
    }
    if let (Some(secret), Some(hook)) = (&added.secret, &view.hook) {
        printer.say(&format!(
            "webhooks go to {hook}, as JSON, and are signed with this secret, which is shown this once:"
        ));
        printer.data(secret.expose());
    }
    Ok(Status::Success)
}

async fn token(
    context: &Context,
    name: Name,
    user: args::TokenUser,
    why: String,
) -> Result<Status, Trouble> {
    let (token, signals) = asked_for(user).await?;
    let request = SetToken { name, token, why };
    let setting = context.client.post("/v1/sources/token", &request);
    match unless(signals, setting).await {
        Ok(set) => set?,
        Err(status) => return Ok(status),
    }
    let name = request.name;
    let said = format!("{name} has another token, which opens its repository");
    context.printer.done(&said);
    Ok(Status::Success)
}

async fn asked_for(user: args::TokenUser) -> Result<(Token, Option<Signals>), Trouble> {
    let asked = value::ask("the token", LineEnd::TakenOff).await?;
    let (user, token) = (user.user, asked.value);
    Ok((Token { user, token }, asked.signals))
}

/// Does it, unless a signal ends the program, which nothing else would where a value was typed.
async fn unless<T>(signals: Option<Signals>, doing: impl Future<Output = T>) -> Result<T, Status> {
    let Some(mut signals) = signals else {
        return Ok(doing.await);
    };
    tokio::select! {
        done = doing => Ok(done),
        status = signals.any() => Err(status),
    }
}

/// A folder in full: the server is elsewhere.
fn place(repository: &str) -> Result<String, Trouble> {
    match Path::new(repository).is_dir() {
        true => absolute(Path::new(repository)),
        false => Ok(repository.to_owned()),
    }
}

async fn list(context: &Context) -> Result<Status, Trouble> {
    let sources: Vec<SourceView> = context.client.get("/v1/sources").await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&sources);
        return Ok(Status::Success);
    }
    if sources.is_empty() {
        printer.say("no repository is watched; `ward source add` adds one");
        return Ok(Status::Success);
    }
    let mut table = columns(&["SOURCE", "FOLLOWS", "REPOSITORY", "BUILDS", "NEWEST COMMIT"]);
    for view in &sources {
        let newest = view.commits.first();
        let newest = newest.map(|c| format!("{} {}", c.seen.commit.id.short(), c.stands));
        let trouble = view.looked.as_ref().and_then(|l| l.trouble.as_ref());
        table.add_row(vec![
            view.source.name.to_string(),
            view.source.follows.to_string(),
            view.repository.clone(),
            view.source.then.to_string(),
            match (trouble, newest) {
                (Some(_), _) => "cannot be looked at; `ward source show` says why".to_owned(),
                (None, newest) => newest.unwrap_or_else(|| "-".to_owned()),
            },
        ]);
    }
    printer.table(&table, "");
    Ok(Status::Success)
}

async fn show(
    context: &Context,
    name: &Name,
    remote: bool,
    limit: usize,
) -> Result<Status, Trouble> {
    let path = format!("/v1/sources?name={name}");
    let sources: Vec<SourceView> = context.client.get(&path).await?;
    let printer = &context.printer;
    let Some(view) = sources.first() else {
        return Err(Trouble::failure(format!("there is no source {name}"), None));
    };
    if remote {
        printer.data(&view.repository);
        return Ok(Status::Success);
    }
    if printer.is_json() {
        printer.json(view);
        return Ok(Status::Success);
    }
    let source = &view.source;
    printer.sentence(&format!(
        "{name}: {}{} of {}, {}",
        match source.each {
            true => "each commit of ",
            false => "",
        },
        source.follows,
        view.repository,
        source.then
    ));
    let when = match source.poll {
        Some(poll) => format!("looked at every {}", format_duration(poll)),
        None => "looked at when somebody asks".to_owned(),
    };
    let hook = match (&view.hook, source.webhook) {
        (Some(hook), _) => format!(", and when a webhook comes to {hook}"),
        (None, true) => {
            ", and takes webhooks, which this platform does not: start it with --hooks-addr"
                .to_owned()
        }
        (None, false) => String::new(),
    };
    printer.sentence(&format!("{when}{hook}"));
    let (by, added) = (&source.by, moment(source.added));
    printer.sentence(&format!("added by {by} on {added}"));
    if let Some(login) = &source.login {
        let (user, version) = (&login.user, login.version);
        printer.sentence(&format!(
            "reached as {user} with token {version}, which is sealed"
        ));
    }
    if let Some(looked) = &view.looked {
        let how = looked.trouble.as_deref().unwrap_or("it went well");
        printer.sentence(&format!("last look on {}: {how}", moment(looked.at)));
    }
    for sentence in &view.waiting {
        printer.sentence(sentence);
    }
    for commit in view.commits.iter().take(limit) {
        let (seen, stands) = (&commit.seen, &commit.stands);
        let (id, author) = (seen.commit.id.short(), &seen.commit.author);
        printer.sentence(&format!("  {id} {stands}"));
        let subject = &seen.commit.subject;
        let at = moment(seen.commit.committed);
        printer.sentence(&format!("             “{subject}” by {author} on {at}"));
    }
    Ok(Status::Success)
}

async fn remove(context: &Context, name: Name, yes: bool, why: String) -> Result<Status, Trouble> {
    let path = format!("/v1/sources?name={name}");
    let sources: Vec<SourceView> = context.client.get(&path).await?;
    let hosted = sources.iter().any(|v| v.source.place == Place::Hosted);
    let refused = "Ward hosts the repository, which is removed, and there is no terminal to ask at";
    let question = format!("Remove the repository of {name} for good?");
    if hosted && !yes && !agreed(&question, refused)? {
        context.printer.say("nothing was changed");
        return Ok(Status::Failure);
    }
    let request = RemoveSource { name, why };
    let () = context.client.post("/v1/sources/remove", &request).await?;
    let name = request.name;
    context.printer.done(&format!("{name} is watched no more"));
    Ok(Status::Success)
}
