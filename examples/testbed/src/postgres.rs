//! A PostgreSQL server in a folder of its own, on a free loopback port.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::until;

const USER: &str = "tester";
const PASSWORD: &str = "correct-horse";
const NOBODY: u32 = 65_534;

/// A running server; dropping it ends it and removes its folder.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// Makes a new cluster and starts it.
    pub fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "ward-example-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a new folder in the temporary folder");
        let mut postgres = Self {
            folder,
            port: free_port(),
            server: None,
        };
        postgres.init();
        postgres.resume();
        postgres
    }

    /// The address for `DATABASE_URL`.
    pub fn url(&self) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    /// Starts a stopped server on the same port and data, and waits until it answers.
    pub fn resume(&mut self) {
        let data = self.data();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("a log file");
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(&data)
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(&self.folder);
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "max_connections=60",
        ] {
            command.args(["-c", setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(command.spawn().expect("postgres starts"));
        until("PostgreSQL answers", || {
            let ended = self
                .server
                .as_mut()
                .and_then(|server| server.try_wait().ok().flatten());
            assert!(
                ended.is_none(),
                "PostgreSQL ended: {}",
                fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
            self.psql("select 1").ok()
        });
    }

    /// Stops the server at once, as an operator's fast shutdown does: connections are cut.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// What a statement returns: rows by line, columns by `|`.
    pub fn ask(&self, sql: &str) -> String {
        self.psql(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn psql(&self, sql: &str) -> Result<String, String> {
        let output = Command::new(binaries().join("psql"))
            .args([
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                &self.url(),
                "-c",
                sql,
            ])
            .stdin(Stdio::null())
            .output()
            .expect("psql starts");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn init(&self) {
        let password = self.folder.join("password");
        fs::write(&password, PASSWORD).expect("the password file");
        if let Some(uid) = other_user() {
            chown(&self.folder, Some(uid), Some(uid)).expect("root may give a folder away");
            chown(&password, Some(uid), Some(uid)).expect("root may give a file away");
        }
        let mut pwfile = std::ffi::OsString::from("--pwfile=");
        pwfile.push(&password);
        let output = self
            .command("initdb")
            .arg("-D")
            .arg(self.data())
            .arg(pwfile)
            .args([
                "-U",
                USER,
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ])
            .output()
            .expect("initdb starts");
        assert!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// A program of PostgreSQL, as a user that it accepts, that dies with this thread.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.current_dir(&self.folder).arg("--pdeathsig=QUIT");
        if let Some(uid) = other_user() {
            command.args([
                format!("--reuid={uid}"),
                format!("--regid={uid}"),
                "--clear-groups".into(),
            ]);
        }
        command.arg(binaries().join(program));
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn end(&mut self, signal: &str) {
        if let Some(mut server) = self.server.take() {
            crate::program::send(server.id(), signal);
            server.wait().expect("the server is our child");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("QUIT");
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// PostgreSQL refuses uid 0: root runs it as nobody.
fn other_user() -> Option<u32> {
    let own = fs::metadata("/proc/self").expect("/proc is mounted").uid();
    (own == 0).then_some(NOBODY)
}

/// The folder of the newest installed PostgreSQL, 15 or later.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|v| *v >= 15)
        .max();
    let version = newest.expect("PostgreSQL 15 or later is needed: apt-get install postgresql");
    Path::new("/usr/lib/postgresql")
        .join(version.to_string())
        .join("bin")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
