//! The OCI distribution specification 1.1, endpoint by endpoint, over a real listener.

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::{Value, json};
use support::{OCI_INDEX, OCI_MANIFEST, Served, digest, files, image, noise};
use ward_registry::{Algorithm, ContentDigest, Needs, Options, Pass, Repository, Stays};
use ward_types::id::Digest;

#[tokio::test]
async fn support_is_announced() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let got = served.http().get("/v2/").await.expect(200);
    assert_eq!(
        got.header("docker-distribution-api-version"),
        "registry/2.0"
    );
    served.http().get("/v2").await.expect(200);
    served.stop().await;
}

#[tokio::test]
async fn a_blob_in_two_requests() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (http, bytes) = (served.http(), noise(1, 3_000_000));
    let digest = digest(&bytes);
    let blob = format!("/v2/a/b/blobs/{digest}");
    assert_eq!(http.get(&blob).await.expect(404).code(), "BLOB_UNKNOWN");
    let place = http.begin("a/b").await;
    let put = format!("{place}?digest={digest}");
    let got = http
        .send(Method::PUT, &put, &[], bytes.clone())
        .await
        .expect(201);
    assert_eq!(got.header("location"), blob);
    assert_eq!(got.header("docker-content-digest"), digest);
    let head = http.head(&blob).await.expect(200);
    assert_eq!(head.header("content-length"), "3000000");
    assert_eq!(head.header("docker-content-digest"), digest);
    let got = http.get(&blob).await.expect(200);
    assert_eq!(got.body, bytes);
    assert_eq!(got.header("content-type"), "application/octet-stream");
    // Another repository does not hold it, and the upload is over.
    http.get(&format!("/v2/a/c/blobs/{digest}"))
        .await
        .expect(404);
    assert_eq!(
        http.get(&place).await.expect(404).code(),
        "BLOB_UPLOAD_UNKNOWN"
    );
    served.stop().await;
}

#[tokio::test]
async fn a_blob_in_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    for bytes in [noise(2, 1000), Vec::new()] {
        let digest = http.push_blob("one", &bytes).await;
        let got = http
            .get(&format!("/v2/one/blobs/{digest}"))
            .await
            .expect(200);
        assert_eq!(got.body, bytes);
    }
    served.stop().await;
}

#[tokio::test]
async fn a_blob_in_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (http, bytes) = (served.http(), noise(3, 2500));
    let place = http.begin("chunks").await;
    let status = http.get(&place).await.expect(204);
    assert_eq!(
        (status.header("range"), status.header("location")),
        ("0-0", place.as_str())
    );
    let patch = async |range: &str, body: &[u8]| {
        let headers = [
            ("content-range", range),
            ("content-type", "application/octet-stream"),
        ];
        http.send(Method::PATCH, &place, &headers, body.to_vec())
            .await
    };
    let got = patch("0-999", &bytes[..1000]).await.expect(202);
    assert_eq!(
        (got.header("range"), got.header("location")),
        ("0-999", place.as_str())
    );
    // Out of order, overlapping, and again: refused with the place to go on at.
    for range in ["1500-1999", "500-999", "0-499"] {
        let got = patch(range, &bytes[..500]).await.expect(416);
        assert_eq!(got.header("range"), "0-999");
        assert_eq!(got.header("location"), place);
    }
    assert_eq!(
        patch("1000-1998", &bytes[..500]).await.expect(400).code(),
        "SIZE_INVALID"
    );
    for range in ["bytes 1000-1499", "1499-1000", "x"] {
        assert_eq!(
            patch(range, &bytes[..500]).await.expect(400).code(),
            "SIZE_INVALID"
        );
    }
    patch("1000-1999", &bytes[1000..2000]).await.expect(202);
    assert_eq!(http.get(&place).await.expect(204).header("range"), "0-1999");
    let digest = digest(&bytes);
    let headers = [("content-range", "2000-2499")];
    let end = format!("{place}?digest={digest}");
    let got = http
        .send(Method::PUT, &end, &headers, bytes[2000..].to_vec())
        .await;
    got.expect(201);
    assert_eq!(
        http.get(&format!("/v2/chunks/blobs/{digest}")).await.body,
        bytes
    );
    served.stop().await;
}

