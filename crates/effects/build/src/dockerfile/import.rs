//! Images that a builder wrote: an OCI image layout, whose manifest is taken as it is, or docker's archive,
//! which has none that could be taken. Every digest is computed again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ward_types::id::Digest;

use crate::image::{self, MANIFEST};
use crate::layer::{Layer, digest_of_reader};
use crate::work::blocking;
use crate::{Error, Image, ImageSink, Request, Result};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: Digest,
}

/// `index.json` of an OCI image layout.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An entry of `manifest.json` of docker's archive.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: PathBuf,
    layers: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// What reads a builder's image, and names it in errors.
struct Reader {
    builder: &'static str,
    folder: PathBuf,
}

/// Sends the one image of an OCI image layout.
pub(crate) async fn layout(
    request: &Request,
    builder: &'static str,
    folder: &Path,
    sink: &impl ImageSink,
) -> Result<Image> {
    let folder = folder.to_owned();
    let reader = Reader { builder, folder };
    let (manifest, blobs) = blocking(move || reader.layout()).await?;
    image::send(request, manifest, &blobs.iter().collect::<Vec<_>>(), sink).await
}

/// Sends the one image of docker's archive.
pub(crate) async fn archive(
    request: &Request,
    builder: &'static str,
    archive: &Path,
    work: &Path,
    sink: &impl ImageSink,
) -> Result<Image> {
    let (archive, folder) = (archive.to_owned(), work.join("archive"));
    let (config, layers) = blocking(move || {
        let file = File::open(&archive).map_err(Error::file("read", &archive))?;
        let unpacked = tar::Archive::new(file).unpack(&folder);
        unpacked.map_err(Error::file("unpack", &archive))?;
        Reader { builder, folder }.archive()
    })
    .await?;
    image::push_configured(request, &config, &layers, work, sink).await
}

impl Reader {
    /// The manifest of an OCI image layout and its blobs.
    fn layout(&self) -> Result<(Vec<u8>, Vec<Layer>)> {
        let index: Index = self.parse(&self.read(Path::new("index.json"))?)?;
        let [descriptor] = &index.manifests[..] else {
            return Err(self.bad(format!("it holds {} images", index.manifests.len())));
        };
        if descriptor.media_type.as_deref() != Some(MANIFEST) {
            return Err(self.bad("it is for several platforms".into()));
        }
        let manifest = self.blob(&descriptor.digest)?;
        let bytes = fs::read(&manifest.file).map_err(Error::file("read", &manifest.file))?;
        let parsed: Manifest = self.parse(&bytes)?;
        let blobs = parsed.layers.iter().chain([&parsed.config]);
        let blobs = blobs
            .map(|blob| self.blob(&blob.digest))
            .collect::<Result<_>>()?;
        Ok((bytes, blobs))
    }

    /// The configuration in docker's archive and its layers.
    fn archive(&self) -> Result<(Vec<u8>, Vec<Layer>)> {
        let saved: Vec<Saved> = self.parse(&self.read(Path::new("manifest.json"))?)?;
        let [saved] = &saved[..] else {
            return Err(self.bad(format!("it holds {} images", saved.len())));
        };
        let config = self.read(&saved.config)?;
        let expected = self.parse::<Config>(&config)?.rootfs.diff_ids;
        let layers = saved.layers.iter().map(|path| self.layer(path));
        let layers: Vec<Layer> = layers.collect::<Result<_>>()?;
        if layers.iter().map(|layer| &layer.digest).ne(&expected) {
            let what = "its layers are not those that its configuration names";
            return Err(self.bad(what.into()));
        }
        Ok((config, layers))
    }

    fn bad(&self, what: String) -> Error {
        Error::NotAnImage {
            builder: self.builder.to_owned(),
            what,
        }
    }

    fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|error| self.bad(error.to_string()))
    }

    /// A file's real place, which lies inside the folder.
    fn place(&self, name: &Path) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let real = path.canonicalize().map_err(Error::file("read", &path))?;
        let folder = self
            .folder
            .canonicalize()
            .map_err(Error::file("read", &self.folder))?;
        match real.starts_with(folder) {
            true => Ok(real),
            false => Err(self.bad(format!("{} lies outside it", name.display()))),
        }
    }

    fn read(&self, name: &Path) -> Result<Vec<u8>> {
        let path = self.place(name)?;
        fs::read(&path).map_err(Error::file("read", &path))
    }

    fn layer(&self, name: &Path) -> Result<Layer> {
        let file = self.place(name)?;
        let hashed = File::open(&file).and_then(digest_of_reader);
        let (digest, size) = hashed.map_err(Error::file("read", &file))?;
        Ok(Layer { file, digest, size })
    }

    fn blob(&self, digest: &Digest) -> Result<Layer> {
        let blob = self.layer(&Path::new("blobs/sha256").join(digest.hex()))?;
        if blob.digest == *digest {
            return Ok(blob);
        }
        Err(self.bad(format!(
            "the blob {} has the digest {}",
            digest.short(),
            blob.digest.short()
        )))
    }
}
