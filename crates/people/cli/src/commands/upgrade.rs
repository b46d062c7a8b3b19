//! `upgrade`: this binary takes over from the one that runs.
//!
//! The order: the server that runs ends alone, while gateway and instances go on; a server of this binary
//! finds them, and starts a gateway of its own with the listening sockets; when that serves, the one before
//! finishes what it has begun. Instances are not touched. When the new server or gateway does not start, the
//! server before is started again, from its own binary even if its file was replaced.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ward_api::ClientError;
use ward_types::view::{HandedOver, ServerView, StatusView};

use super::{Context, Trouble, deploy};
use crate::args::{Addresses, Upgrade};
use crate::platform::{self, Launch, Settings};
use crate::printer::Status;

pub(crate) async fn upgrade(context: &Context, upgrade: &Upgrade) -> Result<Status, Trouble> {
    let status: StatusView = match context.client.get("/v1/status").await {
        Ok(status) => status,
        Err(error @ ClientError::NotRunning { .. }) => {
            let hint = "`ward up` starts this version; there is nothing to take over from";
            return Err(Trouble::failure(error.to_string(), Some(hint.to_owned())));
        }
        Err(error) => return Err(error.into()),
    };
    let before = status.server;
    let kept = Kept::of(before.pid, &context.home);
    let addresses = addresses_of(&before)?;
    let mut arguments = before.arguments.clone();
    arguments.retain(|argument| !is_said_anew(argument));
    // One of an older version hands nothing over.
    let handed: Option<HandedOver> = context.client.post("/v1/handover", &()).await?;
    let variables = handed.unwrap_or_default().variables;
    let set = Settings {
        addresses: &addresses,
        arguments: &arguments,
        variables: &variables,
    };
    deploy::gone(context, before.pid).await?;
    let launch = Launch::Upgrade {
        why: &upgrade.why.text,
    };
    let taken = platform::started(&context.client, &context.home, &set, launch).await;
    match taken {
        Ok(after) => {
            if let Kept::Copied(copy) = &kept {
                let _ = std::fs::remove_file(copy);
            }
            context.printer.done(&format!(
                "upgraded from {} to {}: server {}, gateway {}",
                before.version,
                after.version,
                after.pid,
                after
                    .gateway_pid
                    .map_or("?".to_owned(), |pid| pid.to_string())
            ));
            Ok(Status::Success)
        }
        Err(trouble) => Err(taken_back(context, &set, &kept, trouble).await),
    }
}

/// The binary that runs, for the way back.
enum Kept {
    /// It is where it was started from.
    There(PathBuf),
    /// Its file was replaced, as one installs a new version; this is a copy of what runs.
    Copied(PathBuf),
    /// It could not be kept.
    Lost,
}

impl Kept {
    fn of(pid: u32, home: &Path) -> Self {
        let exe = format!("/proc/{pid}/exe");
        match std::fs::read_link(&exe) {
            Ok(path) if is_same(&path, Path::new(&exe)) => Self::There(path),
            _ => {
                let copy = home.join(format!("ward.before-{pid}"));
                let copied = std::fs::copy(&exe, &copy);
                copied.map_or(Self::Lost, |_| Self::Copied(copy))
            }
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::There(path) | Self::Copied(path) => Some(path),
            Self::Lost => None,
        }
    }
}

fn is_same(path: &Path, exe: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    identity(path).is_some_and(|own| identity(exe) == Some(own))
}

/// Whether this terminal's variables say something else of what an argument says.
fn is_said_anew(argument: &str) -> bool {
    let name = argument.trim_start_matches('-').split('=').next();
    let variable = name.map(|name| name.to_ascii_uppercase().replace('-', "_"));
    variable.is_some_and(|name| std::env::var_os(format!("WARD_{name}")).is_some())
}

/// Where the new server listens: where the one before did, whatever this terminal's variables say.
fn addresses_of(server: &ServerView) -> Result<Addresses, Trouble> {
    let parsed = |text: &str| {
        text.parse().map(Some).map_err(|error| {
            Trouble::failure(format!("the server listens on {text}: {error}"), None)
        })
    };
    // One of an older version has none, and gets what this one would.
    let metrics_addr = match server.metrics.is_empty() {
        true => None,
        false => parsed(&server.metrics)?,
    };
    Ok(Addresses {
        metrics_addr,
        // Among the arguments of the server before, if it had one.
        hooks_addr: None,
        http_addr: parsed(&server.http)?,
        https_addr: parsed(&server.https)?,
        registry_addr: parsed(&server.registry)?,
    })
}

async fn taken_back(
    context: &Context,
    set: &Settings<'_>,
    kept: &Kept,
    trouble: Trouble,
) -> Trouble {
    let again = match kept.path() {
        Some(path) => {
            let launch = Launch::Other(path);
            let back = platform::started(&context.client, &context.home, set, launch).await;
            back.ok().map(|server| server.version)
        }
        None => None,
    };
    let hint = match again {
        Some(version) => format!("{version} runs again; no request was lost by it"),
        None => {
            "what runs goes on serving without a server; `ward up` of the version before starts one"
                .to_owned()
        }
    };
    let hint = [Some(hint), trouble.hint].into_iter().flatten();
    Trouble {
        hint: Some(hint.collect::<Vec<_>>().join("\n")),
        message: format!("the upgrade failed: {}", trouble.message),
        status: trouble.status,
    }
}
