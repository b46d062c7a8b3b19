//! What must not happen, made to happen: damage on the disk, clients that vanish, a full disk, `kill -9`.

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use support::{
    Http, OCI_MANIFEST, Process, Served, blob_file, digest, files, flip, image, noise, until,
};
use ward_registry::{Error, Reference, Registry, Tag};

/// Not a test of its own: what [`Process`] starts.
#[tokio::test]
async fn child_process() {
    support::serve_if_child().await;
}

#[tokio::test]
async fn damage_on_the_disk_is_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (http, bytes) = (served.http(), noise(1, 2_000_000));
    let digest = http.push_blob("d", &bytes).await;
    let path = format!("/v2/d/blobs/{digest}");
    flip(&blob_file(folder.path(), &digest), 1_000_000);
    // The body ends before its announced length: no client takes that for the blob.
    assert!(http.try_send(Method::GET, &path, &[], "").await.is_err());
    // Now that it is known the answer says so, and a push is not talked out of mending it.
    let got = http.get(&path).await.expect(500);
    assert_eq!(got.code(), "CONTENT_DAMAGED");
    http.head(&path).await.expect(404);
    let again = http.push_blob("d", &bytes).await;
    assert_eq!(again, digest);
    http.head(&path).await.expect(200);
    assert_eq!(http.get(&path).await.expect(200).body, bytes);
    served.stop().await;
}

#[tokio::test]
async fn a_part_of_a_damaged_blob_is_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (http, bytes) = (served.http(), noise(2, 1_000_000));
    let digest = http.push_blob("d", &bytes).await;
    let path = format!("/v2/d/blobs/{digest}");
    let range = [("range", "bytes=0-99")];
    http.send(Method::GET, &path, &range, "").await.expect(206);
    // Verified before, and changed since, far away from the part.
    flip(&blob_file(folder.path(), &digest), 900_000);
    http.send(Method::GET, &path, &range, "").await.expect(500);
    // Shorter than before.
    http.push_blob("d", &bytes).await;
    std::fs::write(blob_file(folder.path(), &digest), &bytes[..500]).unwrap();
    assert!(http.try_send(Method::GET, &path, &[], "").await.is_err());
    served.stop().await;
}

#[tokio::test]
async fn a_damaged_manifest_is_an_error_and_nothing_is_collected_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let (manifest, _) = http.push_image("m", "latest", b"layer").await;
    flip(&blob_file(folder.path(), &manifest), 20);
    let got = http.get("/v2/m/manifests/latest").await.expect(500);
    assert_eq!(got.code(), "CONTENT_DAMAGED");
    let (repository, latest) = (support::repository("m"), support::reference("latest"));
    let read = served.registry.manifest(&repository, &latest).await;
    assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
    let before = files(folder.path());
    let collected = served.registry.collect(&Default::default()).await;
    assert!(
        matches!(collected, Err(Error::Damaged { .. })),
        "{collected:?}"
    );
    assert_eq!(files(folder.path()), before);
    served.stop().await;
}

#[tokio::test]
async fn an_image_counts_as_here_only_while_all_of_it_is_as_it_was_pushed() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    let bytes = noise(5, 1_000_000);
    let (image, layer) = support::put_image(&registry, "whole", None, &bytes).await;
    let name = support::repository("whole");
    let is_here = async || registry.has_image(&name, &image).await.unwrap();
    assert!(is_here().await);
    assert!(is_here().await, "and again, from what it remembers");
    assert!(!registry.has_image(&name, &layer).await.unwrap());
    let file = blob_file(folder.path(), layer.as_str());
    flip(&file, 500_000);
    assert!(!is_here().await);
    // So whoever builds it again is not told that the layer need not be sent.
    assert!(!registry.has_blob(&layer).await.unwrap());
    registry.put_blob(bytes.as_slice()).await.unwrap();
    assert!(is_here().await);
    std::fs::remove_file(&file).unwrap();
    assert!(!is_here().await);
    registry.put_blob(bytes.as_slice()).await.unwrap();
    flip(&blob_file(folder.path(), image.as_str()), 20);
    assert!(!is_here().await);
}

