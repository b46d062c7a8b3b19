//! The whole life of a return, over HTTP, with the real programs and a real PostgreSQL.

use serde_json::{Value, json};
use testbed::{Client, Postgres, Program, until};

struct Desk {
    client: Client,
    // Dropped in this order: the programs end before their database.
    _worker: Program,
    _web: Program,
    postgres: Postgres,
}

impl Desk {
    fn open() -> Self {
        let postgres = Postgres::start();
        Program::run(
            "returns-web",
            &["migrate"],
            &[("DATABASE_URL", &postgres.url())],
        );
        let (web, client) = Program::service("returns-web", &[("DATABASE_URL", &postgres.url())]);
        let worker = Program::start("returns-worker", &[], &[("DATABASE_URL", &postgres.url())]);
        Self {
            client,
            _worker: worker,
            _web: web,
            postgres,
        }
    }

    fn new_return(&self) -> i64 {
        let head = json!({"pharmacy": "Harbor Street Pharmacy", "reference": "DM-1"});
        let opened = self.client.post("/api/returns", &head).expect(201);
        let id = opened.json()["id"].as_i64().expect("an id");
        assert_eq!(opened.header("location"), format!("/api/returns/{id}"));
        id
    }

    fn add(&self, id: i64, ndc: &str, quantity: i64, reason: &str, expiry: &str) {
        let item = json!({"ndc": ndc, "lot": "a1", "expiry": expiry, "quantity": quantity, "reason": reason});
        self.client
            .post(&format!("/api/returns/{id}/items"), &item)
            .expect(201);
    }

    fn step(&self, id: i64, step: &str) -> Value {
        self.client
            .post(
                &format!("/api/returns/{id}/{step}"),
                &json!({"note": "as agreed"}),
            )
            .expect(200)
            .json()
    }

    fn show(&self, id: i64) -> Value {
        self.client
            .get(&format!("/api/returns/{id}"))
            .expect(200)
            .json()
    }

    fn until(&self, what: &str, id: i64, holds: impl Fn(&Value) -> bool) -> Value {
        until(what, || Some(self.show(id)).filter(&holds))
    }
}

fn moves(detail: &Value) -> Vec<String> {
    let changes = detail["history"].as_array().expect("a history");
    let text = |change: &Value| {
        let part = |name: &str| change[name].as_str().unwrap_or("nothing").to_owned();
        format!("{} → {} by {}", part("from"), part("to"), part("actor"))
    };
    changes.iter().map(text).collect()
}

#[test]
fn from_draft_to_credit_through_the_api() {
    let desk = Desk::open();
    let id = desk.new_return();
    desk.add(id, "0093-3109-01", 3, "damaged", "2030-01");
    desk.add(id, "00071-0157-23", 2, "unused", "2030-01-31");
    assert_eq!(desk.step(id, "submit")["state"], "submitted");
    let valued = desk.until("valued", id, |detail| detail["items_pending"] == 0);
    assert_eq!(
        valued["credit_cents"],
        1_422 + 100_113,
        "40 % of 3 × $11.85 and 85 % of 2 × $588.90"
    );
    assert_eq!(valued["lines"][1]["product"], "Lipitor 40 mg");
    desk.step(id, "receive");
    desk.step(id, "verify");
    let credited = desk.until("credited", id, |detail| detail["state"] == "credited");
    assert_eq!(credited["credit_cents"], 101_535);
    assert_eq!(
        moves(&credited),
        [
            "nothing → draft by pharmacy",
            "draft → submitted by pharmacy",
            "submitted → received by receiving-desk",
            "received → verified by receiving-desk",
            "verified → credited by worker",
        ]
    );
    for step in ["submit", "receive", "verify", "destroy"] {
        let refused = desk
            .client
            .post(&format!("/api/returns/{id}/{step}"), &json!({"note": "x"}))
            .expect(409);
        assert!(
            refused.json()["error"]["message"]
                .as_str()
                .unwrap_or("")
                .contains("is credited"),
            "{}",
            refused.body
        );
    }
}

