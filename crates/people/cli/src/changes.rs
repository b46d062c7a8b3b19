//! Changes as people read them: grouped by service, one line each, what is destructive marked.

use owo_colors::{OwoColorize, Style};
use ward_types::changes::{
    Change, ChangeKind, CostChange, Drift, EnvDiffView, Outcome, PlanView, Side, Summary,
};
use ward_types::id::ReleaseId;

use crate::hints;
use crate::printer::{Printer, ways_out};

/// The lines of a list of changes.
pub(crate) fn lines(changes: &[Change]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = changes;
    while let Some(first) = rest.first() {
        let own = rest.iter().take_while(|c| c.component == first.component);
        let (group, others) = rest.split_at(own.count());
        lines.extend(grouped(group));
        rest = others;
    }
    lines
}

fn grouped(group: &[Change]) -> Vec<String> {
    let prefix = group[0].component.as_ref().map(|component| {
        let title = component.to_string();
        (title.replace(' ', "."), title)
    });
    let Some((prefix, title)) = prefix else {
        return aligned(group, "");
    };
    if let [whole] = group
        && whole.path == prefix
    {
        let text = whole.to_text.as_ref().or(whole.from_text.as_ref());
        let text = text.cloned().unwrap_or_default();
        return vec![line(whole, &title, &text)];
    }
    let mut lines = vec![format!("  {}", title.style(Style::new().bold()))];
    lines.extend(
        aligned(group, &format!("{prefix}."))
            .into_iter()
            .map(|l| format!("  {l}")),
    );
    lines
}

fn aligned(group: &[Change], prefix: &str) -> Vec<String> {
    let name = |change: &Change| {
        let name = change.path.strip_prefix(prefix).unwrap_or(&change.path);
        name.to_owned()
    };
    let widest = group.iter().map(|change| name(change).chars().count());
    let widest = widest.max().unwrap_or_default().min(40);
    let shown = group.iter().map(|change| {
        let name = name(change);
        line(change, &format!("{name:widest$}"), &values(change, &name))
    });
    shown.collect()
}

fn values(change: &Change, name: &str) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match change.kind {
        // An item of a list that is named by what it is.
        ChangeKind::Add if name.ends_with(&format!("[{}]", text(&change.to_text))) => String::new(),
        ChangeKind::Remove if name.ends_with(']') => String::new(),
        ChangeKind::Add => text(&change.to_text),
        ChangeKind::Remove => text(&change.from_text),
        ChangeKind::Change => format!("{} → {}", text(&change.from_text), text(&change.to_text)),
    }
}

fn line(change: &Change, name: &str, values: &str) -> String {
    let (sign, style) = match change.kind {
        ChangeKind::Add => ("+", Style::new().green()),
        ChangeKind::Change => ("~", Style::new().yellow()),
        ChangeKind::Remove => ("-", Style::new().red()),
    };
    let mark = match change.destructive {
        true => "!".style(Style::new().red().bold()).to_string(),
        false => " ".to_owned(),
    };
    let between = if values.is_empty() { "" } else { "  " };
    // What is aligned for values that are not there is not.
    let name = if values.is_empty() {
        name.trim_end()
    } else {
        name
    };
    let means = format!("({})", change.means);
    format!(
        "{mark} {} {name}{between}{values}  {}",
        sign.style(style),
        means.dimmed()
    )
}

/// More than so many lines nobody reads while a release goes back.
const MOST_DROPPED: usize = 12;

/// What a release that takes over does not have of what serves.
pub(crate) fn dropped(
    (from, to): (ReleaseId, ReleaseId),
    changes: &[Change],
    rules: Option<&str>,
) -> Vec<String> {
    let mut told = Vec::new();
    if !changes.is_empty() {
        told.push(format!("{to} does not have all that {from} has:"));
        let lines = lines(changes);
        let more = lines.len().saturating_sub(MOST_DROPPED);
        told.extend(lines.into_iter().take(MOST_DROPPED));
        if more > 0 {
            told.push(format!("  and {more} more; `--output json` has all"));
        }
    }
    told.extend(rules.map(str::to_owned));
    told
}

/// How many there are, in a sentence.
pub(crate) fn counted(summary: &Summary) -> String {
    let Summary {
        add,
        change,
        remove,
        destructive,
    } = summary;
    let marked = match destructive {
        0 => String::new(),
        1 => "; 1 is destructive (!)".to_owned(),
        many => format!("; {many} are destructive (!)"),
    };
    format!("{add} to add, {change} to change, {remove} to remove{marked}")
}

fn named(side: Option<&Side>) -> String {
    match side {
        None => "nothing".to_owned(),
        Some(Side {
            release: Some(release),
            version,
        }) => format!("{release} ({version})"),
        Some(Side { version, .. }) => version.clone(),
    }
}

fn cost(printer: &Printer, cost: &CostChange) {
    match cost.before == cost.after {
        true => printer.sentence(&format!("cost: {}, as before", cost.after)),
        false => printer.sentence(&format!("cost: {} → {}", cost.before, cost.after)),
    }
}