/// Sends the head of a request and a part of its body. The client vanishes when this is dropped.
fn half_a_request(http: &Http, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(http.address).unwrap();
    let host = http.address;
    let text = format!("{head}\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

#[tokio::test]
async fn an_interrupted_upload_is_resumed_where_it_broke_off() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (http, bytes) = (served.http(), noise(3, 1_000_000));
    let digest = digest(&bytes);
    let place = http.begin("i").await;
    let patch = format!("PATCH {place} HTTP/1.1");
    drop(half_a_request(&http, &patch, &bytes[..300_000]));
    until("the partial chunk is kept", async || {
        http.get(&place).await.expect(204).header("range") == "0-299999"
    })
    .await;
    http.head(&format!("/v2/i/blobs/{digest}"))
        .await
        .expect(404);
    // A restart in between: what counts is what is in the file.
    served.stop().await;
    let served = Served::start(folder.path()).await;
    let http = served.http();
    assert_eq!(
        http.get(&place).await.expect(204).header("range"),
        "0-299999"
    );
    let end = format!("{place}?digest={digest}");
    let range = [("content-range", "300000-999999")];
    http.send(Method::PUT, &end, &range, bytes[300_000..].to_vec())
        .await
        .expect(201);
    assert_eq!(
        http.get(&format!("/v2/i/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        bytes
    );
    assert!(files(&folder.path().join("uploads")).is_empty());
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_in_a_single_post_or_a_manifest_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (http, bytes) = (served.http(), noise(4, 1_000_000));
    let digest = digest(&bytes);
    let staged = || files(&folder.path().join("staging")).len();
    let post = format!("POST /v2/v/blobs/uploads/?digest={digest} HTTP/1.1");
    let client = half_a_request(&http, &post, &bytes[..700_000]);
    until("the upload is under way", async || staged() == 1).await;
    drop(client);
    until("its file is gone", async || staged() == 0).await;
    let put = format!("PUT /v2/v/manifests/latest HTTP/1.1\r\nContent-Type: {OCI_MANIFEST}");
    drop(half_a_request(&http, &put, b"{\"schemaVersion\":2,"));
    // A stop waits for the requests that are under way.
    http.get("/v2/").await.expect(200);
    served.stop().await;
    assert_eq!(files(folder.path()), ["lock"]);
}

#[tokio::test]
async fn two_requests_on_one_upload_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let place = http.begin("turns").await;
    let chunk = noise(5, 700_000);
    let both = ["x", "y"].map(|_| {
        let (http, place, chunk) = (http.clone(), place.clone(), chunk.clone());
        let range = [("content-range", "0-699999")];
        tokio::spawn(async move {
            http.send(Method::PATCH, &place, &range, chunk)
                .await
                .status
                .as_u16()
        })
    });
    let mut answers = Vec::new();
    for one in both {
        answers.push(one.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [202, 416], "one chunk is taken once");
    let end = format!("{place}?digest={}", digest(&chunk));
    let both = ["x", "y"].map(|_| {
        let (http, end) = (http.clone(), end.clone());
        tokio::spawn(async move { http.send(Method::PUT, &end, &[], "").await.status.as_u16() })
    });
    let mut answers = Vec::new();
    for one in both {
        answers.push(one.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [201, 404], "an upload ends once");
    assert_eq!(
        http.get(&format!("/v2/turns/blobs/{}", digest(&chunk)))
            .await
            .body,
        chunk
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_blob_and_tag_from_many_clients_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let bytes = noise(6, 1_500_000);
    let pushes: Vec<_> = (0..12)
        .map(|n| {
            let (http, bytes) = (served.http(), bytes.clone());
            tokio::spawn(async move {
                let repository = format!("many/r{}", n % 3);
                let (digest, layer) = http.push_image(&repository, "latest", &bytes).await;
                let got = http
                    .get(&format!("/v2/{repository}/blobs/{layer}"))
                    .await
                    .expect(200);
                assert_eq!(got.body, bytes);
                digest
            })
        })
        .collect();
    for push in pushes {
        push.await.unwrap();
    }
    let (image, layer) = served.http().push_image("many/r0", "latest", &bytes).await;
    let stored = files(&folder.path().join("blobs"));
    assert_eq!(
        stored.len(),
        3,
        "{image}, {layer} and the configuration: {stored:?}"
    );
    assert!(files(&folder.path().join("staging")).is_empty());
    served.stop().await;
}

/// A small tmpfs in a mount namespace of the registry's own, which goes when it does.
fn on_small_disk(folder: &Path, size: &str) -> Process {
    let script = format!("mount -t tmpfs -o size={size} ward-test \"$0\" && exec \"$@\"");
    let user = match rustix::process::geteuid().is_root() {
        true => vec![],
        false => vec!["--user", "--map-root-user"],
    };
    let place = folder.display().to_string();
    let wrapper = [
        vec!["unshare", "--mount"],
        user,
        vec!["sh", "-c", &script, &place],
    ]
    .concat();
    let wrapper: Vec<String> = wrapper.into_iter().map(ToOwned::to_owned).collect();
    Process::start(&wrapper, folder)
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_half_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let process = on_small_disk(folder.path(), "8m");
    let http = Http::new(process.address);
    let (image, small) = http
        .push_image("full", "latest", &noise(7, 1_000_000))
        .await;
    let big = noise(8, 12_000_000);
    let digest = digest(&big);
    let post = format!("/v2/full/blobs/uploads/?digest={digest}");
    for _ in 0..3 {
        let got = http
            .send(Method::POST, &post, &[], big.clone())
            .await
            .expect(507);
        let text = String::from_utf8_lossy(&got.body).into_owned();
        assert_eq!(got.code(), "DISK_FULL");
        assert!(text.contains("the registry's disk is full"), "{text}");
        let place = http.begin("full").await;
        http.send(Method::PATCH, &place, &[], big.clone())
            .await
            .expect(507);
        http.get(&place).await.expect(404);
    }
    http.head(&format!("/v2/full/blobs/{digest}"))
        .await
        .expect(404);
    // Everything else goes on, and the space is there again: 5 MB fit beside what there was.
    http.get(&format!("/v2/full/manifests/{image}"))
        .await
        .expect(200);
    http.get(&format!("/v2/full/blobs/{small}"))
        .await
        .expect(200);
    http.push_image("full", "more", &noise(9, 5_000_000)).await;
    process.kill();
}

#[tokio::test]
async fn a_full_disk_refuses_a_manifest_and_leaves_the_tag_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let process = on_small_disk(folder.path(), "2m");
    let http = Http::new(process.address);
    let (image_before, _) = http.push_image("full", "latest", b"layer").await;
    let config = http.push_blob("full", b"{}").await;
    // Fill up with blobs, smaller and smaller, until not even a byte's page is left.
    let mut seed = 100;
    for size in [200_000, 20_000, 4096, 1] {
        while blob_is_taken(&http, &noise(seed, size)).await {
            seed += 1;
        }
    }
    let mut json = image(&config, &[]);
    json["annotations"] = serde_json::json!({ "org.example.note": "x".repeat(10_000) });
    let got = http
        .put_manifest("full", "latest", OCI_MANIFEST, &json)
        .await
        .expect(507);
    assert_eq!(got.code(), "DISK_FULL");
    let now = http.get("/v2/full/manifests/latest").await.expect(200);
    assert_eq!(now.header("docker-content-digest"), image_before);
    process.kill();
}

async fn blob_is_taken(http: &Http, bytes: &[u8]) -> bool {
    let path = format!("/v2/full/blobs/uploads/?digest={}", digest(bytes));
    let got = http.send(Method::POST, &path, &[], bytes.to_vec()).await;
    match got.status.as_u16() {
        201 => true,
        507 => false,
        _ => panic!("{got:?}"),
    }
}

/// Pushes images until the connection breaks, counting answers; gives the tags that were acknowledged.
async fn push_until_killed(
    http: Http,
    round: usize,
    answers: Arc<AtomicUsize>,
) -> Vec<(String, String)> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let (tag, layer) = (
            format!("t{round}-{n}"),
            noise((round * 1000 + n) as u64, 300_000),
        );
        let Some(digest) = try_push(&http, &tag, &layer, &answers).await else {
            break;
        };
        acknowledged.push((tag, digest));
    }
    acknowledged
}

async fn try_push(http: &Http, tag: &str, layer: &[u8], answers: &AtomicUsize) -> Option<String> {
    let mut digests = Vec::new();
    for bytes in [b"{}".as_slice(), layer] {
        let digest = digest(bytes);
        let path = format!("/v2/k/blobs/uploads/?digest={digest}");
        let got = http
            .try_send(Method::POST, &path, &[], bytes.to_vec())
            .await
            .ok()?;
        got.expect(201);
        answers.fetch_add(1, Ordering::Relaxed);
        digests.push(digest);
    }
    let json = image(&digests[0], &[(&digests[1], layer.len())]).to_string();
    let headers = [("content-type", OCI_MANIFEST)];
    let path = format!("/v2/k/manifests/{tag}");
    let got = http
        .try_send(Method::PUT, &path, &headers, json)
        .await
        .ok()?;
    answers.fetch_add(1, Ordering::Relaxed);
    Some(got.expect(201).header("docker-content-digest").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_any_moment_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..8 {
        let process = Process::start(&[], folder.path());
        let (http, answers) = (Http::new(process.address), Arc::new(AtomicUsize::new(0)));
        let pushing = tokio::spawn(push_until_killed(http, round, answers.clone()));
        // After another answer in each round, and then somewhere inside of the request that follows;
        // wherever it is, the promise is the same.
        until("the registry answers", async || {
            answers.load(Ordering::Relaxed) >= 3 + round
        })
        .await;
        tokio::time::sleep(Duration::from_millis(3 * round as u64)).await;
        process.kill();
        acknowledged.extend(pushing.await.unwrap());
    }
    assert!(!acknowledged.is_empty(), "nothing was ever acknowledged");
    let registry = Registry::open(folder.path()).unwrap();
    let repository = support::repository("k");
    for (tag, digest) in &acknowledged {
        let found = registry
            .manifest(&repository, &support::reference(tag))
            .await
            .unwrap();
        assert_eq!(found.digest.to_string(), *digest);
    }
    // What can be seen is whole, acknowledged or not.
    for tag in registry.tags(&repository).await.unwrap() {
        let found = registry
            .manifest(&repository, &Reference::Tag(tag))
            .await
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&found.bytes).unwrap();
        let layer = json["layers"][0]["digest"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        registry.verify_blob(&layer).await.unwrap();
    }
    assert!(
        files(&folder.path().join("staging")).is_empty(),
        "leftovers were swept at the start"
    );
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = Registry::open(folder.path()).unwrap();
    let second = Registry::open(folder.path());
    assert!(matches!(second, Err(Error::InUse { .. })));
    drop(second);
    drop(first);
    Registry::open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_client_that_stalls_in_the_head_is_not_waited_for_at_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost:").unwrap();
    let began = Instant::now();
    served.stop().await;
    assert!(began.elapsed() < Duration::from_secs(15));
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    // Closed, with or without a word: not left hanging.
    let _ = stream.read(&mut [0; 64]);
}

#[tokio::test]
async fn content_in_process_that_is_not_committed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    let mut writer = registry.blob_writer().unwrap();
    writer.write_all(b"half").unwrap();
    assert_eq!(writer.written(), 4);
    drop(writer);
    let missing = registry.put_blob_file(Path::new("/nonexistent/file")).await;
    assert!(matches!(missing, Err(Error::File { .. })));
    let repository = support::repository("p");
    let tag = Tag::parse("latest").unwrap();
    let json = image(&digest(b"{}"), &[]).to_string();
    let refused = registry
        .put_manifest(&repository, Some(&tag), OCI_MANIFEST, json)
        .await;
    assert!(matches!(refused, Err(Error::ManifestBlobUnknown { .. })));
    assert_eq!(files(folder.path()), ["lock"]);
}
