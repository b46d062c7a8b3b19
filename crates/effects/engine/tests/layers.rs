//! Unpacking layers: what images really hold, and what strangers put into them.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};
use tempfile::TempDir;
use ward_engine::{Engine, Error, Image, ImageUser, LayerError, Options};
use ward_types::id::Digest;
use ward_types::time::Timestamp;

fn sha256(bytes: &[u8]) -> Digest {
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    Digest::from_sha256(sum.as_ref().try_into().unwrap())
}

/// An archive, entry by entry, without the checks that a well-meaning archiver makes.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn entry(self, kind: EntryType, path: &str, link: &str, mode: u32, bytes: &[u8]) -> Self {
        self.sized(kind, path, link, mode, bytes, bytes.len() as u64)
    }

    fn sized(
        mut self,
        kind: EntryType,
        path: &str,
        link: &str,
        mode: u32,
        bytes: &[u8],
        size: u64,
    ) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, bytes: &str) -> Self {
        self.entry(EntryType::Regular, path, "", 0o644, bytes.as_bytes())
    }

    fn folder(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", 0o755, b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, 0o777, b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, 0o644, b"")
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layer as a blob, and the digest of its archive.
struct Layer {
    blob: Vec<u8>,
    diff_id: Digest,
}

impl Layer {
    fn plain(archive: Archive) -> Self {
        let archive = archive.finish();
        Self {
            diff_id: sha256(&archive),
            blob: archive,
        }
    }

    fn gzip(archive: Archive) -> Self {
        let archive = archive.finish();
        Self {
            diff_id: sha256(&archive),
            blob: gzip(&archive),
        }
    }
}

struct World {
    home: TempDir,
    engine: Engine,
}

impl World {
    async fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap()).await
    }

    async fn at(home: TempDir) -> Self {
        let engine = Engine::open(Options {
            home: home.path().to_owned(),
            exe: PathBuf::from("/bin/false"),
            clock: || Timestamp(1),
        });
        Self {
            engine: engine.await.unwrap(),
            home,
        }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.home.path().join(format!("blob-{}", digest.hex()))
    }

    fn unpack_with(&self, layers: &[Layer], execution: &str) -> Result<Image, Error> {
        let listed: Vec<(Digest, &Digest)> = layers
            .iter()
            .map(|layer| {
                let digest = sha256(&layer.blob);
                // Threads may be reading it.
                if fs::read(self.blob(&digest)).ok().as_ref() != Some(&layer.blob) {
                    fs::write(self.blob(&digest), &layer.blob).unwrap();
                }
                (digest, &layer.diff_id)
            })
            .collect();
        self.unpack_listed(&listed, execution)
    }

    fn unpack_listed(&self, layers: &[(Digest, &Digest)], execution: &str) -> Result<Image, Error> {
        let diff_ids: Vec<&str> = layers.iter().map(|(_, diff_id)| diff_id.as_str()).collect();
        let config = format!(
            r#"{{"os":"linux","config":{execution},"rootfs":{{"type":"layers","diff_ids":{}}}}}"#,
            serde_json::to_string(&diff_ids).unwrap()
        );
        let blobs: Vec<_> = layers
            .iter()
            .map(|(digest, _)| serde_json::json!({ "digest": digest }))
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "config": { "digest": sha256(config.as_bytes()) },
            "layers": blobs,
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        self.engine
            .unpack(&manifest, config.as_bytes(), &|digest| self.blob(digest))
    }

    fn one(&self, archive: Archive) -> PathBuf {
        let image = self.unpack_with(&[Layer::gzip(archive)], "{}").unwrap();
        image.layers.into_iter().next().unwrap()
    }

    fn refused(&self, archive: Archive) -> LayerError {
        self.refused_layer(Layer::gzip(archive))
    }

    /// Nothing of a layer that is refused stays behind.
    fn refused_layer(&self, layer: Layer) -> LayerError {
        let error = self.unpack_with(&[layer], "{}").unwrap_err();
        let left = fs::read_dir(self.home.path().join("layers"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "{error:?} left something");
        match error {
            Error::Layer { source, .. } => source,
            other => panic!("{other}"),
        }
    }
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn files_folders_and_links_are_as_in_the_archive() {
    let world = World::new().await;
    let layer = world.one(
        Archive::default()
            .folder("./")
            .entry(EntryType::Directory, "./closed/", "", 0o555, b"")
            .file("./closed/in", "in a folder nobody may write to")
            .entry(EntryType::Regular, "bin/app", "", 0o4755, b"#!")
            .link("bin/same", "bin/app")
            .symlink("lib", "usr/lib")
            .file("usr/lib/x", "x")
            .file("lib/y", "through a link of its own")
            .entry(EntryType::Fifo, "pipe", "", 0o644, b"")
            .entry(EntryType::Char, "device", "", 0o644, b""),
    );
    let mode = |name: &str| fs::symlink_metadata(layer.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("closed"), mode("bin/app"), mode("closed/in")),
        (0o755, 0o755, 0o644)
    );
    assert_eq!(mode("") & 0o755, 0o755);
    assert_eq!(fs::metadata(layer.join("bin/app")).unwrap().nlink(), 2);
    assert_eq!(
        fs::metadata(layer.join("bin/app")).unwrap().mtime(),
        1_000_000_000
    );
    assert_eq!(
        fs::metadata(layer.join("closed")).unwrap().mtime(),
        1_000_000_000
    );
    assert_eq!(
        fs::read_link(layer.join("lib")).unwrap(),
        Path::new("usr/lib")
    );
    assert_eq!(text(layer.join("usr/lib/y")), "through a link of its own");
    assert!(!layer.join("pipe").exists() && !layer.join("device").exists());
}

