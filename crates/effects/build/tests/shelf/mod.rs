//! A sink that keeps images in memory and checks what it is given, and the requests to fill it.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use tempfile::TempDir;
use ward_build::{Error, Image, ImageSink, Request, SinkError, build};
use ward_types::id::{Digest, Name};
use ward_types::spec::{Base, ImageSource};

#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    pub(crate) manifests: Mutex<BTreeMap<Digest, Vec<u8>>>,
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(digest(&SHA256, bytes).as_ref().try_into().unwrap())
}

impl ImageSink for Shelf {
    async fn has_blob(&self, _: &str, digest: &Digest) -> Result<bool, SinkError> {
        Ok(self.blobs.lock().unwrap().contains_key(digest))
    }

    async fn has_manifest(&self, _: &str, digest: &Digest) -> Result<bool, SinkError> {
        Ok(self.manifests.lock().unwrap().contains_key(digest))
    }

    async fn put_blob(&self, _: &str, digest: &Digest, file: &Path) -> Result<(), SinkError> {
        let bytes = std::fs::read(file)?;
        assert_eq!(digest_of(&bytes), *digest);
        let before = self.blobs.lock().unwrap().insert(digest.clone(), bytes);
        assert!(before.is_none(), "a blob that was there was sent again");
        Ok(())
    }

    async fn put_manifest(
        &self,
        repository: &str,
        digest: &Digest,
        media_type: &str,
        manifest: Vec<u8>,
    ) -> Result<(), SinkError> {
        assert_eq!(repository, "returns/web");
        assert_eq!(media_type, "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(digest_of(&manifest), *digest);
        let parsed: Value = serde_json::from_slice(&manifest)?;
        let blobs = self.blobs.lock().unwrap();
        for blob in descriptors(&parsed) {
            let bytes = &blobs[&Digest::parse(blob["digest"].as_str().unwrap())?];
            assert_eq!(blob["size"].as_u64(), Some(bytes.len() as u64));
        }
        self.manifests
            .lock()
            .unwrap()
            .insert(digest.clone(), manifest);
        Ok(())
    }
}

fn descriptors(manifest: &Value) -> impl Iterator<Item = &Value> {
    manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&manifest["config"]])
}

impl Shelf {
    fn blob(&self, descriptor: &Value) -> Vec<u8> {
        let digest = Digest::parse(descriptor["digest"].as_str().unwrap()).unwrap();
        self.blobs.lock().unwrap()[&digest].clone()
    }

    fn manifest(&self, image: &Image) -> Value {
        serde_json::from_slice(&self.manifests.lock().unwrap()[&image.digest]).unwrap()
    }

    /// The configuration of an image.
    pub(crate) fn config(&self, image: &Image) -> Value {
        serde_json::from_slice(&self.blob(&self.manifest(image)["config"])).unwrap()
    }

    /// The layers of an image, uncompressed tar files.
    pub(crate) fn layers(&self, image: &Image) -> Vec<Vec<u8>> {
        let manifest = self.manifest(image);
        manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| self.blob(layer))
            .collect()
    }

    /// Everything in an image: `drwxr-xr-x`-like kind and mode, path, target of a link.
    pub(crate) fn listing(&self, image: &Image) -> BTreeSet<String> {
        let mut listing = BTreeSet::new();
        for layer in self.layers(image) {
            for entry in tar::Archive::new(&layer[..]).entries().unwrap() {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                assert_eq!(header.mtime().unwrap(), ward_build::SOURCE_DATE_EPOCH);
                let kind = match header.entry_type() {
                    tar::EntryType::Directory => 'd',
                    tar::EntryType::Symlink => 'l',
                    _ => 'f',
                };
                let path = entry.path().unwrap().display().to_string();
                let target = entry
                    .link_name()
                    .unwrap()
                    .map(|target| format!(" -> {}", target.display()));
                listing.insert(format!(
                    "{kind}{:o} {path}{}",
                    header.mode().unwrap(),
                    target.unwrap_or_default()
                ));
            }
        }
        listing
    }

    /// Unpacks an image.
    pub(crate) fn unpack(&self, image: &Image, to: &Path) {
        for layer in self.layers(image) {
            tar::Archive::new(&layer[..]).unpack(to).unwrap();
        }
    }
}

/// A stack's folder and the folder of its builds.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) cache: TempDir,
    pub(crate) shelf: Shelf,
    pub(crate) lines: Mutex<Vec<String>>,
}

impl Bench {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
            cache: tempfile::tempdir().unwrap(),
            shelf: Shelf::default(),
            lines: Mutex::default(),
        };
        for (name, text) in files {
            bench.write(name, text);
        }
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn request(&self, source: ImageSource) -> Request {
        Request {
            service: Name::parse("web").unwrap(),
            source,
            dir: self.dir.path().to_owned(),
            cache: self.cache.path().join("returns"),
            repository: "returns/web".into(),
        }
    }

    pub(crate) async fn build(&self, source: ImageSource) -> Result<Image, Error> {
        let image = build(&self.request(source), &self.shelf, &|line| {
            assert_eq!(line.service.as_str(), "web");
            self.lines.lock().unwrap().push(line.text);
        })
        .await;
        self.assert_tidy();
        image
    }

    /// No passing file of a build is left.
    pub(crate) fn assert_tidy(&self) {
        let left: Vec<_> = std::fs::read_dir(self.cache.path().join("returns"))
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("work-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    pub(crate) fn output(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

pub(crate) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(crate) fn command(command: &[&str], files: &[&str]) -> ImageSource {
    ImageSource::Command {
        command: strings(command),
        files: strings(files),
        run: strings(&["./hello", "--loud"]),
        base: Base::Host,
    }
}
