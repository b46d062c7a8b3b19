//! What a source is to lead to, held against the stack file in the repository where there is one already.

use ward_types::event::State;
use ward_types::id::{EnvId, Name};
use ward_types::source::{CommitId, Follows, Place, Source, Then};

use super::place::Folder;
use crate::actor::{Refusal, RefusalKind};
use crate::control::Control;
use crate::kept::git_refusal;
use crate::pipelines::no_pipeline;
use crate::source::FILE;

impl Control {
    /// Whether the stack file of what is followed declares what a source leads to. What cannot be known yet is said.
    ///
    /// # Errors
    /// What it does not declare.
    pub(super) async fn leads_somewhere(
        &self,
        state: &State,
        source: &Source,
        tips: &[CommitId],
    ) -> Result<Option<String>, Refusal> {
        let what = match &source.then {
            Then::Keep => return Ok(None),
            Then::Pipeline(name) => format!("the pipeline {name}"),
            Then::Deploy(name) => format!("the environment {name}"),
        };
        let path = match source.folder.is_empty() {
            true => FILE.to_owned(),
            false => format!("{}/{FILE}", source.folder),
        };
        let unknown = match (&source.place, &source.follows, tips) {
            (Place::Hosted, _, []) => {
                "nothing was pushed yet, and a push that does not is refused".to_owned()
            }
            (_, Follows::Tags(_), _) => {
                "each tag that comes has a stack file of its own".to_owned()
            }
            (_, _, []) => "there is no commit yet".to_owned(),
            (_, Follows::Branch(_), [tip, ..]) => {
                let repository = Folder::of(&self.0.home, &source.name).repository();
                let text = repository.file(tip, &path, ward_stack::MAX_BYTES).await;
                let text = text.map_err(|error| git_refusal(&error))?;
                match stack(&path, tip, text) {
                    Ok(stack) => return declared(state, &stack, &source.then).map(|()| None),
                    Err(why) => why,
                }
            }
        };
        Ok(Some(format!(
            "whether the stack file declares {what} is not known: {unknown}"
        )))
    }
}

/// The stack that a commit declares; why nobody knows.
fn stack(path: &str, tip: &CommitId, text: Option<Vec<u8>>) -> Result<ward_stack::Stack, String> {
    let name = format!("{path} of {}", tip.short());
    let text = text.ok_or_else(|| format!("there is no file {name}"))?;
    let text = String::from_utf8(text).map_err(|_| format!("{name} is not UTF-8 text"))?;
    let reading = ward_stack::read(&name, &text);
    let sound = reading.stack.filter(|_| reading.mistakes.is_empty());
    sound.ok_or_else(|| format!("{name} has mistakes, with which nothing is built"))
}

fn declared(state: &State, stack: &ward_stack::Stack, then: &Then) -> Result<(), Refusal> {
    let left = |refusal: Refusal| Refusal {
        message: format!("{}; nothing was changed", refusal.message),
        ..refusal
    };
    match then {
        Then::Keep => Ok(()),
        Then::Pipeline(name) => match stack.pipelines.contains_key(name) {
            true => Ok(()),
            false => Err(left(no_pipeline(&stack.name, name, stack.pipelines.keys()))),
        },
        Then::Deploy(name) => {
            let known = state.environments.get(&EnvId::new(&stack.name, name));
            let copy = known.is_some_and(|env| env.life.origin.is_some());
            match copy || stack.resolve(name).is_ok() {
                true => Ok(()),
                false => Err(left(no_environment(stack, name))),
            }
        }
    }
}

fn no_environment(stack: &ward_stack::Stack, name: &Name) -> Refusal {
    let there: Vec<&str> = stack.environments.iter().map(Name::as_str).collect();
    let message = format!("{} declares no environment {name}", stack.name);
    Refusal::new(RefusalKind::NotFound, message).hint(format!("there are: {}", there.join(", ")))
}
