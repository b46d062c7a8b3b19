//! A Dockerfile, built by whichever of buildah, podman and docker is installed, in this order: the first
//! two need no daemon, build with storage of Ward's own that goes away after, and give the same image for
//! the same source as far as the Dockerfile's commands do. Docker keeps its own storage and times.

use std::ffi::OsString;
use std::path::Path;

use crate::fingerprint::{self, Memory, Scope};
use crate::process::{Lines, Step};
use crate::work::Work;
use crate::{Error, Image, ImageSink, Outcome, Request, Result, SOURCE_DATE_EPOCH, files};

mod import;

/// The name of the image while it is in the builder's storage.
const NAME: &str = "localhost/ward/build";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Builder {
    Buildah,
    Podman,
    Docker,
}

impl Builder {
    fn program(self) -> &'static str {
        match self {
            Self::Buildah => "buildah",
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }

    /// The first that is installed.
    fn find(path: &std::ffi::OsStr) -> Option<Self> {
        let installed = |builder: &Self| {
            std::env::split_paths(path).any(|folder| folder.join(builder.program()).is_file())
        };
        [Self::Buildah, Self::Podman, Self::Docker]
            .into_iter()
            .find(installed)
    }
}

pub(crate) async fn build(
    request: &Request,
    path: &str,
    work: &Work,
    sink: &impl ImageSink,
    lines: Lines<'_>,
) -> Result<Image> {
    let dockerfile = request.dir.join(files::inside(path)?);
    if !dockerfile.is_file() {
        return Err(Error::MissingDockerfile {
            name: path.to_owned(),
            dir: request.dir.clone(),
        });
    }
    let before = fingerprint::of(request, Scope::Everything).await?;
    if let Some(digest) = Memory::recall(request, &before, sink).await? {
        let outcome = Outcome::Unchanged;
        return Ok(Image { digest, outcome });
    }
    let builder = Builder::find(&std::env::var_os("PATH").unwrap_or_default());
    let construction = Construction {
        builder: builder.ok_or(Error::NoBuilder)?,
        request,
        dockerfile: &dockerfile,
        work: work.path(),
        lines,
    };
    let image = construction.image(sink).await;
    construction.clean().await;
    let image = image?;
    Memory::keep(request, [before.clone(), before], &image.digest);
    Ok(image)
}

struct Construction<'a> {
    builder: Builder,
    request: &'a Request,
    dockerfile: &'a Path,
    work: &'a Path,
    lines: Lines<'a>,
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

impl Construction<'_> {
    async fn image(&self, sink: &impl ImageSink) -> Result<Image> {
        let temporary = self.work.join("tmp");
        std::fs::create_dir(&temporary).map_err(Error::file("make", &temporary))?;
        match self.builder {
            Builder::Docker => self.by_docker(sink).await,
            Builder::Buildah | Builder::Podman => self.by_storage(sink).await,
        }
    }

    /// Buildah and podman leave folders in both of these.
    fn env(&self) -> Vec<(&'static str, std::path::PathBuf)> {
        ["TMPDIR", "XDG_RUNTIME_DIR"]
            .map(|name| (name, self.work.join("tmp")))
            .into()
    }

    async fn run(&self, args: Vec<OsString>) -> Result<()> {
        let step = Step {
            program: self.builder.program(),
            args,
            dir: &self.request.dir,
            env: self.env(),
        };
        step.run(self.lines).await
    }

    /// Options that keep buildah and podman in a folder of Ward's. vfs and chroot need nothing of the kernel
    /// that a container or a plain user might lack.
    fn storage(&self) -> Vec<OsString> {
        let mut args = words(&["--storage-driver", "vfs"]);
        for (option, folder) in [("--root", "storage"), ("--runroot", "run")] {
            args.extend([option.into(), self.work.join(folder).into()]);
        }
        if self.builder == Builder::Podman {
            args.extend(words(&[
                "--cgroup-manager",
                "cgroupfs",
                "--events-backend",
                "none",
                "--tmpdir",
            ]));
            args.push(self.work.join("libpod").into());
        }
        args
    }

    async fn by_storage(&self, sink: &impl ImageSink) -> Result<Image> {
        let mut args = self.storage();
        args.extend(words(&[
            "build",
            "--isolation",
            "chroot",
            "--format",
            "oci",
            "--layers=false",
        ]));
        args.extend(words(&[
            "--timestamp",
            &SOURCE_DATE_EPOCH.to_string(),
            "--tag",
            NAME,
            "--file",
        ]));
        args.extend([self.dockerfile.into(), self.request.dir.clone().into()]);
        self.run(args).await?;
        let layout = self.work.join("image");
        let mut args = self.storage();
        args.extend(words(&["push", "--quiet", NAME]));
        let mut destination = OsString::from("oci:");
        destination.push(&layout);
        destination.push(":ward");
        args.push(destination);
        self.run(args).await?;
        import::layout(self.request, self.builder.program(), &layout, sink).await
    }

    fn docker_name(&self) -> String {
        let name = self.work.file_name().unwrap_or_default().to_string_lossy();
        format!("ward-build:{name}")
    }

    async fn by_docker(&self, sink: &impl ImageSink) -> Result<Image> {
        let name = self.docker_name();
        let mut args = words(&["build", "--tag", &name, "--file"]);
        args.extend([self.dockerfile.into(), self.request.dir.clone().into()]);
        self.run(args).await?;
        let archive = self.work.join("image.tar");
        let mut args = words(&["save", "--output"]);
        args.extend([archive.clone().into(), name.into()]);
        self.run(args).await?;
        import::archive(
            self.request,
            self.builder.program(),
            &archive,
            self.work,
            sink,
        )
        .await
    }

    /// Removes what the builder left. Files of a plain user's build belong to ids that only a user
    /// namespace reaches. What cannot be removed is said by whoever removes the folder.
    async fn clean(&self) {
        let root = rustix::process::geteuid().is_root();
        let args = match self.builder {
            Builder::Docker => words(&["image", "rm", "--force", &self.docker_name()]),
            Builder::Buildah | Builder::Podman if !root => {
                let folders = ["storage", "run"].map(|name| self.work.join(name).into());
                words(&["unshare", "rm", "-rf"])
                    .into_iter()
                    .chain(folders)
                    .collect()
            }
            Builder::Buildah | Builder::Podman => return,
        };
        let silent = |_| {};
        let step = Step {
            program: self.builder.program(),
            args,
            dir: self.work,
            env: self.env(),
        };
        if let Err(error) = step.run(&silent).await {
            tracing::warn!(%error, "a builder's storage was not cleaned");
        }
    }
}

#[cfg(test)]
mod tests;
