//! Installs what a task needs: through the system's package manager, when it may, and below `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::run::{cargo, root, run, say};

/// A Debian package, and a file that tells whether it is there.
pub(crate) struct Package {
    name: &'static str,
    file: &'static str,
    why: &'static str,
}

const fn package(name: &'static str, file: &'static str, why: &'static str) -> Package {
    Package { name, file, why }
}

const POSTGRES: Package = package(
    "postgresql",
    "/usr/lib/postgresql",
    "the database of a stack",
);
const CA: Package = package(
    "ca-certificates",
    "/etc/ssl/certs/ca-certificates.crt",
    "certificate authorities for images",
);

const GIT: Package = package("git", "/usr/bin/git", "the commits of builds");

/// What `demo` needs.
pub(crate) const DEMO: &[Package] = &[POSTGRES, CA, GIT];

/// What `test` needs besides.
pub(crate) const TEST: &[Package] = &[
    POSTGRES,
    CA,
    GIT,
    package(
        "python3",
        "/usr/bin/python3",
        "an application in another language",
    ),
    package(
        "buildah",
        "/usr/bin/buildah",
        "builds Dockerfiles, and talks to the registry",
    ),
    package("podman", "/usr/bin/podman", "talks to the registry"),
    package("skopeo", "/usr/bin/skopeo", "talks to the registry"),
    package("curl", "/usr/bin/curl", "the README's session"),
    package(
        "nginx-core",
        "/usr/sbin/nginx",
        "a parser behind the gateway",
    ),
    package(
        "haproxy",
        "/usr/sbin/haproxy",
        "a parser behind the gateway",
    ),
    package("nodejs", "/usr/bin/node", "a parser behind the gateway"),
    package(
        "python3-venv",
        "/usr/lib/python3.11/ensurepip",
        "libraries that send frames that no client should",
    ),
    package(
        "nghttp2-client",
        "/usr/bin/h2load",
        "a client of the gateway that speaks HTTP/2",
    ),
    package(
        "testssl.sh",
        "/usr/bin/testssl",
        "looks at how the gateway speaks TLS",
    ),
    package(
        "pebble",
        "/usr/bin/pebble",
        "a certificate authority that speaks ACME",
    ),
    package(
        "uidmap",
        "/usr/bin/newuidmap",
        "podman and buildah as an ordinary user",
    ),
];

/// What `bench` needs: the programs that Ward is compared with.
pub(crate) const BENCH: &[Package] = &[
    POSTGRES,
    CA,
    package("skopeo", "/usr/bin/skopeo", "pushes and pulls images"),
    package(
        "docker-registry",
        "/usr/bin/docker-registry",
        "the registry to compare with",
    ),
    package(
        "crun",
        "/usr/bin/crun",
        "the container runtime to compare with",
    ),
    package("podman", "/usr/bin/podman", "environments to compare with"),
    package("nginx-core", "/usr/sbin/nginx", "a proxy to compare with"),
    package("haproxy", "/usr/sbin/haproxy", "a proxy to compare with"),
    package("openssl", "/usr/bin/openssl", "a certificate for them"),
    package("wrk", "/usr/bin/wrk", "asks the proxies over HTTP/1.1"),
    package(
        "nghttp2-client",
        "/usr/bin/h2load",
        "asks the proxies over TLS and HTTP/2, and at a given rate",
    ),
    package(
        "slowhttptest",
        "/usr/bin/slowhttptest",
        "attacks the gateway slowly",
    ),
];

/// Installs the packages that are missing: as root, or through sudo without a password. Otherwise it
/// names the one line to run.
pub(crate) fn install(packages: &[Package]) -> Result<(), String> {
    let missing: Vec<&Package> = packages
        .iter()
        .filter(|package| !Path::new(package.file).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        say(&format!("{} is missing: {}", package.name, package.why));
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let line = format!(
        "apt-get install -y --no-install-recommends {}",
        names.join(" ")
    );
    let Some(become_root) = way_to_root() else {
        return Err(format!(
            "cannot install packages as this user; run this line, then again:\n\n    sudo {line}\n"
        ));
    };
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(format!(
            "there is no apt-get on this machine; install the like of: {}",
            names.join(" ")
        ));
    }
    say(&format!("installing: {}", names.join(" ")));
    run(&mut apt(become_root, &["update", "-q"]))?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(&names);
    run(&mut apt(become_root, &arguments))
}

/// The libraries of Python that tests need, in a folder of cargo's own: the program that has them. Versions are in
/// the list, and installed anew when it changes.
pub(crate) fn python() -> Result<PathBuf, String> {
    let list = root().join("crates/effects/gateway/tests/gateway/conformance/requirements.txt");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = root().join(target).join("test-python");
    let (python, done) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let wanted = fs::read(&list).map_err(|error| format!("{}: {error}", list.display()))?;
    if fs::read(&done).is_ok_and(|there| there == wanted) {
        return Ok(python);
    }
    run(Command::new("/usr/bin/python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--requirement",
    ]);
    run(pip.arg(&list))?;
    fs::write(&done, wanted).map_err(|error| format!("{}: {error}", done.display()))?;
    Ok(python)
}

/// A program of a crate, installed below `target/` and nowhere else, in this version. `asked` is what makes it tell its
/// version.
pub(crate) fn tool(name: &str, version: &str, asked: &[&str]) -> Result<PathBuf, String> {
    let place = root().join("target/tools");
    let program = place.join("bin").join(name);
    let told = Command::new(&program)
        .args(asked)
        .stderr(Stdio::null())
        .output();
    let there = told.is_ok_and(|told| {
        let told = String::from_utf8_lossy(&told.stdout);
        told.trim().ends_with(version)
    });
    if !there {
        let mut install = cargo();
        // That it is built fast is worth more than that it is fast.
        install.args(["install", name, "--locked", "--debug", "--force", "--quiet"]);
        install.args(["--version", version, "--root"]).arg(&place);
        run(install.env("CARGO_TARGET_DIR", place.join("target")))?;
    }
    Ok(program)
}

/// It asks nothing, and does not start the daemons that packages bring: the programs are run as they are needed.
/// Through `env`, because sudo drops variables.
const APT: &[&str] = &[
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "RUNLEVEL=1",
    "apt-get",
];

fn apt(become_root: &[&str], arguments: &[&str]) -> Command {
    let mut words = become_root.iter().chain(APT).chain(arguments);
    let mut command = Command::new(words.next().unwrap_or(&"env"));
    command.args(words);
    command
}

/// What stands before a command that needs root; `None` when there is no way.
fn way_to_root() -> Option<&'static [&'static str]> {
    if rustix::process::geteuid().is_root() {
        return Some(&[]);
    }
    let sudo = Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    sudo.is_ok_and(|status| status.success())
        .then_some(&["sudo", "-n"])
}
