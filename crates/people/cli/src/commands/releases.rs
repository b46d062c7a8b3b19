//! `releases`: what could run, and how it came there. In a narrow terminal the columns that matter least give way: first
//! the images, then why, then the others break between words; what names a release never does.

mod one;

use std::collections::BTreeMap;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use ward_types::environments::EnvironmentsView;
use ward_types::id::{Digest, Name};
use ward_types::schema::SchemaChange;
use ward_types::source::{Commit, Provenance, Tree};
use ward_types::text::shown;
use ward_types::view::{ReleaseView, WayView, ending};

use super::status::{columns, moment};
use super::{Context, Trouble};
use crate::args::{OneRelease, Releases};
use crate::printer::Status;

/// The columns, and whether each of them may break between words.
const COLUMNS: [(&str, bool); 7] = [
    ("RELEASE", false),
    ("VERSION", true),
    ("RECORDED", true),
    ("BY", false),
    ("VERDICT", true),
    ("WHY", true),
    ("IMAGES", true),
];

type Row = [String; COLUMNS.len()];

/// The fewest columns that are shown.
const FEWEST: usize = COLUMNS.len() - 2;

/// More of a reason is in what `ward releases show` tells.
const LONGEST_WHY: usize = 60;

pub(crate) async fn releases(context: &Context, asked: Releases) -> Result<Status, Trouble> {
    if let Some(OneRelease::Show { release, env }) = asked.one {
        return one::show(context, &env, release).await;
    }
    let env = crate::env::find(context, asked.env.env.as_deref()).await?;
    let limit = asked.limit.map(|limit| format!("&limit={limit}"));
    let limit = limit.unwrap_or_default();
    let releases: Vec<ReleaseView> = context
        .client
        .get(&format!("/v1/releases?env={env}{limit}"))
        .await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&releases);
        return Ok(Status::Success);
    }
    if releases.is_empty() {
        let path = format!("/v1/environments?env={env}");
        let view: EnvironmentsView = context.client.get(&path).await?;
        let gone = view.environments.first().and_then(|known| known.deleted);
        let why = match gone {
            Some(at) => format!(
                "{env} was deleted on {}, and its releases with it",
                moment(at)
            ),
            None => format!("{env} has no release yet"),
        };
        let message = format!("{why}; `ward events --env {env} -n 1000` shows all that was done");
        printer.say(&message);
        return Ok(Status::Success);
    }
    let rows: Vec<Row> = releases.iter().map(row).collect();
    let (table, shown) = fitting(&rows, printer.width());
    printer.table(&table, "");
    for sentence in barred(&releases) {
        printer.say(&sentence);
    }
    if let Some(last) = releases.iter().find(|one| one.current && one.down) {
        let last = last.id;
        printer.say(&format!(
            "{env} is down; `ward rollback --to {last} --env {env}` brings up {last} as it was"
        ));
    }
    let hidden = match COLUMNS.len() - shown {
        0 => return Ok(Status::Success),
        1 => "the images need",
        _ => "why, and the images, need",
    };
    printer.say(&format!(
        "{hidden} a wider terminal, or `--output json`; `ward releases show RELEASE` tells all of one"
    ));
    Ok(Status::Success)
}

/// What no longer runs, one sentence for each release command that is the cause.
fn barred(releases: &[ReleaseView]) -> Vec<String> {
    let mut causes: Vec<(&SchemaChange, Vec<String>)> = Vec::new();
    for release in releases {
        let Some(change) = &release.barred else {
            continue;
        };
        match causes.iter_mut().find(|(cause, _)| *cause == change) {
            Some((_, ids)) => ids.push(release.id.to_string()),
            None => causes.push((change, vec![release.id.to_string()])),
        }
    }
    let sentence = |(change, ids): (&SchemaChange, Vec<String>)| {
        let run = match ids.len() {
            1 => "does not run",
            _ => "do not run",
        };
        format!("{} {run} on the schema since {change}", ids.join(", "))
    };
    causes.into_iter().map(sentence).collect()
}

fn row(release: &ReleaseView) -> Row {
    let mark = match (release.current, release.down) {
        (true, false) => " (serves)",
        (true, true) => " (served last)",
        (false, _) => "",
    };
    let verdict = release.verdict.map_or("-".to_owned(), |verdict| {
        ending(verdict, release.cancelled.as_ref())
    });
    let mark = match &release.barred {
        Some(_) => " (barred)",
        None => mark,
    };
    [
        format!("{}{mark}", release.id),
        version(release),
        moment(release.recorded),
        release.by.clone(),
        verdict,
        way(&release.way),
        images(&release.images),
    ]
}

/// By what it came there, shortly: `p1, approved by anna: “signed off”`.
fn way(way: &WayView) -> String {
    let mut by = Vec::new();
    by.extend(
        way.plan
            .as_ref()
            .map(|plan| format!("plan {}", plan.short())),
    );
    by.extend(way.run.map(|run| run.to_string()));
    let approved: Vec<&str> = way.approved.iter().map(|one| one.by.as_str()).collect();
    if !approved.is_empty() {
        by.push(format!("approved by {}", approved.join(", ")));
    }
    let by = by.join(", ");
    let said = shown(&way.why);
    let cut: String = said.chars().take(LONGEST_WHY).collect();
    let why = match cut.len() < said.len() {
        true => format!("“{cut}…”"),
        false => format!("“{cut}”"),
    };
    match (by.is_empty(), way.why.is_empty()) {
        (true, true) => "-".to_owned(),
        (false, true) => by,
        (true, false) => why,
        (false, false) => format!("{by}: {why}"),
    }
}

