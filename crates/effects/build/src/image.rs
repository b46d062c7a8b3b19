//! Manifest and configuration of an image (OCI image specification 1.1), and their way to the sink.
//!
//! The structures stand here because those of the libraries hold labels in an order that changes from run
//! to run. Nothing here tells a time.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use ward_types::id::Digest;

use crate::layer::{Layer, digest_of};
use crate::{Error, Image, ImageSink, Outcome, Request, Result};

/// Media types of the OCI image specification.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Where programs are found in an image when nothing else is said.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'static str,
    digest: &'a Digest,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
}

/// How an instance of the image runs (OCI image configuration, `config`).
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Run {
    pub(crate) env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cmd: Vec<String>,
    pub(crate) working_dir: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Config<'a> {
    architecture: &'static str,
    os: &'static str,
    config: &'a Run,
    rootfs: RootFs<'a>,
}

#[derive(Serialize)]
struct RootFs<'a> {
    r#type: &'static str,
    diff_ids: Vec<&'a Digest>,
}

/// This machine's name in Go's words, which OCI uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers always have a form in JSON")
}

/// The configuration of an image of these uncompressed layers, whose digests are their diff ids.
fn config(run: &Run, layers: &[Layer]) -> Vec<u8> {
    json(&Config {
        architecture: architecture(),
        os: "linux",
        config: run,
        rootfs: RootFs {
            r#type: "layers",
            diff_ids: layers.iter().map(|layer| &layer.digest).collect(),
        },
    })
}

/// Sends an image of these layers.
pub(crate) async fn push(
    request: &Request,
    run: &Run,
    layers: &[Layer],
    work: &Path,
    sink: &impl ImageSink,
) -> Result<Image> {
    push_configured(request, &config(run, layers), layers, work, sink).await
}

/// Sends an image of this configuration, whose diff ids are these layers.
pub(crate) async fn push_configured(
    request: &Request,
    config: &[u8],
    layers: &[Layer],
    work: &Path,
    sink: &impl ImageSink,
) -> Result<Image> {
    let file = work.join("config.json");
    std::fs::write(&file, config).map_err(Error::file("write", &file))?;
    let config = Layer {
        digest: digest_of(config),
        size: config.len() as u64,
        file,
    };
    let descriptor = |media_type, blob| descriptor(media_type, blob);
    let manifest = json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: descriptor(CONFIG, &config),
        layers: layers
            .iter()
            .map(|layer| descriptor(LAYER, layer))
            .collect(),
    });
    let blobs: Vec<&Layer> = layers.iter().chain([&config]).collect();
    send(request, manifest, &blobs, sink).await
}

fn descriptor<'a>(media_type: &'static str, blob: &'a Layer) -> Descriptor<'a> {
    Descriptor {
        media_type,
        digest: &blob.digest,
        size: blob.size,
    }
}

/// Sends blobs that the sink does not have, then the manifest, so that it never names what is not there.
pub(crate) async fn send(
    request: &Request,
    manifest: Vec<u8>,
    blobs: &[&Layer],
    sink: &impl ImageSink,
) -> Result<Image> {
    let digest = digest_of(&manifest);
    if has(request, &digest, sink).await? {
        let outcome = Outcome::Unchanged;
        return Ok(Image { digest, outcome });
    }
    let repository = &request.repository;
    for blob in blobs {
        let what = || format!("the blob {}", blob.digest.short());
        let there = sink.has_blob(repository, &blob.digest).await;
        if !there.map_err(Error::sink(what()))? {
            let put = sink.put_blob(repository, &blob.digest, &blob.file).await;
            put.map_err(Error::sink(what()))?;
        }
    }
    let put = sink
        .put_manifest(repository, &digest, MANIFEST, manifest)
        .await;
    put.map_err(Error::sink("the manifest"))?;
    let outcome = Outcome::Made;
    Ok(Image { digest, outcome })
}

/// Whether the sink has the whole image.
pub(crate) async fn has(request: &Request, digest: &Digest, sink: &impl ImageSink) -> Result<bool> {
    let found = sink.has_manifest(&request.repository, digest).await;
    found.map_err(Error::sink("a question for a manifest"))
}
