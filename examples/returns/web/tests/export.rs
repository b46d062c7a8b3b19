//! CSV exports, read back as a spreadsheet would.

use serde_json::json;
use testbed::{Postgres, Program};

/// A reader of RFC 4180, written apart from the program's writer.
fn parse(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => cell.extend(chars.next()),
            ('"', _) => quoted = !quoted,
            (',', false) => row.push(std::mem::take(&mut cell)),
            ('\r', false) => {}
            ('\n', false) => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            (c, _) => cell.push(c),
        }
    }
    assert!(
        !quoted && row.is_empty() && cell.is_empty(),
        "the last line is complete"
    );
    rows
}

#[test]
fn every_item_is_one_line_and_no_cell_is_a_formula() {
    let postgres = Postgres::start();
    Program::run(
        "returns-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    let (_web, client) = Program::service("returns-web", &[("DATABASE_URL", &postgres.url())]);
    let open = |pharmacy: &str, reference: &str| {
        let opened = client.post(
            "/api/returns",
            &json!({"pharmacy": pharmacy, "reference": reference}),
        );
        opened.expect(201).json()["id"].as_i64().expect("an id")
    };
    let formula = "=HYPERLINK(\"http://evil.example\",\"x\")";
    let first = open(formula, "+1-555");
    let second = open("Smith, \"Jones\" & Sons", "-");
    for (id, lot) in [(first, "A1"), (first, "-A2"), (second, "B1")] {
        let item = json!({"ndc": "0093-3109-01", "lot": lot, "expiry": "2031-05-31", "quantity": 12, "reason": "unused"});
        client
            .post(&format!("/api/returns/{id}/items"), &item)
            .expect(201);
    }
    open("@Empty", "");
    let answer = client.get("/returns.csv").expect(200);
    assert!(answer.header("content-type").starts_with("text/csv"));
    assert!(answer.header("content-disposition").contains("returns.csv"));
    let rows = parse(&answer.body);
    assert_eq!(
        rows.len(),
        5,
        "a heading, three items, one return without items"
    );
    for row in &rows {
        assert_eq!(row.len(), rows[0].len(), "{row:?}");
        for cell in row {
            assert!(
                !cell.starts_with(['=', '+', '-', '@', '\t', '\r']),
                "{cell}"
            );
        }
    }
    assert_eq!(rows[0][2], "pharmacy");
    assert_eq!(rows[1][2], "'@Empty");
    assert_eq!(rows[2][2], "Smith, \"Jones\" & Sons");
    assert_eq!(rows[3][2..4], [format!("'{formula}"), "'+1-555".into()]);
    assert_eq!(
        rows[4][5..11],
        [
            "00093-3109-01",
            "Amoxicillin 500 mg",
            "'-A2",
            "2031-05-31",
            "12",
            "unused"
        ]
    );
    assert_eq!(
        parse(&client.get("/returns.csv?q=smith").body).len(),
        2,
        "the search narrows the export"
    );
    let one = client
        .get(&format!("/returns/{first}/items.csv"))
        .expect(200);
    assert!(one.header("content-disposition").contains("R-000001.csv"));
    assert_eq!(parse(&one.body).len(), 3);
    client.get("/returns/99/items.csv").expect(404);
}