/// Of one that was promoted, with where it comes from; of one with other values, that it is that.
fn version(release: &ReleaseView) -> String {
    let values = match release.way.values.is_empty() {
        true => "",
        false => " with other values",
    };
    let of = release.provenance.as_ref();
    let of = of
        .map(|p| format!(" of {}", made_of(p)))
        .unwrap_or_default();
    match &release.promoted {
        Some(promoted) => format!("{} from {promoted}{of}{values}", release.version),
        None => format!("{}{of}{values}", release.version),
    }
}

/// A commit and its author's name, with `+` where the folder had changes: `3f2a9c01de+ by Anna`.
pub(super) fn made_of(provenance: &Provenance) -> String {
    let Commit { id, author, .. } = &provenance.commit;
    let name = author.split(" <").next().unwrap_or_default();
    let changed = match provenance.tree {
        Tree::AsCommitted => "",
        Tree::Changed => "+",
    };
    format!("{}{changed} by {name}", id.short())
}

pub(super) fn images(images: &BTreeMap<Name, Digest>) -> String {
    let images = images
        .iter()
        .map(|(name, digest)| format!("{name}@{}", digest.short()));
    images.collect::<Vec<_>>().join(" ")
}

/// The table of as many columns as have room in a terminal of this width, and how many these are.
fn fitting(rows: &[Row], width: Option<usize>) -> (Table, usize) {
    let all = table(rows, COLUMNS.len());
    let Some(width) = width.filter(|width| longest(&all) > *width) else {
        return (all, COLUMNS.len());
    };
    let fits = |shown: &usize| longest(&table(rows, *shown)) <= width;
    let shown = (FEWEST..COLUMNS.len()).rev().find(fits).unwrap_or(FEWEST);
    let mut table = table(rows, shown);
    if longest(&table) > width {
        let words = (0..shown).map(|column| match COLUMNS[column].1 {
            true => ColumnConstraint::LowerBoundary(Width::Fixed(longest_word(rows, column))),
            false => ColumnConstraint::ContentWidth,
        });
        table.set_constraints(words.collect::<Vec<_>>());
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    (table, shown)
}

fn table(rows: &[Row], shown: usize) -> Table {
    let mut table = columns(&COLUMNS.map(|(name, _)| name)[..shown]);
    for row in rows {
        table.add_row(row[..shown].to_vec());
    }
    table
}

fn longest(table: &Table) -> usize {
    let text = table.to_string();
    let lines = text.lines().map(|line| line.trim_end().chars().count());
    lines.max().unwrap_or(0)
}

/// The width of a column that breaks no word, with the padding of both sides.
fn longest_word(rows: &[Row], column: usize) -> u16 {
    let cells = rows.iter().map(|row| row[column].as_str());
    let words = cells
        .chain([COLUMNS[column].0])
        .flat_map(str::split_whitespace);
    let longest = words.map(|word| word.chars().count()).max().unwrap_or(0);
    u16::try_from(longest + 2).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(by: &str, verdict: &str) -> Vec<Row> {
        let images = "api@0123456789ab web@ba9876543210";
        let cells = [
            "r12 (serves)",
            "1.0.12",
            "2026-11-21 09:02:52Z",
            by,
            verdict,
            "a fix",
            images,
        ];
        vec![cells.map(str::to_owned)]
    }

    fn lines(rows: &[Row], width: Option<usize>) -> Vec<String> {
        let text = fitting(rows, width).0.to_string();
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    #[test]
    fn a_wide_terminal_and_a_pipe_show_everything_on_one_line_each() {
        for width in [None, Some(200)] {
            let shown = lines(&rows("uid:0(root)", "succeeded"), width);
            assert_eq!(shown.len(), 2, "{shown:?}");
            assert!(shown[1].ends_with("web@ba9876543210"), "{shown:?}");
        }
    }

    #[test]
    fn in_eighty_columns_the_images_give_way_and_no_word_is_broken() {
        let short = lines(&rows("uid:0(root)", "rolled back"), Some(80));
        assert_eq!(short.len(), 2, "{short:?}");
        assert!(
            short[1].ends_with("uid:0(root)  rolled back  a fix"),
            "{short:?}"
        );
        let verdict = "cancelled by uid:1000(somebody) before it began";
        for width in [60, 76, 80, 90] {
            let rows = rows("uid:1000(somebody)", verdict);
            let long = lines(&rows, Some(width));
            let fits = |line: &String| width < 76 || line.chars().count() <= width;
            assert!(long.len() > 2 && long.iter().all(fits), "{long:#?}");
            let words: Vec<&str> = long
                .iter()
                .flat_map(|line| line.split_whitespace())
                .collect();
            let whole = rows[0][..5].iter().flat_map(|cell| cell.split_whitespace());
            for word in whole {
                assert!(words.contains(&word), "{word}: {long:#?}");
            }
        }
    }
}
