//! A registry on a real listener, and a small HTTP client.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_macros,
    reason = "each test file uses a part of it"
)]

use std::future::Future;
use std::io::BufRead;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use ward_registry::{
    Algorithm, ContentDigest, Needs, Options, Reference, Registry, Repository, Tag,
};
use ward_types::id::Digest;

pub const OCI_MANIFEST: &str = ward_registry::manifest::OCI_MANIFEST;
pub const OCI_INDEX: &str = ward_registry::manifest::OCI_INDEX;

/// A registry that is served until it is stopped or dropped.
pub struct Served {
    pub address: SocketAddr,
    pub registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Served {
    pub async fn start(folder: &Path) -> Self {
        Self::with(folder, Options::default()).await
    }

    pub async fn with(folder: &Path, options: Options) -> Self {
        Self::asking(folder, options, Arc::new(())).await
    }

    pub async fn asking(folder: &Path, options: Options, needs: Arc<dyn Needs>) -> Self {
        let registry = Registry::open_with(folder, options).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = registry.clone();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            ward_registry::serve(listener, serving, needs, stopped).await;
        });
        Self {
            address,
            registry,
            stop: Some(stop),
            task,
        }
    }

    pub async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }

    pub fn http(&self) -> Http {
        Http::new(self.address)
    }
}

/// What came back.
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_str()
            .unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The error's code, after a check that the body has the form that the specification gives.
    pub fn code(&self) -> String {
        let json = self.json();
        let error = &json["errors"][0];
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        error["code"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }
}

impl std::fmt::Debug for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(400)]);
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}

#[derive(Clone)]
pub struct Http {
    pub address: SocketAddr,
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
}

impl Http {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Got {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    /// As `send`, for answers whose body may break off.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Got, Box<dyn std::error::Error>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into()))?;
        let (head, body) = self.client.request(request).await?.into_parts();
        Ok(Got {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn head(&self, path: &str) -> Got {
        self.send(Method::HEAD, path, &[], "").await
    }

    pub async fn delete(&self, path: &str) -> Got {
        self.send(Method::DELETE, path, &[], "").await
    }

    pub async fn post(&self, path: &str) -> Got {
        self.send(Method::POST, path, &[], "").await
    }

    /// Begins an upload and gives its location.
    pub async fn begin(&self, repository: &str) -> String {
        let got = self.post(&format!("/v2/{repository}/blobs/uploads/")).await;
        got.expect(202).header("location").to_owned()
    }

    pub async fn push_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let bytes = Bytes::copy_from_slice(bytes);
        self.send(Method::POST, &path, &[], bytes).await.expect(201);
        digest
    }

    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        json: &Value,
    ) -> Got {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let headers = [("content-type", media_type)];
        self.send(Method::PUT, &path, &headers, json.to_string())
            .await
    }

    /// Pushes an image of one layer; gives the digests of its manifest and of the layer.
    pub async fn push_image(&self, repository: &str, tag: &str, layer: &[u8]) -> (String, String) {
        let config = self.push_blob(repository, b"{}").await;
        let blob = self.push_blob(repository, layer).await;
        let json = image(&config, &[(&blob, layer.len())]);
        let got = self
            .put_manifest(repository, tag, OCI_MANIFEST, &json)
            .await;
        (
            got.expect(201).header("docker-content-digest").to_owned(),
            blob,
        )
    }
}

pub fn digest(bytes: &[u8]) -> String {
    ContentDigest::of(Algorithm::Sha256, bytes).to_string()
}

/// The manifest of an image whose configuration is `{}`.
pub fn image(config: &str, layers: &[(&str, usize)]) -> Value {
    let layers: Vec<Value> = layers
        .iter()
        .map(|(digest, size)| {
            json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size })
        })
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
        "layers": layers,
    })
}

/// Bytes that differ by seed and compress badly.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Every file below a folder, relative to it.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder_now) = open.pop() {
        for entry in std::fs::read_dir(&folder_now).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Where the store keeps a blob.
pub fn blob_file(folder: &Path, digest: &str) -> std::path::PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    folder.join("blobs/sha256").join(&hex[..2]).join(hex)
}

/// A repository's name.
pub fn repository(name: &str) -> Repository {
    Repository::parse(name).unwrap()
}

/// Stores an image of one layer from inside the process; gives the digests of its manifest and of the layer.
pub async fn put_image(
    registry: &Registry,
    name: &str,
    tag: Option<&str>,
    layer: &[u8],
) -> (Digest, Digest) {
    let config = registry.put_blob(b"{}".as_slice()).await.unwrap();
    let layer_digest = registry.put_blob(layer).await.unwrap();
    let json = image(config.as_str(), &[(layer_digest.as_str(), layer.len())]);
    let tag = tag.map(|tag| Tag::parse(tag).unwrap());
    let stored = registry
        .put_manifest(
            &repository(name),
            tag.as_ref(),
            OCI_MANIFEST,
            json.to_string(),
        )
        .await;
    (stored.unwrap(), layer_digest)
}

/// Whether the store holds a blob.
pub fn is_there(folder: &Path, digest: &Digest) -> bool {
    blob_file(folder, digest.as_str()).is_file()
}

/// A tag or a digest.
pub fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// Damages one byte of a file.
pub fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
    // Some kernels count the time of a change in steps of milliseconds; this one was later.
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(later).unwrap();
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const CHILD: &str = "WARD_TEST_REGISTRY_FOLDER";

/// A registry in a process of its own, which is killed when this is dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Process {
    /// Starts this test program again as a registry, by way of `wrapper` (a program and its arguments).
    pub fn start(wrapper: &[String], folder: &Path) -> Self {
        let program = std::env::current_exe().unwrap().display().to_string();
        let own =
            [program.as_str(), "--exact", "child_process", "--nocapture"].map(ToOwned::to_owned);
        let arguments: Vec<String> = wrapper.iter().cloned().chain(own).collect();
        let mut child = Command::new(&arguments[0])
            .args(&arguments[1..])
            .env(CHILD, folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("listening on ")?.1.trim().parse().unwrap()));
        Self {
            address: address.expect("the child did not come up"),
            child,
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of the test `child_process`, which every file that uses [`Process`] has.
pub async fn serve_if_child() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    // The parent holds the other end of stdout; when it is gone there is nobody to serve.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let served = Served::start(Path::new(&folder)).await;
    println!("listening on {}", served.address);
    std::future::pending().await
}