#[tokio::test]
async fn an_upload_is_its_repositorys_and_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let place = http.begin("mine").await;
    http.send(Method::PATCH, &place, &[], "half")
        .await
        .expect(202);
    let elsewhere = place.replace("/mine/", "/yours/");
    assert_eq!(
        http.get(&elsewhere).await.expect(404).code(),
        "BLOB_UPLOAD_UNKNOWN"
    );
    http.delete(&place).await.expect(204);
    http.get(&place).await.expect(404);
    http.delete(&place).await.expect(404);
    http.send(Method::PATCH, &place, &[], "more")
        .await
        .expect(404);
    assert!(files(&folder.path().join("uploads")).is_empty());
    served.stop().await;
}

#[tokio::test]
async fn a_wrong_digest_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (http, other) = (served.http(), digest(b"other"));
    let one = format!("/v2/w/blobs/uploads/?digest={other}");
    let got = http
        .send(Method::POST, &one, &[], "content")
        .await
        .expect(400);
    assert_eq!(got.code(), "DIGEST_INVALID");
    let place = http.begin("w").await;
    let end = format!("{place}?digest={other}");
    let got = http
        .send(Method::PUT, &end, &[], "content")
        .await
        .expect(400);
    assert_eq!(got.code(), "DIGEST_INVALID");
    assert!(String::from_utf8_lossy(&got.body).contains(&digest(b"content")));
    let place = http.begin("w").await;
    for end in [
        place.clone(),
        format!("{place}?digest=sha256:zz"),
        format!("{place}?digest=md5:00"),
    ] {
        let got = http.send(Method::PUT, &end, &[], "").await.expect(400);
        assert_eq!(got.code(), "DIGEST_INVALID");
    }
    http.delete(&place).await.expect(204);
    http.head(&format!("/v2/w/blobs/{other}")).await.expect(404);
    assert_eq!(files(folder.path()), ["lock"]);
    served.stop().await;
}

#[tokio::test]
async fn sha512_is_taken_too() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (http, bytes) = (served.http(), noise(4, 5000));
    let digest = ContentDigest::of(Algorithm::Sha512, &bytes);
    let place = http.begin("long").await;
    http.send(Method::PATCH, &place, &[], bytes.clone())
        .await
        .expect(202);
    http.send(Method::PUT, &format!("{place}?digest={digest}"), &[], "")
        .await
        .expect(201);
    assert_eq!(
        http.get(&format!("/v2/long/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        bytes
    );
    let config = http.push_blob("long", b"{}").await;
    let json = image(&config, &[(&digest.to_string(), 5000)]);
    let by = ContentDigest::of(Algorithm::Sha512, json.to_string().as_bytes());
    http.put_manifest("long", &by.to_string(), OCI_MANIFEST, &json)
        .await
        .expect(201);
    http.get(&format!("/v2/long/manifests/{by}"))
        .await
        .expect(200);
    served.stop().await;
}

#[tokio::test]
async fn parts_of_a_blob() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (http, bytes) = (served.http(), noise(5, 600_000));
    let digest = http.push_blob("parts", &bytes).await;
    let path = format!("/v2/parts/blobs/{digest}");
    let part = async |range: &str| http.send(Method::GET, &path, &[("range", range)], "").await;
    let got = part("bytes=10-19").await.expect(206);
    assert_eq!(got.header("content-range"), "bytes 10-19/600000");
    assert_eq!(got.body, bytes[10..20]);
    assert_eq!(
        part("bytes=300000-").await.expect(206).body,
        bytes[300_000..]
    );
    assert_eq!(part("bytes=-7").await.expect(206).body, bytes[599_993..]);
    let beyond = part("bytes=600000-").await.expect(416);
    assert_eq!(beyond.header("content-range"), "bytes */600000");
    assert_eq!(part("bytes=5-1").await.expect(200).body, bytes);
    let other = [("range", "bytes=0-1"), ("if-range", "\"other\"")];
    assert_eq!(
        http.send(Method::GET, &path, &other, "")
            .await
            .expect(200)
            .body,
        bytes
    );
    served.stop().await;
}

