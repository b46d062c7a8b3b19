//! Connections that keepers hand over: to services, and to the outside.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use ward_sandbox::keeper_socket;
use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::{LinkHello, LinkTarget};
use ward_types::time::Millis;

use crate::app::App;
use crate::clients::{body, fetch, get, http1_over};
use crate::world::{Start, World, env, eventually};

/// Makes a connection as an application would, and hands its other end over as a keeper does.
pub(crate) async fn handed_over(world: &World, target: LinkTarget) -> (TcpStream, bool) {
    handed_over_by(world, env(), target).await
}

/// The same from an instance of some environment.
pub(crate) async fn handed_over_by(
    world: &World,
    asks: EnvId,
    target: LinkTarget,
) -> (TcpStream, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let application = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let path = ward_gateway::links_socket(world.home.path());
    let mut line = UnixStream::connect(path).await.unwrap();
    let hello = LinkHello {
        from: InstanceId::parse("api-r1-9").unwrap(),
        env: asks,
        target,
    };
    let mut text = serde_json::to_vec(&hello).unwrap();
    text.push(b'\n');
    keeper_socket::send_packet(line.as_fd(), &text, &[accepted.as_fd()]).unwrap();
    let taken = line.read_u8().await.is_ok_and(|byte| byte == b'+');
    (application, taken)
}

pub(crate) fn service(name: &str) -> LinkTarget {
    LinkTarget::Service {
        env: env(),
        service: Name::parse(name).unwrap(),
    }
}

fn egress(address: SocketAddr) -> LinkTarget {
    LinkTarget::Egress {
        host: address.ip().to_string(),
        port: address.port(),
    }
}

#[tokio::test]
async fn a_link_leads_to_its_service_whatever_the_host() {
    let (old, new) = (App::http("old").await, App::http("new").await);
    let mut world = World::start(Start::ShortLimits).await;
    world.instance("web-r1-1", old.address);
    world.instance("web-r2-2", new.address);
    world.route(&["web-r1-1"]).await;
    let (stream, taken) = handed_over(&world, service("web")).await;
    assert!(taken);
    let mut client = http1_over(stream).await;
    let mut request = get("/head");
    let headers = request.headers_mut();
    headers.insert("host", "web:8080".parse().unwrap());
    headers.insert("x-forwarded-for", "9.9.9.9".parse().unwrap());
    let seen = body(client.send_request(request).await.unwrap()).await;
    // The caller is one of the stack's own: what it passes on about its client stays.
    for line in [
        "host: web:8080",
        "ward-from: api-r1-9",
        "x-forwarded-for: 9.9.9.9",
    ] {
        assert!(seen.contains(line), "{line} is missing in\n{seen}");
    }
    world.route(&["web-r2-2"]).await;
    client.ready().await.unwrap();
    assert_eq!(
        body(client.send_request(get("/")).await.unwrap()).await,
        "new"
    );
    world.route(&[]).await;
    client.ready().await.unwrap();
    assert_eq!(client.send_request(get("/")).await.unwrap().status(), 503);
    let (stream, _) = handed_over(&world, service("nobody")).await;
    let unknown = http1_over(stream)
        .await
        .send_request(get("/"))
        .await
        .unwrap();
    assert_eq!(unknown.status(), 503);
}

#[tokio::test]
async fn a_link_to_a_database_is_not_taken() {
    let world = World::new().await;
    let target = LinkTarget::Keeper {
        dir: "/nowhere".into(),
        port: 5432,
    };
    assert!(!handed_over(&world, target).await.1);
}

fn records(world: &World) -> Vec<Value> {
    let path = world.home.path().join("gateway/egress.log");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn egress_carries_bytes_both_ways_and_is_recorded() {
    let outside = App::raw(|mut stream, _| async move {
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        stream.write_all(&said).await.unwrap();
        stream.write_all(b", indeed").await.unwrap();
    })
    .await;
    let world = World::new().await;
    let (mut stream, taken) = handed_over(&world, egress(outside.address)).await;
    assert!(taken);
    let large = vec![b'x'; 3_000_000];
    let (mut reader, mut writer) = stream.split();
    let send = async {
        writer.write_all(&large).await.unwrap();
        // Half closed: the answer still comes.
        writer.shutdown().await.unwrap();
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(send, reader.read_to_end(&mut answer));
    assert_eq!(read.unwrap(), large.len() + 8);
    assert!(answer.ends_with(b"x, indeed"));
    eventually("it is recorded", async || records(&world).len() == 1).await;
    let record = &records(&world)[0];
    assert_eq!(record["from"], "api-r1-9");
    assert_eq!(record["env"], EnvId::parse("shop/dev").unwrap().as_str());
    assert_eq!(record["port"], outside.address.port());
    assert_eq!(
        (&record["sent"], &record["received"]),
        (&3_000_000.into(), &3_000_008.into())
    );
    assert_eq!(record["outcome"], "closed");
}

#[tokio::test]
async fn egress_that_cannot_connect_is_closed_and_recorded() {
    let world = World::new().await;
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (mut stream, _) = handed_over(&world, egress(nobody)).await;
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
    eventually("it is recorded", async || records(&world).len() == 1).await;
    let outcome = records(&world)[0]["outcome"].to_string();
    assert!(outcome.contains("not connected"), "{outcome}");
}

#[tokio::test]
async fn egress_that_finds_no_room_is_refused_and_recorded() {
    let mut world = World::start(Start::ShortLimits).await;
    world.route(&[]).await;
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = outside.local_addr().unwrap();
    // Links and egress have places of their own, which clients do not take.
    let mut others = Vec::new();
    for _ in 0..10 {
        let (other, taken) = handed_over(&world, egress(address)).await;
        assert!(taken);
        others.push((other, outside.accept().await.unwrap()));
    }
    let unserved = fetch(world.http, get("/")).await;
    assert_eq!(
        unserved.status(),
        503,
        "nobody serves, and a client has a place"
    );
    assert!(!handed_over(&world, egress(address)).await.1);
    let record = &records(&world)[0];
    let outcome = record["outcome"].to_string();
    assert!(outcome.contains("refused: there are too many"), "{outcome}");
    assert_eq!(
        (&record["from"], &record["sent"]),
        (&"api-r1-9".into(), &0.into())
    );
    assert_eq!(record["port"], address.port());
}

#[tokio::test]
async fn egress_that_the_gateways_end_cuts_off_is_recorded() {
    let mut world = World::new().await;
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut stream, _) = handed_over(&world, egress(outside.local_addr().unwrap())).await;
    let (mut far, _) = outside.accept().await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    far.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!(world.quit(Millis(100)).await, 0);
    let record = &records(&world)[0];
    assert_eq!(record["outcome"], "cut: the gateway ended");
    assert_eq!(
        (&record["sent"], &record["received"]),
        (&5.into(), &0.into())
    );
}
