//! Certificate authorities: one of a test's own, and Pebble, which speaks ACME and looks whether it is true.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::eventually;

/// An authority whose certificates lie in a folder, its own as `authority.pem`.
pub struct Ca {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(folder.join("authority.pem"), pem).unwrap();
        let folder = folder.to_owned();
        let issuer = Issuer::new(params, key);
        Self { folder, issuer }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn issue(&self, name: &str, host: &str) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        std::fs::write(self.path(&format!("{name}.pem")), pem).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Where Pebble will look for the answers.
pub struct Answers<'a> {
    pub http: &'a str,
    pub https: &'a str,
}

/// Pebble, at a loopback address of its own, with a name server that sends every name to 127.0.0.1.
pub struct Pebble {
    address: String,
    folder: TempDir,
    processes: Vec<Child>,
}

impl Pebble {
    /// Where it will be; nothing runs yet.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        // Whoever runs beside this has another process id, or another number.
        static NUMBER: AtomicU8 = AtomicU8::new(64);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let [_, _, a, b] = std::process::id().to_be_bytes();
        let address = format!("127.{number}.{a}.{b}");
        Ca::new(folder.path()).issue("pebble", &address);
        Self {
            address,
            folder,
            processes: Vec::new(),
        }
    }

    pub fn directory(&self) -> String {
        format!("https://{}:14000/dir", self.address)
    }

    /// The root of its own certificate.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Starts it; what it issues is good for so many seconds.
    pub fn start(&mut self, answers: &Answers<'_>, seconds: u32) {
        let port = |address: &str| -> u16 {
            let (_, port) = address.rsplit_once(':').unwrap();
            port.parse().unwrap()
        };
        let (address, folder) = (&self.address, self.folder.path());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("{address}:14000"),
            "managementListenAddress": format!("{address}:15000"),
            "certificate": folder.join("pebble.pem"),
            "privateKey": folder.join("pebble.key"),
            "httpPort": port(answers.http),
            "tlsPort": port(answers.https),
            "certificateValidityPeriod": seconds,
        }});
        let path = folder.join("pebble.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let names = format!("{address}:8053");
        let mut dns = Command::new("pebble-challtestsrv");
        dns.args(["-dns01", &names, "-management", &format!("{address}:8055")]);
        dns.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        dns.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        let mut pebble = Command::new("pebble");
        pebble.env("PEBBLE_VA_NOSLEEP", "1").arg("-strict");
        pebble.args(["-dnsserver", &names]).arg("-config").arg(path);
        for mut command in [dns, pebble] {
            let log = std::fs::File::options()
                .create(true)
                .append(true)
                .open(folder.join("log"))
                .unwrap();
            command
                .stdin(Stdio::null())
                .stderr(log.try_clone().unwrap());
            self.processes.push(command.stdout(log).spawn().unwrap());
        }
        eventually("Pebble answers", || self.issuing_root().is_some());
    }

    /// The root of what it issues, in a file.
    pub fn issuing_root(&self) -> Option<PathBuf> {
        let path = self.folder.path().join("issuing.pem");
        let fetched = Command::new("curl")
            .args(["-sSf", "--max-time", "5", "-o"])
            .arg(&path)
            .arg("--cacert")
            .arg(self.root())
            .arg(format!("https://{}:15000/roots/0", self.address))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        fetched.success().then_some(path)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What curl gets from a host of a Ward, trusting one root alone: what it wrote and the status, or why it failed.
pub fn curl(
    https: &str,
    root: &Path,
    (host, path): (&str, &str),
    more: &[&str],
) -> Result<String, String> {
    let (address, port) = https.rsplit_once(':').unwrap();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--write-out", " %{http_code}"])
        .arg("--cacert")
        .arg(root)
        .args(["--resolve", &format!("{host}:{port}:{address}")])
        .args(more)
        .arg(format!("https://{host}:{port}{path}"))
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
