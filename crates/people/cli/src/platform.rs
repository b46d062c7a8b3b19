//! Makes sure that a server runs on the state folder, and starts one in the background if not.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ward_api::{Client, ClientError};
use ward_types::secret::Secret;
use ward_types::view::{ServerView, StatusView};

use crate::args::Addresses;
use crate::commands::Trouble;
use crate::commands::processes::TAKEN;
use crate::full;
use crate::printer::Printer;

/// How long a server may take from its start to its first answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two questions whether it answers.
const AGAIN: Duration = Duration::from_millis(10);

/// The server's view of itself; starts a server first when none runs.
///
/// # Errors
/// What the server wrote last when it does not come up.
pub(crate) async fn ensure(
    home: &Path,
    addresses: &Addresses,
    printer: &Printer,
) -> Result<ServerView, Trouble> {
    let client = Client::new(home);
    match client.get::<StatusView>("/v1/status").await {
        Ok(status) => {
            elsewhere(&status.server, addresses, printer);
            return Ok(status.server);
        }
        Err(ClientError::NotRunning { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let set = Settings {
        addresses,
        arguments: &[],
        variables: &[],
    };
    let server = started(&client, home, &set, Launch::Own).await?;
    printer.done(&format!(
        "the platform runs (server {}, state in {})",
        server.pid, server.home
    ));
    Ok(server)
}

/// Says so when the platform that runs listens somewhere else than was asked for now.
fn elsewhere(server: &ServerView, addresses: &Addresses, printer: &Printer) {
    let asked = [
        ("HTTP", addresses.http_addr, &server.http),
        ("HTTPS", addresses.https_addr, &server.https),
        ("the registry", addresses.registry_addr, &server.registry),
        ("metrics", addresses.metrics_addr, &server.metrics),
    ];
    for (what, asked, real) in asked {
        let other = asked.filter(|asked| asked.port() != 0 && asked.to_string() != *real);
        let real = match real.as_str() {
            "" => "no address",
            real => real,
        };
        if let Some(asked) = other {
            printer.say(&format!(
                "the platform runs already, with {what} on {real}; {asked} takes effect after `ward down`"
            ));
        }
    }
    let asked = [
        ("WARD_HOOKS_ADDR", addresses.for_hooks()),
        ("WARD_PEOPLE_DIR", people_dir()),
    ];
    for (variable, argument) in asked {
        let Some((_, value)) = argument.as_ref().and_then(|text| text.split_once('=')) else {
            continue;
        };
        if !server
            .arguments
            .iter()
            .any(|own| Some(own) == argument.as_ref())
        {
            printer.say(&format!(
                "the platform runs already, with another {variable} or none: `{variable}={value} ward upgrade` makes it \
                 so, and stops nothing"
            ));
        }
    }
}

/// The folder of the socket for everybody, for another process of this binary.
fn people_dir() -> Option<String> {
    let dir = std::env::var("WARD_PEOPLE_DIR").ok()?;
    (!dir.is_empty()).then(|| format!("--people-dir={dir}"))
}

/// Whether a server that is not there left something behind that still runs, or could.
pub(crate) fn left_behind(home: &Path) -> bool {
    let instances = |env: fs::DirEntry| fs::read_dir(env.path()).into_iter().flatten();
    let found = fs::read_dir(home.join("run")).into_iter().flatten();
    let stacks = found.flatten().flat_map(instances).flatten();
    stacks
        .flat_map(instances)
        .flatten()
        .any(|entry| entry.path().is_dir())
}

/// Which binary a server is started from, and what for.
#[derive(Clone, Copy)]
pub(crate) enum Launch<'a> {
    /// This one, because none runs.
    Own,
    /// This one, to take over from another version.
    Upgrade { why: &'a str },
    /// Another version again, because this one could not take over.
    Other(&'a Path),
}

/// A server that was started, and how long its log was before.
struct Started {
    process: Child,
    log: u64,
}

fn start(home: &Path, set: &Settings<'_>, launch: Launch<'_>) -> Result<Started, Trouble> {
    let addresses = set.addresses;
    let broken = |what: &str, error: std::io::Error| full::trouble(what, home, &error);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home)
        .map_err(|error| broken("cannot make the state folder", error))?;
    let log = File::options()
        .create(true)
        .append(true)
        .open(home.join("server.log"))
        .map_err(|error| broken("cannot write a log in", error))?;
    let before = log.metadata().map_or(0, |log| log.len());
    let exe = match launch {
        Launch::Other(path) => path.to_owned(),
        Launch::Own | Launch::Upgrade { .. } => std::env::current_exe()
            .map_err(|error| broken("cannot find the ward binary for", error))?,
    };
    let upgrade = match launch {
        Launch::Upgrade { why } => vec![format!("--upgrade={why}")],
        Launch::Own | Launch::Other(_) => Vec::new(),
    };
    let metrics = addresses
        .metrics_addr
        .map(|address| format!("--metrics-addr={address}"));
    let variables = set.variables.iter().filter(|(name, _)| {
        let said_anew = std::env::var_os(name).is_some();
        !said_anew || matches!(launch, Launch::Other(_))
    });
    let process = Command::new(exe)
        .envs(variables.map(|(name, value)| (name, value.expose())))
        .arg("serve")
        .args(upgrade)
        .arg("--home")
        .arg(home)
        .args(["--http-addr", &addresses.http().to_string()])
        .args(["--https-addr", &addresses.https().to_string()])
        .args(["--registry-addr", &addresses.registry().to_string()])
        .args(metrics)
        .args(addresses.for_hooks())
        .args(set.arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0) // Ctrl-C in this terminal is not meant for the server.
        .spawn()
        .map_err(|error| broken("cannot start the server for", error))?;
    Ok(Started {
        process,
        log: before,
    })
}

/// What a server is started with.
pub(crate) struct Settings<'a> {
    /// Where it listens.
    pub(crate) addresses: &'a Addresses,
    /// What else it is told; empty: what the environment's variables say.
    pub(crate) arguments: &'a [String],
    /// What the server before was told by variables.
    pub(crate) variables: &'a [(String, Secret)],
}

/// Starts a server, and waits for its first answer. Another one may have been faster, and is as good; or
/// it may be on its way out, and then it is tried again.
pub(crate) async fn started(
    client: &Client,
    home: &Path,
    set: &Settings<'_>,
    launch: Launch<'_>,
) -> Result<ServerView, Trouble> {
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    let mut server = start(home, set, launch)?;
    loop {
        match client.get::<StatusView>("/v1/status").await {
            Ok(status) => return Ok(status.server),
            Err(ClientError::NotRunning { .. }) => {}
            Err(other) => return Err(other.into()),
        }
        let ended = server.process.try_wait().ok().flatten();
        if tokio::time::Instant::now() > deadline {
            return Err(last_words(home, server.log, ended.is_some()));
        }
        match ended.map(|status| status.code()) {
            None => tokio::time::sleep(AGAIN).await,
            Some(Some(code)) if code == i32::from(TAKEN) => {
                if let Some(other) = another(client).await {
                    return Ok(other);
                }
                server = start(home, set, launch)?;
            }
            Some(_) => return Err(last_words(home, server.log, true)),
        }
    }
}

/// The server that has the state folder, when it answers before long.
async fn another(client: &Client) -> Option<ServerView> {
    for _ in 0..100 {
        if let Ok(status) = client.get::<StatusView>("/v1/status").await {
            return Some(status.server);
        }
        tokio::time::sleep(AGAIN).await;
    }
    None
}

/// What a server said last, behind what was in its log before.
fn last_words(home: &Path, before: u64, ended: bool) -> Trouble {
    let log = fs::read(home.join("server.log")).unwrap_or_default();
    let own = usize::try_from(before)
        .ok()
        .and_then(|before| log.get(before..));
    let log = String::from_utf8_lossy(own.unwrap_or(&log)).into_owned();
    let lines: Vec<&str> = log.lines().rev().take(12).collect();
    let words: Vec<&str> = lines.into_iter().rev().collect();
    let what = if ended {
        "the server ended at once"
    } else {
        "the server does not answer"
    };
    let reason = words.last().and_then(|last| last.strip_prefix("error: "));
    if let Some(left) = full::left(home) {
        // It could not write down why, or only a part of it.
        let what = if ended {
            "the server did not start"
        } else {
            what
        };
        let home_is = format!(
            "the disk of {} is full ({left} bytes are left)",
            home.display()
        );
        let why = reason.map_or(String::new(), |reason| format!("; {reason}"));
        let message = format!("{what}: {home_is}{why}");
        return Trouble::failure(message, Some(full::hint(home)));
    }
    let message = match (reason, words.is_empty()) {
        (Some(reason), _) if ended => format!("the server did not start: {reason}"),
        (_, true) => what.to_owned(),
        (_, false) => format!("{what}:\n{}", words.join("\n")),
    };
    Trouble::failure(
        message,
        Some(format!(
            "its whole log: {}",
            home.join("server.log").display()
        )),
    )
}
