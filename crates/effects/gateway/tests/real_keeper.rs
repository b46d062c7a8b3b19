//! The gateway with real keepers and real sandboxes: this program is the gateway, the keepers and the test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ward_engine::Engine;
use ward_gateway::control::Control;
use ward_types::id::{EnvId, Generation, InstanceId, Name, ReleaseId, Term};
use ward_types::keeper::{
    InstanceFacts, InstanceSpec, Limits, LinkSpec, LinkTarget, LogSpec, Role, RootSpec, UserSpec,
};
use ward_types::route::Route;
use ward_types::secret::Secret;
use ward_types::table::{Endpoint, Pool, Table};
use ward_types::time::{Millis, Timestamp};

/// An application that keeps connections and says its name.
const WEB: &str = r#"
use Socket; $| = 1;
socket(my $l, PF_INET, SOCK_STREAM, 0); setsockopt($l, SOL_SOCKET, SO_REUSEADDR, 1);
bind($l, sockaddr_in(8080, INADDR_ANY)) or die "bind: $!"; listen($l, 64);
$SIG{CHLD} = 'IGNORE';
while (accept(my $c, $l)) {
    next if fork;
    $c->autoflush(1); $/ = "\r\n\r\n";
    while (my $head = <$c>) {
        my $say = "I am $ENV{NAME}\n";
        print $c "HTTP/1.1 200 OK\r\nContent-Length: " . length($say) . "\r\n\r\n$say";
    }
    exit;
}"#;

/// An application that asks the links `web` and `outside` once each, and prints the last lines that it got.
const CALLER: &str = r#"
use Socket; $| = 1;
for my $to (["web", 80], ["outside", 7777]) {
    socket(my $s, PF_INET, SOCK_STREAM, 0);
    connect($s, sockaddr_in($to->[1], inet_aton($to->[0]))) or die "connect $to->[0]: $!";
    $s->autoflush(1);
    print $s "GET / HTTP/1.1\r\nHost: $to->[0]\r\nConnection: close\r\n\r\n";
    # To HTTP a client that closes its half is a client that went away.
    shutdown($s, 1) if $to->[0] eq "outside";
    my $last; $last = $_ while <$s>;
    print "$to->[0]: $last";
}
sleep 1000;"#;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("keeper") => ward_engine::keeper::main(),
        Some("gateway") => {
            let home = std::env::var_os("WARD_HOME").unwrap();
            ward_gateway::run(ward_gateway::Options::new(home.into()))
        }
        first => test(first, arguments.collect()),
    }
}

