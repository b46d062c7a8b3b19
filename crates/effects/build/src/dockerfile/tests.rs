use std::path::Path;
use std::process::Command;

use ward_types::id::{Digest, Name};
use ward_types::spec::ImageSource;

use super::*;
use crate::SinkError;

/// A sink that takes everything and has nothing.
struct Anywhere;

impl ImageSink for Anywhere {
    async fn has_blob(&self, _: &str, _: &Digest) -> std::result::Result<bool, SinkError> {
        Ok(false)
    }
    async fn has_manifest(&self, _: &str, _: &Digest) -> std::result::Result<bool, SinkError> {
        Ok(false)
    }
    async fn put_blob(
        &self,
        _: &str,
        _: &Digest,
        file: &Path,
    ) -> std::result::Result<(), SinkError> {
        std::fs::metadata(file)?;
        Ok(())
    }
    async fn put_manifest(
        &self,
        _: &str,
        _: &Digest,
        _: &str,
        _: Vec<u8>,
    ) -> std::result::Result<(), SinkError> {
        Ok(())
    }
}

#[test]
fn the_first_builder_that_is_installed_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().as_os_str();
    assert_eq!(Builder::find(path), None);
    let order = [Builder::Docker, Builder::Podman, Builder::Buildah];
    for builder in order {
        std::fs::write(dir.path().join(builder.program()), "").unwrap();
        assert_eq!(Builder::find(path), Some(builder));
    }
}

fn request(dir: &Path) -> Request {
    std::fs::write(dir.join("Dockerfile"), "FROM scratch\nCOPY hello /hello\n").unwrap();
    std::fs::write(dir.join("hello"), "hello").unwrap();
    Request {
        service: Name::parse("web").unwrap(),
        source: ImageSource::Dockerfile {
            path: "Dockerfile".into(),
        },
        dir: dir.to_owned(),
        cache: dir.join("cache"),
        repository: "returns/web".into(),
    }
}

async fn built_by(builder: Builder) -> Image {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    let work = Work::begin(&request.cache).unwrap();
    let construction = Construction {
        builder,
        request: &request,
        dockerfile: &dir.path().join("Dockerfile"),
        work: work.path(),
        lines: &|_| {},
    };
    let image = construction.image(&Anywhere).await.unwrap();
    construction.clean().await;
    image
}

#[tokio::test]
async fn buildah_and_podman_give_the_same_image() {
    let (one, other) = (
        built_by(Builder::Buildah).await,
        built_by(Builder::Podman).await,
    );
    assert_eq!(one, other);
}

/// Docker's archive, as docker and podman save it: written by buildah, which needs no daemon.
#[tokio::test]
async fn dockers_archive_is_read_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(dir.path());
    let work = Work::begin(&request.cache).unwrap();
    let archive = work.path().join("image.tar");
    let buildah = |args: &[&str]| {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(dir.path().join("storage"));
        command
            .arg("--runroot")
            .arg(dir.path().join("run"))
            .args(args);
        let output = command.current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    buildah(&["build", "--isolation", "chroot", "--tag", "x", "."]);
    buildah(&[
        "push",
        "x",
        &format!("docker-archive:{}:x:1", archive.display()),
    ]);
    let imported = import::archive(&request, "docker", &archive, work.path(), &Anywhere).await;
    assert_eq!(imported.unwrap().outcome, Outcome::Made);

    let folder = work.path().join("archive");
    let layer = std::fs::read_dir(&folder)
        .unwrap()
        .map(|item| item.unwrap().path())
        .find(|path| {
            path.extension().is_some_and(|extension| extension == "tar") && !path.is_symlink()
        });
    let layer = layer.unwrap();
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes[600] ^= 1;
    // The archive made it read-only.
    std::fs::remove_file(&layer).unwrap();
    std::fs::write(&layer, bytes).unwrap();
    let mut again = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    again.follow_symlinks(false);
    again.append_dir_all(".", &folder).unwrap();
    again.finish().unwrap();
    let imported = import::archive(&request, "docker", &archive, work.path(), &Anywhere).await;
    let error = imported.unwrap_err().to_string();
    assert!(
        error.contains("its layers are not those that its configuration names"),
        "{error}"
    );
}
