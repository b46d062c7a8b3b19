//! Real keepers for tests, and nothing of them left afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use ward_engine::{Engine, Options};
use ward_types::id::EnvId;
use ward_types::time::Timestamp;

/// Names the keeper's program when the tests are repeated as another user.
const KEEPER: &str = "WARD_TEST_KEEPER";

/// An ordinary user, whose number nobody has.
const ORDINARY: u32 = 61_234;

/// The present moment.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

/// The example `keeper`, or the one that the package calls otherwise; cargo builds it with the tests.
pub(crate) fn keeper() -> PathBuf {
    if let Some(path) = std::env::var_os(KEEPER) {
        return PathBuf::from(path);
    }
    let tests = std::env::current_exe().unwrap();
    let examples = tests.ancestors().nth(2).unwrap().join("examples");
    let own = examples.join(concat!(env!("CARGO_PKG_NAME"), "-keeper"));
    if own.exists() {
        own
    } else {
        examples.join("keeper")
    }
}

/// An engine whose keepers are real.
pub(crate) async fn open(home: &Path) -> Engine {
    let options = Options {
        home: home.to_owned(),
        exe: keeper(),
        clock: now,
    };
    Engine::open(options).await.unwrap()
}

/// The process ids of an environment's keepers that live.
pub(crate) fn keepers(engine: &Engine, env: &EnvId) -> Vec<u32> {
    let seen = engine.observe(env);
    let pids = seen.values().map(|seen| seen.status.keeper_pid);
    pids.filter(|pid| lives(*pid)).collect()
}

/// Ends all keepers of an environment, also when a test failed: an instance dies with its keeper.
pub(crate) fn end(engine: &Engine, env: &EnvId) {
    let killed = keepers(engine, env);
    killed.iter().copied().for_each(kill);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !keepers(engine, env).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    // A killed keeper cannot remove its control groups, and what was in them takes a moment to be gone.
    let left = |pid: &u32| !groups(Path::new("/sys/fs/cgroup"), &format!("ward-{pid}-")).is_empty();
    while killed.iter().any(left) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
        ward_sandbox::sweep_cgroups();
    }
}

/// The control groups whose name begins so.
pub(crate) fn groups(folder: &Path, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(name) {
            found.push(entry.path().display().to_string());
        }
        found.extend(groups(&entry.path(), name));
    }
    found
}

/// Waits until something is so; panics after a generous while.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).expect("no process is 0");
    let _ = rustix::process::kill_process(pid, signal);
}

/// Whether a process runs; one that ended and was not waited for does not.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    pid != 0
        && stat
            .rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// The command lines of this machine's processes that hold a text.
pub(crate) fn arguments_holding(text: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.filter(|line| line.contains(text)).collect()
}

/// The files below a folder that hold a text.
pub(crate) fn files_holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files_holding(&path, text));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// Runs this test program once more as a user who may do nothing special, except the test that asks.
pub(crate) fn repeat_as_an_ordinary_user(except: &str) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // The build folder may lie where nobody else may look.
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &Path, name: &str| {
        let to = folder.path().join(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        to
    };
    let tests = copy(&std::env::current_exe().unwrap(), "tests");
    let keeper = copy(&keeper(), "keeper");
    let scratch = folder.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    std::os::unix::fs::chown(&scratch, Some(ORDINARY), Some(ORDINARY)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(tests)
        .args(["--skip", except])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TMPDIR", &scratch)
        .env(KEEPER, keeper)
        .current_dir("/")
        .uid(ORDINARY)
        .gid(ORDINARY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!said.contains("running 0 tests"), "{said}");
}
