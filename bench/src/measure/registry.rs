//! Push and pull of a large image by skopeo, against Debian's docker-registry, in turn.
//!
//! The image has four layers of random bytes, gzipped without compression so that skopeo sends them as they are.
//! It is another one each time, because skopeo and registries remember what they have seen. Both registries run
//! on the loopback device over plain HTTP and store in the same file system; what was written before is on disk
//! before a clock starts.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Measured, blocking};
use crate::error::{Error, doing};
use crate::report::{Bar, informs, say};
use crate::sample::Sample;
use crate::ward::{Ward, address};
use crate::workshop::Workshop;

mod image;

const PUSH: Bar = Bar {
    name: "registry: push of a 1 GB image, Ward / docker-registry, medians",
    unit: "ratio",
    most: 1.0,
};
const PULL: Bar = Bar {
    name: "registry: pull of a 1 GB image, Ward / docker-registry, medians",
    unit: "ratio",
    most: 1.0,
};
pub(super) const BARS: &[Bar] = &[PUSH, PULL];

const PEER: &str = "/usr/bin/docker-registry";
const LAYERS: u64 = 4;

pub(super) async fn measure(workshop: &Workshop, bytes: u64, copies: u32) -> Measured {
    for (program, path) in [("docker-registry", PEER), ("skopeo", "/usr/bin/skopeo")] {
        if !Path::new(path).exists() {
            return Err(Error::Missing {
                program,
                package: program,
            });
        }
    }
    let folder = workshop.scratch("registry-")?;
    let ward = Ward::new(
        workshop.exe(),
        folder.path().join("ward"),
        folder.path().to_owned(),
    );
    ward.up_alone().await?;
    let peer = Peer::start(&folder.path().join("peer")).await?;
    let registries = [
        address(&ward.status().await?.server.registry)?,
        peer.address,
    ];
    let mut times: [Times; 2] = Default::default();
    for turn in 0..copies.max(3) {
        let layout = folder.path().join("image");
        let place = layout.clone();
        doing(
            "make an image",
            blocking(move || image::make(&place, LAYERS, bytes / LAYERS)).await,
        )?;
        let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        for one in order {
            times[one]
                .copy(&layout, registries[one], turn, folder.path())
                .await?;
        }
        let [ours, theirs] = &times;
        say(&format!(
            "  pushed in {}, pulled in {} (Ward, docker-registry)",
            last(&ours.push, &theirs.push),
            last(&ours.pull, &theirs.pull)
        ));
        doing("remove an image", fs::remove_dir_all(&layout))?;
    }
    drop(peer);
    ward.stop().await?;
    let [ours, theirs] = &times;
    let mut rows = vec![
        PUSH.row(ratio(&ours.push, &theirs.push)),
        PULL.row(ratio(&ours.pull, &theirs.pull)),
    ];
    for (name, times) in [("Ward", ours), ("docker-registry", theirs)] {
        rows.push(informs(
            format!("registry: push, {name}, median"),
            times.push.median(),
            "s",
        ));
        rows.push(informs(
            format!("registry: pull, {name}, median"),
            times.pull.median(),
            "s",
        ));
    }
    let note = format!(
        "{} pushes and pulls of each, in turn, by `skopeo copy` of a new image of {:.0} MB of random bytes in {LAYERS} \
         layers each time.",
        ours.push.len(),
        bytes as f64 / 1e6
    );
    Ok((rows, vec![note]))
}

fn ratio(ours: &Sample, theirs: &Sample) -> Option<f64> {
    Some(ours.median()? / theirs.median()?)
}

fn last(ours: &Sample, theirs: &Sample) -> String {
    let last = |sample: &Sample| sample.values().last().unwrap_or(f64::NAN);
    format!("{:.2} s, {:.2} s", last(ours), last(theirs))
}

/// What one registry took, in seconds.
#[derive(Default)]
struct Times {
    push: Sample,
    pull: Sample,
}

impl Times {
    async fn copy(
        &mut self,
        layout: &Path,
        registry: SocketAddr,
        turn: u32,
        folder: &Path,
    ) -> Result<(), Error> {
        let there = format!("docker://{registry}/bench/image-{turn}:latest");
        let here = format!("oci:{}:latest", layout.display());
        self.push.add(
            skopeo(&["--dest-tls-verify=false", &here, &there])
                .await?
                .as_secs_f64(),
        );
        let back = folder.join("pulled");
        self.pull.add(
            skopeo(&[
                "--src-tls-verify=false",
                &there,
                &format!("dir:{}", back.display()),
            ])
            .await?
            .as_secs_f64(),
        );
        doing("remove what was pulled", fs::remove_dir_all(&back))
    }
}

/// Copies an image; how long it took.
async fn skopeo(arguments: &[&str]) -> Result<Duration, Error> {
    blocking(rustix::fs::sync).await;
    let mut command = Command::new("/usr/bin/skopeo");
    command
        .args(["copy", "--quiet"])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let started = Instant::now();
    let output = doing("run skopeo", command.output().await)?;
    let took = started.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Command {
        line: format!("skopeo copy {}", arguments.join(" ")),
        how: output.status.to_string(),
        output: said,
    })
}

/// Debian's docker-registry. Dropping it stops it; its folder is the caller's.
struct Peer {
    address: SocketAddr,
    _process: Child,
}

impl Peer {
    async fn start(folder: &Path) -> Result<Self, Error> {
        doing("make the peer's folder", fs::create_dir_all(folder))?;
        let config: PathBuf = folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
            folder.join("data").display()
        );
        doing("write the peer's configuration", fs::write(&config, text))?;
        let mut command = Command::new(PEER);
        command
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = doing("start docker-registry", command.kill_on_drop(true).spawn())?;
        let lines = process
            .stderr
            .take()
            .ok_or_else(|| Error::Unexpected("docker-registry has no output".to_owned()))?;
        let mut lines = BufReader::new(lines).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(address) = listening(&line) {
                // Its log must be read on, or it stops when the pipe is full.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self {
                    address,
                    _process: process,
                });
            }
        }
        Err(Error::Unexpected(
            "docker-registry ended before it listened".to_owned(),
        ))
    }
}

/// The address in its line `… msg="listening on 127.0.0.1:40917" …`.
fn listening(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split(|c: char| c == '"' || c.is_whitespace())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_address_is_in_its_log() {
        let line = r#"time="2026-11-21T01:00:00Z" level=info msg="listening on 127.0.0.1:40917" go.version=go1.19.8"#;
        assert_eq!(listening(line), Some(([127, 0, 0, 1], 40917).into()));
        assert_eq!(listening("redis not configured"), None);
    }
}
