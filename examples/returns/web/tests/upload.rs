//! Uploads: of any size in constant memory, whole or not at all.

use std::io::{Read, Write};
use std::time::Instant;

use serde_json::{Value, json};
use testbed::{Client, PATIENCE, Postgres, Program, until};

fn start() -> (Postgres, Program, Client, String) {
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
    let path = format!("/api/returns/{}/attachments", opened.json()["id"]);
    (postgres, web, client, path)
}

#[test]
fn a_large_file_passes_through_constant_memory() {
    let (postgres, web, client, path) = start();
    let before = web.peak_memory();
    let megabyte = vec![7u8; 1 << 20];
    let head = [
        ("content-type", "image/jpeg"),
        ("x-file-name", "crushed box.jpg"),
    ];
    let mut stream = client
        .start("POST", &path, &head, 48 << 20)
        .expect("connected");
    for _ in 0..48 {
        stream.write_all(&megabyte).expect("the service reads on");
    }
    let stored = testbed::http::read(stream)
        .expect("an answer")
        .expect(201)
        .json();
    assert_eq!(
        (&stored["size"], &stored["kept"]),
        (&json!(48 << 20), &json!(false))
    );
    // Known in advance: the SHA-256 of 48 MiB of the byte 7.
    assert_eq!(
        stored["sha256"],
        "3286bb4e2aacb6726e3f153666203cdab7d8708d9de8a1c9cbe29a6f8e7fe074"
    );
    assert_eq!(stored["file_name"], "crushed box.jpg");
    let grown = web.peak_memory() - before;
    assert!(grown < 8 * 1024, "{grown} KiB more for 48 MiB");
    assert_eq!(
        postgres.ask("select size, bytes is null from attachment"),
        format!("{}|t", 48 << 20)
    );
}

#[test]
fn a_small_file_comes_back_as_it_was() {
    let (_postgres, _web, client, path) = start();
    let content = "a,b\n1,2\n".repeat(100);
    let head = [("content-type", "text/csv")];
    let stored = client
        .send(
            "POST",
            &format!("{path}?name=count.csv"),
            &head,
            content.as_bytes(),
        )
        .expect(201)
        .json();
    assert_eq!(
        (&stored["file_name"], &stored["kept"]),
        (&json!("count.csv"), &json!(true))
    );
    let page = path.replace("/api", "");
    let file = client.get(&format!("{page}/{}", stored["id"])).expect(200);
    assert_eq!(
        (file.body.as_str(), file.header("content-type")),
        (content.as_str(), "text/csv")
    );
    client.get(&format!("{page}/999")).expect(404);
}

#[test]
fn a_file_that_breaks_off_leaves_nothing() {
    let (postgres, web, client, path) = start();
    let mut stream = client
        .start("POST", &path, &[("content-type", "image/png")], 1 << 20)
        .expect("connected");
    stream.write_all(&[1; 1000]).expect("the service reads");
    drop(stream);
    web.line("status=400");
    assert_eq!(postgres.ask("select count(*) from attachment"), "0");
    client
        .send("POST", "/api/returns/999/attachments", &[], b"x")
        .expect(404);
    let huge = client
        .start("POST", &path, &[], 1 << 30)
        .expect("connected");
    let mut writer = huge.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || while writer.write_all(&[0; 1 << 16]).is_ok() {});
    web.line("status=413");
    drop(huge);
    writing.join().expect("it ends when the service closes");
    assert_eq!(postgres.ask("select count(*) from attachment"), "0");
}

#[test]
fn the_page_takes_several_files_at_once() {
    let (postgres, _web, client, path) = start();
    let page = path.replace("/api", "");
    let part = |name: &str, content: &str| {
        format!(
            "--sep\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\ncontent-type: image/png\r\n\r\n{content}\r\n"
        )
    };
    let body = format!(
        "{}{}{}--sep--\r\n",
        part("a.png", "aaa"),
        part("", ""),
        part("b.png", "bb")
    );
    let head = [
        ("content-type", "multipart/form-data; boundary=sep"),
        ("sec-fetch-site", "same-origin"),
    ];
    client
        .send("POST", &page, &head, body.as_bytes())
        .expect(303);
    assert_eq!(
        postgres.ask("select file_name, size from attachment order by id"),
        "a.png|3\nb.png|2"
    );
    let broken = &body.as_bytes()[..body.len() / 2];
    client.send("POST", &page, &head, broken).expect(400);
    client
        .send("POST", &page, &[("content-type", "text/plain")], b"x")
        .expect(400);
}

#[test]
fn an_upload_under_way_is_finished_when_the_service_ends() {
    let (_postgres, mut web, client, path) = start();
    let opened = Instant::now();
    let mut events = client.events(&[]);
    assert!(events.any(|line| line == "event: heartbeat"));
    let head = [("content-type", "image/png"), ("expect", "100-continue")];
    let mut stream = client
        .start("POST", &path, &head, 2 << 20)
        .expect("connected");
    // The service asks for the body when it begins to read it: from here on the request is under way.
    let mut go_on = [0; 25];
    stream
        .read_exact(&mut go_on)
        .expect("the service asks for the body");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
        .write_all(&vec![5; 1 << 20])
        .expect("the service reads");
    web.terminate();
    web.line("ending");
    assert!(events.all(|line| !line.contains("return_id")));
    assert!(opened.elapsed() < PATIENCE, "the stream ends by itself");
    until("no new connection is taken", || {
        client
            .try_send("GET", "/version", &[], b"")
            .is_err()
            .then_some(())
    });
    assert!(web.runs(), "it waits for the upload");
    stream
        .write_all(&vec![5; 1 << 20])
        .expect("the service still reads");
    let stored: Value = testbed::http::read(stream)
        .expect("an answer")
        .expect(201)
        .json();
    assert_eq!(stored["size"], 2 << 20);
    assert_eq!(web.ended().code(), Some(0), "{:?}", web.output());
    assert!(web.output().iter().any(|line| line.ends_with("INFO ended")));
}
