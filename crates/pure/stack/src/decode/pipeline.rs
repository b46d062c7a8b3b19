//! The pipelines of a stack, with the people of the roles that their gates ask for.

use std::collections::BTreeMap;

use ward_types::id::Name;
use ward_types::pipeline::{Approval, By, Check, Gate, Pipeline, Stage};

use super::{At, each};
use crate::tree::Table;

pub(crate) fn pipelines(file: &Table) -> Option<BTreeMap<Name, Pipeline>> {
    each(file, "pipeline", |at| pipeline(at, file))
}

fn pipeline(at: &At<'_>, file: &Table) -> Option<Pipeline> {
    let gates = at.below("gate");
    let stages = at.texts("stages").map(|env| {
        let gate = gates.as_ref().and_then(|gates| gates.below(env));
        Some(Stage {
            env: Name::parse(env).ok()?,
            gate: match gate {
                Some(gate) => self::gate(&gate, file)?,
                None => Gate::default(),
            },
        })
    });
    Some(Pipeline {
        stages: stages.collect::<Option<Vec<_>>>()?,
    })
}

fn gate(at: &At<'_>, file: &Table) -> Option<Gate> {
    Some(Gate {
        check: at.words("command").map(|command| Check {
            command,
            timeout: at.duration("timeout"),
        }),
        soak: at.duration("soak"),
        approve: match at.below("approve") {
            Some(approve) => Some(approval(&approve, file)?),
            None => None,
        },
    })
}

fn approval(at: &At<'_>, file: &Table) -> Option<Approval> {
    let role = at.text("role")?;
    let people = file.table("role")?.table(&role)?.texts("people");
    Some(Approval {
        role: Name::parse(&role).ok()?,
        people: people.map(|(person, _)| person.to_owned()).collect(),
        by: match at.text("by")?.as_str() {
            "another" => By::Another,
            _ => By::Anybody,
        },
    })
}
