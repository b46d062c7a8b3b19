//! Webhooks: what they lead to, and what strangers come to who send something else.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use support::sources::{add, builds_of, runs, shown, standings};
use support::work::{PIPELINE, Work, gate};
use support::{Ward, answers, eventually, poll};

/// Sends a webhook; the status that it is answered with.
fn hook(url: &str, header: &str, body: &str) -> u16 {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST"]);
    curl.args(["-H", header, "--data-binary", body, url]);
    let output = curl.output().unwrap();
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

fn signature(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("X-Hub-Signature-256: sha256={hex}")
}

#[test]
fn a_webhook_leads_to_a_look_and_one_with_a_bad_signature_to_nothing() {
    let (ward, work) = (Ward::new(), Work::new());
    work.commit("one", "");
    ward.ok(&["up", "--platform"]);
    let hooked = ["--env", "dev", "--poll", "24h", "--webhook"];
    add(&ward, &work, &hooked).fails(
        1,
        &[
            "takes no webhooks",
            "WARD_HOOKS_ADDR=0.0.0.0:8070 ward upgrade",
        ],
    );
    ward.ok(&["down"]);
    let up = ward
        .command(&["up", "--platform", "--hooks-addr", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert!(up.status.success(), "{up:?}");
    let secret = add(&ward, &work, &hooked).success();
    let secret = secret.trim();
    assert!(secret.len() > 30, "{secret}");
    eventually("the first serves", || {
        answers(&ward, "dev").as_deref() == Some("one")
    });
    let url = shown(&ward, "app")["hook"].as_str().unwrap().to_owned();

    let second = work.commit("two", "");
    let body = r#"{"ref":"refs/heads/evil","repository":{"clone_url":"/etc"}}"#;
    for (header, sent) in [
        (signature("another secret", body), body),
        (signature(secret, "another body"), body),
        ("X-Gitlab-Token: wrong".to_owned(), body),
        ("X-None: x".to_owned(), body),
    ] {
        assert_eq!(hook(&url, &header, sent), 403, "{header}");
    }
    assert_eq!(
        hook(
            &url.replace("/app", "/other"),
            &signature(secret, body),
            body
        ),
        403
    );
    assert_eq!(
        standings(&ward, "app").len(),
        1,
        "a webhook without its secret led to a look"
    );
    let show = ward.ok(&["source", "show", "app"]);
    assert!(show.contains("a webhook was refused at"), "{show}");

    assert_eq!(hook(&url, &signature(secret, body), body), 202);
    eventually("the second serves", || {
        answers(&ward, "dev").as_deref() == Some("two")
    });
    // Again, it comes to nothing; and as GitLab says it.
    assert_eq!(hook(&url, &signature(secret, body), body), 202);
    assert_eq!(hook(&url, &format!("X-Gitlab-Token: {secret}"), body), 202);
    let third = work.commit("three", "");
    assert_eq!(hook(&url, &format!("X-Gitlab-Token: {secret}"), body), 202);
    eventually("the third serves", || {
        answers(&ward, "dev").as_deref() == Some("three")
    });
    assert_eq!([&second, &third].map(|id| builds_of(&ward, id)), [1, 1]);
    let events = ward.ok(&["events", "--output", "json", "-n", "1000"]);
    assert!(!events.contains(secret), "the log has the secret");
    let log = fs::read_to_string(ward.home().join("server.log")).unwrap();
    assert!(!log.contains(secret), "the server's log has the secret");
}

/// A source that takes webhooks, and is looked at for nothing else; where to, and its secret.
fn hooked(ward: &Ward, work: &Work, then: &[&str]) -> (String, String) {
    let up = ["up", "--platform", "--hooks-addr", "127.0.0.1:0"];
    ward.ok(&up);
    let more = [then, &["--poll", "24h", "--webhook"]].concat();
    let secret = add(ward, work, &more).success();
    let url = shown(ward, "app")["hook"].as_str().unwrap().to_owned();
    (url, secret.trim().to_owned())
}

fn address(url: &str) -> SocketAddr {
    let rest = url.strip_prefix("http://").unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

/// Says this on a connection of its own, and gives back what comes.
fn said(to: SocketAddr, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    for part in parts {
        if stream.write_all(part).is_err() {
            break; // It has heard enough.
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn connections_that_are_held_open_keep_nobody_out() {
    let (ward, work) = (Ward::new(), Work::new());
    work.commit("one", "");
    let (url, secret) = hooked(&ward, &work, &["--env", "dev"]);
    let to = address(&url);
    let opened = || TcpStream::connect(to).unwrap();
    let beginnings = [
        "",
        "POST /hooks/app HTTP/1.1\r\n",
        "POST /hooks/app HTTP/1.1\r\nhost: ward\r\ncontent-length: 100\r\n\r\n{",
        "POST /hooks/app HTTP/1.1\r\nhost: ward\r\nx-hub-signature-256: sha256=\
         0000000000000000000000000000000000000000000000000000000000000000\r\ncontent-length: 8000000\r\n\r\n{",
    ];
    let mut held = Vec::new();
    for number in 0..400 {
        let mut stream = opened();
        let _ = stream.write_all(beginnings[number % beginnings.len()].as_bytes());
        held.push(stream);
    }
    let body = "{}";
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(hook(&url, &signature(&secret, body), body), 202);
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    // However slow, each comes to an end: the head, and the body behind it.
    let limit = Duration::from_secs(60);
    for stream in &mut held {
        stream.set_nonblocking(true).unwrap();
        let gone = poll(limit, || {
            let mut rest = [0; 1024];
            match stream.read(&mut rest) {
                Ok(0) => true,
                Ok(_) => false,
                Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
            }
        });
        assert!(gone, "one is open still");
    }
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    assert_eq!(hook(&url, &signature(&secret, body), body), 202);
    let log = fs::read_to_string(ward.home().join("server.log")).unwrap();
    assert!(log.matches("a webhook was refused").count() < 5, "{log}");
}

#[test]
fn what_is_no_webhook_is_answered_in_words_and_costs_little() {
    let (ward, work) = (Ward::new(), Work::new());
    work.commit("one", "");
    let (url, secret) = hooked(&ward, &work, &["--env", "dev"]);
    let to = address(&url);
    let head = |more: &str| format!("POST /hooks/app HTTP/1.1\r\nhost: ward\r\n{more}\r\n");
    let large = 9 << 20;
    let zeros = vec![b'0'; 1 << 16];
    // By its length, or as it comes: the text is Ward's own.
    let signed = "x-hub-signature-256: sha256=\
                  0000000000000000000000000000000000000000000000000000000000000000\r\n";
    let declared = head(&format!("{signed}content-length: {large}\r\n"));
    let answer = said(to, &[declared.as_bytes()]);
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("a webhook has at most 8 MiB"),
        "{answer}"
    );
    let chunked = head(&format!("{signed}transfer-encoding: chunked\r\n"));
    let mut parts = vec![chunked.as_bytes()];
    for _ in 0..(8 << 20) / zeros.len() {
        parts.extend([&b"10000\r\n"[..], &zeros, b"\r\n"]);
    }
    parts.extend([&b"4000\r\n"[..], &zeros[..1 << 14], b"\r\n0\r\n\r\n"]);
    let answer = said(to, &parts);
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("a webhook has at most 8 MiB"),
        "{answer}"
    );
    // A large one that is signed is taken.
    let body = "x".repeat(7 << 20);
    let sent = head(&format!(
        "{}\r\ncontent-length: {}\r\n",
        signature(&secret, &body),
        body.len()
    ));
    let answer = said(to, &[sent.as_bytes(), body.as_bytes()]);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let bare = head("content-length: 2\r\n");
    for (request, status, says) in [
        (
            "GET /hooks/app HTTP/1.1\r\nhost: ward\r\n\r\n",
            "405",
            "sent with POST",
        ),
        (
            "POST / HTTP/1.1\r\nhost: ward\r\n\r\n",
            "404",
            "/hooks/NAME",
        ),
        (
            "POST /hooks/%ff HTTP/1.1\r\nhost: ward\r\n\r\n",
            "403",
            "there is no source",
        ),
        (bare.as_str(), "403", "there is no source"),
    ] {
        let answer = said(to, &[request.as_bytes(), b"{}"]);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(says),
            "{request}: {answer}"
        );
    }
    // What proves nothing is told the same, whether there is such a source or not, with a body of any length.
    let of_length = |path: &str, length: usize| {
        let head = head(&format!("{signed}content-length: {length}\r\n"));
        let body = vec![b'0'; length];
        said(to, &[head.replace("/app", path).as_bytes(), &body])
    };
    let without_date = |answer: &str| {
        let lines = answer.lines().filter(|line| !line.starts_with("date:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for length in [0, 1024, 1 << 20] {
        let (own, other) = (of_length("/app", length), of_length("/nowhere", length));
        assert_eq!(without_date(&other), without_date(&own));
        assert!(own.starts_with("HTTP/1.1 403"), "{own}");
    }
    // And no memory is taken by bodies of strangers.
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", ward.server_pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib
    };
    let before = resident();
    let declared = head(&format!("{signed}content-length: {}\r\n", 8 << 20));
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(declared.as_bytes()).unwrap();
        for _ in 0..100 {
            if stream.write_all(&zeros).is_err() {
                break; // Its time was over.
            }
        }
        held.push(stream);
    }
    let after = resident();
    assert!(after < before + 60 * 1024, "{before} KiB, then {after} KiB");
}

/// Who wrote a commit is no second person, however it was heard of.
#[test]
fn the_author_of_a_commit_does_not_approve_it_where_a_second_person_has_to() {
    let name = Command::new("id").arg("-un").output().unwrap();
    let name = String::from_utf8(name.stdout).unwrap().trim().to_owned();
    let gates = PIPELINE.to_owned() + &gate("another", &format!("{name:?}"));
    let (ward, work) = (Ward::new(), Work::new());
    let commit = |answer: &str, author: &str| {
        work.commit(answer, &gates);
        work.git(&["commit", "-q", "--amend", "--no-edit", "--author", author]);
    };
    let waits = |number: u64| {
        let id = format!("p{number}");
        eventually(&format!("{id} waits for a word"), || {
            let all = runs(&ward);
            let newest = all.iter().find(|run| run["id"] == number);
            newest.is_some_and(|run| run["position"]["at"] == "approving")
        });
        id
    };
    let own = format!("Somebody <{name}@example.com>");
    let refused = |id: &str| {
        let says = [
            "wrote the commit, as that says",
            &own,
            "a second person has to approve it",
        ];
        ward.run(&["pipeline", "approve", id]).fails(1, &says);
        let events = ward.ok(&["events", "-n", "1000"]);
        assert!(
            events.contains(&format!("{id} was not approved by")),
            "{events}"
        );
        ward.ok(&["pipeline", "reject", id]);
    };
    // By a look at its time.
    commit("one", &own);
    let (url, secret) = hooked(&ward, &work, &["--pipeline", "delivery"]);
    let first = waits(1);
    assert_eq!(runs(&ward)[0]["author"], "source:app");
    refused(&first);
    // By a webhook.
    commit("two", &own);
    assert_eq!(hook(&url, &signature(&secret, "{}"), "{}"), 202);
    refused(&waits(2));
    // By somebody who asked for a look.
    commit("three", &own);
    ward.ok(&["source", "sync", "app"]);
    refused(&waits(3));
    // What another one wrote is approved.
    commit("four", "Anna Bauer <anna.bauer@example.com>");
    assert_eq!(hook(&url, &signature(&secret, "{}"), "{}"), 202);
    ward.ok(&["pipeline", "approve", &waits(4), "--why", "seen"]);
    eventually("prod has it", || {
        answers(&ward, "prod").as_deref() == Some("four")
    });
}