#[tokio::test]
async fn plain_gzip_and_zstd_give_the_same() {
    let world = World::new().await;
    let archive = || Archive::default().file("a", "the same").finish();
    let diff_id = sha256(&archive());
    let zstd = zstd::encode_all(archive().as_slice(), 3).unwrap();
    for blob in [archive(), gzip(&archive()), zstd] {
        let layer = Layer {
            blob,
            diff_id: diff_id.clone(),
        };
        let image = world.unpack_with(&[layer], "{}").unwrap();
        assert_eq!(text(image.layers[0].join("a")), "the same");
    }
}

#[tokio::test]
async fn whiteouts_become_what_overlayfs_understands() {
    let world = World::new().await;
    let layer = world.one(
        Archive::default()
            .file("etc/.wh.motd", "")
            .file("var/.wh..wh..opq", "")
            .file("var/new", "new")
            .file(".wh.replaced", "")
            .file("replaced/in", "new too")
            .file("kept/in", "kept")
            .file(".wh.kept", "")
            .file(".wh..wh.aufs", "a note of an old file system"),
    );
    let hidden = fs::symlink_metadata(layer.join("etc/motd")).unwrap();
    assert!(hidden.file_type().is_char_device() && hidden.rdev() == 0);
    let opaque = |name: &str| {
        let mut value = [0; 4];
        let path = layer.join(name);
        rustix::fs::lgetxattr(path, "user.overlay.opaque", value.as_mut_slice()).is_ok()
    };
    assert!(opaque("var") && opaque("replaced") && opaque("kept") && !opaque("etc"));
    assert_eq!(
        (text(layer.join("replaced/in")), text(layer.join("kept/in"))),
        ("new too".into(), "kept".into())
    );
    assert!(!layer.join(".wh..wh.aufs").exists());
}

#[tokio::test]
async fn an_absolute_path_ends_inside() {
    let world = World::new().await;
    let layer = world.one(Archive::default().file("/etc/ward-layer-test", "inside"));
    assert_eq!(text(layer.join("etc/ward-layer-test")), "inside");
    assert!(!Path::new("/etc/ward-layer-test").exists());
}

