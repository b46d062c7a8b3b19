//! A sandbox from start to first answer, against `crun run` of the same image, in turn.
//!
//! The image is one folder that holds one file, the tiny server, linked statically. Both get new user, mount, pid,
//! ipc, uts, cgroup and network namespaces, a read-only root, no capabilities and no_new_privs.
//! What differs, differs in crun's favour: it has no seccomp filter, mounts the folder itself where Ward makes an
//! overlay of layers, copies no output, and is asked over a Unix socket in a folder that is mounted into it (its
//! network namespace has no other way in), where Ward's keeper is asked for a connection (`Connect`), which is what
//! the gateway does.
//!
//! The turns are taken in a process of their own. On a host with both versions of cgroups, where version 2 has a
//! controller, crun 1.8 runs nothing, whatever its cgroup manager; so that process lives in a mount namespace
//! without the version 2 hierarchy, where crun finds version 1 alone.

mod turns;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use super::Measured;
use crate::error::{Error, doing};
use crate::process;
use crate::report::{Bar, informs};
use crate::sample::Sample;
use crate::tiny;
use crate::workshop::Workshop;
pub(crate) use turns::Turns;
use turns::{CRUN_STATE, IMAGE, Times};

const RATIO: Bar = Bar {
    name: "sandbox: start to first answer, Ward's keeper / crun run, medians",
    unit: "ratio",
    most: 1.0,
};
pub(super) const BARS: &[Bar] = &[RATIO];

const UNIFIED: &str = "/sys/fs/cgroup/unified";

pub(super) async fn measure(workshop: &Workshop, samples: u32) -> Measured {
    let crun = which("crun").ok_or(Error::Missing {
        program: "crun",
        package: "crun",
    })?;
    let place = Place::make(crun)?;
    let folder = place.folder.path().to_owned();
    let turns = Turns {
        exe: workshop.exe().to_owned(),
        crun: place.crun.clone(),
        folder,
        samples: samples.max(30),
    };
    let times = apart(&turns).await?;
    drop(place);
    let (mut ward, mut crun) = (Sample::default(), Sample::default());
    ward.extend(times.ward);
    crun.extend(times.crun);
    let ratio = ward
        .median()
        .zip(crun.median())
        .map(|(ward, crun)| ward / crun);
    let rows = vec![
        RATIO.row(ratio),
        informs("sandbox: Ward's keeper, median", ward.median(), "ms"),
        informs("sandbox: crun run, median", crun.median(), "ms"),
        informs("sandbox: Ward's keeper, p10", ward.quantile(0.1), "ms"),
        informs("sandbox: crun run, p10", crun.quantile(0.1), "ms"),
        informs("sandbox: Ward's keeper, p99", ward.quantile(0.99), "ms"),
        informs("sandbox: crun run, p99", crun.quantile(0.99), "ms"),
    ];
    let hidden = if refuses_cgroups() {
        ", in a mount namespace without the cgroup version 2 hierarchy, which it refuses"
    } else {
        ""
    };
    let note = format!(
        "{} starts of each, in turn. crun has the same namespaces and, in its favour, no seccomp filter, no overlay, no \
         copied output, no cgroup (--cgroup-manager=disabled{hidden}), and is asked over a Unix socket; Ward's is asked \
         through Connect.",
        ward.len()
    );
    Ok((rows, vec![note]))
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Whether crun would refuse this host for its cgroups.
fn refuses_cgroups() -> bool {
    let controllers = fs::read_to_string(Path::new(UNIFIED).join("cgroup.controllers"));
    controllers.is_ok_and(|controllers| !controllers.trim().is_empty())
}

/// A program that is started where crun takes the host for one of cgroup version 1.
pub(super) fn without_cgroup_2(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !refuses_cgroups() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-c"]);
    let then = format!("umount {UNIFIED} && exec \"$0\" \"$@\"");
    command.arg(then).arg(program);
    command
}

/// Takes the turns in a process of their own.
async fn apart(turns: &Turns) -> Result<Times, Error> {
    let own = doing("find this program", std::env::current_exe())?;
    let mut command = without_cgroup_2(own);
    let told =
        serde_json::to_string(turns).map_err(|error| Error::Unexpected(error.to_string()))?;
    command
        .arg("--turns")
        .arg(told)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = doing("start the sandboxes' process", command.output().await)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Command {
            line: "ward-bench --turns".to_owned(),
            how: output.status.to_string(),
            output: said,
        });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Error::Unexpected(format!("the sandboxes' times are not understood: {error}"))
    })
}

/// The folder of image, instances and bundles. Dropping it ends what still runs there.
struct Place {
    crun: PathBuf,
    folder: TempDir,
}

impl Place {
    fn make(crun: PathBuf) -> Result<Self, Error> {
        // crun's container walks here as another user.
        let open = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new()
            .prefix("ward-bench-")
            .permissions(open.clone())
            .tempdir();
        let folder = doing("make a temporary folder", folder)?;
        let image = folder.path().join(IMAGE);
        // Mount points, because the image is shown read-only.
        for place in ["proc", "dev", "socket"] {
            doing("make the image", fs::create_dir_all(image.join(place)))?;
        }
        doing("open the image", fs::set_permissions(&image, open))?;
        tiny::compile(&image.join("tiny-server"))?;
        Ok(Self { crun, folder })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = self.folder.path().join(CRUN_STATE);
        for entry in fs::read_dir(&state).into_iter().flatten().flatten() {
            // crun's own `delete` refuses the host's cgroups as `run` does; its state names the process.
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
            if let Some(pid) = status["pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok())
            {
                process::kill_all(&[pid]);
            }
        }
        process::kill_all(&process::of_folder(self.folder.path()));
    }
}
