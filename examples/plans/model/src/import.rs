//! Plans and employees from CSV: all of them, or a list of everything that is wrong.
//!
//! Columns are found by their names in the first row, in any order and case. A column that is not known is
//! refused and not passed over: it is more often misspelt than superfluous.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::cost::Usage;
use crate::csv::{self, Row};
use crate::money::Cents;
use crate::plan::{Employee, MOST_DEPENDENTS, MOST_EMPLOYEES, MOST_PLANS, Plan, Tiers};

/// The largest file, in bytes.
pub const MOST_BYTES: usize = 1024 * 1024;

/// The columns of plans; the last may be left out.
pub const PLAN_COLUMNS: [&str; 11] = [
    "code",
    "name",
    "premium_single",
    "premium_family",
    "employer_percent",
    "deductible_single",
    "deductible_family",
    "coinsurance_percent",
    "out_of_pocket_single",
    "out_of_pocket_family",
    "employer_account",
];

/// The columns of employees; the last may be left out.
pub const EMPLOYEE_COLUMNS: [&str; 4] = ["number", "name", "usage", "dependents"];

/// A row that is refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// Where it begins in the file, counted from 1.
    pub line: usize,
    /// The column, where one alone is to blame.
    pub column: Option<String>,
    /// What is there, shortened.
    pub value: String,
    /// What is wrong; completes "the value …".
    pub reason: String,
}

/// Reads plans.
///
/// # Errors
/// Everything that is wrong, by line; never empty.
pub fn plans(text: &[u8]) -> Result<Vec<Plan>, Vec<Refused>> {
    let table = Table::read(text, &PLAN_COLUMNS, 1)?;
    table.all("plans", MOST_PLANS, "code", plan, |plan| &plan.code)
}

/// Reads employees.
///
/// # Errors
/// Everything that is wrong, by line; never empty.
pub fn employees(text: &[u8]) -> Result<Vec<Employee>, Vec<Refused>> {
    let table = Table::read(text, &EMPLOYEE_COLUMNS, 1)?;
    table.all("employees", MOST_EMPLOYEES, "number", employee, |who| {
        &who.number
    })
}

fn plan(fields: &mut Fields<'_>) -> Plan {
    let plan = Plan {
        code: fields.text("code"),
        name: fields.text("name"),
        premium: fields.tiers("premium_single", "premium_family"),
        employer_percent: fields.whole("employer_percent", 100),
        deductible: fields.tiers("deductible_single", "deductible_family"),
        coinsurance_percent: fields.whole("coinsurance_percent", 100),
        out_of_pocket: fields.tiers("out_of_pocket_single", "out_of_pocket_family"),
        account: fields.optional("employer_account", Fields::amount),
    };
    fields.judge(plan.wrongs());
    plan
}

fn employee(fields: &mut Fields<'_>) -> Employee {
    let employee = Employee {
        number: fields.text("number"),
        name: fields.text("name"),
        dependents: fields.optional("dependents", |fields, column| {
            fields.whole(column, MOST_DEPENDENTS)
        }),
        usage: fields.usage("usage"),
    };
    fields.judge(employee.wrongs());
    employee
}

/// Rows under known columns.
struct Table {
    columns: HashMap<&'static str, usize>,
    width: usize,
    rows: Vec<Row>,
}

