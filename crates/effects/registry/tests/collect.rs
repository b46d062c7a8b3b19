//! Collection, and the door inside the process.

#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use object_store::memory::InMemory;
use serde_json::json;
use support::{
    OCI_INDEX, OCI_MANIFEST, Served, blob_file, digest, files, image, is_there, noise, put_image,
    reference, repository,
};
use ward_registry::{Options, Reference, Registry, Tag};
use ward_types::id::Digest;

fn at_once() -> Options {
    Options {
        grace: Duration::ZERO,
        upload_expiry: Duration::from_secs(3600),
        ..Options::default()
    }
}

#[tokio::test]
async fn the_door_inside_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    let bytes = noise(1, 2_000_000);
    let path = folder.path().join("outside");
    std::fs::write(&path, &bytes).unwrap();
    let by_file = registry.put_blob_file(&path).await.unwrap();
    let by_reader = registry.put_blob(bytes.as_slice()).await.unwrap();
    let mut writer = registry.blob_writer().unwrap();
    for chunk in bytes.chunks(70_001) {
        writer.write_all(chunk).unwrap();
    }
    let by_writer = writer.commit().await.unwrap();
    assert_eq!(by_file.as_str(), digest(&bytes));
    assert_eq!((&by_file, &by_file), (&by_reader, &by_writer));
    assert!(registry.has_blob(&by_file).await.unwrap());
    registry.verify_blob(&by_file).await.unwrap();
    assert_eq!(
        std::fs::read(registry.blob_path(&by_file).unwrap()).unwrap(),
        bytes
    );
    assert_eq!(registry.blob_bytes(&by_file).await.unwrap(), bytes);
    let absent = Digest::parse(&digest(b"absent")).unwrap();
    assert!(!registry.has_blob(&absent).await.unwrap());
    assert_eq!(registry.blob_path(&absent), None);
    let (stored, _) = put_image(&registry, "in/process", Some("v1"), &bytes).await;
    let by_tag = reference("v1");
    let found = registry
        .manifest(&repository("in/process"), &by_tag)
        .await
        .unwrap();
    assert_eq!(found.digest.sha256(), Some(stored));
    assert_eq!(found.media_type, OCI_MANIFEST);
    assert_eq!(
        registry.repositories().await.unwrap(),
        [repository("in/process")]
    );
    registry
        .remove(&repository("in/process"), &by_tag)
        .await
        .unwrap();
    assert!(
        registry
            .tags(&repository("in/process"))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn what_the_process_stores_is_pulled_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let (stored, layer) = put_image(&served.registry, "both", None, b"layer").await;
    let http = served.http();
    http.get(&format!("/v2/both/manifests/{stored}"))
        .await
        .expect(200);
    assert_eq!(
        http.get(&format!("/v2/both/blobs/{layer}"))
            .await
            .expect(200)
            .body,
        "layer"
    );
    served.stop().await;
}

#[tokio::test]
async fn what_is_reachable_stays_and_the_rest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open_with(folder.path(), at_once()).unwrap();
    let (kept, kept_layer) = put_image(&registry, "app", None, b"kept by digest").await;
    let (tagged, tagged_layer) = put_image(&registry, "app", Some("latest"), b"kept by tag").await;
    let (loose, loose_layer) = put_image(&registry, "app", None, b"kept by nothing").await;
    let (child, child_layer) = put_image(&registry, "index", None, b"kept by an index").await;
    let entry = json!({ "mediaType": OCI_MANIFEST, "digest": child, "size": 1 });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let all = Tag::parse("all").unwrap();
    registry
        .put_manifest(&repository("index"), Some(&all), OCI_INDEX, index)
        .await
        .unwrap();
    let signature = async |subject: &Digest, layer: &[u8]| {
        let blob = registry.put_blob(layer).await.unwrap();
        let config = registry.put_blob(b"{}".as_slice()).await.unwrap();
        let mut json = image(config.as_str(), &[(blob.as_str(), layer.len())]);
        json["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 });
        let app = repository("app");
        let put = registry.put_manifest(&app, None, OCI_MANIFEST, json.to_string());
        (put.await.unwrap(), blob)
    };
    let (signed, signed_layer) = signature(&kept, b"signature of a kept one").await;
    let (signed_twice, _) = signature(&signed, b"signature of the signature").await;
    let (orphan, orphan_layer) = signature(&loose, b"signature of a loose one").await;
    let stray = registry
        .put_blob(b"no manifest at all".as_slice())
        .await
        .unwrap();
    let not_ours = [
        "blobs/notes.txt",
        "blobs/sha256/xx/thing",
        "staging/mine",
        "uploads/mine",
    ];
    for file in not_ours {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"not written by Ward").unwrap();
    }

    let collected = registry
        .collect(&BTreeSet::from([kept.clone()]))
        .await
        .unwrap();

    for digest in [
        &kept,
        &kept_layer,
        &tagged,
        &tagged_layer,
        &child,
        &child_layer,
        &signed,
        &signed_layer,
        &signed_twice,
    ] {
        assert!(is_there(folder.path(), digest), "{digest} is reachable");
    }
    for digest in [&loose, &loose_layer, &orphan, &orphan_layer, &stray] {
        assert!(
            !is_there(folder.path(), digest),
            "{digest} is not reachable"
        );
    }
    for file in not_ours {
        assert!(folder.path().join(file).is_file(), "{file} is not Ward's");
    }
    assert_eq!((collected.blobs, collected.manifests), (5, 2));
    assert!(collected.missing.is_empty());
    let app = repository("app");
    registry
        .manifest(&app, &reference(kept.as_str()))
        .await
        .unwrap();
    assert!(
        registry
            .manifest(&app, &reference(loose.as_str()))
            .await
            .is_err()
    );
    // A second time there is nothing to do, and all that is kept is intact.
    let again = registry
        .collect(&BTreeSet::from([kept.clone()]))
        .await
        .unwrap();
    assert_eq!(
        (again.blobs, again.manifests, again.kept),
        (0, 0, collected.kept)
    );
    registry.verify_blob(&kept_layer).await.unwrap();
    // Without anything to keep it but tags, what hung on the digest goes too.
    registry.collect(&BTreeSet::new()).await.unwrap();
    assert!(!is_there(folder.path(), &kept) && !is_there(folder.path(), &signed_twice));
    assert!(is_there(folder.path(), &tagged_layer));
}

