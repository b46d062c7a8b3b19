//! What was measured, as a table or as JSON. The report goes to standard output, everything else to standard
//! error.

use std::io::Write;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::args::Output;
use crate::machine::Machine;

/// A sentence about what happens, to standard error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line of data, to standard output. A reader that went away is no reason to fail.
pub(crate) fn data(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A value that the project has promised not to exceed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// The most that holds.
    pub(crate) most: f64,
}

impl Bar {
    /// What was measured, against this bar; `None`: it could not be measured, so the bar does not hold.
    pub(crate) fn row(&self, value: impl Into<Option<f64>>) -> Row {
        judged(
            (self.name, self.unit),
            value.into(),
            (Side::Most, self.most),
        )
    }
}

/// A value that the project has promised to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Floor {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// The least that holds.
    pub(crate) least: f64,
}

impl Floor {
    /// As [`Bar::row`].
    pub(crate) fn row(&self, value: impl Into<Option<f64>>) -> Row {
        judged(
            (self.name, self.unit),
            value.into(),
            (Side::Least, self.least),
        )
    }
}

fn judged((name, unit): (&str, &'static str), value: Option<f64>, (side, bar): (Side, f64)) -> Row {
    let value = value.filter(|value| value.is_finite());
    // Before it is rounded.
    let holds = value.is_some_and(|value| match side {
        Side::Most => value <= bar,
        Side::Least => value >= bar,
    });
    Row {
        name: name.to_owned(),
        value: value.map(rounded),
        unit,
        bar: Some(bar),
        side,
        holds: Some(holds),
    }
}

/// On which side of its bar a value should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Most,
    Least,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// `None`: it could not be measured.
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    /// The most that holds, or the least; `None`: the row only informs.
    pub(crate) bar: Option<f64>,
    #[serde(skip)]
    side: Side,
    /// `None` exactly where there is no bar.
    pub(crate) holds: Option<bool>,
}

/// A row without a bar.
pub(crate) fn informs(
    name: impl Into<String>,
    value: impl Into<Option<f64>>,
    unit: &'static str,
) -> Row {
    let value = value.into().filter(|value| value.is_finite()).map(rounded);
    Row {
        name: name.into(),
        value,
        unit,
        bar: None,
        side: Side::Most,
        holds: None,
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rows: Vec<Row>,
    /// How things were measured, and why a value is missing.
    notes: Vec<String>,
    #[serde(skip)]
    whole: bool,
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            rows: Vec::new(),
            notes: Vec::new(),
            whole: true,
        }
    }

    pub(crate) fn add(&mut self, rows: Vec<Row>, notes: Vec<String>) {
        self.whole &= rows.iter().all(|row| row.value.is_some());
        self.rows.extend(rows);
        self.notes.extend(notes);
    }

    /// A measurement that could not be made: its bars do not hold.
    pub(crate) fn missed(&mut self, bars: &[Bar], floors: &[Floor], why: String) {
        self.whole = false;
        let floors = floors.iter().map(|floor| floor.row(None));
        let rows = bars.iter().map(|bar| bar.row(None)).chain(floors);
        self.add(rows.collect(), vec![why]);
    }

    /// Whether everything that was asked for could be measured, whatever its bar.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn print(&self, output: Output) {
        data(&match output {
            Output::Text => self.text(),
            // Numbers and texts only: it cannot fail.
            Output::Json => serde_json::to_string_pretty(self).unwrap_or_default(),
        });
    }

    fn text(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(["WHAT", "VALUE", "UNIT", "BAR", "HOLDS"]);
        for column in [1, 3] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in &self.rows {
            table.add_row(row.cells());
        }
        let mut text = format!("{}\n\n{table}", self.machine.sentence());
        for note in &self.notes {
            text.push_str(&format!("\n\n{note}"));
        }
        text.lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Row {
    /// As soon as it is measured: what is long may not come to its end.
    pub(crate) fn say(&self) {
        let value = self.value.unwrap_or(f64::NAN);
        say(&format!("  {}: {value} {}", self.name, self.unit));
    }

    fn cells(&self) -> [String; 5] {
        let sign = match self.side {
            Side::Most => '≤',
            Side::Least => '≥',
        };
        let bar = self
            .bar
            .map_or(String::new(), |bar| format!("{sign} {bar}"));
        let holds = match self.holds {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let value = self
            .value
            .map_or("not measured".to_owned(), |value| value.to_string());
        [
            self.name.clone(),
            value,
            self.unit.to_owned(),
            bar,
            holds.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAR: Bar = Bar {
        name: "sandbox: ratio",
        unit: "ratio",
        most: 1.0,
    };

    #[test]
    fn a_bar_holds_up_to_its_value_and_never_without_one() {
        assert_eq!(BAR.row(1.0).holds, Some(true));
        assert_eq!(
            BAR.row(1.0001).holds,
            Some(false),
            "it is judged before it is rounded"
        );
        assert_eq!(BAR.row(None).holds, Some(false));
        assert_eq!(
            BAR.row(f64::NAN).value,
            None,
            "nothing divided by nothing is not measured"
        );
        assert_eq!(informs("total", 3.0, "requests").holds, None);
    }

    #[test]
    fn a_floor_holds_from_its_value_on_and_is_told_from_a_bar() {
        const FLOOR: Floor = Floor {
            name: "gateway: goodput",
            unit: "ratio",
            least: 0.9,
        };
        assert_eq!(FLOOR.row(0.9).holds, Some(true));
        assert_eq!(FLOOR.row(0.8999).holds, Some(false));
        assert_eq!(FLOOR.row(None).holds, Some(false));
        assert_eq!(FLOOR.row(1.0).cells()[3], "≥ 0.9");
        let mut report = Report::new(Machine::look());
        report.missed(&[], &[FLOOR], "there is no origin".to_owned());
        assert!(report.text().contains("not measured"));
    }

    #[test]
    fn json_has_the_machine_and_each_row_with_its_five_fields() {
        let mut report = Report::new(Machine::look());
        report.add(
            vec![BAR.row(0.51239), informs("total", 7.0, "requests")],
            vec!["how".to_owned()],
        );
        report.missed(&[BAR], &[], "crun is missing".to_owned());
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["machine"]["cores"].as_u64().unwrap() > 0);
        let row = serde_json::json!({"name": "sandbox: ratio", "value": 0.512, "unit": "ratio", "bar": 1.0, "holds": true});
        assert_eq!(json["rows"][0], row);
        assert_eq!(
            (&json["rows"][1]["bar"], &json["rows"][1]["holds"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(
            (&json["rows"][2]["value"], &json["rows"][2]["holds"]),
            (&serde_json::Value::Null, &false.into())
        );
        assert!(!report.is_whole());
    }

    #[test]
    fn the_table_says_what_does_not_hold_and_what_is_missing() {
        let mut report = Report::new(Machine::look());
        report.add(vec![BAR.row(2.5)], Vec::new());
        report.missed(&[BAR], &[], "crun is missing".to_owned());
        let text = report.text();
        assert!(
            text.contains("2.5") && text.contains("≤ 1") && text.contains("NO"),
            "{text}"
        );
        assert!(
            text.contains("not measured") && text.ends_with("crun is missing"),
            "{text}"
        );
    }
}
