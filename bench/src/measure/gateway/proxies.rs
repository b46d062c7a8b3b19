//! The proxies that are compared: Ward's gateway, nginx and HAProxy, and Caddy where it is installed, in front of the same
//! origin, each with a worker per core and connections to the origin that are kept, and each, as its origin, in a session of
//! its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, doing};
use crate::process;
use crate::report::say;
use crate::tiny::{self, Killed};
use crate::ward::{Ward, address};
use crate::workshop::Workshop;

/// The host that the origin's route has.
pub(super) const HOST: &str = "origin.localhost";
/// Another one that leads there, which every machine finds without asking.
pub(super) const HOST_OF_ALL: &str = "localhost";
/// That of a service with four instances, of which one is slow.
pub(super) const FOUR: &str = "four.localhost";
/// That of a service of which one instance works on [`AT_ONCE`] requests at once.
pub(super) const NARROW: &str = "narrow.localhost";
pub(super) const AT_ONCE: u32 = 4;

/// How long a proxy may take to listen.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// One proxy that runs.
pub(super) struct Proxy {
    pub(super) name: &'static str,
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
    /// Whether bars are about it. Others are measured beside, at what they can bear.
    pub(super) has_bars: bool,
    /// The process that was started first; what it started counts as well.
    pid: u32,
    running: Option<Killed>,
}

impl Drop for Proxy {
    /// A first process that is killed takes no worker along.
    fn drop(&mut self) {
        if self.running.is_some() {
            process::kill_all(&process::descendants(self.pid));
        }
    }
}

impl Proxy {
    /// One that is somebody else's to end.
    pub(super) fn of_pid(
        name: &'static str,
        http: SocketAddr,
        https: SocketAddr,
        pid: u32,
    ) -> Self {
        Self {
            name,
            http,
            https,
            has_bars: true,
            pid,
            running: None,
        }
    }

    /// Processor time since it was started, user and system, all its processes together.
    ///
    /// # Errors
    /// When the process that was started first has ended: what was measured is of another one.
    pub(super) fn processor_time(&self) -> Result<Duration, Error> {
        let all = self.processes()?.into_iter();
        Ok(all.filter_map(process::processor_time).sum())
    }

    /// Memory of all its processes, in bytes.
    ///
    /// # Errors
    /// As [`Proxy::processor_time`].
    pub(super) fn memory(&self) -> Result<u64, Error> {
        let all = self.processes()?.into_iter();
        Ok(all.filter_map(process::proportional_set_size).sum())
    }

    fn processes(&self) -> Result<Vec<u32>, Error> {
        let (name, pid) = (self.name, self.pid);
        match process::lives(pid) {
            true => Ok(process::descendants(pid)),
            false => Err(Error::Unexpected(format!("{name}'s process {pid} is gone"))),
        }
    }
}

/// All of them. Dropping it ends them and the origin.
pub(super) struct Proxies {
    pub(super) all: Vec<Proxy>,
    ward: Ward,
    _origin: Killed,
    folder: tempfile::TempDir,
}

/// One proxy with origins of its own.
pub(super) struct Peer {
    pub(super) proxy: Proxy,
    _origins: Vec<Killed>,
}

impl Proxies {
    pub(super) async fn start(workshop: &Workshop) -> Result<Self, Error> {
        let folder = workshop.scratch("proxies-")?;
        let (ward, own) = start_ward(workshop).await?;
        let binary = ward.stack().join("origin");
        let (origin, address) = tiny::start(&binary)?;
        certificate(folder.path())?;
        let mut all = vec![
            own,
            nginx(folder.path(), address)?,
            haproxy(folder.path(), "haproxy", &[address])?,
        ];
        let caddy = Path::new("/usr/bin/caddy");
        if caddy.exists() {
            match self::caddy(caddy, folder.path(), address) {
                Ok(caddy) => all.push(caddy),
                Err(error) => say(&format!("it is left out: {}", error.sentence())),
            }
        }
        Ok(Self {
            all,
            ward,
            _origin: origin,
            folder,
        })
    }

    /// HAProxy in front of such origins, each asked in turn; they end when what comes back is dropped.
    pub(super) fn round_robin(&self, origins: &[&[(&str, &str)]]) -> Result<Peer, Error> {
        let binary = self.ward.stack().join("origin");
        let started = origins.iter().map(|one| tiny::start_with(&binary, one));
        let started: Vec<_> = started.collect::<Result<_, _>>()?;
        let addresses: Vec<_> = started.iter().map(|(_, address)| *address).collect();
        Ok(Peer {
            proxy: haproxy(self.folder.path(), "in-turn", &addresses)?,
            _origins: started.into_iter().map(|(origin, _)| origin).collect(),
        })
    }

