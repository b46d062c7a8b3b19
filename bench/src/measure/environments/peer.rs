//! The same images and PostgreSQL by podman, on the same machine and in the same run.
//!
//! What a script would do: PostgreSQL, made anew by initdb; when it answers, the migrations; then the four services; to the
//! first good answer of the same page. What differs, differs in podman's favour: all share the host's network, so that
//! there is no bridge, no link and no route, nobody limits their memory, and nobody looks at their health.
//!
//! On a host with both versions of cgroups crun runs nothing ([`crate::measure::sandbox`] says more), so all commands
//! are those of one shell, in a mount namespace without the version 2 hierarchy.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::error::{Error, doing};
use crate::load::{KeepAlive, Target};
use crate::measure::sandbox;
use crate::sample::Sample;
use crate::ward::Ward;
use crate::workshop::Workshop;

const PODMAN: &str = "/usr/bin/podman";
const SERVICES: [&str; 4] = ["web", "worker", "engine", "report"];
/// Within what all of it must answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// Within what its containers are removed.
const REMOVED_WITHIN: Duration = Duration::from_secs(30);

/// How long each time took, and how it was measured.
pub(super) async fn measure(
    ward: &Ward,
    target: &Target,
    workshop: &Workshop,
    times: u32,
) -> Result<(Sample, String), Error> {
    if !Path::new(PODMAN).exists() {
        return Err(Error::Missing {
            program: "podman",
            package: "podman",
        });
    }
    let bin = newest_postgres()?;
    let mut shell = Shell::start(workshop.scratch("podman-")?).await?;
    let (registry, images) = images(ward).await?;
    for (service, digest) in SERVICES.iter().zip(&images) {
        let image = format!("{registry}/plans/{service}@{digest}");
        let tagged =
            format!("$P pull --quiet --tls-verify=false {image} && $P tag {image} {service}");
        shell.runs(&tagged).await?;
    }
    let host = host_image(shell.folder.path())?;
    shell
        .runs(&format!("$P import --quiet {} host", host.display()))
        .await?;
    let mut took = Sample::default();
    for _ in 0..times {
        took.add(once(&mut shell, target, &bin).await?.as_secs_f64());
        shell.runs("$P rm --all --force --time 0").await?;
    }
    let how = format!(
        "podman: {times} times, images pulled from Ward's registry before; containers on the host's network, without \
         limits and cgroups; PostgreSQL is the host's own, as it is for Ward."
    );
    Ok((took, how))
}

/// From the first command to the first good answer.
async fn once(shell: &mut Shell, target: &Target, bin: &Path) -> Result<Duration, Error> {
    let [database, web, engine, report] = free_ports()?;
    let bin = bin.display();
    let url = format!("postgres://app@127.0.0.1:{database}/app");
    let lines = [
        format!(
            "$R --name db --volume /usr:/usr:ro --user nobody host /bin/sh -c '{bin}/initdb --username app --auth trust \
             --pgdata /data/db && exec {bin}/postgres -D /data/db -p {database} -c listen_addresses=127.0.0.1 \
             -c unix_socket_directories=/tmp -c shared_buffers=64MB'"
        ),
        format!("until {bin}/createdb -h 127.0.0.1 -p {database} -U app app; do sleep 0.01; done"),
        format!("$P run --rm $O --env DATABASE_URL={url} web migrate"),
        format!("$R --env PORT={engine} engine"),
        format!("$R --env PORT={report} report"),
        format!(
            "$R --env DATABASE_URL={url} --env ENGINE_URL=http://127.0.0.1:{engine} \
             --env REPORT_URL=http://127.0.0.1:{report} worker"
        ),
        format!("$R --env PORT={web} --env DATABASE_URL={url} web"),
    ];
    let started = Instant::now();
    for line in lines {
        shell.runs(&line).await?;
    }
    for (port, path) in [(engine, "/healthz"), (report, "/healthz"), (web, "/")] {
        let mut there = target.with_host("127.0.0.1".to_owned());
        there.http = (Ipv4Addr::LOCALHOST, port).into();
        until_it_answers(&KeepAlive::new(&there, path), started + ANSWERS_WITHIN).await?;
    }
    Ok(started.elapsed())
}

