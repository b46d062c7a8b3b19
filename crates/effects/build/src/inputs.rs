//! Whether what a stack file names for its builds is there, found out before anything is built and told as the
//! file's other mistakes are.
//!
//! Only what is certain is said. What cannot be found out here (cargo is not installed, a folder may not be
//! read, a workspace is broken) is left to the build, which says it in the tool's own words.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use ward_stack::{Input, InputKind, Mistake};

use crate::files;
use crate::process::Step;

/// Cargo answers within a tenth of a second, unless it waits for somebody.
const CARGO_WITHIN: Duration = Duration::from_secs(10);

/// So many names of a folder are compared with a misspelt one.
const MOST_NAMES: usize = 1000;

/// The inputs that are not there, each as a mistake at its place in the stack file. `dir` is the file's folder.
///
/// Programs are looked for in this process's `PATH`. Runs `cargo metadata` where a package is named, without
/// the network. Never fails.
pub async fn absent_inputs(dir: &Path, inputs: &[Input]) -> Vec<Mistake> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let packages = inputs.iter().any(|input| input.kind == InputKind::Package);
    let workspace = match packages {
        true => Workspace::around(&dir).await,
        false => Workspace::Unknown,
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let absent = inputs.iter().filter_map(|input| match input.kind {
        InputKind::Package => workspace.absent(input, &dir),
        InputKind::Dockerfile => absent_dockerfile(input, &dir),
        InputKind::File => absent_file(input, &dir),
        InputKind::Program => absent_program(input, &dir, &path),
    });
    absent.collect()
}

/// What cargo knows of the packages around a folder.
enum Workspace {
    /// There is no Cargo.toml.
    None,
    /// The nearest Cargo.toml is no file. Cargo would wait for ever for one that is a pipe.
    Odd(PathBuf),
    /// It cannot be found out.
    Unknown,
    /// These are its packages.
    Of(Vec<Package>),
}

/// The answer of `cargo metadata`, as far as it is of interest.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

impl Package {
    fn has_binary(&self) -> bool {
        let mut kinds = self.targets.iter().flat_map(|target| &target.kind);
        kinds.any(|kind| kind == "bin")
    }
}

impl Workspace {
    async fn around(dir: &Path) -> Self {
        // Where cargo looks, too.
        let mut manifests = dir.ancestors().map(|folder| folder.join("Cargo.toml"));
        match manifests.find(|manifest| manifest.exists()) {
            None => return Self::None,
            Some(odd) if !odd.is_file() => return Self::Odd(odd),
            Some(_) => {}
        }
        let args = ["metadata", "--no-deps", "--offline", "--format-version=1"];
        let step = Step {
            program: "cargo",
            args: args.map(Into::into).into(),
            dir,
            env: Vec::new(),
        };
        let said = Mutex::new(String::new());
        let stdout = |part: String| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_str(&part);
        };
        let ran = tokio::time::timeout(CARGO_WITHIN, step.run_apart(&stdout, &|_| {})).await;
        let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (ran, serde_json::from_str::<Metadata>(&said)) {
            (Ok(Ok(())), Ok(metadata)) => Self::Of(metadata.packages),
            _ => Self::Unknown,
        }
    }

    fn absent(&self, input: &Input, dir: &Path) -> Option<Mistake> {
        let name = input.shown();
        let packages = match self {
            Self::Unknown => return None,
            Self::Odd(odd) => {
                let message = format!("{} is no regular file", odd.display());
                let expected = "a file that describes a package or a workspace";
                return Some(input.absent(message, expected, []));
            }
            Self::None => {
                let message = format!("there is no Cargo workspace that could have {name}");
                let expected = format!("a Cargo.toml in {} or above it", dir.display());
                return Some(input.absent(message, expected, []));
            }
            Self::Of(packages) => packages,
        };
        let known = packages.iter().find(|package| package.name == input.name);
        let message = match known {
            Some(package) if package.has_binary() => return None,
            Some(_) => format!("the package {name} has no binary"),
            None => format!("the Cargo workspace around the file has no package {name}"),
        };
        let runnable = packages.iter().filter(|package| package.has_binary());
        let names: Vec<&str> = runnable.map(|package| package.name.as_str()).collect();
        let expected = match names.as_slice() {
            [] => "a package with a binary, of which the workspace has none".to_owned(),
            names => format!("a package with a binary: `{}`", names.join("`, `")),
        };
        Some(input.absent(message, expected, names))
    }
}

fn absent_dockerfile(input: &Input, dir: &Path) -> Option<Mistake> {
    let there = files::inside(&input.name).ok()?;
    match fs::metadata(dir.join(&there)) {
        Ok(found) if found.is_file() => return None,
        Ok(_) => {}
        Err(error) if is_absence(&error) => {}
        Err(_) => return None,
    }
    let message = format!("there is no Dockerfile {}", input.shown());
    let expected = format!("the path of a file below {}", dir.display());
    let beside = beside(dir, &there);
    Some(input.absent(message, expected, beside.iter().map(String::as_str)))
}

fn absent_file(input: &Input, dir: &Path) -> Option<Mistake> {
    let there = files::inside(&input.name).ok()?;
    let looked = fs::symlink_metadata(dir.join(&there));
    if !looked.is_err_and(|error| is_absence(&error)) {
        return None;
    }
    let message = format!("{} is not there", input.shown());
    let expected = format!(
        "a file or folder below {}, or a `command` that makes it",
        dir.display()
    );
    let beside = beside(dir, &there);
    Some(input.absent(message, expected, beside.iter().map(String::as_str)))
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The paths beside one that is not there, as a stack file would name them.
fn beside(dir: &Path, path: &Path) -> Vec<String> {
    let above = path.parent().unwrap_or(Path::new(""));
    let entries = fs::read_dir(dir.join(above)).into_iter().flatten();
    let names = entries.flatten().take(MOST_NAMES);
    let paths = names.map(|entry| above.join(entry.file_name()));
    paths
        .filter_map(|path| Some(path.to_str()?.to_owned()))
        .collect()
}

fn absent_program(input: &Input, dir: &Path, path: &OsStr) -> Option<Mistake> {
    let name = input.name.as_str();
    let places: Vec<PathBuf> = match name.contains('/') {
        true => vec![dir.join(name)],
        false => std::env::split_paths(path)
            .map(|folder| dir.join(folder).join(name))
            .collect(),
    };
    if places.iter().any(|place| is_program(place)) {
        return None;
    }
    let shown = input.shown();
    let plain = places.iter().any(|place| place.is_file());
    let message = match (plain, name.contains('/')) {
        (true, _) => format!("{shown} is there, but may not be executed"),
        (false, true) => format!("there is no program {shown}"),
        (false, false) => format!("there is no program {shown} in the PATH"),
    };
    let expected = "a program in the PATH, or a path from the stack's folder such as `./build.sh`";
    let mut mistake = input.absent(message, expected, []);
    if plain {
        mistake.note = "not executable".to_owned();
    }
    if !name.contains('/') && is_program(&dir.join(name)) {
        mistake.did_you_mean = Some(format!("./{name}"));
    }
    Some(mistake)
}

fn is_program(place: &Path) -> bool {
    fs::metadata(place)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
