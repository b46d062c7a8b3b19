//! Pipelines: their stages are environments, their gates stand behind stages, and the roles are declared.

use crate::mistake::{Code, Mistake, Span};
use crate::reading::Environment;
use crate::suggest;
use crate::tree::Table;
use crate::value::quote;

/// Everything that is wrong with them, and nothing that `shape` says of their form.
pub(crate) fn check(file: &Table, environments: &[Environment<'_>]) -> Vec<Mistake> {
    let declared: Vec<&str> = environments.iter().map(|(name, _)| *name).collect();
    let mut mistakes = Vec::new();
    for (name, _, pipeline) in file.tables("pipeline") {
        let stages: Vec<&str> = pipeline.texts("stages").map(|(stage, _)| stage).collect();
        for (stage, span) in pipeline.texts("stages") {
            if !declared.contains(&stage) {
                let message = format!(
                    "the pipeline {} has a stage {}, which is no environment of the stack",
                    quote(name),
                    quote(stage)
                );
                mistakes.push(unknown(message, span, stage, &declared, Code::NotAStage));
            }
        }
        for (stage, span, gate) in pipeline.tables("gate") {
            if !stages.contains(&stage) && !stages.is_empty() {
                let message = format!(
                    "the pipeline {} has a gate for {}, which is none of its stages",
                    quote(name),
                    quote(stage)
                );
                mistakes.push(unknown(message, span, stage, &stages, Code::NotAStage));
            }
            mistakes.extend(role(file, gate));
        }
    }
    mistakes
}

fn role(file: &Table, gate: &Table) -> Option<Mistake> {
    let (role, span) = gate.table("approve")?.text("role")?;
    let declared: Vec<&str> = file.tables("role").map(|(name, ..)| name).collect();
    (!declared.contains(&role)).then(|| {
        let message = format!("the role {} is not declared", quote(role));
        unknown(message, span, role, &declared, Code::NoRole)
    })
}

fn unknown(message: String, span: Span, name: &str, there: &[&str], code: Code) -> Mistake {
    let mistake =
        Mistake::at(span, code, message).mean(suggest::closest(name, there.iter().copied()));
    match there {
        [] => mistake.expected("one that the file declares"),
        there => mistake.expected(suggest::one_of(there.iter().copied())),
    }
}
