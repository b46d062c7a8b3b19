//! Where a value stands in a stack file that was read without a mistake, for who has something to say of it.

use ward_types::id::Name;

use crate::mistake::{Code, Mistake, Span};
use crate::syntax;
use crate::tree::{Node, Table, Value};
use ward_types::policy::{Level, Origin, Place, Violation};

use crate::lines::Lines;

/// The value that the environment `env` has at a path such as `service.web.instances`: its own override, else what the
/// stack says, else the nearest table around it. Names of a list's items, in brackets, are not looked at.
fn place(file: &Table, env: &Name, path: &str) -> Span {
    let path: String = without_items(path);
    let own = file
        .table("environment")
        .and_then(|all| all.get(env.as_str()));
    let table = own.and_then(|entry| match &entry.node.value {
        Value::Table(table) => Some(table),
        _ => None,
    });
    let mut best = (0, Span::START);
    for table in table.into_iter().chain([file]) {
        let found = deepest(table, &path);
        if found.0 > best.0 {
            best = found;
        }
    }
    best.1
}

fn without_items(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |path, part| match part.split_once(']') {
        Some((_, rest)) => path + rest,
        None => path,
    })
}

/// How many parts of a path are there, and where the last of them stands: its value, or of a table its name.
fn deepest(table: &Table, path: &str) -> (usize, Span) {
    let mut at = Some(table);
    let mut found = (0, Span::START);
    for part in path.split('.') {
        let Some(entry) = at.and_then(|table| table.get(part)) else {
            break;
        };
        let (span, below) = match &entry.node {
            Node {
                value: Value::Table(table),
                ..
            } => (entry.key, Some(table)),
            Node {
                value: Value::List(list),
                span,
            } => match list.first().map(|node| &node.value) {
                Some(Value::Table(table)) => (entry.key, Some(table)),
                _ => (*span, None),
            },
            Node { span, .. } => (*span, None),
        };
        found = (found.0 + 1, span);
        at = below;
    }
    found
}

/// What breaks the policy as mistakes of the file, to be shown like others. The place of each is noted in it.
#[must_use]
pub fn violations(name: &str, text: &str, env: &Name, found: &mut [Violation]) -> Vec<Mistake> {
    let file = syntax::parse(text).file;
    let lines = Lines::of(text);
    let shown = found.iter_mut().map(|violation| {
        let span = place(&file, env, &violation.path);
        let (line, column) = lines.position(span.start);
        violation.place = Some(Place {
            file: name.to_owned(),
            line,
            column,
        });
        mistake(span, env, violation)
    });
    shown.collect()
}

fn mistake(span: Span, env: &Name, violation: &Violation) -> Mistake {
    let code = match violation.is_denied() {
        true => Code::AgainstPolicy,
        false => Code::PolicyWarning,
    };
    let by = match violation.origin {
        Origin::Stack => "the policy",
        Origin::Installation => "the installation's policy",
    };
    let does = match (violation.level, &violation.waived) {
        (_, Some(waiver)) => {
            format!(
                "waived until {} by {}: {}",
                waiver.until, waiver.by, waiver.why
            )
        }
        (Level::Deny, None) => format!("{by} of {env} forbids it"),
        _ => format!("{by} of {env} warns of it"),
    };
    let (rule, message) = (violation.rule, &violation.message);
    Mistake::at(span, code, format!("{message} ({rule}: {does})"))
        .note(rule.as_str())
        .expected(violation.way_out.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_override_or_what_it_lies_over_or_the_nearest_table() {
        let text = r#"
[service.web]
instances = 1
[[service.web.route]]
host = "a"
[environment.prod]
protected = true
service.web.memory = "1GiB"
"#;
        let file = syntax::parse(text).file;
        let prod = Name::parse("prod").unwrap();
        let at = |path: &str| {
            let span = place(&file, &prod, path);
            &text[span.start..span.end]
        };
        assert_eq!(at("service.web.memory"), "\"1GiB\"");
        assert_eq!(at("service.web.instances"), "1");
        assert_eq!(at("service.web.limit"), "web");
        assert_eq!(at("service.web.route[a/].host"), "\"a\"");
        assert_eq!(at("protected"), "true");
        assert_eq!(place(&file, &prod, "policy.freeze"), Span::START);
    }
}
