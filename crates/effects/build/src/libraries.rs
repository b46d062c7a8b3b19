//! What a binary needs of the machine beside itself: shared libraries, their loader, CA certificates.
//!
//! The loader is asked (`--list`, what `ldd` does), because it alone knows the search order in all its
//! details. The files keep the places that they have on the host, so that the loader finds them again
//! without a cache, and the links such as `/lib` are as on the host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::layer::{Content, Node, Tree};
use crate::process::Step;
use crate::{Error, Result, elf};

/// Libraries that glibc opens by name when a program asks for a host's address. Since glibc 2.34 they are
/// part of `libc.so.6`; an older one has them as files, and these are linked by none.
const NAME_SERVICE: [&str; 3] = ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"];

/// Where distributions keep the CA certificates, Debian's place first.
const CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where they lie in every image.
pub(crate) const CERTIFICATES_IN_IMAGE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Everything that the binary needs beside itself.
pub(crate) async fn tree(binary: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    let certificates = CERTIFICATES
        .iter()
        .map(Path::new)
        .find(|path| path.is_file());
    let certificates = certificates.ok_or(Error::NoCertificates)?;
    let content = certificates
        .canonicalize()
        .map_err(Error::file("read", certificates))?;
    tree.insert(
        Path::new(CERTIFICATES_IN_IMAGE),
        Node::File(Content::Host(content)),
    );
    if let Some(loader) = elf::interpreter(binary)? {
        tree.insert_host_file(&loader)?;
        let listed = listed(&loader, binary).await?;
        insert(&mut tree, &listed)?;
        if let Some(libc) = listed.get("libc.so.6") {
            insert_name_service(&mut tree, libc)?;
        }
    }
    Ok(tree)
}

/// The libraries by the name that they are asked for.
async fn listed(loader: &Path, binary: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let lines = Mutex::new(Vec::new());
    let take = |line| {
        if let Ok(mut lines) = lines.lock() {
            lines.push(line);
        }
    };
    let step = Step {
        program: &loader.to_string_lossy(),
        args: vec![OsString::from("--list"), binary.into()],
        dir: Path::new("/"),
        env: Vec::new(),
    };
    step.run(&take).await?;
    let lines = lines.into_inner().unwrap_or_default();
    let found = lines.iter().filter_map(|line| library(line));
    found
        .map(|(name, path)| match path {
            Some(path) => Ok((name.to_owned(), path)),
            None => Err(Error::NoLibrary {
                binary: binary.to_owned(),
                library: name.to_owned(),
            }),
        })
        .collect()
}

/// Reads `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)` or `libx.so => not found`. A line with
/// a path alone is the loader itself, one with a name alone is the kernel's.
fn library(line: &str) -> Option<(&str, Option<PathBuf>)> {
    let (name, found) = line.trim().split_once(" => ")?;
    if found == "not found" {
        return Some((name, None));
    }
    let path = found.rsplit_once(" (").map_or(found, |(path, _)| path);
    Some((name, Some(path.into())))
}

fn insert(tree: &mut Tree, libraries: &BTreeMap<String, PathBuf>) -> Result<()> {
    let home = libraries.get("libc.so.6").and_then(|libc| libc.parent());
    for (name, path) in libraries {
        match home {
            // Found by the machine's cache or the binary's own search path, which the image lacks.
            Some(home) if !is_standard(path) => {
                let content = path.canonicalize().map_err(Error::file("read", path))?;
                let libc = tree.host_folder(home);
                tree.insert(&libc.join(name), Node::File(Content::Host(content)));
            }
            _ => tree.insert_host_file(path)?,
        }
    }
    Ok(())
}

/// Whether the loader looks there of itself: `/lib`, `/usr/lib64`, `/lib/x86_64-linux-gnu` and their like.
fn is_standard(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::to_str).unwrap_or_default();
    let below = folder.strip_prefix("/usr").unwrap_or(folder);
    matches!(below, "/lib" | "/lib64")
        || (below.starts_with("/lib/") && below.ends_with("-linux-gnu"))
}

fn insert_name_service(tree: &mut Tree, libc: &Path) -> Result<()> {
    let folder = libc.parent().unwrap_or(Path::new("/"));
    for name in NAME_SERVICE {
        let path = folder.join(name);
        if path.exists() {
            tree.insert_host_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_lines_are_read() {
        let found = library("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0a)");
        assert_eq!(
            found,
            Some(("libc.so.6", Some("/lib/x86_64-linux-gnu/libc.so.6".into())))
        );
        assert_eq!(
            library("\tlibx.so.1 => not found"),
            Some(("libx.so.1", None))
        );
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        assert_eq!(library("\t/lib64/ld-linux-x86-64.so.2 (0x00007f0a)"), None);
    }

    #[test]
    fn standard_folders_are_known() {
        for path in [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib64/libc.so.6",
            "/usr/lib/libz.so",
        ] {
            assert!(is_standard(path.as_ref()), "{path}");
        }
        for path in [
            "/usr/local/lib/libz.so",
            "/lib/x86_64-linux-gnu/pulse/libp.so",
            "/home/anna/target/libx.so",
        ] {
            assert!(!is_standard(path.as_ref()), "{path}");
        }
    }
}