#[tokio::test]
async fn a_path_that_climbs_is_refused() {
    let world = World::new().await;
    for path in ["../out", "a/../../out", "/..", "a/.."] {
        let error = world.refused(Archive::default().folder("a").file(path, "out"));
        assert!(
            matches!(error, LayerError::Outside { .. }),
            "{path}: {error}"
        );
    }
    assert!(!world.home.path().join("layers/out").exists());
}

#[tokio::test]
async fn writing_through_a_symbolic_link_ends_inside() {
    let world = World::new().await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    // Absolute and climbing links are followed as the instance would: from the layer's own root.
    let layer = world.one(
        Archive::default()
            .folder("real")
            .symlink("absolute", "/real")
            .file("absolute/a", "inside")
            .symlink("climbing", "../../../../real")
            .file("climbing/b", "inside"),
    );
    assert_eq!(
        (text(layer.join("real/a")), text(layer.join("real/b"))),
        ("inside".into(), "inside".into())
    );
    // One that leads nowhere inside leads nowhere at all.
    let error = World::new().await.refused(
        Archive::default()
            .symlink("x", target)
            .file("x/evil", "outside"),
    );
    assert!(matches!(error, LayerError::Entry { .. }), "{error}");
    // And a link is replaced by a file of its name, not written through.
    let layer = World::new().await;
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let layer_dir = layer.one(
        Archive::default()
            .symlink("x", victim.to_str().unwrap())
            .file("x", "a file of its own"),
    );
    assert_eq!(text(layer_dir.join("x")), "a file of its own");
    assert_eq!(text(&victim), "untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_hard_link_reaches_nothing_outside() {
    let world = World::new().await;
    let error = world.refused(Archive::default().link("passwd", "/etc/passwd"));
    assert!(matches!(error, LayerError::Entry { .. }), "{error}");
    let error = world.refused(Archive::default().link("passwd", "../../../../../../etc/passwd"));
    assert!(matches!(error, LayerError::Outside { .. }), "{error}");
    let through = Archive::default()
        .symlink("etc", "/etc")
        .link("passwd", "etc/passwd");
    assert!(matches!(world.refused(through), LayerError::Entry { .. }));
    // A link to a symbolic link is one more symbolic link, never a link to what that names.
    let layer = world.one(
        Archive::default()
            .symlink("a", "/etc/passwd")
            .link("b", "a")
            .link("a", "b"),
    );
    assert!(fs::symlink_metadata(layer.join("b")).unwrap().is_symlink());
}

#[tokio::test]
async fn huge_sizes_are_told_before_anything_is_written() {
    let world = World::new().await;
    let kind = EntryType::Regular;
    let archive = Archive::default().sized(kind, "huge", "", 0o644, b"short", 1 << 60);
    let error = world.refused(archive);
    assert!(
        matches!(error, LayerError::NoRoom { size, .. } if size == 1 << 60),
        "{error}"
    );
    // A size that the disk has room for and the archive does not hold.
    let archive = Archive::default().sized(kind, "long", "", 0o644, b"short", 1 << 20);
    assert!(matches!(world.refused(archive), LayerError::Archive(_)));
}

#[tokio::test]
async fn a_name_of_many_megabytes_is_not_held_in_memory() {
    let world = World::new().await;
    let name = vec![b'a'; 8 << 20];
    let archive = Archive::default()
        .entry(EntryType::GNULongName, "././@LongLink", "", 0o644, &name)
        .file("a", "");
    let error = world.refused(archive);
    assert!(
        matches!(&error, LayerError::Archive(why) if why.to_string().contains("megabyte")),
        "{error:?}"
    );
    // While names that are only long are names.
    let long = format!("{}/{}", "d".repeat(200), "n".repeat(200));
    let bytes = format!("{long}\0");
    let layer = world.one(
        Archive::default()
            .entry(
                EntryType::GNULongName,
                "././@LongLink",
                "",
                0o644,
                bytes.as_bytes(),
            )
            .file("ignored", "long"),
    );
    assert_eq!(text(layer.join(long)), "long");
}

#[tokio::test]
async fn a_damaged_blob_is_told_by_both_digests() {
    let world = World::new().await;
    let layer = Layer::gzip(Archive::default().file("a", &"text ".repeat(10_000)));
    let named = sha256(&layer.blob);
    let mut bytes = layer.blob.clone();
    bytes.truncate(bytes.len() / 2);
    let actual = sha256(&bytes);
    fs::write(world.blob(&named), &bytes).unwrap();
    let error = world
        .unpack_listed(&[(named.clone(), &layer.diff_id)], "{}")
        .unwrap_err();
    let Error::Layer { source, .. } = error else {
        panic!("{error}")
    };
    let said = source.to_string();
    assert!(
        said.contains(named.as_str()) && said.contains(actual.as_str()),
        "{said}"
    );
    assert_eq!(
        fs::read_dir(world.home.path().join("layers"))
            .unwrap()
            .count(),
        0
    );

    // Cut short before it was named: the digest is right and the archive is not.
    let diff_id = layer.diff_id.clone();
    let error = world.refused_layer(Layer {
        blob: bytes,
        diff_id,
    });
    assert!(matches!(error, LayerError::Archive(_)), "{error}");
    // And the whole one still unpacks afterwards.
    assert!(world.unpack_with(&[layer], "{}").is_ok());
}

#[tokio::test]
async fn another_archive_than_the_configuration_says_is_refused() {
    let world = World::new().await;
    let right = Layer::gzip(Archive::default().file("a", "a"));
    let wrong = sha256(b"something else");
    let blob = right.blob.clone();
    let error = world.refused_layer(Layer {
        blob: blob.clone(),
        diff_id: wrong.clone(),
    });
    let said = error.to_string();
    assert!(
        said.contains(wrong.as_str()) && said.contains(right.diff_id.as_str()),
        "{said}"
    );
    // Also when the layer is there already.
    world.unpack_with(&[right], "{}").unwrap();
    let error = world
        .unpack_with(
            &[Layer {
                blob,
                diff_id: wrong,
            }],
            "{}",
        )
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Layer {
            source: LayerError::DiffId { .. },
            ..
        }
    ));
}