#[tokio::test]
async fn a_blob_is_mounted_or_an_upload_begins() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let digest = http.push_blob("from", b"shared").await;
    let mount = |to: &str, from: &str| format!("/v2/{to}/blobs/uploads/?mount={digest}{from}");
    let got = http.post(&mount("to", "&from=from")).await.expect(201);
    assert_eq!(got.header("location"), format!("/v2/to/blobs/{digest}"));
    assert_eq!(
        http.get(&format!("/v2/to/blobs/{digest}")).await.body,
        "shared"
    );
    http.post(&mount("anywhere", "")).await.expect(201);
    // Not there to mount: the client goes on with an upload.
    let got = http.post(&mount("other", "&from=nobody")).await.expect(202);
    let end = format!("{}?digest={digest}", got.header("location"));
    http.send(Method::PUT, &end, &[], "shared")
        .await
        .expect(201);
    let got = http
        .post("/v2/x/blobs/uploads/?mount=sha256:0&from=from")
        .await
        .expect(400);
    assert_eq!(got.code(), "DIGEST_INVALID");
    served.stop().await;
}

#[tokio::test]
async fn a_deleted_blob_is_gone_from_its_repository_only() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let digest = http.push_blob("one", b"kept").await;
    http.push_blob("two", b"kept").await;
    http.delete(&format!("/v2/one/blobs/{digest}"))
        .await
        .expect(202);
    http.get(&format!("/v2/one/blobs/{digest}"))
        .await
        .expect(404);
    http.delete(&format!("/v2/one/blobs/{digest}"))
        .await
        .expect(404);
    assert_eq!(
        http.get(&format!("/v2/two/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        "kept"
    );
    served.stop().await;
}

#[tokio::test]
async fn manifests_by_tag_and_by_digest() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let (digest, _) = http.push_image("m", "latest", b"layer").await;
    let (moved, _) = http.push_image("m", "latest", b"newer").await;
    for (reference, wanted) in [
        ("latest", &moved),
        (digest.as_str(), &digest),
        (moved.as_str(), &moved),
    ] {
        let path = format!("/v2/m/manifests/{reference}");
        let head = http.head(&path).await.expect(200);
        let got = http.get(&path).await.expect(200);
        for answer in [&head, &got] {
            assert_eq!(answer.header("docker-content-digest"), wanted);
            assert_eq!(answer.header("content-type"), OCI_MANIFEST);
            assert_eq!(answer.header("content-length"), got.body.len().to_string());
        }
        assert_eq!(support::digest(&got.body), *wanted);
    }
    let got = http.get("/v2/m/manifests/nothing").await.expect(404);
    assert_eq!(got.code(), "MANIFEST_UNKNOWN");
    http.get("/v2/nobody/manifests/latest").await.expect(404);
    // A tag goes by itself; a manifest takes its tags with it.
    http.push_image("m", "second", b"newer").await;
    http.delete("/v2/m/manifests/second").await.expect(202);
    http.get("/v2/m/manifests/second").await.expect(404);
    http.get(&format!("/v2/m/manifests/{moved}"))
        .await
        .expect(200);
    http.delete(&format!("/v2/m/manifests/{moved}"))
        .await
        .expect(202);
    http.get("/v2/m/manifests/latest").await.expect(404);
    http.get(&format!("/v2/m/manifests/{moved}"))
        .await
        .expect(404);
    http.delete(&format!("/v2/m/manifests/{moved}"))
        .await
        .expect(404);
    http.get(&format!("/v2/m/manifests/{digest}"))
        .await
        .expect(200);
    served.stop().await;
}