/// What test runners expect of a program without a harness: a list of its tests, or that it runs them.
fn test(first: Option<&str>, more: Vec<String>) -> ExitCode {
    let given = |flag: &str| first == Some(flag) || more.iter().any(|one| one == flag);
    if given("--list") {
        if !given("--ignored") {
            list();
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(requests_links_and_egress());
    ExitCode::SUCCESS
}

#[allow(clippy::disallowed_macros, reason = "the runner reads it")]
fn list() {
    println!("real_keeper: test");
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp(u64::try_from(since.unwrap().as_millis()).unwrap())
}

async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so().await {
        assert!(Instant::now() < deadline, "it never came to be that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct World {
    engine: Engine,
    env: EnvId,
    gateway: Child,
    control: Control,
    http: SocketAddr,
    home: TempDir,
}

fn sockets<'a>(http: &'a TcpListener, https: &'a TcpListener) -> ward_gateway::Sockets<'a> {
    ward_gateway::Sockets {
        http,
        https,
        metrics: None,
    }
}

impl World {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let exe = std::env::current_exe().unwrap();
        let options = ward_engine::Options {
            home: home.path().to_owned(),
            exe: exe.clone(),
            clock: now,
        };
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let https = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            engine: Engine::open(options).await.unwrap(),
            env: EnvId::parse("shop/dev").unwrap(),
            gateway: ward_gateway::spawn(&exe, home.path(), &[], sockets(&http, &https)).unwrap(),
            control: Control::new(home.path()),
            http: http.local_addr().unwrap(),
            home,
        }
    }

    fn spec(
        &self,
        component: &str,
        ordinal: u64,
        script: &str,
        links: Vec<LinkSpec>,
    ) -> InstanceSpec {
        let component = Name::parse(component).unwrap();
        let facts = InstanceFacts {
            id: InstanceId::new(&component, ReleaseId(1), ordinal),
            env: self.env.clone(),
            component: component.clone(),
            release: ReleaseId(1),
            role: Role::Service,
            port: Some(8080),
            started: now(),
            passwords: None,
        };
        let dir = self.engine.instance_dir(&self.env, &facts.id);
        let name = Secret::new(facts.id.to_string());
        InstanceSpec {
            dir,
            root: RootSpec {
                layers: Vec::new(),
                host_usr: true,
                mounts: Vec::new(),
            },
            argv: ["/usr/bin/perl", "-e", script].map(str::to_owned).to_vec(),
            cwd: "/".to_owned(),
            env: BTreeMap::from([("NAME".to_owned(), name)]),
            secrets: Default::default(),
            user: UserSpec {
                uid: 1000,
                gid: 1000,
                host_id: self.engine.host_id(&self.env, &component),
            },
            limits: Limits::default(),
            health: None,
            links,
            log: LogSpec {
                file: self.engine.log_file(&facts),
                max_bytes: 1 << 20,
            },
            stop_timeout: Millis::secs(5),
            stop_signal: 15,
            gateway_links: self.engine.gateway_links(),
            facts,
        }
    }

    fn table(&self, generation: u64, specs: &[&InstanceSpec]) -> Table {
        let endpoint = |spec: &&InstanceSpec| Endpoint {
            instance: spec.facts.id.clone(),
            release: spec.facts.release,
            dir: spec.dir.clone(),
            port: 8080,
            long_drain: None,
        };
        Table {
            term: Term(1),
            generation: Generation(generation),
            down: Vec::new(),
            pools: vec![Arc::new(Pool {
                env: self.env.clone(),
                service: Name::parse("web").unwrap(),
                routes: vec![Route::plain("shop.localhost")],
                endpoints: specs.iter().map(endpoint).collect(),
                split: None,
                probe: None,
                maintenance: None,
                asleep: None,
                exports: Vec::new(),
                guard: Default::default(),
                balance: Default::default(),
            })],
        }
    }

    async fn get(&self) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn output(&self, spec: &InstanceSpec) -> Vec<String> {
        self.engine.output_tail(&spec.facts, 10)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
        // An instance dies with its keeper.
        for seen in self.engine.observe(&self.env).values() {
            let pid = seen.status.keeper_pid;
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            let deadline = Instant::now() + Duration::from_secs(10);
            while lives(pid) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Whether a process is more than an entry that its parent, this one, has not looked at yet.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

async fn requests_links_and_egress() {
    let world = World::new().await;
    let one = world.spec("web", 1, WEB, Vec::new());
    let two = world.spec("web", 2, WEB, Vec::new());
    for spec in [&one, &two] {
        world.engine.start(spec.clone()).await.unwrap();
    }
    eventually("the gateway answers", async || {
        world.control.observe().await.is_ok()
    })
    .await;
    world.control.apply(world.table(1, &[&one])).await.unwrap();
    eventually("the first instance serves", async || {
        world.get().await.ends_with("I am web-r1-1\n")
    })
    .await;
    world.control.apply(world.table(2, &[&two])).await.unwrap();
    for _ in 0..20 {
        let answer = world.get().await;
        assert!(answer.ends_with("I am web-r1-2\n"), "{answer}");
    }

    let outside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = outside.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = outside.accept().await.unwrap();
        let mut asked = String::new();
        stream.read_to_string(&mut asked).await.unwrap();
        stream.write_all(b"free air\n").await.unwrap();
    });
    let link = |host: &str, last, port, target| LinkSpec {
        host: host.to_owned(),
        address: [127, 77, 0, last].into(),
        port,
        target,
    };
    let links = vec![
        link(
            "web",
            2,
            80,
            LinkTarget::Service {
                env: world.env.clone(),
                service: Name::parse("web").unwrap(),
            },
        ),
        link(
            "outside",
            3,
            7777,
            LinkTarget::Egress {
                host: "127.0.0.1".to_owned(),
                port,
            },
        ),
    ];
    let caller = world.spec("caller", 3, CALLER, links);
    world.engine.start(caller.clone()).await.unwrap();
    eventually("the caller has its answers", async || {
        world.output(&caller).len() == 2
    })
    .await;
    let output = world.output(&caller).join("\n");
    assert!(output.contains("web: I am web-r1-2"), "{output}");
    assert!(output.contains("outside: free air"), "{output}");
    answering.await.unwrap();
    let record = world.home.path().join("gateway/egress.log");
    eventually("egress is recorded", async || record.exists()).await;
    assert!(
        std::fs::read_to_string(record)
            .unwrap()
            .contains("caller-r1-3")
    );
}
