//! Pulling from another registry: Ward's own, and impostors.

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]
#![allow(clippy::unwrap_used)]

mod support;

use http::StatusCode;
use serde_json::json;
use support::{OCI_INDEX, OCI_MANIFEST, Served, digest, files, image, noise};
use ward_registry::pull::Error;
use ward_registry::{Registry, pull};
use ward_types::id::Digest;

struct Two {
    folders: [tempfile::TempDir; 2],
    there: Served,
    here: Registry,
}

async fn two() -> Two {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    Two {
        there: Served::start(folders[0].path()).await,
        here: Registry::open(folders[1].path()).unwrap(),
        folders,
    }
}

#[tokio::test]
async fn by_tag_and_by_digest() {
    let two = two().await;
    let (http, layer) = (two.there.http(), noise(1, 3_000_000));
    let (manifest, blob) = http.push_image("lib/app", "v1", &layer).await;
    let by_tag = format!("{}/lib/app:v1", two.there.address);
    let pulled = pull(&two.here, &by_tag).await.unwrap();
    assert_eq!(pulled.digest.as_str(), manifest);
    assert_eq!(
        pulled.repo.as_str(),
        format!("127.0.0.1-{}/lib/app", two.there.address.port())
    );
    let reference = support::reference(&manifest);
    let stored = two.here.manifest(&pulled.repo, &reference).await.unwrap();
    assert_eq!(stored.digest.to_string(), manifest);
    let blob = Digest::parse(&blob).unwrap();
    assert_eq!(
        std::fs::read(two.here.blob_path(&blob).unwrap()).unwrap(),
        layer
    );
    assert!(two.here.tags(&pulled.repo).await.unwrap().is_empty());
    // What is here is not fetched again: over there the layer is gone by now.
    http.delete(&format!("/v2/lib/app/blobs/{blob}"))
        .await
        .expect(202);
    let by_digest = format!("{}/lib/app@{manifest}", two.there.address);
    assert_eq!(pull(&two.here, &by_digest).await.unwrap(), pulled);
    two.there.stop().await;
}

#[tokio::test]
async fn of_an_index_the_image_for_this_machine() {
    let two = two().await;
    let http = two.there.http();
    let (foreign, _) = http
        .push_image("multi", "foreign", b"of another machine")
        .await;
    let (own, _) = http.push_image("multi", "own", b"of this machine").await;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let entry = |digest: &str, architecture: &str| {
        let platform = json!({ "os": "linux", "architecture": architecture });
        json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "platform": platform })
    };
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [entry(&foreign, "s390x"), entry(&own, architecture)] });
    let got = http
        .put_manifest("multi", "latest", OCI_INDEX, &index)
        .await
        .expect(201);
    let by = got.header("docker-content-digest").to_owned();
    for reference in ["multi:latest".to_owned(), format!("multi@{by}")] {
        let pulled = pull(&two.here, &format!("{}/{reference}", two.there.address))
            .await
            .unwrap();
        assert_eq!(pulled.digest.as_str(), own);
    }
    let only = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry(&foreign, "s390x")] });
    http.put_manifest("multi", "only", OCI_INDEX, &only)
        .await
        .expect(201);
    let refused = pull(&two.here, &format!("{}/multi:only", two.there.address))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Platform { .. }), "{refused:?}");
    assert!(refused.to_string().contains("linux/s390x"), "{refused}");
    two.there.stop().await;
}

#[tokio::test]
async fn what_is_not_there_or_no_reference() {
    let two = two().await;
    for name in ["nothing:latest", &format!("nothing@{}", digest(b"x"))] {
        let refused = pull(&two.here, &format!("{}/{name}", two.there.address))
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::Remote { .. }), "{refused:?}");
    }
    for name in ["", "UPPER:x", "a b", "x@sha256:12", "../../etc"] {
        let refused = pull(&two.here, name).await.unwrap_err();
        assert!(
            matches!(refused, Error::Reference { .. }),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(files(two.folders[1].path()), ["lock"]);
    two.there.stop().await;
}

/// A registry that answers every request for a manifest and a blob with the same bytes, true or not.
async fn impostor(manifest: String, blob: Vec<u8>) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = move |uri: http::Uri| {
        let (manifest, blob) = (manifest.clone(), blob.clone());
        async move {
            let headers = [("content-type", OCI_MANIFEST)];
            match uri.path() {
                path if path.contains("/manifests/") => {
                    (StatusCode::OK, headers, manifest.into_bytes())
                }
                path if path.contains("/blobs/") => (StatusCode::OK, headers, blob),
                _ => (StatusCode::OK, headers, Vec::new()),
            }
        }
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

#[tokio::test]
async fn what_an_impostor_sends_is_refused_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let here = Registry::open(folder.path()).unwrap();
    let true_layer = b"the layer that was asked for".to_vec();
    let manifest = image(
        &digest(&true_layer),
        &[(&digest(&true_layer), true_layer.len())],
    )
    .to_string();
    // Another manifest than the digest says.
    let address = impostor(manifest.clone(), true_layer.clone()).await;
    let refused = pull(&here, &format!("{address}/x@{}", digest(b"other"))).await;
    assert!(refused.is_err(), "{refused:?}");
    // Another layer, a longer one, and a shorter one, under the right manifest.
    let mut swapped = true_layer.clone();
    swapped[0] ^= 1;
    let longer = [true_layer.as_slice(), b"and more"].concat();
    for blob in [swapped, longer, true_layer[..5].to_vec()] {
        let address = impostor(manifest.clone(), blob).await;
        let refused = pull(&here, &format!("{address}/x:latest")).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    assert_eq!(files(folder.path()), ["lock"], "nothing was recorded");
    let address = impostor(manifest.clone(), true_layer.clone()).await;
    // The configuration's announced size is 2 bytes: with the true one everything is taken.
    let fixed = manifest.replace("\"size\":2", &format!("\"size\":{}", true_layer.len()));
    assert!(pull(&here, &format!("{address}/x:latest")).await.is_err());
    let address = impostor(fixed, true_layer).await;
    pull(&here, &format!("{address}/x:latest")).await.unwrap();
}