    /// Ward's binary.
    pub(super) fn exe(&self) -> &Path {
        self.ward.exe()
    }

    /// Its state folder.
    pub(super) fn home(&self) -> &Path {
        self.ward.home()
    }

    /// An error with what Ward has to say about it, whose logs go with its folder.
    pub(super) fn explain(&self, error: &Error) -> Error {
        let logs = ["server.log", "gateway.log"].map(|name| self.ward.log(name));
        Error::Unexpected(error.sentence() + &logs.concat())
    }

    /// Stops Ward in its own way, and the others.
    pub(super) async fn stop(self) -> Result<(), Error> {
        self.ward.stop().await
    }
}

async fn start_ward(workshop: &Workshop) -> Result<(Ward, Proxy), Error> {
    let stack = workshop.folder("origin")?;
    tiny::compile_origin(&stack.join("origin"))?;
    let text = format!(
        r#"[stack]
name = "origin"
version = "1.0"

[service.web]
build = {{ files = ["origin"], run = ["/app/origin"], base = "empty" }}
port = 8000
health = {{ path = "/" }}
[[service.web.route]]
host = "{HOST}"
[[service.web.route]]
host = "{HOST_OF_ALL}"

[service.four]
build = {{ files = ["origin"], run = ["/app/origin"], base = "empty" }}
port = 8000
health = {{ path = "/" }}
instances = 4
env = {{ SLOW_OF = "4" }}
route = {{ host = "{FOUR}" }}

[service.narrow]
build = {{ files = ["origin"], run = ["/app/origin"], base = "empty" }}
port = 8000
health = {{ path = "/" }}
concurrency = "adaptive"
env = {{ CAPACITY = "{AT_ONCE}" }}
route = {{ host = "{NARROW}" }}

[environment.dev]
"#
    );
    write(&stack.join("ward.toml"), &text)?;
    let ward = workshop.of(&stack);
    ward.up().await?;
    let server = ward.status().await?.server;
    let pid = server
        .gateway_pid
        .ok_or_else(|| Error::Unexpected("`ward status` shows no gateway".to_owned()))?;
    let (http, https) = (address(&server.http)?, address(&server.https)?);
    Ok((ward, Proxy::of_pid("Ward", http, https, pid)))
}

/// A key and a certificate for the peers, of the kind that Ward's own authority makes (ECDSA, P-256).
fn certificate(folder: &Path) -> Result<(), Error> {
    let mut openssl = program("openssl", "openssl", &["/usr/bin/openssl"])?;
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
    openssl.args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=origin.localhost", "-keyout", "key.pem"]);
    openssl.args(["-out", "cert.pem"]).current_dir(folder);
    let output = doing("run openssl", openssl.output())?;
    if !output.status.success() {
        return Err(Error::Command {
            line: "openssl req -x509".to_owned(),
            how: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    let part = |name: &str| {
        let path = folder.join(name);
        doing(format!("read {}", path.display()), fs::read_to_string(path))
    };
    // HAProxy reads both from one file.
    write(
        &folder.join("both.pem"),
        &(part("cert.pem")? + &part("key.pem")?),
    )
}

/// Its documentation's advice for proxying: kept connections to the origin, no access log, no buffering of what
/// is large, tickets for resumption.
fn nginx(folder: &Path, origin: SocketAddr) -> Result<Proxy, Error> {
    let (http, https) = (free()?, free()?);
    let home = folder.join("nginx");
    doing("make a folder for nginx", fs::create_dir_all(&home))?;
    let (home_text, keys) = (home.display(), folder.display());
    let root = match rustix::process::geteuid().is_root() {
        true => "user root;",
        false => "",
    };
    let text = format!(
        r"daemon off; {root} pid {home_text}/pid; error_log {home_text}/error.log;
worker_processes auto; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000; keepalive_timeout 75s;
  client_body_temp_path {home_text}/body; proxy_temp_path {home_text}/proxy; fastcgi_temp_path {home_text}/f;
  uwsgi_temp_path {home_text}/u; scgi_temp_path {home_text}/s;
  client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;
  proxy_buffers 16 32k; proxy_buffer_size 32k; proxy_busy_buffers_size 64k;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:10m; ssl_session_tickets on;
  http2_max_requests 1000000;
  upstream origin {{ server {origin}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen {http} reuseport backlog=4096; listen {https} ssl http2 reuseport backlog=4096;
    ssl_certificate {keys}/cert.pem; ssl_certificate_key {keys}/key.pem;
    location /echo {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }}
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection '';
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }}
  }}
}}
"
    );
    let configuration = home.join("nginx.conf");
    write(&configuration, &text)?;
    let mut nginx = service("nginx", "nginx-core", "/usr/sbin/nginx")?;
    nginx.arg("-p").arg(&home).arg("-c").arg(&configuration);
    run("nginx", nginx, &home, http, https)
}

