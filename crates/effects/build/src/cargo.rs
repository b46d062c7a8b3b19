//! A cargo build: the binary of a package, what it needs of the machine, and nothing else.
//!
//! Cargo runs each time: it alone knows what a package depends on, and finds out in a moment that nothing
//! changed. It builds in a folder of Ward's, so that the user's own `target` is left alone. The paths of the
//! source, of that folder and of cargo's own are mapped to fixed names, because the compiler writes them
//! into the binary.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::image::{self, PATH, Run};
use crate::layer::{Content, Node, Tree};
use crate::process::{Lines, Step};
use crate::work::Work;
use crate::{Error, Image, ImageSink, Request, Result, libraries};

/// Where an image has the binary, without the root's slash.
const PLACE: &str = "usr/local/bin";

/// A message of cargo (`--message-format=json`), as far as it is of interest.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

pub(crate) async fn build(
    request: &Request,
    package: &str,
    work: &Work,
    sink: &impl ImageSink,
    lines: Lines<'_>,
) -> Result<Image> {
    let (name, binary) = compile(request, package, lines).await?;
    let needed = libraries::tree(&binary).await?;
    let mut own = Tree::default();
    let place = Path::new(PLACE).join(&name);
    own.insert(&place, Node::File(Content::Host(binary)));
    // Apart, because the libraries seldom change and need not be sent again then.
    let layers = work.write_layers(vec![needed, own]).await?;
    let run = Run {
        env: vec![
            PATH.into(),
            format!("SSL_CERT_FILE=/{}", libraries::CERTIFICATES_IN_IMAGE),
        ],
        entrypoint: vec![format!("/{}", place.display())],
        working_dir: "/".into(),
        ..Run::default()
    };
    image::push(request, &run, &layers, work.path(), sink).await
}

/// Runs cargo, and gives the binary's name and place.
async fn compile(request: &Request, package: &str, lines: Lines<'_>) -> Result<(String, PathBuf)> {
    let target = request.cache.join("target");
    let step = Step {
        program: "cargo",
        args: arguments(request, package, &target)?,
        dir: &request.dir,
        env: Vec::new(),
    };
    let binaries = Mutex::new(Vec::new());
    let stdout = |line: String| match serde_json::from_str::<Message>(&line) {
        Ok(message) => {
            let mut binaries = binaries.lock().unwrap_or_else(PoisonError::into_inner);
            binaries.extend(binary(message));
        }
        Err(_) => lines(line),
    };
    step.run_apart(&stdout, lines).await?;
    choose(
        package,
        binaries
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
    )
}

fn arguments(request: &Request, package: &str, target: &Path) -> Result<Vec<OsString>> {
    let mut args: Vec<OsString> = [
        "build",
        "--release",
        "--message-format=json-render-diagnostics",
    ]
    .map(OsString::from)
    .into();
    args.extend([
        "--package".into(),
        package.into(),
        "--target-dir".into(),
        target.into(),
    ]);
    if request.dir.join("Cargo.lock").exists() {
        args.push("--locked".into());
    }
    let mapped = [
        (request.dir.clone(), "/source"),
        (target.to_owned(), "/target"),
        (cargo_home(), "/cargo"),
    ];
    let mut flags = Vec::new();
    for (path, name) in mapped {
        // Cargo passes the real path where a part of the given one is a symbolic link.
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        flags.extend(
            [path, real].map(|path| format!("--remap-path-prefix={}={name}", path.display())),
        );
    }
    flags.dedup();
    args.push("--config".into());
    args.push(format!("build.rustflags={}", toml_list(&flags)).into());
    Ok(args)
}

fn cargo_home() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.or_else(home).unwrap_or_else(|| "/.cargo".into())
}

/// The texts as a TOML array. JSON's strings are TOML's too.
fn toml_list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

fn binary(message: Message) -> Option<(String, PathBuf)> {
    let target = message
        .target
        .filter(|target| target.kind.iter().any(|kind| kind == "bin"))?;
    let executable = message
        .executable
        .filter(|_| message.reason == "compiler-artifact")?;
    Some((target.name, executable))
}

/// The only binary, or the one that has the package's name.
fn choose(package: &str, mut binaries: Vec<(String, PathBuf)>) -> Result<(String, PathBuf)> {
    binaries.sort();
    binaries.dedup();
    if let Some(found) = binaries.iter().position(|(name, _)| name == package) {
        return Ok(binaries.swap_remove(found));
    }
    match binaries.pop() {
        Some(only) if binaries.is_empty() => Ok(only),
        None => Err(Error::NoBinary {
            package: package.to_owned(),
        }),
        Some(last) => {
            let names = binaries
                .iter()
                .chain([&last])
                .map(|(name, _)| name.as_str());
            Err(Error::SeveralBinaries {
                package: package.to_owned(),
                names: names.collect::<Vec<_>>().join(", "),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<(String, PathBuf)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), PathBuf::from(name)))
            .collect()
    }

    #[test]
    fn the_binary_is_the_only_one_or_the_one_with_the_packages_name() {
        assert_eq!(choose("web", named(&["server"])).unwrap().0, "server");
        assert_eq!(
            choose("web", named(&["admin", "web", "web"])).unwrap().0,
            "web"
        );
        let error = choose("web", named(&["b", "a"])).unwrap_err();
        assert!(error.to_string().contains("the binaries a, b"), "{error}");
        assert!(matches!(choose("web", vec![]), Err(Error::NoBinary { .. })));
    }

    #[test]
    fn odd_paths_stay_one_text_of_toml() {
        let list = toml_list(&["a\"b\\c=d".into(), "é".into()]);
        assert_eq!(list, r#"["a\"b\\c=d","é"]"#);
    }
}
