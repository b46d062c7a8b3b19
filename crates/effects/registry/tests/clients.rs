//! The programs that people use: skopeo, podman and buildah push to and pull from the registry.

#![allow(clippy::unwrap_used, clippy::disallowed_macros)]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{Served, digest, noise};

/// Whether a program is installed. A test that goes without it says so loudly.
fn is_installed(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(program).is_file());
    if !found {
        eprintln!("SKIPPED, NOT TESTED: {program} is not installed; `apt-get install {program}`");
    }
    found
}

/// A folder of its own for everything that a client would put elsewhere.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["root", "runroot", "home", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        std::fs::write(folder.path().join("policy.json"), policy).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("runroot"))
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        let output = output.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        output
    }

    /// podman and buildah keep images in folders of their own, copied instead of mounted.
    async fn store(&self, program: &str, arguments: &[&str]) -> Output {
        let (root, runroot) = (self.path("root"), self.path("runroot"));
        let own = [
            "--root",
            &root,
            "--runroot",
            &runroot,
            "--storage-driver",
            "vfs",
        ];
        self.run(program, &[own.as_slice(), arguments].concat())
            .await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What podman leaves running for an ordinary user, to hold its user namespace.
        let pause = self.folder.path().join("runroot/libpod/tmp/pause.pid");
        let pid = std::fs::read_to_string(pause).ok();
        let pid = pid.and_then(|text| rustix::process::Pid::from_raw(text.trim().parse().ok()?));
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        // Read-only folders of a layer would stay behind otherwise.
        let _ = Command::new("chmod")
            .args(["-R", "u+rwX"])
            .arg(self.folder.path())
            .status();
    }
}

/// An archive with one file in it, as `podman import` takes it.
fn archive(folder: &Path, content: &[u8]) -> PathBuf {
    std::fs::write(folder.join("content"), content).unwrap();
    let path = folder.join("image.tar");
    // Owned by root, whoever runs this: the only owner that a user namespace of one id has.
    let made = Command::new("tar")
        .args(["--owner=0", "--group=0", "-C"])
        .arg(folder)
        .arg("-cf")
        .arg(&path)
        .arg("content")
        .status();
    assert!(made.unwrap().success());
    path
}

