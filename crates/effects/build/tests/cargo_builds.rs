//! Real cargo builds of a package without dependencies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod shelf;

use std::process::Command;

use shelf::Bench;
use ward_build::{Error, Outcome};
use ward_types::spec::ImageSource;

const MANIFEST: &str =
    "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\n";
/// Panics, and so names its source file, when it is asked to.
const MAIN: &str =
    "fn main() { assert!(std::env::args().count() < 3, \"{}\", file!()); println!(\"hello\"); }\n";

fn bench() -> Bench {
    Bench::new(&[
        ("Cargo.toml", MANIFEST),
        ("Cargo.lock", LOCK),
        ("src/main.rs", MAIN),
    ])
}

fn hello() -> ImageSource {
    ImageSource::Cargo {
        package: "hello".into(),
    }
}

#[tokio::test]
async fn the_same_source_gives_the_same_digest_in_any_folder() {
    let (here, there) = (bench(), bench());
    let first = here.build(hello()).await.unwrap();
    assert_eq!(first.outcome, Outcome::Made);
    let again = here.build(hello()).await.unwrap();
    assert_eq!(
        (&again.digest, again.outcome),
        (&first.digest, Outcome::Unchanged)
    );
    let elsewhere = there.build(hello()).await.unwrap();
    assert_eq!(elsewhere.digest, first.digest);
    assert!(
        !here.path("target").exists(),
        "the user's own target folder was touched"
    );

    here.write("src/main.rs", &MAIN.replace("hello", "goodbye"));
    let changed = here.build(hello()).await.unwrap();
    assert_ne!(changed.digest, first.digest);
    let (before, after) = (here.shelf.layers(&first), here.shelf.layers(&changed));
    assert_eq!(before[0], after[0], "the libraries are a layer that stays");
    assert_ne!(before[1], after[1]);
}

#[tokio::test]
async fn an_image_holds_the_binary_its_libraries_certificates_and_nothing_else() {
    let bench = bench();
    let image = bench.build(hello()).await.unwrap();
    let listing = bench.shelf.listing(&image);
    assert!(listing.contains("f755 usr/local/bin/hello"), "{listing:?}");
    assert!(
        listing.contains("f644 etc/ssl/certs/ca-certificates.crt"),
        "{listing:?}"
    );
    let known = [
        "libc.so.6",
        "libgcc_s.so.1",
        "libnss_files.so.2",
        "libnss_dns.so.2",
        "libresolv.so.2",
        "ld-linux",
        "libm.so.6",
    ];
    for line in &listing {
        let (kind, path) = line.split_once(' ').unwrap();
        let name = path.rsplit('/').next().unwrap();
        let expected = kind.starts_with('d')
            || (kind.starts_with('l') && path.starts_with("lib"))
            || known.iter().any(|known| name.starts_with(known))
            || path == "usr/local/bin/hello"
            || path == "etc/ssl/certs/ca-certificates.crt";
        assert!(expected, "{line} in {listing:?}");
    }
    let config = bench.shelf.config(&image);
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/local/bin/hello");
    assert!(config.get("created").is_none());
    runs_alone(&bench, &image);
}

/// Runs the image's binary with the image as its root: what it needs is all there.
fn runs_alone(bench: &Bench, image: &ward_build::Image) {
    let root = tempfile::tempdir().unwrap();
    bench.shelf.unpack(image, root.path());
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--root"])
        .arg(root.path())
        .arg("/usr/local/bin/hello")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello\n",
        "{output:?}"
    );
    let binary = std::fs::read(root.path().join("usr/local/bin/hello")).unwrap();
    for folder in [bench.dir.path(), bench.cache.path()] {
        let name = folder.to_str().unwrap().as_bytes();
        let found = binary.windows(name.len()).any(|window| window == name);
        assert!(!found, "the binary names {}", folder.display());
    }
}

#[tokio::test]
async fn a_failing_build_shows_why_and_leaves_nothing() {
    let bench = bench();
    bench.write("src/main.rs", "fn main() { undefined_name(); }\n");
    let error = bench.build(hello()).await.unwrap_err();
    assert!(
        error.to_string().starts_with("`cargo build --release"),
        "{error}"
    );
    assert!(
        error.to_string().contains("ended with exit status 101"),
        "{error}"
    );
    assert!(
        error
            .output()
            .iter()
            .any(|line| line.contains("undefined_name")),
        "{error:?}"
    );
    assert!(
        bench
            .output()
            .iter()
            .any(|line| line.contains("undefined_name"))
    );
    assert!(bench.shelf.manifests.lock().unwrap().is_empty());
    assert!(bench.shelf.blobs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_package_that_is_not_there_or_has_no_binary_is_named() {
    let bench = bench();
    let source = ImageSource::Cargo {
        package: "nobody".into(),
    };
    let error = bench.build(source).await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
    assert!(
        bench.output().iter().any(|line| line.contains("nobody")),
        "{:?}",
        bench.output()
    );
    std::fs::rename(bench.path("src/main.rs"), bench.path("src/lib.rs")).unwrap();
    let error = bench.build(hello()).await.unwrap_err();
    assert!(matches!(error, Error::NoBinary { .. }), "{error}");
}