async fn until_it_answers(client: &KeepAlive, deadline: Instant) -> Result<(), Error> {
    loop {
        match client.get().await {
            Ok(_) => return Ok(()),
            Err(why) if Instant::now() > deadline => {
                return Err(Error::Unexpected(format!(
                    "what podman started does not answer: {why}"
                )));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Ports that nothing listens on just now.
fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let bound = (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let bound = doing("find a free port", bound.collect::<Result<Vec<_>, _>>())?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&bound) {
        *port = doing("find a free port", listener.local_addr())?.port();
    }
    Ok(ports)
}

/// The registry's address, and the digests of what serves in dev.
async fn images(ward: &Ward) -> Result<(String, Vec<String>), Error> {
    let (text, _) = ward
        .run(&["releases", "--env", "dev", "--output", "json"])
        .await?;
    let not = |what: &str| Error::Unexpected(format!("`ward releases` shows no {what}"));
    let releases: serde_json::Value = serde_json::from_str(&text).map_err(|_| not("JSON"))?;
    let digests =
        SERVICES.map(|service| releases[0]["images"][service].as_str().map(str::to_owned));
    let digests: Option<Vec<String>> = digests.into_iter().collect();
    let registry = ward.status().await?.server.registry;
    Ok((registry, digests.ok_or_else(|| not("images"))?))
}

fn newest_postgres() -> Result<PathBuf, Error> {
    let missing = || Error::Missing {
        program: "PostgreSQL",
        package: "postgresql",
    };
    let versions = fs::read_dir("/usr/lib/postgresql").map_err(|_| missing())?;
    let bins = versions.flatten().map(|entry| entry.path().join("bin"));
    bins.max().ok_or_else(missing)
}

/// An image that holds nothing but what makes the host's `/usr` a system.
fn host_image(folder: &Path) -> Result<PathBuf, Error> {
    let root = folder.join("host");
    let make = || {
        for name in ["etc", "tmp", "data", "usr"] {
            fs::create_dir_all(root.join(name))?;
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o777))?;
        }
        for name in ["passwd", "group"] {
            fs::copy(Path::new("/etc").join(name), root.join("etc").join(name))?;
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(Path::new("usr").join(name), root.join(name))?;
        }
        let file = folder.join("host.tar");
        let mut tar = tar::Builder::new(fs::File::create(&file)?);
        tar.follow_symlinks(false);
        tar.append_dir_all("", &root)?;
        tar.finish().map(|()| file)
    };
    doing("make an image of the host's /usr", make())
}

/// One shell that runs lines, in which `$P` is podman with a storage of its own. Dropping it ends what still runs.
struct Shell {
    process: Child,
    /// `None` only while it is dropped.
    lines: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    folder: TempDir,
}

/// Says after each line how it ended; what it printed is in a file.
const LOOP: &str = r#"while read -r line; do eval "$line" > "$0" 2>&1 < /dev/null; echo $?; done
$P rm --all --force --time 0 > "$0" 2>&1"#;

impl Shell {
    async fn start(folder: TempDir) -> Result<Self, Error> {
        let own = folder.path().display();
        let podman =
            format!("{PODMAN} --root {own}/root --runroot {own}/run --cgroup-manager=cgroupfs");
        // Podman asks for more descriptors and processes than it may have, unless it is told how many.
        let options =
            "--network host --cgroups=disabled --ulimit nproc=4096:4096 --ulimit nofile=1024:1024";
        let mut command = sandbox::without_cgroup_2("sh");
        command.arg("-c").arg(LOOP).arg(folder.path().join("said"));
        command.env("O", options).env("P", &podman);
        command.env("R", format!("{podman} run --detach {options}"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = doing("start a shell for podman", command.spawn())?;
        let ends = process.stdin.take().zip(process.stdout.take());
        let (lines, answers) =
            ends.ok_or_else(|| Error::Unexpected("the shell has no pipes".to_owned()))?;
        Ok(Self {
            process,
            lines: Some(lines),
            answers: BufReader::new(answers).lines(),
            folder,
        })
    }

    async fn runs(&mut self, line: &str) -> Result<(), Error> {
        let told = format!("{line}\n");
        let lines = self.lines.as_mut();
        let lines = lines.ok_or_else(|| Error::Unexpected("the shell is closed".to_owned()))?;
        doing(
            "tell the shell what to run",
            lines.write_all(told.as_bytes()).await,
        )?;
        let answer = tokio::time::timeout(ANSWERS_WITHIN, self.answers.next_line()).await;
        let how = match answer {
            Ok(answer) => {
                doing("hear from the shell", answer)?.unwrap_or_else(|| "no word".to_owned())
            }
            Err(_) => format!("nothing within {} s", ANSWERS_WITHIN.as_secs()),
        };
        if how == "0" {
            return Ok(());
        }
        Err(Error::Command {
            line: line.to_owned(),
            how,
            output: fs::read_to_string(self.folder.path().join("said")).unwrap_or_default(),
        })
    }
}

impl Drop for Shell {
    /// The shell removes every container when nobody tells it anything more.
    fn drop(&mut self) {
        self.lines = None;
        let deadline = Instant::now() + REMOVED_WITHIN;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.start_kill();
    }
}
