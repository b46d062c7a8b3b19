//! The real programs as child processes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use crate::{Client, until};

/// A running program, with what it has written so far; dropping it kills it.
pub struct Program {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts a program of this workspace with these variables and nothing else from outside.
    pub fn start(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        // The kernel kills it when the test that owns it dies.
        let mut child = Command::new("setpriv")
            .arg("--pdeathsig=KILL")
            .arg(binary(name))
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv starts");
        let output = Arc::default();
        collect(child.stdout.take().expect("it is piped"), &output);
        collect(child.stderr.take().expect("it is piped"), &output);
        Self { child, output }
    }

    /// Starts a service on a free port and waits until it listens.
    pub fn service(name: &str, variables: &[(&str, &str)]) -> (Self, Client) {
        let own = [
            ("PORT", "0"),
            ("WARD_RELEASE", "r7"),
            ("WARD_INSTANCE", "web-1"),
        ];
        let variables = [&own, variables].concat();
        let program = Self::start(name, &[], &variables);
        let line = program.line("listening");
        let port = line
            .split("addr=0.0.0.0:")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        let client = Client::new(port.unwrap_or_else(|| panic!("no port in {line}")));
        (program, client)
    }

    /// Runs a program to its end, which must be a success. Returns what was written.
    pub fn run(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let mut program = Self::start(name, arguments, variables);
        let status = program.ended();
        let output = program.output();
        assert!(status.success(), "{name} {arguments:?}: {output:#?}");
        output
    }

    /// Waits for a line that holds this text.
    pub fn line(&self, text: &str) -> String {
        until(text, || {
            self.output().into_iter().find(|line| line.contains(text))
        })
    }

    /// All lines so far.
    pub fn output(&self) -> Vec<String> {
        self.output.lock().expect("no reader panicked").clone()
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        send(self.child.id(), "TERM");
    }

    /// Ends it without a warning, as the kernel does when memory runs out.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The most memory it ever held, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .expect("the kernel says VmHWM")
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits for its end. Its output is complete then.
    pub fn ended(&mut self) -> ExitStatus {
        let status = until("the program ends", || {
            self.child.try_wait().expect("it is our child")
        });
        until("the output is read", || {
            (Arc::strong_count(&self.output) == 1).then_some(())
        });
        status
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal by name.
pub(crate) fn send(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(
        status.expect("kill starts").success(),
        "signal {signal} to {pid}"
    );
}

fn collect(from: impl std::io::Read + Send + 'static, output: &Arc<Mutex<Vec<String>>>) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            output.lock().expect("no reader panicked").push(line);
        }
    });
}

/// The program's file, built if it is missing or old: a test of one package must not meet yesterday's other.
fn binary(name: &str) -> PathBuf {
    static BUILT: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().expect("no build panicked");
    if let Some((_, path)) = built.iter().find(|(known, _)| known == name) {
        return path.clone();
    }
    // target/<profile>/deps/<test>: the program lies two levels above.
    let test = std::env::current_exe().expect("a running test has a file");
    let folder = test
        .ancestors()
        .nth(2)
        .expect("target/<profile>/deps/<test>");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--package", name]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let target = folder.parent().expect("target/<profile>");
    assert!(
        cargo
            .arg("--target-dir")
            .arg(target)
            .status()
            .expect("cargo starts")
            .success(),
        "{name} builds"
    );
    let path = folder.join(name);
    built.push((name.to_owned(), path.clone()));
    path
}