#[tokio::test]
async fn manifests_that_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let config = http.push_blob("r", b"{}").await;
    let absent = digest(b"absent");
    let unknown = image(&config, &[(&absent, 6)]);
    let got = http
        .put_manifest("r", "t", OCI_MANIFEST, &unknown)
        .await
        .expect(404);
    assert_eq!(got.code(), "MANIFEST_BLOB_UNKNOWN");
    assert!(String::from_utf8_lossy(&got.body).contains(&absent));
    // What another repository holds is not here either.
    let elsewhere = http.push_blob("else", b"absent").await;
    let got = http
        .put_manifest("r", "t", OCI_MANIFEST, &image(&config, &[(&elsewhere, 6)]))
        .await;
    assert_eq!(got.expect(404).code(), "MANIFEST_BLOB_UNKNOWN");
    let fine = image(&config, &[]);
    for (media_type, json) in [
        ("text/plain", &fine),
        (OCI_INDEX, &fine),
        (
            "application/vnd.docker.distribution.manifest.v1+json",
            &fine,
        ),
        (OCI_MANIFEST, &json!({ "schemaVersion": 2 })),
        (OCI_MANIFEST, &json!([])),
    ] {
        let got = http
            .put_manifest("r", "t", media_type, json)
            .await
            .expect(400);
        assert_eq!(got.code(), "MANIFEST_INVALID");
    }
    let got = http
        .put_manifest("r", &absent, OCI_MANIFEST, &fine)
        .await
        .expect(400);
    assert_eq!(got.code(), "DIGEST_INVALID");
    let huge = json!({ "schemaVersion": 2, "config": {}, "x": "y".repeat(4 << 20) });
    http.put_manifest("r", "t", OCI_MANIFEST, &huge)
        .await
        .expect(413);
    http.get("/v2/r/manifests/t").await.expect(404);
    http.put_manifest("r", "t", &format!("{OCI_MANIFEST}; charset=utf-8"), &fine)
        .await
        .expect(201);
    served.stop().await;
}

#[tokio::test]
async fn an_index_a_docker_image_and_a_foreign_layer() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let (child, _) = http.push_image("i", "one", b"layer").await;
    let entry = |digest: &str| json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": 10 });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry(&child)] });
    let got = http
        .put_manifest("i", "all", OCI_INDEX, &index)
        .await
        .expect(201);
    let outer =
        json!({ "schemaVersion": 2, "manifests": [entry(got.header("docker-content-digest"))] });
    http.put_manifest("i", "nested", OCI_INDEX, &outer)
        .await
        .expect(201);
    let sparse = json!({ "schemaVersion": 2, "manifests": [entry(&digest(b"none"))] });
    http.put_manifest("i", "sparse", OCI_INDEX, &sparse)
        .await
        .expect(404);
    let config = http.push_blob("i", b"{}").await;
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let foreign = json!({
        "schemaVersion": 2, "mediaType": docker,
        "config": { "mediaType": "application/vnd.docker.container.image.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": digest(b"elsewhere"), "size": 9, "urls": ["https://example.com/x"] }],
    });
    http.put_manifest("i", "docker", docker, &foreign)
        .await
        .expect(201);
    assert_eq!(
        http.get("/v2/i/manifests/docker")
            .await
            .header("content-type"),
        docker
    );
    let list = "application/vnd.docker.distribution.manifest.list.v2+json";
    let all = json!({ "schemaVersion": 2, "mediaType": list, "manifests": [entry(&child)] });
    http.put_manifest("i", "list", list, &all).await.expect(201);
    served.stop().await;
}

#[tokio::test]
async fn tags_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    assert_eq!(
        http.get("/v2/t/tags/list").await.expect(404).code(),
        "NAME_UNKNOWN"
    );
    for tag in ["b", "A", "c", "v1.0_x", "d"] {
        http.push_image("t", tag, b"layer").await;
    }
    let all = http.get("/v2/t/tags/list").await.expect(200).json();
    assert_eq!(
        all,
        json!({ "name": "t", "tags": ["A", "b", "c", "d", "v1.0_x"] })
    );
    let mut path = "/v2/t/tags/list?n=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let got = http.get(&path).await.expect(200);
        pages.push(got.json()["tags"].clone());
        let Some(link) = got.headers.get("link") else {
            break;
        };
        let link = link
            .to_str()
            .unwrap()
            .strip_suffix(">; rel=\"next\"")
            .unwrap();
        path = link.strip_prefix('<').unwrap().to_owned();
    }
    assert_eq!(
        pages,
        [json!(["A", "b"]), json!(["c", "d"]), json!(["v1.0_x"])]
    );
    let none = http.get("/v2/t/tags/list?n=0").await.expect(200);
    assert_eq!(none.json()["tags"], json!([]));
    assert!(!none.headers.contains_key("link"));
    let rest = http.get("/v2/t/tags/list?last=c").await.expect(200);
    assert_eq!(rest.json()["tags"], json!(["d", "v1.0_x"]));
    http.get("/v2/t/tags/list?n=-1").await.expect(400);
    served.stop().await;
}