#[tokio::test]
async fn layers_are_shared_by_calls_at_once_and_listed_once() {
    let world = World::new().await;
    let upper = || Layer::gzip(Archive::default().file("a", "upper"));
    let lower = || Layer::plain(Archive::default().file("a", "lower"));
    for layer in [upper(), lower()] {
        fs::write(world.blob(&sha256(&layer.blob)), &layer.blob).unwrap();
    }
    let images: Vec<Image> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    world
                        .unpack_with(&[upper(), lower(), upper()], "{}")
                        .unwrap()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for image in &images {
        let texts: Vec<String> = image
            .layers
            .iter()
            .map(|layer| text(layer.join("a")))
            .collect();
        assert_eq!(texts, ["lower", "upper"]);
        assert_eq!(image.digests.len(), 3);
    }
}

#[tokio::test]
async fn an_image_says_how_it_is_run() {
    let world = World::new().await;
    let accounts = || {
        Layer::gzip(
            Archive::default()
                .file(
                    "etc/passwd",
                    "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n",
                )
                .file("etc/group", "root:x:0:\nstaff:x:50:\n"),
        )
    };
    let image = world
        .unpack_with(
            &[accounts()],
            r#"{"Env":["A=b=c","EMPTY="],"Entrypoint":["/app"],"Cmd":["-x"],"WorkingDir":"/srv",
                "User":"app:staff","StopSignal":"SIGINT","Labels":{"a":"b"},"ExposedPorts":null}"#,
        )
        .unwrap();
    assert_eq!(image.argv, ["/app", "-x"]);
    assert_eq!(
        (image.env["A"].as_str(), image.env["EMPTY"].as_str()),
        ("b=c", "")
    );
    assert_eq!((image.cwd.as_str(), image.stop_signal), ("/srv", Some(2)));
    assert_eq!(image.user, ImageUser { uid: 1000, gid: 50 });
    let user = |user: &str| {
        let execution = format!(r#"{{"User":"{user}","Cmd":null}}"#);
        world
            .unpack_with(&[accounts()], &execution)
            .map(|image| image.user)
    };
    assert_eq!(user("").unwrap(), ImageUser { uid: 0, gid: 0 });
    assert_eq!(
        user("app").unwrap(),
        ImageUser {
            uid: 1000,
            gid: 1001
        }
    );
    assert_eq!(user("7:8").unwrap(), ImageUser { uid: 7, gid: 8 });
    assert!(user("nobody").unwrap_err().to_string().contains("nobody"));
}