impl Table {
    /// The last `optional` columns may be missing.
    fn read(text: &[u8], known: &[&'static str], optional: usize) -> Result<Self, Vec<Refused>> {
        if text.len() > MOST_BYTES {
            return Err(vec![whole_file(1, "the file is larger than 1 MiB")]);
        }
        let text = std::str::from_utf8(text).map_err(|error| {
            let line = text[..error.valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            vec![whole_file(
                line,
                "the file is not UTF-8; save it as “CSV UTF-8”",
            )]
        })?;
        let mut rows = csv::read(text)
            .map_err(|broken| vec![whole_file(broken.line, broken.reason)])?
            .into_iter();
        let Some(head) = rows.next() else {
            let columns = known.join(",");
            return Err(vec![whole_file(
                1,
                &format!("the file is empty; its first row is {columns}"),
            )]);
        };
        let columns = columns(&head, known, optional)?;
        Ok(Self {
            columns,
            width: head.cells.len(),
            rows: rows.collect(),
        })
    }

    fn all<T>(
        &self,
        what: &str,
        most: usize,
        key: &'static str,
        make: impl Fn(&mut Fields<'_>) -> T,
        key_of: impl Fn(&T) -> &String,
    ) -> Result<Vec<T>, Vec<Refused>> {
        if self.rows.is_empty() {
            return Err(vec![whole_file(
                1,
                "there is no row below the names of the columns",
            )]);
        }
        if self.rows.len() > most {
            let reason = format!(
                "there are {} rows; an employer has at most {most} {what}",
                self.rows.len()
            );
            return Err(vec![whole_file(self.rows[most].line, &reason)]);
        }
        let (mut made, mut refused) = (Vec::new(), Vec::new());
        let mut first = HashMap::new();
        for row in &self.rows {
            let mut fields = Fields {
                table: self,
                row,
                refused: Vec::new(),
            };
            fields.width();
            let one = make(&mut fields);
            if let Some(before) = first.insert(key_of(&one).to_lowercase(), row.line)
                && !key_of(&one).is_empty()
            {
                fields.refuse(key, format!("is on line {before} already"));
            }
            refused.append(&mut fields.refused);
            made.push(one);
        }
        match refused.is_empty() {
            true => Ok(made),
            false => Err(refused),
        }
    }
}

fn columns(
    head: &Row,
    known: &[&'static str],
    optional: usize,
) -> Result<HashMap<&'static str, usize>, Vec<Refused>> {
    let mut columns = HashMap::new();
    let mut refused = Vec::new();
    for (at, cell) in head.cells.iter().enumerate() {
        let named = cell.trim().to_lowercase().replace([' ', '-'], "_");
        let Some(name) = known.iter().find(|name| **name == named) else {
            let reason = format!("is no column known here; these are: {}", known.join(", "));
            refused.push(in_head(head, cell, &reason));
            continue;
        };
        if columns.insert(*name, at).is_some() {
            refused.push(in_head(head, cell, "is a column that is there twice"));
        }
    }
    let needed = &known[..known.len() - optional];
    let missing = needed.iter().filter(|name| !columns.contains_key(*name));
    refused.extend(missing.map(|name| in_head(head, name, "is a column that is missing")));
    match refused.is_empty() {
        true => Ok(columns),
        false => Err(refused),
    }
}

fn in_head(head: &Row, value: &str, reason: &str) -> Refused {
    Refused {
        line: head.line,
        column: None,
        value: shortened(value),
        reason: reason.to_owned(),
    }
}

fn whole_file(line: usize, reason: &str) -> Refused {
    Refused {
        line,
        column: None,
        value: String::new(),
        reason: reason.to_owned(),
    }
}

/// The cells of one row, and what is wrong with them.
struct Fields<'a> {
    table: &'a Table,
    row: &'a Row,
    refused: Vec<Refused>,
}

impl Fields<'_> {
    fn width(&mut self) {
        let (cells, columns) = (self.row.cells.len(), self.table.width);
        if cells != columns {
            let reason = format!("the row has {cells} cells, and the file has {columns} columns");
            self.refused.push(whole_file(self.row.line, &reason));
        }
    }

    fn cell(&self, column: &str) -> &str {
        let at = self.table.columns.get(column);
        let cell = at.and_then(|at| self.row.cells.get(*at));
        cell.map_or("", |cell| cell.trim())
    }

    fn text(&self, column: &'static str) -> String {
        self.cell(column).to_owned()
    }

    fn tiers(&mut self, single: &'static str, family: &'static str) -> Tiers {
        Tiers {
            single: self.amount(single),
            family: self.amount(family),
        }
    }

    fn amount(&mut self, column: &'static str) -> Cents {
        Cents::parse(self.cell(column)).unwrap_or_else(|reason| {
            self.refuse(column, reason);
            Cents(0)
        })
    }

    fn whole(&mut self, column: &'static str, most: u8) -> u8 {
        let text = self.cell(column);
        let digits = text.strip_suffix('%').map_or(text, str::trim_end);
        match digits.parse::<u8>() {
            Ok(number) if number <= most && !digits.starts_with('+') => number,
            _ => {
                self.refuse(column, format!("is no whole number from 0 to {most}"));
                0
            }
        }
    }

    fn usage(&mut self, column: &'static str) -> Usage {
        let named = self.cell(column).to_lowercase();
        let found = Usage::ALL.into_iter().find(|usage| usage.name() == named);
        found.unwrap_or_else(|| {
            self.refuse(column, "is neither low, medium nor high");
            Usage::Low
        })
    }

    /// Zero where the cell is empty or its column missing.
    fn optional<T: Default>(
        &mut self,
        column: &'static str,
        read: impl Fn(&mut Self, &'static str) -> T,
    ) -> T {
        match self.cell(column) {
            "" => T::default(),
            _ => read(self, column),
        }
    }

    /// Adds what is wrong with the values, except with cells that could not be read, or beside such cells.
    fn judge(&mut self, wrongs: Vec<crate::plan::Wrong>) {
        if self.refused.iter().any(|refused| refused.column.is_none()) {
            return;
        }
        let unread: Vec<String> = self
            .refused
            .iter()
            .filter_map(|one| one.column.clone())
            .collect();
        for wrong in wrongs {
            // A cell that could not be read counts as zero, and others must not be blamed for that.
            let compares =
                wrong.reason.starts_with("is less than ") && !wrong.reason.ends_with("zero");
            let blameless = unread.iter().any(|column| column == wrong.column)
                || compares && !unread.is_empty();
            if !blameless {
                self.refuse(wrong.column, wrong.reason);
            }
        }
    }

    fn refuse(&mut self, column: &'static str, reason: impl Into<String>) {
        self.refused.push(Refused {
            line: self.row.line,
            column: Some(column.to_owned()),
            value: shortened(self.cell(column)),
            reason: reason.into(),
        });
    }
}

fn shortened(value: &str) -> String {
    match value.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "code,name,premium_single,premium_family,employer_percent,deductible_single,\
                        deductible_family,coinsurance_percent,out_of_pocket_single,out_of_pocket_family";

    fn told(refused: &[Refused]) -> Vec<String> {
        let told = refused.iter().map(|one| {
            let column = one.column.as_deref().unwrap_or("-");
            format!("{} {column} “{}” {}", one.line, one.value, one.reason)
        });
        told.collect()
    }

    #[test]
    fn columns_come_in_any_order_and_the_last_may_be_missing() {
        let people = employees("Usage,Number,NAME\nlow,7,\"Doe, Ada\"\n".as_bytes()).unwrap();
        assert_eq!(
            (people[0].name.as_str(), people[0].dependents),
            ("Doe, Ada", 0)
        );
        let text = format!("{HEAD}\nA,Alpha,\"$1,000\",2000,75%,500,1000,20,3000,6000\n");
        assert_eq!(
            plans(text.as_bytes()).unwrap()[0].premium.single,
            Cents(100_000)
        );
    }

    #[test]
    fn every_bad_row_is_told_with_its_line_and_reason() {
        let text = "number,name,usage,dependents\n1,Ada,low,2\n1,,often,12\n3,Bo\n";
        assert_eq!(
            told(&employees(text.as_bytes()).unwrap_err()),
            [
                "3 dependents “12” is no whole number from 0 to 9",
                "3 usage “often” is neither low, medium nor high",
                "3 name “” is empty",
                "3 number “1” is on line 2 already",
                "4 - “” the row has 2 cells, and the file has 4 columns",
                "4 usage “” is neither low, medium nor high",
            ]
        );
    }

    #[test]
    fn plans_that_contradict_themselves_are_refused() {
        let text = format!("{HEAD}\nA,Alpha,100,90,101,500,1000,20,400,6000\n");
        assert_eq!(
            told(&plans(text.as_bytes()).unwrap_err()),
            ["2 employer_percent “101” is no whole number from 0 to 100"]
        );
        let text = text.replace("101", "100");
        assert_eq!(
            told(&plans(text.as_bytes()).unwrap_err()),
            [
                "2 premium_family “90” is less than premium_single",
                "2 out_of_pocket_single “400” is less than the deductible",
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_list_is_refused_as_a_whole() {
        let reason = |text: &[u8]| employees(text).unwrap_err()[0].reason.clone();
        assert!(reason(b"").contains("is empty"));
        assert!(reason(b"number,name,usage\n").contains("no row"));
        assert!(reason(b"number,name,usage,salary\n").contains("no column known"));
        assert!(reason(b"number,number,name,usage\n").contains("twice"));
        assert!(reason(b"number,usage\n").contains("missing"));
        assert!(reason(b"number,name,usage\n1,\xff,low\n").contains("UTF-8"));
        assert!(reason(&vec![b'a'; MOST_BYTES + 1]).contains("1 MiB"));
    }
}
