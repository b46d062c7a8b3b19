//! Whole environments: how soon one is there, how soon all serve a new release, how many a machine bears, and whether
//! their secrets stay secret.
//!
//! Decision: each part is measured by itself and says by itself what kept it from being measured, so that one that
//! cannot be measured leaves the others their figures. What is measured is what a person types, to the last answer that
//! the sentence of its row speaks of.

mod many;
mod peer;
mod plans;
mod secrets;
mod sleep;

use super::Measured;
use crate::error::Error;
use crate::report::{Bar, Floor, Row, say};
use crate::workshop::Workshop;

pub(super) const BARS: &[Bar] = &[
    plans::CREATED,
    plans::EVERYWHERE,
    sleep::WITH_POSTGRES,
    sleep::WITHOUT,
    secrets::FOUND,
    secrets::FAILED,
];
pub(super) const FLOORS: &[Floor] = &[many::ANSWERING];

/// What is measured, under a name that can be asked for.
#[derive(Clone, Copy)]
enum Part {
    Plans,
    Sleep,
    Many,
    Secrets,
}

impl Part {
    const ALL: [Self; 4] = [Self::Plans, Self::Sleep, Self::Many, Self::Secrets];

    fn name(self) -> &'static str {
        match self {
            Self::Plans => "examples/plans",
            Self::Sleep => "sleep",
            Self::Many => "many environments",
            Self::Secrets => "secrets",
        }
    }

    async fn measure(self, workshop: &Workshop) -> Measured {
        match self {
            Self::Plans => plans::measure(workshop).await,
            Self::Sleep => sleep::measure(workshop).await,
            Self::Many => many::measure(workshop).await,
            Self::Secrets => secrets::measure().await,
        }
    }

    /// Its bars, of which none holds.
    fn missed(self) -> Vec<Row> {
        match self {
            Self::Plans => vec![
                plans::CREATED.row(None),
                plans::EVERYWHERE.row(None),
                sleep::WITH_POSTGRES.row(None),
            ],
            Self::Sleep => vec![sleep::WITHOUT.row(None)],
            Self::Many => vec![many::ANSWERING.row(None)],
            Self::Secrets => vec![secrets::FOUND.row(None), secrets::FAILED.row(None)],
        }
    }
}

/// The parts whose names hold this text.
fn parts(only: Option<&str>) -> Result<Vec<Part>, Error> {
    let asked = |part: &Part| only.is_none_or(|text| part.name().contains(text));
    let parts: Vec<Part> = Part::ALL.into_iter().filter(asked).collect();
    if parts.is_empty() {
        let (text, names) = (only.unwrap_or_default(), Part::ALL.map(Part::name));
        let names = names.join("; ");
        let why = format!("no part has \"{text}\" in its name (--only); there are: {names}");
        return Err(Error::Unexpected(why));
    }
    Ok(parts)
}

pub(super) async fn measure(workshop: &Workshop, only: Option<&str>) -> Measured {
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for part in parts(only)? {
        say(&format!("  {}", part.name()));
        match part.measure(workshop).await {
            Ok((more, told)) => {
                more.iter().for_each(Row::say);
                rows.extend(more);
                notes.extend(told);
            }
            Err(error) => {
                let why = format!("{}: not measured: {}", part.name(), error.sentence());
                say(&why);
                rows.extend(part.missed());
                notes.push(why);
            }
        }
    }
    notes.extend(only.map(|text| format!("only what has \"{text}\" in its name (--only)")));
    Ok((rows, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_by_its_name_and_every_bar_belongs_to_one() {
        assert_eq!(parts(Some("many")).unwrap().len(), 1);
        assert!(parts(Some("nothing of the kind")).is_err());
        let rows = Part::ALL.iter().flat_map(|part| part.missed());
        let names: Vec<String> = rows.map(|row| row.name).collect();
        let bars = BARS.iter().map(|bar| bar.name);
        for bar in bars.chain(FLOORS.iter().map(|floor| floor.name)) {
            assert!(names.iter().any(|name| name == bar), "{bar}");
        }
    }
}