#[tokio::test]
async fn an_image_for_another_machine_or_with_another_configuration_is_refused() {
    let world = World::new().await;
    let config = br#"{"os":"linux","architecture":"s390x","rootfs":{"diff_ids":null}}"#;
    let manifest = |digest: Digest| {
        serde_json::to_vec(&serde_json::json!({"config": {"digest": digest}, "layers": []}))
            .unwrap()
    };
    let blob = |digest: &Digest| world.blob(digest);
    let right = manifest(sha256(config));
    let said = world
        .engine
        .unpack(&right, config, &blob)
        .unwrap_err()
        .to_string();
    assert!(said.contains("s390x"), "{said}");
    let other = manifest(sha256(b"other"));
    let said = world
        .engine
        .unpack(&other, config, &blob)
        .unwrap_err()
        .to_string();
    assert!(said.contains(sha256(b"other").as_str()), "{said}");
    assert!(world.engine.unpack(b"{}", config, &blob).is_err());
}

#[tokio::test]
async fn layers_that_nobody_keeps_are_collected_and_nothing_else() {
    let world = World::new().await;
    let (kept, gone) = (
        Archive::default().file("a", "kept"),
        Archive::default().file("a", "gone"),
    );
    let kept = world.unpack_with(&[Layer::gzip(kept)], "{}").unwrap();
    let gone = world.unpack_with(&[Layer::gzip(gone)], "{}").unwrap();
    fs::create_dir(world.home.path().join("layers/not-ours")).unwrap();
    // A folder that cannot be written to is no obstacle.
    fs::set_permissions(&gone.layers[0], fs::Permissions::from_mode(0o755)).unwrap();
    let keep: BTreeSet<Digest> = kept.digests.iter().cloned().collect();
    let collected = world.engine.collect_layers(&keep).unwrap();
    assert_eq!((collected.layers, collected.bytes), (1, 4));
    assert!(kept.layers[0].exists() && !gone.layers[0].exists());
    assert!(world.home.path().join("layers/not-ours").exists());
    assert_eq!(world.engine.collect_layers(&keep).unwrap().layers, 0);
}