fn artifact(config: &str, subject: &str, artifact_type: Option<&str>) -> Value {
    let mut json = image(config, &[]);
    json["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 3 });
    json["annotations"] = json!({ "org.example.kind": "test" });
    if let Some(artifact_type) = artifact_type {
        json["artifactType"] = json!(artifact_type);
    }
    json
}

#[tokio::test]
async fn referrers_in_either_order() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let config = http.push_blob("s", b"{}").await;
    let layer = http.push_blob("s", b"layer").await;
    let subject = image(&config, &[(&layer, 5)]);
    let target = digest(subject.to_string().as_bytes());
    let list = format!("/v2/s/referrers/{target}");
    let empty = http.get(&list).await.expect(200);
    assert_eq!(empty.header("content-type"), OCI_INDEX);
    assert_eq!(empty.json()["manifests"], json!([]));
    // The signature comes before what it signs.
    let sbom = artifact(&config, &target, Some("application/x.sbom"));
    let got = http
        .put_manifest("s", "sbom", OCI_MANIFEST, &sbom)
        .await
        .expect(201);
    assert_eq!(got.header("oci-subject"), target);
    let sbom_digest = got.header("docker-content-digest").to_owned();
    http.put_manifest("s", "latest", OCI_MANIFEST, &subject)
        .await
        .expect(201);
    let plain = artifact(&config, &target, None);
    http.put_manifest(
        "s",
        &digest(plain.to_string().as_bytes()),
        OCI_MANIFEST,
        &plain,
    )
    .await
    .expect(201);
    let mut index = json!({ "schemaVersion": 2, "manifests": [] });
    index["subject"] = sbom["subject"].clone();
    http.put_manifest("s", "index", OCI_INDEX, &index)
        .await
        .expect(201);
    let all = http.get(&list).await.expect(200);
    assert!(!all.headers.contains_key("oci-filters-applied"));
    let all = all.json();
    assert_eq!(
        (all["schemaVersion"].as_i64(), all["mediaType"].as_str()),
        (Some(2), Some(OCI_INDEX))
    );
    let mut types: Vec<Option<String>> = all["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["artifactType"].as_str().map(ToOwned::to_owned))
        .collect();
    types.sort();
    let config_type = "application/vnd.oci.image.config.v1+json".to_owned();
    assert_eq!(
        types,
        [
            None,
            Some(config_type),
            Some("application/x.sbom".to_owned())
        ]
    );
    let some = http
        .get(&format!("{list}?artifactType=application%2Fx.sbom"))
        .await
        .expect(200);
    assert_eq!(some.header("oci-filters-applied"), "artifactType");
    let wanted = json!([{
        "mediaType": OCI_MANIFEST, "digest": sbom_digest, "size": sbom.to_string().len(),
        "artifactType": "application/x.sbom", "annotations": { "org.example.kind": "test" },
    }]);
    assert_eq!(some.json()["manifests"], wanted);
    http.delete(&format!("/v2/s/manifests/{sbom_digest}"))
        .await
        .expect(202);
    let left = http.get(&list).await.expect(200).json();
    assert_eq!(left["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(
        http.get("/v2/s/referrers/latest").await.expect(400).code(),
        "DIGEST_INVALID"
    );
    http.get(&format!("/v2/nobody/referrers/{target}"))
        .await
        .expect(200);
    served.stop().await;
}

#[tokio::test]
async fn odd_paths_methods_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let zeros = digest(b"");
    for (path, status, code) in [
        ("/v2/a/../b/tags/list", 400, "NAME_INVALID"),
        ("/v2/%2e%2e/%2e%2e/tags/list", 400, "NAME_INVALID"),
        ("/v2/a%2f..%2f..%2fetc/tags/list", 400, "NAME_INVALID"),
        ("/v2/_tags/tags/list", 400, "NAME_INVALID"),
        ("/v2/UPPER/tags/list", 400, "NAME_INVALID"),
        ("/v2/a//b/tags/list", 400, "NAME_INVALID"),
        ("/v2/a/manifests/..%2f..%2flock", 404, "UNSUPPORTED"),
        ("/v2/a/manifests/.hidden", 400, "MANIFEST_INVALID"),
        ("/v2/a/manifests/sha256:..%2f..%2flock", 404, "UNSUPPORTED"),
        ("/v2/a/blobs/sha256:123", 400, "DIGEST_INVALID"),
        ("/v2/a/blobs/uploads/..%2f..", 404, "UNSUPPORTED"),
        ("/v2/a/blobs/uploads/..", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("/v2/a/blobs/uploads/lock", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("/v2/a/unknown", 404, "UNSUPPORTED"),
        ("/v1/a", 404, "UNSUPPORTED"),
        ("/v2/a/%ff/tags/list", 404, "UNSUPPORTED"),
    ] {
        let got = http.get(path).await;
        assert_eq!(
            (got.status.as_u16(), got.code().as_str()),
            (status, code),
            "{path}"
        );
    }
    for (method, path) in [
        (Method::POST, "/v2/".to_owned()),
        (Method::PUT, format!("/v2/a/blobs/{zeros}")),
        (Method::POST, "/v2/a/manifests/x".to_owned()),
        (Method::DELETE, "/v2/a/tags/list".to_owned()),
        (Method::GET, "/v2/a/blobs/uploads/".to_owned()),
    ] {
        let got = http.send(method, &path, &[], "").await.expect(405);
        assert!(!got.header("allow").is_empty());
        assert_eq!(got.code(), "UNSUPPORTED");
    }
    let got = http
        .put_manifest("../evil", "t", OCI_MANIFEST, &json!({}))
        .await;
    got.expect(400);
    assert_eq!(files(folder.path()), ["lock"], "nothing was written");
    served.stop().await;
}

/// Says that one manifest is needed, and nothing of the others while it is busy.
struct One(Digest, AtomicBool);

impl Needs for One {
    fn lets_go(&self, repository: &Repository, digest: &Digest) -> Result<Pass<'_>, Stays> {
        if self.1.load(Ordering::Relaxed) {
            return Err(Stays::Untold("something is built".to_owned()));
        }
        match repository.as_str() == "shop/web" && *digest == self.0 {
            true => Err(Stays::Needed("shop/prod r1 needs it".to_owned())),
            false => Ok(Box::new(())),
        }
    }
}

#[tokio::test]
async fn p2_a_manifest_that_is_needed_is_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Served::start(folder.path()).await;
    let http = plain.http();
    let (image, _) = http.push_image("shop/web", "first", b"needed").await;
    plain.stop().await;
    let needed = Digest::parse(&image).unwrap();
    let one = Arc::new(One(needed, AtomicBool::new(true)));
    let served = Served::asking(folder.path(), Options::default(), one.clone()).await;
    let http = served.http();
    let place = |name: &str, image: &str| format!("/v2/{name}/manifests/{image}");
    let got = http.delete(&place("shop/web", &image)).await.expect(429);
    assert_eq!(got.code(), "TOOMANYREQUESTS");
    assert_eq!(got.header("retry-after"), "5");
    one.1.store(false, Ordering::Relaxed);
    let got = http.delete(&place("shop/web", &image)).await.expect(403);
    assert_eq!(got.code(), "DENIED");
    let message = got.json()["errors"][0]["message"].clone();
    assert_eq!(message, "shop/prod r1 needs it");
    // Its tag goes, it does not.
    http.delete(&place("shop/web", "first")).await.expect(202);
    http.get(&place("shop/web", &image)).await.expect(200);
    // What is not needed goes, the same in another repository, too.
    let (other, _) = http.push_image("shop/web", "other", b"other").await;
    http.push_image("mirror", "first", b"needed").await;
    let gone = [place("shop/web", &other), place("mirror", &image)];
    for place in gone {
        http.delete(&place).await.expect(202);
        http.delete(&place).await.expect(404);
    }
}
