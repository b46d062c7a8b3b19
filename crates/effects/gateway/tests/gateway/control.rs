//! The control socket: generations, restarts, handing sockets over, quitting.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpStream, UnixStream};
use ward_gateway::control::ControlError;
use ward_types::id::Term;
use ward_types::table::{Applied, Table};
use ward_types::time::Millis;

use crate::app::App;
use crate::clients::{body, fetch, get, get2, http1, http2};
use crate::world::{World, eventually, exit_status};

fn refusal(result: Result<Applied, ControlError>) -> String {
    match result {
        Err(ControlError::Refused(message)) => message,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn an_older_table_is_refused_and_changes_nothing() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    let older = world.table(&[]);
    let table = world.table(&["web-r1-1"]);
    let applied = world.control.apply(table.clone()).await.unwrap();
    assert_eq!(applied.table, table.version());
    assert_eq!(applied.pid, world.child.id());
    let message = refusal(world.control.apply(older).await);
    assert!(message.contains("g1 is older than g2"), "{message}");
    let mut fenced = world.table(&[]);
    fenced.term = Term(0);
    let message = refusal(world.control.apply(fenced).await);
    assert!(message.contains("t0, and one with t1"), "{message}");
    let changed = Table {
        pools: Vec::new(),
        ..table.clone()
    };
    refusal(world.control.apply(changed).await);
    // The same once more is done once.
    world.control.apply(table.clone()).await.unwrap();
    let mut ambiguous = world.table(&["web-r1-1"]);
    let mut other = ambiguous.pools[0].clone();
    Arc::make_mut(&mut other).service = ward_types::id::Name::parse("api").unwrap();
    ambiguous.pools.push(other);
    let message = refusal(world.control.apply(ambiguous).await);
    assert!(
        message.contains(
            "requests for shop.localhost/ lead to web of shop/dev and to api of shop/dev"
        ),
        "{message}"
    );
    assert_eq!(world.control.observe().await.unwrap().table, table);
    assert_eq!(body(fetch(world.http, get("/")).await).await, "one");
}

#[tokio::test]
async fn whoever_has_the_table_at_hand_is_not_sent_it_again() {
    let mut world = World::new().await;
    world.instance("web-r1-1", "127.0.0.1:9".parse().unwrap());
    let table = world.table(&["web-r1-1"]);
    let version = serde_json::to_value(table.version()).unwrap();
    let mut stream = Asker::new(&world).await;
    // As a server asks that knows no brief answers; and as one whose fields stand in another order.
    let apply = serde_json::json!({"ask": "apply", "table": table});
    let reply = stream.ask(&apply.to_string()).await;
    let pools = serde_json::to_value(&table.pools).unwrap();
    assert_eq!(reply["observed"]["table"]["pools"], pools);
    let text = serde_json::to_string(&table).unwrap();
    let turned = format!(r#"{{ "table": {text}, "answer": "brief", "ask": "apply" }}"#);
    let reply = stream.ask(&turned).await;
    let applied = serde_json::json!({"pid": world.child.id(), "table": version});
    let applied = serde_json::json!({"reply": "applied", "applied": applied});
    assert_eq!(reply, applied);
    let known = serde_json::json!({"ask": "observe", "known": version});
    let reply = stream.ask(&known.to_string()).await;
    assert_eq!(reply["reply"], "unchanged");
    assert_eq!(
        reply["observed"]["table"]["pools"],
        serde_json::Value::Array(Vec::new())
    );
    let other = serde_json::json!({"ask": "observe", "known": {"term": 1, "generation": 99}});
    let reply = stream.ask(&other.to_string()).await;
    assert_eq!(reply["reply"], "observed");
    assert_eq!(reply["observed"]["table"]["pools"], pools);
    // What a restarted gateway begins with is what came first, and a client is told all of it.
    let observed = world.control.observe().await.unwrap();
    assert_eq!(world.control.observe().await.unwrap(), observed);
    assert_eq!(observed.table, table);
    let file = world.home.path().join("gateway/table.json");
    let stored = std::fs::read_to_string(file).unwrap();
    assert_eq!(stored.trim_end(), apply["table"].to_string());
}

/// One who writes lines to the control socket himself.
struct Asker(BufStream<UnixStream>);

impl Asker {
    async fn new(world: &World) -> Self {
        let path = ward_gateway::control_socket(world.home.path());
        Self(BufStream::new(UnixStream::connect(path).await.unwrap()))
    }

    async fn ask(&mut self, line: &str) -> serde_json::Value {
        self.0.write_all(line.as_bytes()).await.unwrap();
        self.0.write_all(b"\n").await.unwrap();
        self.0.flush().await.unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).await.unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

#[tokio::test]
async fn p10_a_killed_gateway_serves_again_from_its_table() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    // Whole, then two changes; whole again, and a change over the first line, before one that is left.
    for _ in 0..2 {
        let whole = world.table(&[]);
        world.apply_whole(whole).await;
        world.route(&["web-r1-2"]).await;
        world.route(&["web-r1-3"]).await;
    }
    let whole = world.table(&[]);
    world.apply_whole(whole).await;
    let table = world.route(&["web-r1-1"]).await.table;
    let stored = |world: &World, name: &str| {
        let text = std::fs::read_to_string(world.home.path().join("gateway").join(name));
        text.unwrap()
    };
    assert!(!stored(&world, "table.json").contains("web-r1-"));
    let changes = stored(&world, "table.changes");
    let lines: Vec<&str> = changes.lines().take(2).collect();
    assert!(
        lines[0].contains("web-r1-1") && lines[1].contains("web-r1-3"),
        "{lines:?}"
    );
    world.child.kill().unwrap();
    world.child.wait().unwrap();
    // A connection made while nobody is there waits for the successor.
    let waiting = TcpStream::connect(world.http).await.unwrap();
    let mut waiting = crate::clients::http1_over(waiting).await;
    let waiting = tokio::spawn(async move { waiting.send_request(get("/")).await.unwrap() });
    world.succeed().await;
    assert_eq!(world.control.observe().await.unwrap().table, table);
    assert_eq!(body(waiting.await.unwrap()).await, "one");
    let older = Table::default();
    refusal(world.control.apply(older).await);
    // Nobody has checked what it began with, so that what follows is sent whole; then changes do again.
    let version = serde_json::to_value(table.version()).unwrap();
    let change =
        serde_json::json!({"from": version, "to": version, "env": "shop/dev", "pools": []});
    let mut asker = Asker::new(&world).await;
    let reply = asker
        .ask(&format!(r#"{{"ask":"change","change":{change}}}"#))
        .await;
    assert!(
        reply["message"]
            .as_str()
            .unwrap()
            .contains("was not checked"),
        "{reply}"
    );
    for instance in ["web-r1-4", "web-r1-5"] {
        world.route(&[instance]).await;
    }
    assert!(stored(&world, "table.json").contains("web-r1-4"));
    assert!(
        stored(&world, "table.changes")
            .lines()
            .next()
            .unwrap()
            .contains("web-r1-5")
    );
    // Who asks for the sockets may start a gateway that knows no changes.
    world.control.listeners().await.unwrap();
    assert!(stored(&world, "table.json").contains("web-r1-5"));
    world.route(&["web-r1-6"]).await;
    assert!(!stored(&world, "table.json").contains("web-r1-6"));
}

#[tokio::test]
async fn a_change_of_another_table_changes_nothing() {
    let mut world = World::new().await;
    let table = world.route(&[]).await.table;
    let mut asker = Asker::new(&world).await;
    let pools = serde_json::to_value(&table.pools).unwrap();
    let version = |generation: u64| serde_json::json!({"term": 1, "generation": generation});
    let change = |from: u64, to: u64| {
        let change = serde_json::json!({
            "from": version(from), "to": version(to), "env": "shop/dev", "pools": pools,
        });
        format!(r#"{{"ask":"change","answer":"brief","change":{change}}}"#)
    };
    for (from, to) in [(0, 2), (2, 3), (7, 8)] {
        let reply = asker.ask(&change(from, to)).await;
        let message = reply["message"].as_str().unwrap();
        let said = format!("it changes table g{from}, and g1 is here; send the table whole");
        assert_eq!(message, said);
    }
    let reply = asker.ask(&change(1, 1)).await;
    assert_eq!(reply["applied"]["table"], version(1));
    let reply = asker.ask(&change(1, 0)).await;
    assert!(
        reply["message"].as_str().unwrap().contains("is older"),
        "{reply}"
    );
    let reply = asker.ask(&change(1, 2)).await;
    assert_eq!(reply["applied"]["table"], version(2));
    assert_eq!(world.control.observe().await.unwrap().table.generation.0, 2);
}

#[tokio::test]
async fn a_broken_table_file_does_not_keep_it_from_starting() {
    let mut world = World::new().await;
    world.route(&[]).await;
    world.child.kill().unwrap();
    world.child.wait().unwrap();
    std::fs::write(world.home.path().join("gateway/table.json"), "{").unwrap();
    world.succeed().await;
    let response = fetch(world.http, get("/")).await;
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["ward-fault"]
        ),
        (503, &"ward".parse().unwrap())
    );
}

#[tokio::test]
async fn the_listening_sockets_can_be_had_back() {
    let world = World::new().await;
    let (http, https) = world.control.listeners().await.unwrap();
    assert_eq!(http.local_addr().unwrap(), world.http);
    assert_eq!(https.local_addr().unwrap(), world.https);
    // A connection that is kept goes on after descriptors have travelled on it.
    assert_eq!(world.control.observe().await.unwrap().pid, world.child.id());
}

#[tokio::test]
async fn a_dropped_call_does_not_confuse_the_next() {
    let mut world = World::new().await;
    for _ in 0..50 {
        let call = world.control.observe();
        let _ = tokio::time::timeout(Duration::from_micros(200), call).await;
        let table = world.table(&[]);
        let version = table.version();
        let applied = world.control.apply(table).await.unwrap();
        assert_eq!(applied.table, version);
    }
}

#[tokio::test]
async fn nobody_answers_when_there_is_no_gateway() {
    let home = tempfile::tempdir().unwrap();
    let control = ward_gateway::control::Control::new(home.path());
    assert!(matches!(
        control.observe().await,
        Err(ControlError::Absent { .. })
    ));
}

#[tokio::test]
async fn p1_an_upgrade_of_the_gateway_loses_no_request() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut kept = http1(world.http).await;
    assert_eq!(
        body(kept.send_request(get("/")).await.unwrap()).await,
        "one"
    );
    let mut streams = http2(world.http).await;
    let under_way = streams.send_request(get2("/wait"));
    let under_way = tokio::spawn(under_way);
    eventually("a request is under way", async || app.seen.requests() == 2).await;

    let old = world.control.clone();
    old.quit(Millis::secs(20)).await.unwrap();
    let mut before = world.succeed().await;
    // The kept connection's next request is answered and ends it.
    kept.ready().await.unwrap();
    let last = kept.send_request(get("/")).await.unwrap();
    assert_eq!(last.headers()["connection"], "close");
    assert_eq!(body(last).await, "one");
    assert_eq!(body(fetch(world.http, get("/")).await).await, "one");
    app.seen.release.notify_one();
    assert_eq!(body(under_way.await.unwrap().unwrap()).await, "one");
    assert_eq!(exit_status(&mut before).await, 0);
    // The successor's sockets outlive the predecessor's end.
    assert_eq!(world.control.observe().await.unwrap().pid, world.child.id());
}

#[tokio::test]
async fn of_two_gateways_the_elder_leaves() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    // Nobody asks the first one to quit. A client with a kept connection would go on talking to it.
    world.control = ward_gateway::control::Control::new(world.home.path());
    let mut elder = world.succeed().await;
    assert_eq!(exit_status(&mut elder).await, 0);
    assert_eq!(body(fetch(world.http, get("/")).await).await, "one");
}

#[tokio::test]
async fn quitting_ends_in_time_whatever_is_under_way() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let mut idle = TcpStream::connect(world.http).await.unwrap();
    let mut client = http1(world.http).await;
    let waiting = tokio::spawn(client.send_request(get("/wait")));
    eventually("a request is under way", async || app.seen.requests() == 1).await;
    assert_eq!(world.quit(Millis(300)).await, 0);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
    assert!(matches!(idle.read(&mut [0; 8]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn sigterm_means_quit() {
    let mut world = World::new().await;
    let pid = rustix::process::Pid::from_child(&world.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    world.control.observe().await.unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(exit_status(&mut world.child).await, 0);
}

#[tokio::test]
async fn nonsense_on_the_control_socket_harms_nobody() {
    let world = World::new().await;
    let path = ward_gateway::control_socket(world.home.path());
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    stream.write_all(b"{\"ask\":\"fly\"}\n").await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    world.control.observe().await.unwrap();
}