fn drift(printer: &Printer, drift: &[Drift]) {
    if drift.is_empty() {
        return;
    }
    printer.data("drift: what other hands changed");
    for one in drift {
        let after = match one.put_right {
            true => "; put right since",
            false => "",
        };
        printer.sentence(&format!("    {}: {}{after}", one.component, one.text));
    }
    printer.data("");
}

/// A whole plan; `rendered` is what breaks the policy.
pub(crate) fn plan(printer: &Printer, plan: &PlanView, rendered: &str) {
    let (from, to) = (named(plan.from.as_ref()), named(Some(&plan.to)));
    if plan.outcome == Outcome::Nothing {
        let as_it_is = match plan.drift.iter().all(|drift| drift.put_right) {
            true => format!("nothing to do: {from} serves as declared"),
            false => format!("nothing to deploy: {from} serves, and other hands changed it"),
        };
        printer.sentence(&format!("{}   {as_it_is}", plan.env));
        if !plan.drift.is_empty() {
            printer.data("");
        }
        drift(printer, &plan.drift);
        plan.notes.iter().for_each(|note| printer.say(note));
        return;
    }
    printer.sentence(&format!("{}   {from} → {to}\n", plan.env));
    let told = told(plan);
    lines(&told).iter().for_each(|line| printer.sentence(line));
    printer.data("\nwhat a deploy does:");
    for (number, step) in plan.steps.iter().enumerate() {
        let mark = if step.destructive { "!" } else { " " };
        let mark = mark.style(Style::new().red().bold());
        printer.sentence(&format!("{mark} {}. {}", number + 1, step.text));
    }
    printer.data("");
    drift(printer, &plan.drift);
    cost(printer, &plan.cost);
    printer.data(&counted(&Summary::of(&told, &plan.steps)));
    plan.notes.iter().for_each(|note| printer.say(note));
    printer.text(rendered);
    if plan.outcome == Outcome::Forbidden {
        let times = match plan.denied().count() {
            1 => "once".to_owned(),
            many => format!("{many} times"),
        };
        printer.error(
            &format!(
                "this breaks the policy of {} {times}; a deploy would be refused",
                plan.env
            ),
            Some(&hints::on(&plan.env, &ways_out(&plan.policy.violations))),
        );
    }
}

/// A new environment has each setting of its own: who declares nothing of them need not read them.
fn told(plan: &PlanView) -> Vec<Change> {
    let usual =
        |change: &&Change| change.path == "environment" || change.path.starts_with("stack.");
    let new = plan.from.is_none();
    let told = plan.changes.iter().filter(|change| !new || !usual(change));
    told.cloned().collect()
}

/// The differences between two environments.
pub(crate) fn env_diff(printer: &Printer, diff: &EnvDiffView) {
    let (one, other) = (&diff.from_env, &diff.to_env);
    let (from, to) = (named(diff.from.as_ref()), named(diff.to.as_ref()));
    printer.sentence(&format!("{one} {from} → {other} {to}\n"));
    if diff.changes.is_empty() {
        printer.data("they differ in nothing but names and hosts");
    } else {
        lines(&diff.changes)
            .iter()
            .for_each(|line| printer.sentence(line));
        printer.data("");
        let Summary {
            add,
            change,
            remove,
            ..
        } = diff.summary;
        let (one, other) = (one.env(), other.env());
        printer.sentence(&format!(
            "{change} differ, {add} are only in {other}, {remove} only in {one}"
        ));
    }
    cost(printer, &diff.cost);
    if let Some(aside) = set_aside(&diff.aside) {
        printer.say(&format!("set aside: {aside}"));
    }
}

/// What two environments have of their own, but for their names.
fn set_aside(aside: &[Change]) -> Option<String> {
    let many = |of: fn(&str) -> bool, one: &str, several: &str| {
        let count = aside.iter().filter(|change| of(&change.path)).count();
        match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            many => Some(format!("{many} {several}")),
        }
    };
    let parts = [
        many(|path| path.ends_with("].host"), "host", "hosts"),
        many(
            |path| path.ends_with(".version"),
            "version of a secret",
            "versions of secrets",
        ),
        many(
            |path| path == "configuration",
            "version of the configuration",
            "versions of the configuration",
        ),
        many(|path| path == "environment.seed", "seed", "seeds"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::changes::Effect;

    fn change(path: &str, kind: ChangeKind, to: Option<&str>) -> Change {
        Change {
            path: path.to_owned(),
            component: None,
            kind,
            from: None,
            to: None,
            from_text: None,
            to_text: to.map(str::to_owned),
            from_digest: None,
            to_digest: None,
            effect: Effect::Released,
            means: "why".to_owned(),
            destructive: false,
        }
    }

    #[test]
    fn a_row_without_a_value_has_its_name_beside_wider_ones() {
        let rows = [
            change("links[api]", ChangeKind::Remove, None),
            change("links[db]", ChangeKind::Add, Some("db")),
            change("a-much-wider-name", ChangeKind::Add, Some("1")),
        ];
        let lines = aligned(&rows, "");
        for (line, name) in lines.iter().zip(["links[api]  ", "links[db]  ", "name  1"]) {
            assert!(line.contains(name), "{line:?}");
        }
    }
}