fn haproxy(folder: &Path, name: &str, origins: &[SocketAddr]) -> Result<Proxy, Error> {
    let (http, https) = (free()?, free()?);
    let home = folder.join(name);
    let servers = origins.iter().zip(1..);
    let servers = servers.map(|(origin, number)| format!("  server s{number} {origin}\n"));
    let servers: String = servers.collect();
    doing("make a folder for HAProxy", fs::create_dir_all(&home))?;
    let keys = folder.display();
    let text = format!(
        r"global
  maxconn 6000
  tune.ssl.default-dh-param 2048
  tune.h2.max-concurrent-streams 250
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  timeout tunnel 75s
  http-reuse always
  option http-keep-alive
  option forwardfor
  option splice-auto
  option dontlog-normal
frontend front
  bind {http} backlog 4096
  bind {https} ssl crt {keys}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2 backlog 4096
  default_backend origin
backend origin
  balance roundrobin
{servers}"
    );
    let configuration = home.join("haproxy.cfg");
    write(&configuration, &text)?;
    let mut haproxy = service("haproxy", "haproxy", "/usr/sbin/haproxy")?;
    haproxy.arg("-db").arg("-f").arg(&configuration);
    run("HAProxy", haproxy, &home, http, https)
}

/// As it comes, but for connections to the origin that are kept, and without a log.
fn caddy(program: &Path, folder: &Path, origin: SocketAddr) -> Result<Proxy, Error> {
    let (http, https) = (free()?, free()?);
    let home = folder.join("caddy");
    doing("make a folder for Caddy", fs::create_dir_all(&home))?;
    let (keys, address) = (folder.display(), http.ip());
    let (http_port, https_port) = (http.port(), https.port());
    let text = format!(
        r"{{
  admin off
  auto_https off
  default_sni {HOST}
  log {{
    output discard
  }}
}}
(origin) {{
  bind {address}
  reverse_proxy {origin} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
http://:{http_port} {{
  import origin
}}
https://:{https_port} {{
  tls {keys}/cert.pem {keys}/key.pem
  import origin
}}
"
    );
    let configuration = home.join("Caddyfile");
    write(&configuration, &text)?;
    let mut caddy = process::service(program);
    caddy.args(["run", "--adapter", "caddyfile", "--config"]);
    caddy.arg(&configuration);
    caddy.env("HOME", &home).env_remove("XDG_CONFIG_HOME");
    caddy.env_remove("XDG_DATA_HOME");
    let mut proxy = run("Caddy", caddy, &home, http, https)?;
    proxy.has_bars = false;
    Ok(proxy)
}

fn run(
    name: &'static str,
    mut command: Command,
    home: &Path,
    http: SocketAddr,
    https: SocketAddr,
) -> Result<Proxy, Error> {
    let said = doing(
        format!("make a log for {name}"),
        fs::File::create(home.join("said")),
    )?;
    let more = doing(format!("make a log for {name}"), said.try_clone())?;
    command.stdin(Stdio::null()).stdout(said).stderr(more);
    let mut running = Killed(doing(format!("start {name}"), command.spawn())?);
    let deadline = Instant::now() + STARTS_WITHIN;
    while TcpStream::connect(http).is_err() || TcpStream::connect(https).is_err() {
        let ended = matches!(running.0.try_wait(), Ok(Some(_)));
        if ended || Instant::now() > deadline {
            let said = fs::read_to_string(home.join("said")).unwrap_or_default();
            return Err(Error::Unexpected(format!("{name} does not serve: {said}")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Proxy {
        name,
        http,
        https,
        has_bars: true,
        pid: running.0.id(),
        running: Some(running),
    })
}

/// Neither program can be told to take a free port and say which.
fn free() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    doing("find a free port", listener.and_then(|l| l.local_addr()))
}

/// A program of Debian's that serves.
fn service(program: &'static str, package: &'static str, path: &str) -> Result<Command, Error> {
    let path = Path::new(path);
    match path.exists() {
        true => Ok(process::service(path)),
        false => Err(Error::Missing { program, package }),
    }
}

/// A program of Debian's, which may not be in the search path of an ordinary user.
pub(super) fn program(
    program: &'static str,
    package: &'static str,
    paths: &[&str],
) -> Result<Command, Error> {
    let found = paths.iter().map(PathBuf::from).find(|path| path.exists());
    let found = found.ok_or(Error::Missing { program, package })?;
    Ok(Command::new(found))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    doing(format!("write {}", path.display()), fs::write(path, text))
}