#[tokio::test]
async fn a_kept_digest_that_is_not_here_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open_with(folder.path(), at_once()).unwrap();
    let gone = Digest::parse(&digest(b"gone")).unwrap();
    let collected = registry
        .collect(&BTreeSet::from([gone.clone()]))
        .await
        .unwrap();
    assert_eq!(collected.missing, BTreeSet::from([(&gone).into()]));
}

#[tokio::test]
async fn an_upload_under_way_protects_what_it_may_refer_to() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::with(folder.path(), at_once()).await;
    let http = served.http();
    let before = http.push_blob("u", b"before").await;
    wait_for_a_later_file(folder.path());
    let place = http.begin("u").await;
    let meanwhile = http.push_blob("u", b"meanwhile").await;
    let collected = served.registry.collect(&BTreeSet::new()).await.unwrap();
    assert_eq!(collected.uploads, 0);
    http.head(&format!("/v2/u/blobs/{before}"))
        .await
        .expect(404);
    http.head(&format!("/v2/u/blobs/{meanwhile}"))
        .await
        .expect(200);
    http.send(Method::PATCH, &place, &[], "goes on")
        .await
        .expect(202);
    http.delete(&place).await.expect(204);
    served.registry.collect(&BTreeSet::new()).await.unwrap();
    http.head(&format!("/v2/u/blobs/{meanwhile}"))
        .await
        .expect(404);
    // The same for a writer in this process.
    let writer = served.registry.blob_writer().unwrap();
    let young = served.registry.put_blob(b"young".as_slice()).await.unwrap();
    served.registry.collect(&BTreeSet::new()).await.unwrap();
    assert!(is_there(folder.path(), &young));
    drop(writer);
    served.registry.collect(&BTreeSet::new()).await.unwrap();
    assert!(!is_there(folder.path(), &young));
    served.stop().await;
}

/// Files are stamped with the clock's last tick: one that is made right after an event may seem older.
fn wait_for_a_later_file(folder: &Path) {
    let (event, probe) = (std::time::SystemTime::now(), folder.join("probe"));
    let is_later = || {
        std::fs::write(&probe, b"").unwrap();
        std::fs::metadata(&probe).unwrap().modified().unwrap() > event
    };
    while !is_later() {
        std::thread::yield_now();
    }
    std::fs::remove_file(probe).unwrap();
}

/// Makes everything in a folder two hours older than it is.
fn age(folder: &Path) {
    let then = std::time::SystemTime::now() - Duration::from_secs(7200);
    for name in files(folder) {
        let file = std::fs::File::options().write(true).open(folder.join(name));
        file.unwrap().set_modified(then).unwrap();
    }
}

