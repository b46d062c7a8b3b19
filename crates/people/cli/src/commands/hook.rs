//! `hook`: what git starts in a repository that Ward hosts. What it says reaches whoever pushes, behind `remote:`.
//!
//! Whether a stack file has mistakes is found out here, by what was pushed and is not taken yet: a push is refused also
//! while no server runs. Who pushes is noted before the push is taken, for the same reason.

use std::io::Read;

use ward_api::ClientError;
use ward_git::{Repository, Tip};
use ward_stack::Look;
use ward_types::source::{CommitId, Follows};
use ward_types::view;

use super::deploy::follow;
use super::{Context, Trouble};
use crate::args::{Hook, Pushed};
use crate::printer::Status;

/// More references than anybody pushes at once.
const LONGEST: u64 = 4 << 20;

pub(crate) async fn hook(context: &Context, hook: Hook) -> Result<Status, Trouble> {
    match hook {
        Hook::PreReceive(asked) => refused_or_not(context, &asked).await,
        Hook::PostReceive(asked) => told(context, &asked).await,
    }
}

/// `OLD NEW REFERENCE`, a line each (githooks, pre-receive); what is deleted is not there any more.
fn pushed() -> Result<Vec<view::Pushed>, Trouble> {
    let mut text = String::new();
    let read = std::io::stdin().take(LONGEST).read_to_string(&mut text);
    read.map_err(|error| {
        Trouble::failure(
            format!("cannot read what git says was pushed: {error}"),
            None,
        )
    })?;
    let line = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let object = words.nth(1).and_then(|new| CommitId::parse(new).ok())?;
        let is_there = object.as_str().bytes().any(|digit| digit != b'0');
        is_there.then_some(view::Pushed {
            object,
            reference: words.next()?.to_owned(),
        })
    };
    Ok(text.lines().filter_map(line).collect())
}

fn follows(asked: &Pushed) -> Follows {
    match asked.follows.strip_prefix("refs/tags/") {
        Some(pattern) => Follows::Tags(pattern.to_owned()),
        None => {
            let name = asked.follows.strip_prefix("refs/heads/");
            Follows::Branch(name.unwrap_or(&asked.follows).to_owned())
        }
    }
}

/// The repository that git runs a hook of.
fn repository() -> Result<Repository, Trouble> {
    let here = std::env::current_dir()
        .map_err(|error| Trouble::failure(format!("cannot find the repository: {error}"), None))?;
    Ok(Repository::in_hook(here))
}

async fn refused_or_not(context: &Context, asked: &Pushed) -> Result<Status, Trouble> {
    let repository = repository()?;
    let follows = follows(asked);
    let mut tips = Vec::new();
    for pushed in pushed()? {
        if follows.names(&pushed.reference) {
            let commit = sound(context, asked, &repository, &pushed).await?;
            let reference = pushed.reference;
            tips.push(Tip { reference, commit });
        }
    }
    repository.note(&tips).map_err(refused)?;
    Ok(Status::Success)
}

fn refused(error: ward_git::Error) -> Trouble {
    let message = super::processes::chain(&error);
    Trouble::failure(format!("{message}; the push is refused"), error.hint())
}

/// The commit of what was pushed, where its stack file can be deployed.
async fn sound(
    context: &Context,
    asked: &Pushed,
    repository: &Repository,
    pushed: &view::Pushed,
) -> Result<CommitId, Trouble> {
    let commit = repository.commit(&pushed.object).await.map_err(refused)?;
    let path = match asked.folder.is_empty() {
        true => ward_server::source::FILE.to_owned(),
        false => format!("{}/{}", asked.folder, ward_server::source::FILE),
    };
    let text = repository.file(&commit.id, &path, ward_stack::MAX_BYTES);
    let name = format!("{path} of {}", commit.id.short());
    let no = |message: String| Trouble::failure(format!("{message}; the push is refused"), None);
    let Some(text) = text.await.map_err(refused)? else {
        let folder = format!("there is no file {name}");
        return Err(no(folder));
    };
    let text = String::from_utf8(text).map_err(|_| no(format!("{name} is not UTF-8 text")))?;
    let mistaken = |mistakes: &[ward_stack::Mistake]| {
        let rendered = ward_stack::render(&name, &text, mistakes, Look::Plain, 80);
        context.printer.text(&rendered);
        no(format!("{name} has mistakes"))
    };
    let reading = ward_stack::read(&name, &text);
    let stack = match reading.stack {
        Some(stack) if reading.mistakes.is_empty() => stack,
        _ => return Err(mistaken(&reading.mistakes)),
    };
    let mut envs: Vec<_> = asked.env.iter().cloned().collect();
    if let Some(pipeline) = &asked.pipeline {
        let Some(known) = stack.pipelines.get(pipeline) else {
            return Err(no(format!("{name} has no pipeline {pipeline}")));
        };
        envs.extend(known.stages.iter().map(|stage| stage.env.clone()));
    }
    for env in envs {
        stack
            .resolve(&env)
            .map_err(|mistakes| mistaken(&mistakes))?;
    }
    Ok(commit.id)
}

/// The push is taken by now, whatever is said here.
async fn told(context: &Context, asked: &Pushed) -> Result<Status, Trouble> {
    let request = view::PushedRequest {
        name: asked.source.clone(),
        pushed: pushed()?,
    };
    if request.pushed.is_empty() {
        return Ok(Status::Success);
    }
    if let Err(error) = noted(&repository()?, asked, &request.pushed).await {
        let error = super::processes::chain(&error);
        let message = format!("the push is taken, and that is not noted: {error}");
        let hint = "who pushes the same commit later may be taken for its author";
        context.printer.warning(&message, hint);
    }
    match context
        .client
        .post_lines("/v1/sources/pushed", &request)
        .await
    {
        Ok(lines) => follow(context, lines).await,
        Err(ClientError::NotRunning { .. }) => {
            let message = "the push is taken, and no Ward server runs to build it";
            let hint = "`ward up --platform` starts one, which builds it";
            context.printer.warning(message, hint);
            Ok(Status::Success)
        }
        Err(other) => Err(other.into()),
    }
}

/// Notes that it was taken: who pushes the same later is not its author.
async fn noted(
    repository: &Repository,
    asked: &Pushed,
    pushed: &[view::Pushed],
) -> Result<(), ward_git::Error> {
    let follows = follows(asked);
    let mut tips = Vec::new();
    for pushed in pushed.iter().filter(|one| follows.names(&one.reference)) {
        let commit = repository.commit(&pushed.object).await?.id;
        let reference = pushed.reference.clone();
        tips.push(Tip { reference, commit });
    }
    repository.note_taken(&tips)
}