#[test]
fn from_draft_to_credit_with_the_forms_alone() {
    let desk = Desk::open();
    let opened = desk
        .client
        .form("/returns", &[("pharmacy", "Oak & Vine"), ("reference", "")])
        .expect(303);
    let page = opened.header("location").to_owned();
    let item = [
        ("ndc", "00093310901"),
        ("lot", "B7"),
        ("expiry", "2031-05"),
        ("quantity", "10"),
        ("reason", "unused"),
    ];
    desk.client
        .form(&format!("{page}/items"), &item)
        .expect(303);
    let draft = desk.client.get(&page).expect(200).body;
    assert!(
        draft.contains("Amoxicillin 500 mg")
            && draft.contains("00093-3109-01")
            && draft.contains("Oak &amp; Vine")
    );
    for step in ["submit", "receive", "verify"] {
        let done = desk
            .client
            .form(&format!("{page}/{step}"), &[("note", "")])
            .expect(303);
        assert_eq!(done.header("location"), page);
    }
    let credited = until("the page says credited", || {
        Some(desk.client.get(&page).expect(200).body)
            .filter(|body| body.contains("Credited $100.73"))
    });
    assert!(credited.contains("by the receiving desk") && credited.contains("by the system"));
}

#[test]
fn an_unknown_product_waits_for_a_price_by_hand() {
    let desk = Desk::open();
    let id = desk.new_return();
    desk.add(id, "99999-9999-99", 4, "unused", "2031-01");
    for step in ["submit", "receive", "verify"] {
        desk.step(id, step);
    }
    let flagged = desk.until("flagged", id, |detail| detail["items_without_price"] == 1);
    assert_eq!(
        flagged["state"], "verified",
        "nothing is credited while a price is missing"
    );
    let item = flagged["lines"][0]["id"].as_i64().expect("an id");
    let price = format!("/returns/{id}/items/{item}/price");
    let refused = desk.client.form(&price, &[("price", "twelve")]).expect(422);
    assert!(
        refused.body.contains("value=\"twelve\"") && refused.body.contains("for example 12.50"),
        "nothing lost"
    );
    desk.client.form(&price, &[("price", "$12.50")]).expect(303);
    let credited = desk.until("credited", id, |detail| detail["state"] == "credited");
    assert_eq!(credited["credit_cents"], 4_250, "85 % of 4 × $12.50");
    assert_eq!(credited["lines"][0]["priced_by_hand"], true);
}

#[test]
fn an_unknown_product_is_valued_once_the_price_table_knows_it() {
    let desk = Desk::open();
    let id = desk.new_return();
    desk.add(id, "99999-9999-98", 1, "damaged", "2031-01");
    desk.step(id, "submit");
    desk.until("flagged", id, |detail| detail["items_without_price"] == 1);
    desk.postgres
        .ask("insert into price values ('99999999998', 'New drug', 'vial', 'Maker', 'vial', 1000)");
    let valued = desk.until("valued", id, |detail| detail["items_without_price"] == 0);
    assert_eq!(
        (&valued["credit_cents"], &valued["lines"][0]["product"]),
        (&json!(400), &json!("New drug"))
    );
}

#[test]
fn destroying_says_why_and_takes_the_credit_back() {
    let desk = Desk::open();
    let id = desk.new_return();
    desk.add(id, "0093-3109-01", 3, "unused", "2031-01");
    desk.step(id, "submit");
    desk.until("valued", id, |detail| detail["items_pending"] == 0);
    desk.step(id, "receive");
    let silent = desk
        .client
        .post(&format!("/api/returns/{id}/destroy"), &json!({}))
        .expect(422)
        .json();
    assert!(
        silent["error"]["fields"]["note"]
            .as_str()
            .unwrap_or("")
            .contains("why")
    );
    let note = [("note", "Cold chain broken")];
    desk.client
        .form(&format!("/returns/{id}/destroy"), &note)
        .expect(303);
    let destroyed = desk.show(id);
    assert_eq!(
        (&destroyed["state"], &destroyed["credit_cents"]),
        (&json!("destroyed"), &json!(0))
    );
    assert_eq!(destroyed["history"][3]["note"], "Cold chain broken");
    desk.client
        .form(&format!("/returns/{id}/verify"), &[])
        .expect(409);
}

#[test]
fn of_many_who_press_at_once_one_is_first_and_nothing_stays_locked() {
    let desk = Desk::open();
    let id = desk.new_return();
    desk.add(id, "0093-3109-01", 3, "unused", "2031-01");
    for step in ["submit", "receive"] {
        let path = format!("/api/returns/{id}/{step}");
        let press = || desk.client.post(&path, &json!({})).status;
        let mut seen: Vec<u16> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(press)).collect();
            all.into_iter()
                .map(|one| one.join().expect("no panic"))
                .collect()
        });
        seen.sort_unstable();
        assert_eq!(seen, [200, 409, 409, 409, 409, 409, 409, 409]);
    }
    assert_eq!(desk.show(id)["history"].as_array().map(Vec::len), Some(3));
    // A refused change was a transaction that was never committed: it must not keep the row.
    let open = "select count(*) from pg_stat_activity where state like 'idle in transaction%'";
    until("no transaction stays open", || {
        (desk.postgres.ask(open) == "0").then_some(())
    });
}

