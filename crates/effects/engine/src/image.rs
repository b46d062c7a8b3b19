//! From an image's manifest and configuration to unpacked layers and how it is run (OCI image
//! specification 1.1: image-manifest.md, config.md; Docker's schema 2 has the same form).

mod layer;
mod tree;
mod user;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use ward_types::id::Digest;

pub use layer::LayerError;
pub use user::ImageUser;

use crate::error::Error;
use crate::layers::Layers;

/// An image that is ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The folders of its layers, lowest first, each once. May be empty.
    pub layers: Vec<PathBuf>,
    /// The digests of its layers, as the manifest lists them: what to keep when layers are collected.
    pub digests: Vec<Digest>,
    /// Its entrypoint and command; empty when it has neither.
    pub argv: Vec<String>,
    /// Its environment variables.
    pub env: BTreeMap<String, String>,
    /// Where it starts; `/` unless it says otherwise.
    pub cwd: String,
    /// Who it runs as.
    pub user: ImageUser,
    /// The number of the signal that stops it, if it names one.
    pub stop_signal: Option<i32>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
}

#[derive(Deserialize)]
struct Configuration {
    architecture: Option<String>,
    os: Option<String>,
    #[serde(default)]
    config: Option<Execution>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

/// Every field may be missing or, as Go writes it, null.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

pub(crate) fn unpack(
    folder: &Layers,
    manifest: &[u8],
    config: &[u8],
    blob: &dyn Fn(&Digest) -> PathBuf,
) -> Result<Image, Error> {
    let (manifest, config) = read(manifest, config)?;
    let diff_ids = config.rootfs.diff_ids.unwrap_or_default();
    if diff_ids.len() != manifest.layers.len() {
        let (layers, ids) = (manifest.layers.len(), diff_ids.len());
        return Err(wrong(format!(
            "its manifest lists {layers} layers, its configuration {ids}"
        )));
    }
    let mut layers = Vec::new();
    for (descriptor, diff_id) in manifest.layers.iter().zip(&diff_ids) {
        let digest = &descriptor.digest;
        let layer = folder.provide(digest, diff_id, |into| {
            layer::unpack(&blob(digest), digest, diff_id, into).map_err(|source| Error::Layer {
                digest: digest.clone(),
                source,
            })
        })?;
        // overlayfs refuses a folder twice, and all of the upper one wins over the lower anyway.
        layers.retain(|earlier| *earlier != layer);
        layers.push(layer);
    }
    let digests = manifest
        .layers
        .into_iter()
        .map(|layer| layer.digest)
        .collect();
    described(config.config.unwrap_or_default(), layers, digests)
}

fn described(
    execution: Execution,
    layers: Vec<PathBuf>,
    digests: Vec<Digest>,
) -> Result<Image, Error> {
    let mut argv = execution.entrypoint.unwrap_or_default();
    argv.extend(execution.cmd.unwrap_or_default());
    let env = execution.env.unwrap_or_default();
    let pair = |variable: String| {
        let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
        (name.to_owned(), value.to_owned())
    };
    let cwd = execution.working_dir.filter(|dir| dir.starts_with('/'));
    let user = user::resolve(execution.user.as_deref().unwrap_or(""), &layers)?;
    let stop_signal = execution
        .stop_signal
        .as_deref()
        .filter(|text| !text.is_empty());
    Ok(Image {
        layers,
        digests,
        argv,
        env: env.into_iter().map(pair).collect(),
        cwd: cwd.unwrap_or_else(|| "/".to_owned()),
        user,
        stop_signal: stop_signal.map(signal).transpose()?,
        labels: execution.labels.unwrap_or_default(),
    })
}

fn read(manifest: &[u8], config: &[u8]) -> Result<(Manifest, Configuration), Error> {
    let manifest: Manifest = serde_json::from_slice(manifest)
        .map_err(|error| wrong(format!("its manifest is not an image manifest: {error}")))?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, config);
    let actual = layer::digest_of(digest.as_ref());
    if actual != manifest.config.digest {
        let expected = &manifest.config.digest;
        return Err(wrong(format!(
            "its configuration has the digest {actual}, the manifest says {expected}"
        )));
    }
    let config: Configuration = serde_json::from_slice(config)
        .map_err(|error| wrong(format!("its configuration is not understood: {error}")))?;
    for (is, this) in [
        (&config.os, "linux"),
        (&config.architecture, architecture()),
    ] {
        match is {
            Some(is) if !is.is_empty() && is != this => {
                return Err(wrong(format!(
                    "it is made for {is}, this machine is {this}"
                )));
            }
            _ => {}
        }
    }
    Ok((manifest, config))
}

/// This machine in Go's words, which OCI uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `SIGINT`, `INT` or `2`.
fn signal(text: &str) -> Result<i32, Error> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let number = match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "KILL" => 9,
        "USR1" => 10,
        "USR2" => 12,
        "TERM" => 15,
        "WINCH" => 28,
        "PWR" => 30,
        other => match other.strip_prefix("RTMIN+").map(str::parse::<i32>) {
            Some(Ok(offset @ 0..=30)) => 34 + offset,
            _ => other
                .parse()
                .ok()
                .filter(|n| (1..=64).contains(n))
                .unwrap_or(0),
        },
    };
    if number == 0 {
        return Err(wrong(format!("its stop signal `{text}` is not known")));
    }
    Ok(number)
}

fn wrong(what: String) -> Error {
    Error::Image { what }
}
