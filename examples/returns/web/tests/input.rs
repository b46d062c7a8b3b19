//! Bad input, hostile input, and other people's pages.

use serde_json::json;
use testbed::{Answer, Client, Postgres, Program};

/// A running service with one draft in it.
fn start() -> (Postgres, Program, Client, i64) {
    let postgres = Postgres::start();
    Program::run(
        "returns-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    let (web, client) = Program::service("returns-web", &[("DATABASE_URL", &postgres.url())]);
    let opened = client
        .post("/api/returns", &json!({"pharmacy": "Harbor Street"}))
        .expect(201);
    let id = opened.json()["id"].as_i64().expect("an id");
    (postgres, web, client, id)
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_bad_form_says_all_that_is_wrong_and_loses_nothing() {
    let (postgres, _web, client, id) = start();
    let fields = [
        ("ndc", "0093310901"),
        ("lot", "A<1"),
        ("expiry", "2026-02-30"),
        ("quantity", "ten"),
        ("reason", "damaged"),
    ];
    let body = client
        .form(&format!("/returns/{id}/items"), &fields)
        .expect(422)
        .body;
    for kept in [
        "value=\"0093310901\"",
        "value=\"A&lt;1\"",
        "value=\"2026-02-30\"",
        "value=\"ten\"",
    ] {
        assert!(body.contains(kept), "{kept}");
    }
    assert!(body.contains("<option value=\"damaged\" selected>"));
    for said in [
        "4-4-2, 5-3-2 or 5-4-1",
        "“&lt;” is none",
        "YYYY-MM-DD",
        "“ten” is not a whole number",
        "4 fields",
    ] {
        assert!(body.contains(said), "{said}");
    }
    let long = "n".repeat(1_001);
    let body = client
        .form("/returns", &[("pharmacy", ""), ("note", &long)])
        .expect(422)
        .body;
    assert!(body.contains(&long) && body.contains("Enter the name of the pharmacy"));
    assert_eq!(postgres.ask("select count(*) from item"), "0");
}

#[test]
fn the_api_names_each_wrong_field() {
    let (_postgres, _web, client, id) = start();
    let items = format!("/api/returns/{id}/items");
    let wrong = client.post(
        &items,
        &json!({"ndc": "1", "quantity": 10_001, "expiry": "2020-01-01", "reason": "unused"}),
    );
    let fields = wrong.expect(422).json()["error"]["fields"].clone();
    for name in ["ndc", "lot", "expiry", "quantity"] {
        assert!(fields[name].is_string(), "{name}: {fields}");
    }
    assert!(
        fields["expiry"]
            .as_str()
            .unwrap_or("")
            .contains("has expired")
    );
    let not_json = client
        .send(
            "POST",
            &items,
            &[("content-type", "application/json")],
            b"{\"ndc\": ",
        )
        .expect(400);
    assert!(message(&not_json).contains("line 1"), "{}", not_json.body);
    let other_kind = client
        .send("POST", &items, &[("content-type", "text/plain")], b"{}")
        .expect(400);
    assert!(message(&other_kind).contains("content-type"));
    client.post(&items, &json!({"ndc": ["a"]})).expect(400);
    client.post(&items, &json!([])).expect(422);
    client
        .post(&format!("/api/returns/{id}/submit"), &json!({}))
        .expect(409);
    let long = "x".repeat(70_000);
    client
        .post("/api/returns", &json!({"pharmacy": long}))
        .expect(413);
    client
        .post("/api/returns", &json!({"pharmacy": "a\u{0}b"}))
        .expect(422);
}

#[test]
fn addresses_that_lead_nowhere_say_so_in_the_right_language() {
    let (_postgres, _web, client, id) = start();
    for path in [
        "/nope",
        "/returns/999999",
        "/returns/abc",
        "/returns/%ff",
        "/returns/99999999999999999999",
        "/assets/x/y",
    ] {
        let page = client.get(path).expect(404);
        assert!(
            page.header("content-type").starts_with("text/html") && page.body.contains("404"),
            "{path}"
        );
    }
    for path in [
        "/api/nope",
        "/api/returns/999999",
        "/api/returns/abc",
        "/api/returns/-1",
    ] {
        assert_eq!(
            client.get(path).expect(404).json()["error"]["code"],
            "not_found",
            "{path}"
        );
    }
    client
        .post(&format!("/api/returns/{id}/credit"), &json!({}))
        .expect(404);
    client
        .send("PUT", "/api/returns", &[], b"")
        .expect(405)
        .json();
    client.send("DELETE", "/", &[], b"").expect(405);
    client
        .send("DELETE", &format!("/api/returns/{id}/items/1"), &[], b"")
        .expect(404);
    client.get("/?state=lost&before=never&limit=-5").expect(200);
}

#[test]
fn what_people_enter_never_becomes_markup() {
    let (postgres, _web, client, _) = start();
    let evil = "<script>alert(1)</script>\"'>&amp;";
    let head = json!({"pharmacy": evil, "contact": evil, "reference": evil, "note": evil});
    let id = client.post("/api/returns", &head).expect(201).json()["id"]
        .as_i64()
        .expect("an id");
    postgres.ask(
        "insert into price values ('99999999999', '<img src=x onerror=y>', 'f', '<b>', 'u', 1)",
    );
    let item = json!({"ndc": "99999999999", "lot": "A", "expiry": "2031-01", "quantity": 1, "reason": "unused"});
    client
        .post(&format!("/api/returns/{id}/items"), &item)
        .expect(201);
    let name = [
        ("content-type", "text/html"),
        ("x-file-name", "<svg onload=z>.html"),
    ];
    let upload = client.send(
        "POST",
        &format!("/api/returns/{id}/attachments"),
        &name,
        b"<script>boo</script>",
    );
    let attachment = upload.expect(201).json()["id"].as_i64().expect("an id");
    client
        .post(&format!("/api/returns/{id}/submit"), &json!({"note": evil}))
        .expect(200);
    let path = format!("/?q={}", "%3Cscript%3Ealert(1)%3C/script%3E%22'");
    for page in [
        "/",
        &path,
        &format!("/returns/{id}"),
        "/receiving",
        "/prices",
    ] {
        let answer = client.get(page).expect(200);
        for raw in ["<script>alert", "<img src=x", "<svg onload", "\"'>"] {
            assert!(!answer.body.contains(raw), "{raw} in {page}");
        }
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'"),
            "{page}"
        );
        assert!(!answer.header("content-security-policy").contains("unsafe"));
    }
    let file = client
        .get(&format!("/returns/{id}/attachments/{attachment}"))
        .expect(200);
    assert!(
        file.header("content-disposition")
            .starts_with("attachment;")
    );
    assert!(file.header("content-security-policy").contains("sandbox"));
    assert_eq!(file.header("x-content-type-options"), "nosniff");
}

#[test]
fn forms_of_other_sites_are_refused() {
    let (postgres, _web, client, id) = start();
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let host = client.host();
    let evil_origin = "http://evil.example";
    for header in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", evil_origin),
        ("origin", "null"),
    ] {
        let refused = client
            .send("POST", "/returns", &[kind, header], b"pharmacy=Evil")
            .expect(403);
        assert!(refused.body.contains("another site"), "{header:?}");
        client
            .send("POST", &format!("/api/returns/{id}/submit"), &[header], b"")
            .expect(403)
            .json();
    }
    let own = format!("http://{host}");
    client
        .send(
            "POST",
            "/returns",
            &[kind, ("origin", &own)],
            b"pharmacy=Good",
        )
        .expect(303);
    assert_eq!(
        postgres.ask("select count(*) from product_return where pharmacy = 'Evil'"),
        "0"
    );
}

#[test]
fn who_answers_can_be_seen() {
    let (_postgres, _web, client, _) = start();
    let version = client.get("/version").expect(200);
    assert_eq!(version.header("x-release"), "r7");
    let body = version.json();
    assert_eq!(
        (&body["release"], &body["instance"]),
        (&json!("r7"), &json!("web-1"))
    );
    assert!(body["pid"].as_u64().is_some() && body["version"].is_string());
    assert_eq!(client.get("/nope").header("x-release"), "r7");
    let page = client.get("/").expect(200);
    let style = page
        .body
        .split("href=\"")
        .find(|part| part.starts_with("/assets/") && part.contains("style.css"));
    let style = style
        .and_then(|part| part.split('"').next())
        .expect("a style");
    assert!(
        client
            .get(style)
            .expect(200)
            .header("cache-control")
            .contains("immutable")
    );
    assert_eq!(
        client
            .get("/assets/000000000000/style.css")
            .expect(200)
            .header("cache-control"),
        "no-store"
    );
}