/// An OCI layout with one image of two layers; gives the manifest's digest.
fn layout(folder: &Path) -> String {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = digest(bytes);
        std::fs::write(blobs.join(&digest[7..]), bytes).unwrap();
        digest
    };
    let mut diffs = Vec::new();
    let mut layers = Vec::new();
    for seed in [1, 2] {
        let bytes = noise(seed, 3_000_000);
        diffs.push(digest(&bytes));
        layers.push((put(&gzip(&bytes)), gzip(&bytes).len()));
    }
    let config = serde_json::json!({ "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diffs } })
    .to_string();
    let config_digest = put(config.as_bytes());
    let layers: Vec<(&str, usize)> = layers.iter().map(|(d, n)| (d.as_str(), *n)).collect();
    let mut json = support::image(&config_digest, &layers);
    json["config"]["size"] = config.len().into();
    for layer in json["layers"].as_array_mut().unwrap() {
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip".into();
    }
    let manifest = put(json.to_string().as_bytes());
    let entry = serde_json::json!({ "mediaType": support::OCI_MANIFEST, "digest": manifest,
        "size": json.to_string().len(),
        "annotations": { "org.opencontainers.image.ref.name": "latest" } });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    manifest
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .args(["-1", "-n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    output.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_pushes_copies_lists_pulls_and_deletes() {
    if !is_installed("skopeo") {
        return;
    }
    let (place, store) = (Place::new(), tempfile::tempdir().unwrap());
    let served = Served::start(store.path()).await;
    let source = place.folder.path().join("layout");
    let manifest = layout(&source);
    let host = format!("docker://{}", served.address);
    let policy = place.path("policy.json");
    let skopeo = async |arguments: &[&str]| {
        place
            .run("skopeo", &[&["--policy", &policy], arguments].concat())
            .await
    };
    let from = format!("oci:{}:latest", source.display());
    let first = format!("{host}/team/app:v1");
    skopeo(&["copy", "--dest-tls-verify=false", &from, &first]).await;
    // From repository to repository of one registry.
    let second = format!("{host}/team/copy:v2");
    skopeo(&[
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &first,
        &second,
    ])
    .await;
    let told = skopeo(&["inspect", "--tls-verify=false", &second]).await;
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["Digest"], manifest);
    assert_eq!(told["RepoTags"], serde_json::json!(["v2"]));
    let pulled = place.folder.path().join("pulled");
    let to = format!("oci:{}:latest", pulled.display());
    skopeo(&["copy", "--src-tls-verify=false", &second, &to]).await;
    let (before, after) = (source.join("blobs"), pulled.join("blobs"));
    assert_eq!(support::files(&before), support::files(&after));
    for file in support::files(&before) {
        assert_eq!(
            std::fs::read(before.join(&file)).unwrap(),
            std::fs::read(after.join(&file)).unwrap()
        );
    }
    // As Docker's own kind of image.
    let docker = format!("{host}/team/docker:v1");
    skopeo(&[
        "copy",
        "--format",
        "v2s2",
        "--dest-tls-verify=false",
        &from,
        &docker,
    ])
    .await;
    skopeo(&[
        "copy",
        "--src-tls-verify=false",
        &docker,
        &format!("dir:{}", place.path("dir")),
    ])
    .await;
    skopeo(&["delete", "--tls-verify=false", &second]).await;
    assert_eq!(
        served.http().get("/v2/team/copy/manifests/v2").await.status,
        404
    );
    served
        .http()
        .get("/v2/team/app/manifests/v1")
        .await
        .expect(200);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_pushes_and_pulls() {
    if !is_installed("podman") {
        return;
    }
    let (place, store) = (Place::new(), tempfile::tempdir().unwrap());
    let served = Served::start(store.path()).await;
    let name = format!("{}/people/app:v1", served.address);
    let content = noise(3, 2_000_000);
    let archive = archive(&place.folder.path().join("tmp"), &content);
    place
        .store("podman", &["import", &archive.display().to_string(), &name])
        .await;
    place
        .store("podman", &["push", "--tls-verify=false", &name])
        .await;
    place.store("podman", &["rmi", "--all", "--force"]).await;
    place
        .store("podman", &["pull", "--tls-verify=false", &name])
        .await;
    let out = place.path("out.tar");
    place
        .store(
            "podman",
            &["save", "--format", "oci-dir", "--output", &out, &name],
        )
        .await;
    let digests = support::files(Path::new(&out));
    assert!(digests.len() >= 4, "{digests:?}");
    let tags = served
        .http()
        .get("/v2/people/app/tags/list")
        .await
        .expect(200)
        .json();
    assert_eq!(tags["tags"], serde_json::json!(["v1"]));
    place.store("podman", &["rmi", "--all", "--force"]).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buildah_pushes_and_pulls() {
    if !is_installed("buildah") {
        return;
    }
    let (place, store) = (Place::new(), tempfile::tempdir().unwrap());
    let served = Served::start(store.path()).await;
    let name = format!("{}/built/app:v1", served.address);
    let file = place.path("tmp/file");
    let content = noise(4, 2_000_000);
    std::fs::write(&file, &content).unwrap();
    let made = place.store("buildah", &["from", "scratch"]).await;
    let container = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    place
        .store("buildah", &["copy", &container, &file, "/data/file"])
        .await;
    place
        .store("buildah", &["commit", "--rm", &container, &name])
        .await;
    let id = async || {
        let listed = place
            .store("buildah", &["images", "--no-trunc", "--quiet"])
            .await;
        String::from_utf8(listed.stdout).unwrap()
    };
    let before = id().await;
    place
        .store("buildah", &["push", "--tls-verify=false", &name])
        .await;
    place.store("buildah", &["rmi", "--all", "--force"]).await;
    assert_eq!(id().await, "");
    place
        .store("buildah", &["pull", "--tls-verify=false", &name])
        .await;
    // The id is the digest of the configuration, which names the digests of the layers.
    assert_eq!(id().await, before);
    place.store("buildah", &["rmi", "--all", "--force"]).await;
    served.stop().await;
}