#[test]
fn lists_are_searched_narrowed_counted_and_paged() {
    let desk = Desk::open();
    let first = desk.new_return();
    desk.add(first, "00071-0157-23", 1, "unused", "2031-01");
    for n in 0..30 {
        desk.client
            .post(
                "/api/returns",
                &json!({"pharmacy": format!("Branch {n:02} 100%")}),
            )
            .expect(201);
    }
    let found = |query: &str| -> Vec<i64> {
        let page = desk
            .client
            .get(&format!("/api/returns?{query}"))
            .expect(200)
            .json();
        page["returns"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|r| r["id"].as_i64())
            .collect()
    };
    for words in [
        "lipitor",
        "0071-0157-23",
        "71015723",
        "dm-1",
        "harbor",
        "R-000001",
        "a1",
    ] {
        assert_eq!(found(&format!("q={words}")), [first], "{words}");
    }
    assert_eq!(
        found("q=100%25&limit=200").len(),
        30,
        "a percent sign is only itself"
    );
    assert_eq!(found("q=%25%25&limit=200").len(), 0);
    assert_eq!(found("state=submitted").len(), 0);
    assert_eq!(found("q=a%00b").len(), 0, "NUL cannot reach the database");
    let page = desk.client.get("/api/returns?limit=20").json();
    let next = page["next_before"].as_i64().expect("a second page");
    assert_eq!(found(&format!("limit=20&before={next}")).len(), 11);
    desk.client.get("/api/returns?state=lost").expect(422);
    assert_eq!(
        desk.client.get("/api/tally").json()[0],
        json!({"state": "draft", "returns": 31, "credit_cents": 0})
    );
    let body = desk.client.get("/?state=draft").expect(200).body;
    assert!(body.contains("Older returns") && body.contains("before="));
    assert!(
        desk.client
            .get("/?q=nobody")
            .expect(200)
            .body
            .contains("Nothing matches")
    );
}

#[test]
fn changes_are_announced_and_missed_ones_are_caught_up() {
    let desk = Desk::open();
    // What changes before the service listens is told as `resync`, without the change itself.
    let listening = "select count(*) > 0 from pg_stat_activity
        where state = 'idle' and query = 'listen state_change'";
    until("the service listens", || {
        (desk.postgres.ask(listening) == "t").then_some(())
    });
    let mut lines = desk.client.events(&[]);
    assert!(
        lines.any(|line| line == "event: heartbeat"),
        "heartbeats come"
    );
    let id = desk.new_return();
    let announced = lines
        .find(|line| line.starts_with("data: {") && line.contains("return_id"))
        .expect("an event");
    let change: Value = serde_json::from_str(&announced["data: ".len()..]).expect("JSON");
    assert_eq!(
        (&change["return_id"], &change["to"]),
        (&json!(id), &json!("draft"))
    );
    assert_eq!(change["number"], "R-000001");
    desk.add(id, "0093-3109-01", 1, "unused", "2031-01");
    desk.step(id, "submit");
    let last = change["id"].to_string();
    let mut again = desk.client.events(&[("last-event-id", &last)]);
    let caught_up = again
        .find(|line| line.contains("return_id"))
        .expect("an event");
    assert!(caught_up.contains("\"to\":\"submitted\""), "{caught_up}");
}

#[test]
fn demonstration_data_is_added_once() {
    let desk = Desk::open();
    assert_eq!(
        desk.postgres.ask("select count(*) from product_return"),
        "0",
        "nothing is seeded by itself"
    );
    let url = desk.postgres.url();
    let seed = || Program::start("returns-web", &["seed-demo"], &[("DATABASE_URL", &url)]);
    let (mut one, mut two) = (seed(), seed());
    assert!(
        one.ended().success() && two.ended().success(),
        "{:?} {:?}",
        one.output(),
        two.output()
    );
    assert_eq!(
        desk.postgres
            .ask("select count(*), count(distinct reference) from product_return"),
        "46|46"
    );
    let body = until("the worker credited some", || {
        let body = desk.client.get("/?state=credited").expect(200).body;
        body.contains("chip credited").then_some(body)
    });
    assert!(body.contains("DEMO-"));
    desk.client.get("/receiving").expect(200);
    desk.client.get("/prices").expect(200);
}