#[tokio::test]
async fn who_was_told_that_a_blob_is_here_can_rely_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path()).await;
    let http = served.http();
    let mut blobs = Vec::new();
    for bytes in [b"asked for", b"mounted..", b"in proces", b"forgotten"] {
        blobs.push(http.push_blob("old", bytes).await);
    }
    // A restart, two hours later: all four are old, and nothing refers to them.
    served.stop().await;
    age(folder.path());
    let served = Served::start(folder.path()).await;
    let http = served.http();
    http.head(&format!("/v2/old/blobs/{}", blobs[0]))
        .await
        .expect(200);
    let mount = format!("/v2/new/blobs/uploads/?mount={}&from=old", blobs[1]);
    http.post(&mount).await.expect(201);
    let third = Digest::parse(&blobs[2]).unwrap();
    assert!(served.registry.has_blob(&third).await.unwrap());
    let collected = served.registry.collect(&BTreeSet::new()).await.unwrap();
    assert_eq!((collected.blobs, collected.kept), (1, 3));
    assert!(!blob_file(folder.path(), &blobs[3]).exists());
    // The promise to an HTTP client outlives another restart.
    served.stop().await;
    let served = Served::start(folder.path()).await;
    served.registry.collect(&BTreeSet::new()).await.unwrap();
    assert!(blob_file(folder.path(), &blobs[0]).exists());
    served.stop().await;
}

#[tokio::test]
async fn the_grace_period_spares_what_is_young() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    let blob = registry.put_blob(b"just pushed".as_slice()).await.unwrap();
    let (manifest, layer) = put_image(&registry, "young", None, b"just recorded").await;
    let collected = registry.collect(&BTreeSet::new()).await.unwrap();
    assert_eq!((collected.blobs, collected.manifests), (0, 0));
    for digest in [&blob, &manifest, &layer] {
        assert!(is_there(folder.path(), digest));
    }
}

#[tokio::test]
async fn an_upload_that_nobody_goes_on_with_ends() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        upload_expiry: Duration::ZERO,
        ..at_once()
    };
    let served = Served::with(folder.path(), options).await;
    let http = served.http();
    let place = http.begin("idle").await;
    http.send(Method::PATCH, &place, &[], "half")
        .await
        .expect(202);
    let collected = served.registry.collect(&BTreeSet::new()).await.unwrap();
    assert_eq!(collected.uploads, 1);
    http.get(&place).await.expect(404);
    assert_eq!(files(folder.path()), ["lock"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collecting_while_images_are_pushed_breaks_none() {
    let folder = tempfile::tempdir().unwrap();
    // A grace that covers one push, as the real one covers a real push.
    let options = Options {
        grace: Duration::from_secs(20),
        ..at_once()
    };
    let served = Served::with(folder.path(), options).await;
    let pushing = tokio::spawn({
        let http = served.http();
        async move {
            for n in 0..25 {
                http.push_image("busy", &format!("t{}", n % 5), &noise(n, 50_000))
                    .await;
            }
        }
    });
    while !pushing.is_finished() {
        served.registry.collect(&BTreeSet::new()).await.unwrap();
    }
    pushing.await.unwrap();
    let busy = repository("busy");
    let tags = served.registry.tags(&busy).await.unwrap();
    assert_eq!(tags.len(), 5);
    for tag in tags {
        let found = served
            .registry
            .manifest(&busy, &Reference::Tag(tag))
            .await
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&found.bytes).unwrap();
        let layer = json["layers"][0]["digest"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        served.registry.verify_blob(&layer).await.unwrap();
    }
    served.stop().await;
}

#[tokio::test]
async fn another_object_store_takes_the_folders_place() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(InMemory::new());
    let options = Options {
        store: Some(store.clone()),
        ..at_once()
    };
    let served = Served::with(folder.path(), options).await;
    let (http, bytes) = (served.http(), noise(2, 20_000_000));
    let (manifest, layer) = http.push_image("remote", "latest", &bytes).await;
    let path = format!("/v2/remote/blobs/{layer}");
    assert_eq!(http.get(&path).await.expect(200).body, bytes);
    let part = http
        .send(
            Method::GET,
            &path,
            &[("range", "bytes=9000000-9000009")],
            "",
        )
        .await;
    assert_eq!(part.expect(206).body, bytes[9_000_000..9_000_010]);
    http.get(&format!("/v2/remote/manifests/{manifest}"))
        .await
        .expect(200);
    let stray = http.push_blob("remote", b"stray").await;
    assert_eq!(
        served.registry.blob_path(&Digest::parse(&layer).unwrap()),
        None
    );
    served.registry.collect(&BTreeSet::new()).await.unwrap();
    http.head(&format!("/v2/remote/blobs/{stray}"))
        .await
        .expect(404);
    assert!(
        !folder.path().join("blobs").exists(),
        "blobs are in the store only"
    );
    // Damage is found here too.
    let hex = layer.strip_prefix("sha256:").unwrap();
    let key = object_store::path::Path::from(format!("blobs/sha256/{}/{hex}", &hex[..2]));
    let mut wrong = bytes.clone();
    wrong[5] ^= 1;
    object_store::ObjectStoreExt::put(store.as_ref(), &key, wrong.into())
        .await
        .unwrap();
    assert!(http.try_send(Method::GET, &path, &[], "").await.is_err());
    served.stop().await;
}