/// What other hands may do to a folder, and how that is told.
type Deed = (&'static str, fn(&Path));

const DEEDS: [Deed; 7] = [
    ("etc/motd was edited", |layer| {
        fs::write(layer.join("etc/motd"), "hello Ward").unwrap();
    }),
    ("etc/motd was edited", |layer| {
        // As long, and as old as before.
        let motd = layer.join("etc/motd");
        let dated = fs::metadata(&motd).unwrap().modified().unwrap();
        fs::write(&motd, "HELLO").unwrap();
        let file = fs::File::options().write(true).open(&motd).unwrap();
        file.set_modified(dated).unwrap();
    }),
    ("etc/motd was deleted", |layer| {
        fs::remove_file(layer.join("etc/motd")).unwrap();
    }),
    ("etc/new was added", |layer| {
        fs::write(layer.join("etc/new"), "").unwrap();
    }),
    ("etc/motd has another mode", |layer| {
        let mode = fs::Permissions::from_mode(0o777);
        fs::set_permissions(layer.join("etc/motd"), mode).unwrap();
    }),
    ("link was edited", |layer| {
        fs::remove_file(layer.join("link")).unwrap();
        std::os::unix::fs::symlink("elsewhere", layer.join("link")).unwrap();
    }),
    (
        "etc/motd is of another kind, etc/motd/in was added",
        |layer| {
            fs::remove_file(layer.join("etc/motd")).unwrap();
            fs::create_dir(layer.join("etc/motd")).unwrap();
            fs::write(layer.join("etc/motd/in"), "").unwrap();
        },
    ),
];

fn small() -> Archive {
    Archive::default()
        .folder("etc")
        .file("etc/motd", "hello")
        .symlink("link", "etc/motd")
}

#[tokio::test]
async fn a_layer_that_other_hands_changed_is_unpacked_anew_beside_it() {
    for (told, deed) in DEEDS {
        let world = World::new().await;
        let unpack = || world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
        let image = unpack();
        assert!(world.engine.is_whole(&image));
        assert_eq!(unpack(), image);
        deed(&image.layers[0]);
        // A look holds for a moment.
        while world.engine.is_whole(&image) {
            tokio::task::yield_now().await;
        }
        let mended = unpack();
        assert_ne!(mended.layers, image.layers, "{told}");
        assert_eq!(text(mended.layers[0].join("etc/motd")), "hello");
        assert_eq!(text(image.layers[0].with_extension("changed")), told);
        assert!(world.engine.is_whole(&mended));
        assert!(!world.engine.is_whole(&image), "{told}");
        assert_eq!(unpack(), mended);
        // The next engine knows it, too; and a third one is made where the second is changed.
        let world = World::at(world.home).await;
        assert!(!world.engine.is_whole(&image), "{told}");
        deed(&mended.layers[0]);
        let third = world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
        assert!(![&image.layers, &mended.layers].contains(&&third.layers));
        // One that an instance may be about to start from is not swept at once.
        assert_eq!(world.engine.sweep_layers().unwrap().layers, 0);
    }
}

#[tokio::test]
async fn a_folder_that_holds_what_it_did_stays_and_is_listed_anew() {
    let world = World::new().await;
    let image = world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
    let (folder, files) = (&image.layers[0], image.layers[0].with_extension("files"));
    // Another date of change, and a list that an older Ward did not write.
    let mode = fs::metadata(folder.join("etc/motd")).unwrap().permissions();
    fs::set_permissions(folder.join("etc/motd"), mode).unwrap();
    fs::remove_file(&files).unwrap();
    let again = world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
    assert_eq!(again, image);
    assert!(files.exists() && world.engine.is_whole(&image));
}

#[tokio::test]
async fn a_layer_that_was_changed_and_whose_blob_is_damaged_is_not_given() {
    let world = World::new().await;
    let layer = Layer::gzip(small());
    let image = world.unpack_with(&[layer], "{}").unwrap();
    fs::write(image.layers[0].join("etc/motd"), "changed").unwrap();
    let layer = Layer::gzip(small());
    let digest = sha256(&layer.blob);
    fs::write(world.blob(&digest), "nothing").unwrap();
    while world.engine.is_whole(&image) {
        tokio::task::yield_now().await;
    }
    let refused = world.unpack_listed(&[(digest, &layer.diff_id)], "{}");
    assert!(matches!(refused, Err(Error::Layer { .. })), "{refused:?}");
}

/// What other hands may do to a whole folder, and how that is told.
const WHOLE: [Deed; 4] = [
    ("a whole layer was removed", |layer| {
        fs::remove_dir_all(layer).unwrap();
    }),
    ("a symbolic link took the place of a whole layer", |layer| {
        // To the very same files, somewhere else.
        let elsewhere = layer.ancestors().nth(2).unwrap().join(name_of(layer));
        fs::rename(layer, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, layer).unwrap();
    }),
    ("a symbolic link took the place of a whole layer", |layer| {
        fs::remove_dir_all(layer).unwrap();
        std::os::unix::fs::symlink("nowhere", layer).unwrap();
    }),
    ("a file took the place of a whole layer", |layer| {
        fs::remove_dir_all(layer).unwrap();
        fs::write(layer, "a file").unwrap();
    }),
];

fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[tokio::test]
async fn a_layer_that_is_no_folder_any_more_is_unpacked_anew_under_another_name() {
    for (told, deed) in WHOLE {
        let world = World::new().await;
        let unpack = |world: &World| world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
        let image = unpack(&world);
        deed(&image.layers[0]);
        // A look holds for a moment, but not for what is no folder.
        assert!(!world.engine.is_whole(&image), "{told}");
        let mended = unpack(&world);
        assert_ne!(mended.layers, image.layers, "{told}");
        assert_eq!(text(mended.layers[0].join("etc/motd")), "hello");
        assert_eq!(text(image.layers[0].with_extension("changed")), told);
        assert_eq!(unpack(&world), mended);
        // The next engine knows it, too; and a third one is made where the second is gone.
        let world = World::at(world.home).await;
        deed(&mended.layers[0]);
        let third = unpack(&world);
        assert!(![&image.layers, &mended.layers].contains(&&third.layers));
        assert_eq!(unpack(&world), third);
        assert_eq!(world.engine.sweep_layers().unwrap().layers, 0);
    }
}

/// As long as an instance may run from it: a name is not given twice, not even when nothing beside it tells of it.
#[tokio::test]
async fn the_name_of_a_layer_that_an_instance_runs_from_is_not_given_again() {
    let world = World::new().await;
    let unpack = |world: &World| world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
    let image = unpack(&world);
    let instance = world.home.path().join("run/shop/prod/web-1");
    fs::create_dir_all(&instance).unwrap();
    let root = serde_json::json!({ "layers": image.layers, "host_usr": true, "mounts": [] });
    fs::write(instance.join("root.json"), root.to_string()).unwrap();
    fs::remove_dir_all(world.home.path().join("layers")).unwrap();
    let mended = unpack(&world);
    assert_ne!(mended.layers, image.layers);
    assert!(image.layers[0].with_extension("changed").exists());
}

/// What is beside a layer that nobody wants goes with it, also when its folder went before.
#[tokio::test]
async fn nothing_is_left_of_a_layer_that_is_gone() {
    for (told, deed) in WHOLE {
        let world = World::new().await;
        let gone = world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
        deed(&gone.layers[0]);
        let collected = world.engine.collect_layers(&BTreeSet::new()).unwrap();
        assert_eq!(collected.layers, 0, "{told}");
        let layers = world.home.path().join("layers");
        let left: Vec<PathBuf> = fs::read_dir(layers)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(left.is_empty(), "{told}: {left:?}");
    }
}

/// What was put in the place of a layer leaves with it; where it leads to does not.
#[tokio::test]
async fn what_a_link_in_place_of_a_layer_leads_to_is_not_touched() {
    let world = World::new().await;
    let image = world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("kept"), "kept").unwrap();
    fs::remove_dir_all(&image.layers[0]).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &image.layers[0]).unwrap();
    let mended = world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
    assert_ne!(mended.layers, image.layers);
    let collected = world.engine.collect_layers(&BTreeSet::new()).unwrap();
    assert_eq!(collected.layers, 1);
    assert_eq!(text(elsewhere.path().join("kept")), "kept");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    // Nobody knows of it: what is a layer's name is Ward's.
    let layer = &image.layers[0];
    let _ = fs::remove_file(layer);
    let _ = fs::remove_file(layer.with_extension("changed"));
    std::os::unix::fs::symlink(elsewhere.path(), layer).unwrap();
    let unpacked = world.unpack_with(&[Layer::gzip(small())], "{}").unwrap();
    assert_eq!(text(unpacked.layers[0].join("etc/motd")), "hello");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}
