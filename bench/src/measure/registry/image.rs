//! An image of random bytes, as an OCI image layout (image specification 1.1, image-layout.md).

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// Makes a layout with an image `latest` of so many layers of so many random bytes each.
pub(super) fn make(folder: &Path, layers: u64, bytes: u64) -> io::Result<()> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let (mut described, mut diff_ids) = (Vec::new(), Vec::new());
    for number in 0..layers {
        let (descriptor, diff_id) = layer(&blobs, number, bytes)?;
        described.push(descriptor);
        diff_ids.push(diff_id);
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids }
    });
    let config = document(&blobs, &config, "application/vnd.oci.image.config.v1+json")?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": described });
    let mut manifest = document(&blobs, &manifest, media_type)?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    fs::write(
        folder.join("index.json"),
        json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string(),
    )
}

/// Writes a layer with one file; its descriptor, and the digest of its tar archive.
fn layer(blobs: &Path, number: u64, bytes: u64) -> io::Result<(Value, String)> {
    let passing = blobs.with_file_name("layer");
    let blob = Hashed::new(BufWriter::with_capacity(1 << 20, File::create(&passing)?));
    let archive = Hashed::new(GzEncoder::new(blob, Compression::none()));
    let mut builder = tar::Builder::new(archive);
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    let content = Random::new()?.take(bytes);
    builder.append_data(&mut header, format!("random-{number}"), content)?;
    let (gzip, diff_id, _) = builder.into_inner()?.end();
    let (mut file, digest, size) = gzip.finish()?.end();
    file.flush()?;
    fs::rename(&passing, blobs.join(&digest["sha256:".len()..]))?;
    let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    Ok((
        json!({ "mediaType": media_type, "digest": digest, "size": size }),
        diff_id,
    ))
}

/// Writes a document; its descriptor.
fn document(blobs: &Path, value: &Value, media_type: &str) -> io::Result<Value> {
    let mut hashed = Hashed::new(Vec::new());
    hashed.write_all(value.to_string().as_bytes())?;
    let (bytes, digest, size) = hashed.end();
    fs::write(blobs.join(&digest["sha256:".len()..]), bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": size }))
}

/// Hashes and counts what passes through.
struct Hashed<W> {
    inner: W,
    hash: Context,
    size: u64,
}

impl<W> Hashed<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Context::new(&SHA256),
            size: 0,
        }
    }

    fn end(self) -> (W, String, u64) {
        let digest = self.hash.finish();
        let hex = hex::encode(digest);
        (self.inner, format!("sha256:{hex}"), self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Endless bytes that do not repeat (xorshift64*, seeded by the kernel): nobody can have seen them before.
struct Random(u64);

impl Random {
    fn new() -> io::Result<Self> {
        let mut seed = [0; 8];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        Ok(Self(u64::from_le_bytes(seed) | 1))
    }
}

impl Read for Random {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for piece in buffer.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
        Ok(buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_holds_what_its_manifest_names_and_never_the_same_twice() {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("a"), 4, 10_000).unwrap();
        make(&dir.path().join("b"), 4, 10_000).unwrap();
        let manifest = |name: &str| -> Value {
            let folder = dir.path().join(name);
            let index: Value =
                serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
            let digest = index["manifests"][0]["digest"]
                .as_str()
                .unwrap()
                .replace(':', "/");
            serde_json::from_slice(&fs::read(folder.join("blobs").join(digest)).unwrap()).unwrap()
        };
        let (a, b) = (manifest("a"), manifest("b"));
        assert_eq!(a["layers"].as_array().unwrap().len(), 4);
        for layer in a["layers"].as_array().unwrap() {
            let digest = layer["digest"].as_str().unwrap();
            let blob = fs::read(dir.path().join("a/blobs").join(digest.replace(':', "/"))).unwrap();
            assert_eq!(layer["size"], blob.len());
            let mut hashed = Hashed::new(io::sink());
            hashed.write_all(&blob).unwrap();
            assert_eq!(hashed.end().1, digest);
            assert!(blob.len() > 10_000, "random bytes cannot be made smaller");
            assert!(!b["layers"].as_array().unwrap().contains(layer));
        }
    }
}
