//! The one table of keys. It drives the decoder (unknown keys and suggestions, types, ranges, defaults)
//! and the reference page, so that neither can know a key that the other does not.

use crate::kind::{Kind, Rule};

/// Whether a key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// It must where the keys beside it are of the kind that is named.
    RequiredIn(&'static str),
    /// It need not, and nothing takes its place.
    Optional,
    /// It need not; this is its value then, as TOML.
    Default(&'static str),
}

/// Whether an environment may override a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Also inside `[environment.NAME]`.
    Everywhere,
    /// Only outside: it is the same in all environments.
    Stack,
}

/// One key of a stack file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Where it stands; `*` is a name that the author chooses.
    pub path: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
    /// Whether an environment may override it.
    pub scope: Scope,
    /// What it does, in a sentence or two.
    pub about: &'static str,
    /// A value, as TOML.
    pub example: &'static str,
    /// What other tools call it; someone who writes that is pointed to this key.
    pub also: &'static [&'static str],
    /// The values of the `strategy` beside it that it belongs to; none: to all.
    pub strategies: &'static [&'static str],
}

impl Key {
    const fn new(path: &'static str, kind: Kind, need: Need, example: &'static str) -> Self {
        Self {
            path,
            kind,
            need,
            scope: Scope::Everywhere,
            about: "",
            example,
            also: &[],
            strategies: &[],
        }
    }

    const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    const fn also(mut self, also: &'static [&'static str]) -> Self {
        self.also = also;
        self
    }

    const fn of(mut self, strategies: &'static [&'static str]) -> Self {
        self.strategies = strategies;
        self
    }

    const fn same_everywhere(mut self) -> Self {
        self.scope = Scope::Stack;
        self
    }

    /// The last part of its path.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// The path of the table that holds it; empty at the top.
    #[must_use]
    pub fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}

const fn text(rule: Rule) -> Kind {
    Kind::Text(rule)
}

const fn duration(least: &'static str, most: &'static str) -> Kind {
    Kind::Text(Rule::Duration { least, most })
}

const MEMORY: Kind = Kind::Text(Rule::Size {
    least: "4MiB",
    most: "64TiB",
});

/// The names of the strategies, the default first.
pub(crate) const STRATEGIES: &[&str] = &["blue_green", "rolling", "canary"];

/// What a release command does to the schema, the mildest first.
pub(crate) const SCHEMAS: &[&str] = &["none", "expand", "contract", "irreversible"];

/// What becomes of a run that is due while the one before goes on, the default first.
pub(crate) const OVERLAPS: &[&str] = &["skip", "queue", "allow"];

/// As many instances as a service can have.
const AMOUNT: Kind = Kind::Amount { most: 100 };

/// What becomes of a plan that breaks a rule.
const LEVELS: &[&str] = &["deny", "warn", "off"];
/// Whoever is asked answers, or not.
const ASKED: &[&str] = &["deny", "off"];

/// When snapshots of a volume are made, the default first.
const SNAPSHOTS: &[&str] = &["never", "before_release"];

const FILES: &str = "a build by `files`";

/// Every key that a stack file may hold.
pub const KEYS: &[Key] = &[
    Key::new("stack", Kind::Table, Need::Required, r#"{ name = "returns", version = "1.0" }"#)
        .about("The stack itself.")
        .also(&["app", "application", "project"]),
    Key::new("stack.name", text(Rule::Name), Need::Required, r#""returns""#)
        .about("The stack's name. Environments are called after it: `returns/dev`.")
        .also(&["app", "id"])
        .same_everywhere(),
    Key::new("stack.version", text(Rule::Version), Need::Required, r#""1.0""#)
        .about("`MAJOR.MINOR`, chosen by people. Ward appends the build number: `1.0.7`.")
        .same_everywhere(),
    Key::new("stack.keep_warm", duration("0s", "7d"), Need::Default(r#""10m""#), r#""1h""#)
        .about("How long the instances of the release before are kept running after a deployment, so that a rollback is a switch and not a start. A rollback has the health of each checked first; what does not answer within 2 seconds is replaced.")
        .also(&["retain_containers"]),
    Key::new("stack.keep_releases", Kind::Count { least: 1, most: 10_000, port: false }, Need::Default("10"), "30")
        .about("How many releases are retained, each with its images and its output: so many of the newest, and so many of the newest that ever served, so that failures and cancellations take no way back. What serves, and in the environment `prod` each release that ever served, are retained beside them.")
        .also(&["retain", "keep", "revision_history_limit", "history"]),
    Key::new("stack.region", text(Rule::Name), Need::Optional, r#""eu""#)
        .about("The region that its data stays in, by a name of yours. A Ward is in the region that `WARD_REGION` names when it is started; where that is another one, or none, the rule `residency` refuses what would bring data there. It is on where a region is named, unless it is set otherwise. Environments may be in different regions: `[environment.prod-us]` with `stack.region = \"us\"`.")
        .also(&["location", "residency", "zone", "datacenter"]),
    Key::new("stack.deadlines", Kind::Table, Need::Optional, r#"{ queue = "2h", acknowledge = "20s" }"#)
        .about("How long Ward waits for what belongs to no service. What runs out is named, and ends or takes back the deployment; nobody waits for ever.")
        .also(&["timeouts", "deadline", "limits"]),
    Key::new("stack.deadlines.queue", duration("1s", "30d"), Need::Default(r#""1h""#), r#""12h""#)
        .about("From a deployment's request until its turn, while others before it are under way; then it ends, and what serves goes on serving.")
        .also(&["queued", "wait", "lock_timeout", "lock"]),
    Key::new("stack.deadlines.database_start", duration("1s", "1h"), Need::Default(r#""60s""#), r#""5m""#)
        .about("From a deployment's start until its databases are healthy, and from a database's own start until it is stopped and started again, which then may take twice as long, at most an hour.")
        .also(&["database", "database_timeout", "start_timeout"]),
    Key::new("stack.deadlines.database_stop", duration("1s", "1h"), Need::Default(r#""60s""#), r#""5m""#)
        .about("From SIGINT to SIGKILL of a database, for its last checkpoint. One that is killed loses nothing, and takes longer to start.")
        .also(&["shutdown_timeout", "stop_timeout"]),
    Key::new("stack.deadlines.acknowledge", duration("1s", "10m"), Need::Default(r#""10s""#), r#""30s""#)
        .about("From the wish for a new routing table until the gateway has put it into force; then the deployment goes back.")
        .also(&["acknowledgement", "ack", "gateway", "switch"]),
    Key::new("stack.deadlines.promote", duration("1s", "30d"), Need::Default(r#""1d""#), r#""4h""#)
        .about("How long a deployment that is paused, or held until told or until it was asked enough, waits for a word; then it goes back.")
        .also(&["hold", "pause", "patience", "until_told", "approve", "approval"]),
    Key::new("stack.deadlines.revert", duration("1s", "1h"), Need::Default(r#""60s""#), r#""2m""#)
        .about("From a failure until the verdict, and longer by each batch of a rolling deployment; what still drains then goes on draining.")
        .also(&["rollback", "abort", "back"]),

    Key::new("service", Kind::Each(500), Need::Optional, r#"{ web = { image = "nginx:1.27" } }"#)
        .about("The services, each under the name by which links reach it.")
        .also(&["services", "servers", "processes", "apps", "task", "group"]),
    Key::new("service.*", Kind::Table, Need::Optional, r#"{ image = "nginx:1.27" }"#)
        .about("One service: a program of which any number of equal instances run."),
    Key::new("service.*.build", Kind::Variant, Need::RequiredIn("a service without `image`"), r#"{ cargo = "returns-web" }"#)
        .about("How Ward makes the image from the source. One of three shapes: `{ cargo }`, `{ command, files, run, base }` or `{ dockerfile }`. An environment that gives a `build` replaces the whole of it.")
        .also(&["builder"]),
    Key::new("service.*.build.cargo", text(Rule::Package), Need::Optional, r#""returns-web""#)
        .about("A package of the Cargo workspace beside this file. The image holds its binary, the shared libraries that it needs, CA certificates and nothing else.")
        .also(&["package", "bin", "crate"]),
    Key::new("service.*.build.command", Kind::Command, Need::Optional, r#"["npm", "run", "build"]"#)
        .about("A command that makes the files, run in the stack's folder. Without it the files are taken as they are.")
        .also(&["cmd", "script", "args"]),
    Key::new("service.*.build.files", Kind::List { of: Rule::FilePath, at_least: 1 }, Need::RequiredIn(FILES), r#"["server.py", "static"]"#)
        .about("The files and folders that go into the image, relative to the stack file.")
        .also(&["include", "copy", "paths"]),
    Key::new("service.*.build.run", Kind::Command, Need::RequiredIn(FILES), r#"["python3", "server.py"]"#)
        .about("What an instance runs, in the folder that holds the files.")
        .also(&["start", "entrypoint", "cmd", "exec"]),
    Key::new("service.*.build.base", text(Rule::Choice(&["empty", "host"])), Need::RequiredIn(FILES), r#""host""#)
        .about("What lies below the files: `\"host\"` is the host's own `/usr`, read-only, for Python, Node and the like; `\"empty\"` is nothing, for programs that need nothing. Written down because with `host` an upgrade of the machine reaches the instances.")
        .also(&["from"]),
    Key::new("service.*.build.dockerfile", text(Rule::FilePath), Need::Optional, r#""Dockerfile""#)
        .about("A Dockerfile, relative to the stack file. The stack's folder is its context. Built by buildah, podman or docker, where one is installed.")
        .also(&["file", "containerfile", "docker"]),
    Key::new("service.*.image", text(Rule::Image), Need::RequiredIn("a service without `build`"), r#""nginx:1.27""#)
        .about("An image that others built, by digest or by tag. A tag is resolved to a digest once, when the release is made. An environment that gives an `image` replaces a `build`, and the other way round."),
    Key::new("service.*.command", Kind::Command, Need::Optional, r#"["returns-web", "--quiet"]"#)
        .about("What an instance runs instead of the image's own command.")
        .also(&["cmd", "args", "entrypoint", "start", "run", "exec"]),
    Key::new("service.*.port", Kind::Count { least: 1, most: 65535, port: true }, Need::RequiredIn("a service with `route` or `health`, or one that is linked to"), "8080")
        .about("The TCP port on which the application listens inside of its instance. It is given to it as `PORT`.")
        .also(&["ports", "internal_port", "target_port", "app_port", "listen", "expose"]),
    Key::new("service.*.health", Kind::TableOr("none"), Need::RequiredIn("a service with `port`"), r#"{ path = "/healthz", interval = "200ms", healthy = 2 }"#)
        .about("How Ward knows that an instance is well: only a 2xx answer to a GET request counts. `health = \"none\"` opts out, in writing: an instance then counts as healthy when it has run for a second in a release that is new, and as soon as it runs in one that served before; so does one of a service without a `port`. One that ends later, while its release is deployed, is replaced, three times in all; the fourth end fails the deployment.")
        .also(&["healthcheck", "health_check", "check", "checks", "probe"]),
    Key::new("service.*.health.path", text(Rule::UrlPath), Need::Required, r#""/healthz""#)
        .about("The path of the GET request.")
        .also(&["url", "uri", "endpoint"]),
    Key::new("service.*.health.interval", duration("10ms", "1h"), Need::Default(r#""1s""#), r#""200ms""#)
        .about("From one check to the next.")
        .also(&["period", "every"]),
    Key::new("service.*.health.timeout", duration("10ms", "5m"), Need::Default(r#""2s""#), r#""1s""#)
        .about("How long an answer may take."),
    Key::new("service.*.health.healthy", Kind::Count { least: 1, most: 100, port: false }, Need::Default("2"), "3")
        .about("How many good answers in a row make an instance healthy.")
        .also(&["successes", "healthy_threshold", "success_threshold"]),
    Key::new("service.*.health.unhealthy", Kind::Count { least: 1, most: 100, port: false }, Need::Default("3"), "5")
        .about("How many bad answers in a row make it unhealthy again.")
        .also(&["retries", "failures", "unhealthy_threshold", "failure_threshold"]),
    Key::new("service.*.instances", Kind::Count { least: 0, most: 100, port: false }, Need::Default("1"), "2")
        .about("How many instances run. 0 declares a service and runs none of it.")
        .also(&["replicas", "scale", "count", "min_machines_running", "num"]),
    Key::new("service.*.links", Kind::List { of: Rule::Link, at_least: 0 }, Need::Default("[]"), r#"["db"]"#)
        .about("What it may reach. The services and databases of this stack, each by its name: `http://api:8080`. A link to a database also sets `DATABASE_URL`, `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD` and `PGDATABASE`. And services that other stacks export: `claims/api` is the service `api` of the stack `claims`, in the environment of the same name, and is reached as `http://api.claims`; `claims@prod/api` names the environment.")
        .also(&["depends_on", "needs", "requires", "dependencies"]),
    Key::new("service.*.export", Kind::List { of: Rule::Export, at_least: 0 }, Need::Default("[]"), r#"["returns", "plans/*"]"#)
        .about("Who of other stacks may link to it; nobody without the key. `returns` lets in the environment of the stack `returns` that has the name of this one, `returns/qa` lets in that one, `returns/*` all of them; `*` and `*/*` stand for any stack.")
        .also(&["exports", "expose", "share", "shared_with", "shared"]),
    Key::new("service.*.egress", Kind::List { of: Rule::Address, at_least: 0 }, Need::Default("[]"), r#"["api.example.com:443"]"#)
        .about("The outside addresses that it may reach over TCP, as `HOST:PORT`. It reaches no other.")
        .also(&["outbound", "allow", "external"]),
    Key::new("service.*.env", Kind::Variables, Need::Default("{}"), r#"{ RUST_LOG = "info" }"#)
        .about("Environment variables. An environment's values are laid over these. No secret belongs here.")
        .also(&["environment", "envs", "variables", "vars"]),
    Key::new("service.*.env.*", text(Rule::Value), Need::Optional, r#""info""#)
        .about("One variable. Its value is a text; write numbers and `true` in quotes."),
    Key::new("service.*.secrets", Kind::Secrets, Need::Default("{}"), r#"{ API_KEY = "env", signing-key = "/run/secrets/signing-key" }"#)
        .about("The secrets that it gets, each under its name, as the environment variable of that name (`\"env\"`) or as a file below `/run/` on a memory file system, which only its user can read. Their values are set by `ward secret set`, in each environment anew, and are in no file of the stack.")
        .also(&["secret", "secret_env", "secret_files"]),
    Key::new("service.*.secrets.*", text(Rule::SecretPlace), Need::Optional, r#""env""#)
        .about("Where the service finds the secret."),
    Key::new("service.*.volumes", Kind::Volumes, Need::Default("{}"), r#"{ uploads = "/data" }"#)
        .about("The volumes that it has, each under its name with the path at which instances see it. All its instances see the same files, those of two releases beside each other too: where that cannot be, `overlap = false`. What an image has at that path is hidden. A volume belongs to one service; its release commands and jobs see it, too.")
        .also(&["volume", "mounts", "disks", "storage", "persistent"]),
    Key::new("service.*.volumes.*", text(Rule::VolumePath), Need::Optional, r#""/data""#)
        .about("The path at which instances see the volume. Their user owns what is there."),
    Key::new("service.*.memory", MEMORY, Need::Optional, r#""256MiB""#)
        .about("The most memory that an instance may use. Without it there is no limit.")
        .also(&["mem", "memory_limit", "mem_limit", "ram"]),
    Key::new("service.*.processes", Kind::Count { least: 1, most: 65_536, port: false }, Need::Default("4096"), "256")
        .about("The most processes and threads that an instance may have at a time; starting one more fails with EAGAIN.")
        .also(&["pids", "pids_limit", "max_pids", "nproc", "threads", "ulimits"]),
    Key::new("service.*.scratch", text(Rule::Size { least: "1MiB", most: "64TiB" }), Need::Default(r#""1GiB""#), r#""64MiB""#)
        .about("The most that each scratch folder of an instance (`/tmp`, `/run` and `/dev/shm`) holds; writing more fails with ENOSPC. They are memory: what is in them counts towards `memory`, and where that is less, they hold no more than it.")
        .also(&["tmpfs", "shm_size", "tmp", "ephemeral_disk", "ephemeral_storage", "disk"]),
    Key::new("service.*.release", Kind::Table, Need::Optional, r#"{ command = ["returns-web", "migrate"] }"#)
        .about("Work to do before a release serves, such as migrations, run in an instance of the new release with its links: once in a deployment, also when Ward is killed meanwhile. A deployment that is made anew runs it anew. What it writes is kept: `ward logs NAME --release rN`.")
        .also(&["release_command", "predeploy", "migrate", "hooks"]),
    Key::new("service.*.release.command", Kind::Command, Need::Required, r#"["returns-web", "migrate"]"#)
        .about("The command. The deployment goes on when it exits with 0.")
        .also(&["cmd", "run", "script"]),
    Key::new("service.*.release.timeout", duration("1s", "24h"), Need::Default(r#""5m""#), r#""15m""#)
        .about("How long it may take; then it is stopped and the deployment fails."),
    Key::new("service.*.release.schema", text(Rule::Choice(SCHEMAS)), Need::Default(r#""expand""#), r#""contract""#)
        .about("What it does to the schema that releases before run on. `\"none\"`: nothing. `\"expand\"`: it only adds; every release before runs on it. `\"contract\"`: it takes away what older releases needed; the release that serves meanwhile still runs on it, those before that do not. `\"irreversible\"`: no release before runs on it; the one that serves goes on serving until the switch. What a command of the last two kinds has begun counts, even if it fails; `ward rollback` then refuses what cannot run any more.")
        .also(&["migration", "migrations", "kind", "type", "reversible", "compatibility"]),
    Key::new("service.*.seed", Kind::Table, Need::Optional, r#"{ command = ["returns-web", "seed"] }"#)
        .about("What fills new data with what is made up, run in an instance of the new release with its links, behind all release commands: once on new data, and never on data that was kept. It runs in copies of environments (`ward env create`) and in environments that say `seed = true`; not where another environment's data was copied. What it writes is kept: `ward logs NAME --release rN`.")
        .also(&["seeds", "fixtures", "sample_data", "demo_data", "populate"]),
    Key::new("service.*.seed.command", Kind::Command, Need::Required, r#"["returns-web", "seed"]"#)
        .about("The command. The deployment goes on when it exits with 0, and fails when it does not.")
        .also(&["cmd", "run", "script"]),
    Key::new("service.*.seed.timeout", duration("1s", "24h"), Need::Default(r#""5m""#), r#""15m""#)
        .about("How long it may take; then it is stopped and the deployment fails."),
    Key::new("service.*.route", Kind::TableOrTables { what: "route", most: 50 }, Need::Optional, r#"{ host = "returns.localhost" }"#)
        .about("How clients reach it through the gateway. Several routes are tables of a list, each under `[[service.NAME.route]]`. Services of one environment may share a host, each with a path or a header of its own. A service without a route is reached by links alone.")
        .also(&["routes", "proxy", "ingress", "domain", "domains", "http_service"]),
    Key::new("service.*.route.host", text(Rule::Host), Need::RequiredIn("a route that is not private"), r#""returns.localhost""#)
        .about("The host name of its URLs. `*.example.org` is every name of one label more that no other route names in full.")
        .also(&["hosts", "hostname", "domain", "name"]),
    Key::new("service.*.route.path", text(Rule::Prefix), Need::Default(r#""/""#), r#""/api""#)
        .about("What the path of its URLs begins with, in whole segments: `/api` is also `/api/v1`, and not `/apis`. Of several that fit the longest counts. A host with such routes refuses paths that could be read in two ways (400): `..` in whatever form, and within the first segments `//`, `;` and slashes in escapes.")
        .also(&["prefix", "path_prefix", "location", "paths"]),
    Key::new("service.*.route.strip", Kind::Flag, Need::Default("false"), "true")
        .about("Whether the application sees the path without `path`, which is then in `x-forwarded-prefix`.")
        .also(&["strip_prefix", "strip_path", "rewrite"]),
    Key::new("service.*.route.header", Kind::Table, Need::Optional, r#"{ name = "x-beta", value = "1" }"#)
        .about("A header that requests must have. Of routes with one host and path that with a `value` counts before that with a `name` alone, and both before that without a header.")
        .also(&["headers", "match", "when"]),
    Key::new("service.*.route.header.name", text(Rule::Token), Need::Required, r#""x-beta""#)
        .about("Its name.")
        .also(&["header", "key"]),
    Key::new("service.*.route.header.value", text(Rule::HeaderValue { empty: false }), Need::Optional, r#""1""#)
        .about("Its whole value. Without it the header must only be there.")
        .also(&["equals", "exact"]),
    Key::new("service.*.route.private", Kind::Flag, Need::Default("false"), "true")
        .about("Whether it is there for links alone: clients of the outside get 404. Without a host it says nothing of any host. With the host of a public route it takes a path away from the outside: `{ host = \"shop.example.org\", path = \"/admin\", private = true }`.")
        .also(&["internal", "hidden"]),
    Key::new("service.*.route.allow", Kind::List { of: Rule::Range, at_least: 1 }, Need::Optional, r#"["10.0.0.0/8", "2001:db8::/32"]"#)
        .about("The addresses that may ask; all others get 403. What counts is the address of the connection, not what a request says of it.")
        .also(&["allow_from", "whitelist", "allowlist", "ip_allow", "ranges", "source_range"]),
    Key::new("service.*.route.https", text(Rule::Choice(&["optional", "redirect"])), Need::Default(r#""optional""#), r#""redirect""#)
        .about("`\"redirect\"`: requests without TLS are told to come again over HTTPS (308), but for ACME's challenges.")
        .also(&["force_https", "redirect", "https_redirect"]),
    Key::new("service.*.route.tls", Kind::Table, Need::Optional, r#"{ certificate = "/etc/ward/shop.pem", key = "/etc/ward/shop.key" }"#)
        .about("How TLS is spoken at its host: by all of the host's routes, whichever says it. Without it names below `localhost` have certificates of the local authority, and others none.")
        .also(&["ssl", "cert", "certs", "https_certificate"]),
    Key::new("service.*.route.tls.certificate", text(Rule::MachinePath), Need::Optional, r#""/etc/ward/shop.pem""#)
        .about("A file on the machine that Ward runs on: the host's certificate in PEM, then those that lead from it to its authority. It is read when it is deployed, and again within seconds when it changes; one that does not fit its key or its host, or is not good now, does not take the place of one that does, and `ward status` says so.")
        .also(&["cert", "crt", "chain", "fullchain", "ssl_certificate", "cert_file"]),
    Key::new("service.*.route.tls.key", text(Rule::MachinePath), Need::RequiredIn("a `tls` with `certificate`"), r#""/etc/ward/shop.key""#)
        .about("The file with its private key, in PEM. Only the path is recorded.")
        .also(&["private_key", "ssl_certificate_key", "key_file", "secret"]),
    Key::new("service.*.route.tls.acme", Kind::Flag, Need::Default("false"), "true")
        .about("Whether its certificate is had from the authority that Ward was started with (`--acme-directory`), by ACME, and renewed ahead. The authority must reach the host at port 80 or 443.")
        .also(&["letsencrypt", "lets_encrypt", "auto", "automatic", "managed"]),
    Key::new("service.*.route.tls.client_ca", text(Rule::MachinePath), Need::Optional, r#""/etc/ward/partners.pem""#)
        .about("A file with the authorities, in PEM, of which one must have signed the certificate that a client shows: who has none is not served (mutual TLS). The application is told whose it is by `ward-client-subject` and `ward-client-fingerprint`. Requests without TLS, and those on a connection to another host, get 421.")
        .also(&["ca", "client_certificate", "clients", "mtls", "client_auth", "ssl_client_certificate", "trusted_ca", "verify"]),
    Key::new("service.*.route.response_timeout", duration("10ms", "24h"), Need::Optional, r#""10m""#)
        .about("How long the application may take to the head of its answer, and a client to the next bytes of its request before that; then 504 or 408. Without it 2 minutes, and gRPC calls as long as they like.")
        .also(&["read_timeout", "header_timeout", "proxy_read_timeout"]),
    Key::new("service.*.route.idle_timeout", duration("10ms", "24h"), Need::Optional, r#""30s""#)
        .about("How long nothing may come of an answer that has begun; then it is broken off. Websockets have none.")
        .also(&["stream_idle_timeout", "send_timeout"]),
    Key::new("service.*.route.timeout", duration("10ms", "24h"), Need::Optional, r#""1m""#)
        .about("From the head of a request to the end of its answer, at most; the application is told in `x-envoy-expected-rq-timeout-ms` how many milliseconds are left. Not of server-sent events, gRPC calls and websockets.")
        .also(&["request_timeout", "total_timeout"]),
    Key::new("service.*.route.body_limit", text(Rule::Size { least: "1KiB", most: "64TiB" }), Need::Optional, r#""10MiB""#)
        .about("The most bytes of a request's body; then 413, before any of it is read where its length is said. Without it there is no limit.")
        .also(&["max_body", "max_body_size", "client_max_body_size", "max_request_body_size", "request_body_limit"]),
    Key::new("service.*.route.limit", Kind::Table, Need::Optional, r#"{ rate = "5/m" }"#)
        .about("How many of this route's requests each client may make. One more is answered with 429, and with `Retry-After`. The service's own `limit` counts them as well. Requests over links are not limited.")
        .also(&["rate_limit", "ratelimit", "limits", "throttle", "limit_req"]),
    Key::new("service.*.route.limit.rate", text(Rule::Rate), Need::Required, r#""5/m""#)
        .about("How many in the long run, evenly.")
        .also(&["requests", "rps", "average", "per_second"]),
    Key::new("service.*.route.limit.burst", Kind::Count { least: 1, most: 1_000_000, port: false }, Need::Optional, "10")
        .about("How many at once, after a pause. Without it as many as `rate` names.")
        .also(&["bucket", "capacity"]),
    Key::new("service.*.route.limit.by", text(Rule::LimitBy), Need::Default(r#""address""#), r#""header:authorization""#)
        .about("Whose requests are counted together: those of one address (of IPv6, of one network of 64 bits), or those with one value of a header, such as a token. Without the header the address counts. The value itself is kept nowhere.")
        .also(&["key", "per", "source", "zone"]),
    Key::new("service.*.route.standard_headers", Kind::Flag, Need::Default("true"), "false")
        .about("Whether answers get these headers, each where the application sent none of that name: `strict-transport-security: max-age=31536000` (over TLS, and not of `localhost` and names below it), `x-content-type-options: nosniff`, `referrer-policy: strict-origin-when-cross-origin`, `x-frame-options: SAMEORIGIN` (not where a `content-security-policy` names `frame-ancestors`).")
        .also(&["security_headers", "secure_headers"]),
    Key::new("service.*.route.forwarded", Kind::Flag, Need::Default("false"), "true")
        .about("Whether the application is told in `forwarded` too (RFC 7239) where a request comes from: `for=192.0.2.1;host=\"shop.example.org\";proto=https`. It always gets the same in `x-forwarded-for`, `-host` and `-proto`. What clients send of either is dropped.")
        .also(&["forwarded_header", "rfc7239"]),
    Key::new("service.*.route.response_headers", Kind::Headers, Need::Default("{}"), r#"{ x-frame-options = "DENY", referrer-policy = "" }"#)
        .about("Response headers by name, in place of the standard ones or beside them, each where the application sent none. An empty text: not that one.")
        .also(&["add_headers", "set_headers", "response_header"]),
    Key::new("service.*.route.response_headers.*", text(Rule::HeaderValue { empty: true }), Need::Optional, r#""DENY""#)
        .about("One header, its name in lower case."),
    Key::new("service.*.limit", Kind::Table, Need::Optional, r#"{ rate = "100/s", burst = 200, by = "address" }"#)
        .about("How many requests each client may make, by whatever route. One more is answered with 429, and with `Retry-After`. Requests over links are not limited.")
        .also(&["rate_limit", "ratelimit", "limits", "throttle", "limit_req"]),
    Key::new("service.*.limit.rate", text(Rule::Rate), Need::Required, r#""100/s""#)
        .about("How many in the long run, evenly.")
        .also(&["requests", "rps", "average", "per_second"]),
    Key::new("service.*.limit.burst", Kind::Count { least: 1, most: 1_000_000, port: false }, Need::Optional, "200")
        .about("How many at once, after a pause. Without it as many as `rate` names.")
        .also(&["bucket", "capacity"]),
    Key::new("service.*.limit.by", text(Rule::LimitBy), Need::Default(r#""address""#), r#""header:authorization""#)
        .about("Whose requests are counted together: those of one address (of IPv6, of one network of 64 bits), or those with one value of a header, such as a token. Without the header the address counts. The value itself is kept nowhere.")
        .also(&["key", "per", "source", "zone"]),
    Key::new("service.*.concurrency", Kind::CountOr { least: 1, most: 100_000, words: &["adaptive", "unlimited"] }, Need::Default(r#""unlimited""#), "32")
        .about("How many requests each instance may have that it has not begun to answer; more wait in the gateway for up to half a second, and are then shed with 503 and `Retry-After`. `\"adaptive\"`: any number up to 32, and more as long as it is not seen that more at once are answered no sooner. Websockets, gRPC calls, event streams and uploads that wait for their client do not count.")
        .also(&["max_concurrent", "max_connections", "maxconn", "concurrency_limit", "hard_limit", "soft_limit"]),
    Key::new("service.*.affinity", Kind::Table, Need::Optional, r#"{ cookie = "instance" }"#)
        .about("What brings a client back to the instance that answered it last, while that is in rotation and well; otherwise another one answers, and the client stays with that. It is for what is dear to have twice, such as caches: every deployment moves every client. `deploy.sticky` is another matter: it keeps a client with a release while a canary is weighed, and decides first.")
        .also(&["sticky", "sticky_sessions", "sticky_session", "session_affinity", "stickiness", "persistence", "ip_hash"]),
    Key::new("service.*.affinity.cookie", text(Rule::Token), Need::Required, r#""instance""#)
        .about("The name of a cookie, which the gateway sets, until the browser is closed. It says nothing that a client could read, and nobody can make up one that leads to an instance.")
        .also(&["cookie_name", "name"]),
    Key::new("service.*.hedge", duration("1ms", "1m"), Need::Optional, r#""100ms""#)
        .about("After how long without the head of an answer a GET or HEAD without a body is sent to a second instance too, once. The first answer counts; the other instance is told by the end of its connection. Each is paid for from the budget of retries: a fifth of the requests, and ten a second. Choose what all but a few answers in a hundred stay below. Without it nothing is asked twice while it may still be answered.")
        .also(&["hedging", "hedge_after", "hedge_delay", "hedge_policy", "backup_request", "speculative_retry"]),
    Key::new("service.*.retries", Kind::Count { least: 0, most: 2, port: false }, Need::Default("2"), "0")
        .about("How often a request that brought no answer, but that an instance may have seen, is sent again: only GET, HEAD, OPTIONS and other idempotent methods without a body, and each is paid for from a budget, a fifth of the requests and ten a second. `0` is for services whose GETs must not happen twice, or can crash them; what no instance can have seen still goes to the next one.")
        .also(&["retry", "max_retries", "retry_policy", "num_retries", "proxy_next_upstream", "attempts"]),
    Key::new("service.*.start_timeout", duration("1s", "1h"), Need::Default(r#""60s""#), r#""2m""#)
        .about("From start to healthy, at most; then the deployment goes back.")
        .also(&["deploy_timeout", "grace_period", "boot_timeout"]),
    Key::new("service.*.drain_timeout", duration("0s", "24h"), Need::Default(r#""30s""#), r#""1m""#)
        .about("From the routing switch until requests that are still under way in an old instance are cut off.")
        .also(&["drain"]),
    Key::new("service.*.long_drain_timeout", duration("0s", "24h"), Need::Default(r#""60s""#), r#""10m""#)
        .about("From the routing switch until the last long connection of an old instance is told to go away: websockets (close frame 1012), server-sent events (end of stream) and gRPC calls that are being answered (status 14). They are told one after the other, evenly over this time; `\"0s\"`: all at once. An instance that comes back into rotation keeps those that are left.")
        .also(&["websocket_drain_timeout", "stream_drain_timeout", "close_grace_period", "stream_close_delay"]),
    Key::new("service.*.stop_timeout", duration("0s", "24h"), Need::Default(r#""10s""#), r#""30s""#)
        .about("From SIGTERM to SIGKILL: how long a worker may take to finish what it has begun. No other limit runs out meanwhile.")
        .also(&["kill_timeout", "stop_wait_time", "stop_grace_period"]),
    Key::new("service.*.overlap", Kind::Flag, Need::Optional, "true")
        .about("Whether instances of two releases of it may run at the same time. `false`: the old ones are asked to stop when everything else of the new release is healthy, and are seen to be gone before a new one starts, in a rollback too; Ward says how long nothing ran. Without it `false` for a service without a `port`, which takes no requests, and `true` for any other. With a port, requests wait in the gateway meanwhile, for up to 5 seconds.")
        .also(&["singleton", "exclusive", "recreate"]),
    Key::new("service.*.deploy", Kind::Variant, Need::Default("{}"), r#"{ strategy = "canary", steps = [{ weight = 10, hold = "5m" }] }"#)
        .about("How the instances of a new release take over from those of the one before. A rollback does not follow it: it is one switch. An environment that gives a `deploy` replaces the whole of it.")
        .also(&["rollout", "update", "update_config", "deployment", "rolling_update"]),
    Key::new("service.*.deploy.strategy", text(Rule::Choice(STRATEGIES)), Need::Default(r#""blue_green""#), r#""rolling""#)
        .about("`\"blue_green\"`: all new instances beside the old ones, then one switch. `\"rolling\"`: a few instances at a time. `\"canary\"`: a growing share of the requests. Only `\"blue_green\"` suits a service without a port.")
        .also(&["type", "kind", "mode"]),
    Key::new("service.*.deploy.bake", duration("0s", "7d"), Need::Default(r#""0s""#), r#""10m""#)
        .about("How long the new release serves everything, with the old instances kept beside it, before the deployment has succeeded. It counts from the moment that the gateway has put its routes into force, and a pause does not stop that clock: what has baked for long enough meanwhile has succeeded when it is resumed.")
        .also(&["bake_time", "soak", "monitor", "min_healthy_time", "scale_down_delay"])
        .of(&["blue_green", "canary"]),
    Key::new("service.*.deploy.batch", AMOUNT, Need::Default("1"), r#""25%""#)
        .about("How many instances are replaced at a time; of a percentage of `instances`, rounded up.")
        .also(&["parallelism", "max_parallel", "max_unavailable", "batch_size"])
        .of(&["rolling"]),
    Key::new("service.*.deploy.surge", AMOUNT, Need::Default("1"), "2")
        .about("How many more than `instances` may run meanwhile, those that drain included; of a percentage of `instances`, rounded up.")
        .also(&["max_surge"])
        .of(&["rolling"]),
    Key::new("service.*.deploy.steps", Kind::Tables { what: "step", most: 20 }, Need::RequiredIn("a canary"), r#"[{ weight = 10, hold = "2m" }, { weight = 50, hold = "until_told" }]"#)
        .about("What comes before everything goes to the new release, in this order, each with a greater weight than the one before.")
        .also(&["stages", "phases", "weights"])
        .of(&["canary"]),
    Key::new("service.*.deploy.steps.weight", Kind::Count { least: 1, most: 99, port: false }, Need::Required, "10")
        .about("How many of any 100 requests in a row go to the new release.")
        .also(&["percent", "percentage", "share", "set_weight", "traffic"]),
    Key::new("service.*.deploy.steps.hold", text(Rule::DurationOr { word: "until_told", least: "1s", most: "7d" }), Need::Required, r#""2m""#)
        .about("How long. `\"until_told\"`: until `ward deployment promote`.")
        .also(&["duration", "pause", "wait", "interval"]),
    Key::new("service.*.deploy.sticky", Kind::Variant, Need::Optional, r#"{ cookie = "side" }"#)
        .about("What keeps a client with one release while the weight does not change, and never moves it back while weights grow. One of two shapes: `{ cookie }` or `{ header }`. Without it each request is its own.")
        .also(&["affinity", "session_affinity", "stickiness"])
        .of(&["canary"]),
    Key::new("service.*.deploy.sticky.cookie", text(Rule::Token), Need::Optional, r#""side""#)
        .about("The name of a cookie, which the gateway sets.")
        .also(&["cookie_name"]),
    Key::new("service.*.deploy.sticky.header", text(Rule::Token), Need::Optional, r#""x-patient""#)
        .about("The name of a header, by whose value clients are divided. A request without it is its own.")
        .also(&["header_name"]),
    Key::new("service.*.deploy.analysis", Kind::Table, Need::Optional, r#"{ requests = 200, inconclusive = "hold" }"#)
        .about("How many requests a new release must have answered as well as the one before, at each step of a canary and while it bakes. Whether it fails more often, or answers later, is looked for in any case, and a breach sends everything back at once; without this table no number of requests is asked for.")
        .also(&["metrics", "judge", "canary_analysis"])
        .of(&["blue_green", "canary"]),
    Key::new("service.*.deploy.analysis.requests", Kind::Count { least: 1, most: 1_000_000, port: false }, Need::Default("50"), "200")
        .about("How many at least, at each step and during the bake.")
        .also(&["min_requests", "sample", "samples", "minimum"]),
    Key::new("service.*.deploy.analysis.inconclusive", text(Rule::Choice(&["rollback", "promote", "hold"])), Need::Default(r#""rollback""#), r#""hold""#)
        .about("What becomes of a release that has not answered so many when its time is over: it goes back, it goes on, or it stays where it is until it has, for at most a day.")
        .also(&["on_inconclusive", "otherwise", "insufficient"]),
    Key::new("service.*.deploy.analysis.probe", Kind::Table, Need::Optional, r#"{ path = "/healthz", every = "100ms" }"#)
        .about("GET requests that the gateway makes itself while the new release is compared, for services that have too few of their clients: to an instance of either release in turn at a step of a canary, to the new release while it bakes. They go the same way as clients' requests and count like them, are marked by the header `ward-probe: 1`, and have failed when there is no answer within 10 seconds.")
        .also(&["probes", "synthetic", "synthetics", "load_test", "smoke_test"]),
    Key::new("service.*.deploy.analysis.probe.path", text(Rule::UrlPath), Need::Required, r#""/returns?status=open""#)
        .about("The path. It should do what clients do, and change nothing.")
        .also(&["url", "uri", "endpoint"]),
    Key::new("service.*.deploy.analysis.probe.every", duration("10ms", "1m"), Need::Default(r#""100ms""#), r#""50ms""#)
        .about("From one request to the next.")
        .also(&["interval", "period", "rate"]),

    Key::new("database", Kind::Each(100), Need::Optional, r#"{ db = { engine = "postgres" } }"#)
        .about("The databases, each under the name by which links reach it.")
        .also(&["databases", "accessories", "postgres", "db"]),
    Key::new("database.*", Kind::Table, Need::Optional, r#"{ engine = "postgres" }"#)
        .about("One database. Its data outlives every release."),
    Key::new("database.*.engine", text(Rule::Choice(&["postgres"])), Need::Required, r#""postgres""#)
        .about("Which program keeps the data: PostgreSQL 15 or later, as installed on the machine.")
        .also(&["type", "kind", "image"]),
    Key::new("database.*.memory", MEMORY, Need::Optional, r#""1GiB""#)
        .about("The most memory that it may use. Without it there is no limit.")
        .also(&["mem", "memory_limit", "mem_limit", "ram"]),
    Key::new("database.*.backups", Kind::Table, Need::Optional, r#"{ every = "1d", keep = 7 }"#)
        .about("How often it is backed up. A backup is sealed and kept beside the data, or in the folder that `WARD_BACKUP_DIR` names, and counts when it was restored into a new database, which is done at once. Without it only `ward db backup` makes one.")
        .also(&["backup", "snapshots", "dumps"]),
    Key::new("database.*.backups.every", duration("1s", "30d"), Need::Required, r#""1d""#)
        .about("From one backup to the next. The first is made as soon as the database serves; what was missed is made up for once.")
        .also(&["interval", "schedule", "frequency"]),
    Key::new("database.*.backups.keep", Kind::Count { least: 1, most: 1000, port: false }, Need::Default("7"), "30")
        .about("How many of its newest backups are kept, of those that were restored. Others push out none of them.")
        .also(&["retain", "retention", "count"]),

    Key::new("volume", Kind::Each(100), Need::Optional, r#"{ uploads = { size = "1GiB" } }"#)
        .about("The volumes, each under the name by which a service's `volumes` names it.")
        .also(&["volumes", "disk", "disks", "storage", "mounts"]),
    Key::new("volume.*", Kind::Table, Need::Optional, r#"{ size = "1GiB" }"#)
        .about("One volume: a folder that is kept across releases, in each environment one of its own. No release takes it away: one that is not declared any more stays on the disk until `ward volume delete`, or until the environment is purged."),
    Key::new("volume.*.size", text(Rule::Size { least: "1MiB", most: "64TiB" }), Need::Required, r#""1GiB""#)
        .about("How much it is to hold. The kernel holds single files to it (of several volumes to the largest, of a smaller one than `scratch` to that): writing more fails with EFBIG. The sum is measured and not enforced: a volume that holds more is told in `ward status` and in the server's log, and nothing is deployed to its environment until it holds less or its size is raised; going back is possible.")
        .also(&["capacity", "quota", "limit", "storage"]),
    Key::new("volume.*.snapshot", text(Rule::Choice(SNAPSHOTS)), Need::Default(r#""never""#), r#""before_release""#)
        .about("Whether a new release is deployed only when there is a snapshot of what the volume holds, made before its release commands. Files are copied while instances go on writing: one after the other, and not all at one moment. A rollback makes none.")
        .also(&["snapshots", "backup", "backups"]),
    Key::new("volume.*.keep_snapshots", Kind::Count { least: 1, most: 100, port: false }, Need::Default("3"), "10")
        .about("How many of its newest snapshots are kept. What a volume held before `ward volume restore` counts as one.")
        .also(&["retention", "keep"]),

    Key::new("job", Kind::Each(100), Need::Optional, r#"{ close-month = { service = "worker", command = ["returns-worker", "close-month"] } }"#)
        .about("The jobs: work that is done again and again, each in an instance of its own.")
        .also(&["jobs", "cron", "crons", "cronjobs", "schedules", "tasks"]),
    Key::new("job.*", Kind::Table, Need::Optional, r#"{ service = "worker", command = ["returns-worker", "close-month"], schedule = "0 2 1 * *" }"#)
        .about("One job. `ward job run` starts it by hand, `ward job history` shows what became of it. It runs in the release that serves when it is due, to its end, also while that release is replaced."),
    Key::new("job.*.service", text(Rule::Name), Need::Required, r#""worker""#)
        .about("The service whose image, links, egress, environment variables and limits it has.")
        .also(&["of", "image", "from"]),
    Key::new("job.*.command", Kind::Command, Need::Required, r#"["returns-worker", "close-month"]"#)
        .about("What it runs. Exit status 0 is success.")
        .also(&["run", "cmd", "args", "entrypoint"]),
    Key::new("job.*.schedule", text(Rule::Schedule), Need::Optional, r#""0 2 1 * *""#)
        .about("When it is due, as in a crontab: minute, hour, day of the month, month, day of the week. Without it only `ward job run` starts it. Where the clocks go forward over its hour it is due at the first moment after; where they go back it is due once, unless it is due every hour or more often.")
        .also(&["cron", "at", "every", "when"]),
    Key::new("job.*.time_zone", text(Rule::Zone), Need::Default(r#""UTC""#), r#""Europe/Berlin""#)
        .about("The time zone of the schedule, by its name in the IANA database. Ward brings a copy of it.")
        .also(&["timezone", "tz", "zone"]),
    Key::new("job.*.overlap", text(Rule::Choice(OVERLAPS)), Need::Default(r#""skip""#), r#""queue""#)
        .about("What becomes of a run that is due while the one before goes on: `skip` leaves it out and records that, `queue` lets it wait, `allow` runs both.")
        .also(&["concurrency", "concurrency_policy", "concurrencyPolicy"]),
    Key::new("job.*.retries", Kind::Count { least: 0, most: 10, port: false }, Need::Default("0"), "2")
        .about("How often a run that failed, or was late, is tried again, after 1 s, 2 s, 4 s, … up to 5 min. What it does must bear being done twice.")
        .also(&["retry", "attempts", "backoff_limit", "backoffLimit"]),
    Key::new("job.*.deadline", duration("1s", "7d"), Need::Default(r#""1h""#), r#""30m""#)
        .about("How long one attempt may take. Then it is asked to stop, as by `ward job stop`, and has failed.")
        .also(&["timeout", "active_deadline_seconds", "activeDeadlineSeconds", "max_duration"]),
    Key::new("job.*.missed", text(Rule::Choice(&["run", "skip"])), Need::Default(r#""run""#), r#""skip""#)
        .about("What becomes of moments of the schedule that passed while the environment was down or no server ran: `run` makes up for the last of them, once; `skip` leaves all of them out.")
        .also(&["catch_up", "catchup", "persistent"]),
    Key::new("job.*.copies", Kind::Flag, Need::Default("false"), "true")
        .about("Whether copies of an environment (`ward env create --from`) run the job on its schedule, too. Without it they run it only by `ward job run`: what exports or pays for one environment must not do so again for its copy.")
        .also(&["in_copies"]),
    Key::new("protected", Kind::Flag, Need::Default("false"), "true")
        .about("Whether the default set of rules is on: each rule of `policy` that is not set otherwise is `\"deny\"`, with two instances; `freeze` names no days, and `reason`, `pipeline` and `second_person` stay off. Meant for `[environment.prod]` and its like.")
        .also(&["protect", "locked", "production"]),
    Key::new("policy", Kind::Table, Need::Optional, r#"{ min_instances = 3, tls = "warn" }"#)
        .about("Rules that a plan must pass before `ward deploy` changes anything: `\"deny\"` refuses, `\"warn\"` says so, `\"off\"` does nothing. Rules hold for what is deployed and for changes of values, never for going back to what has served, and not where nothing changes. What `policy.toml` in the state folder asks for, with the same keys, cannot be taken away here. `ward policy waive` lets one rule be broken until a date, for a reason, in the log.")
        .also(&["policies", "rules", "guardrails"]),
    Key::new("policy.database_removed", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("No database is removed, and `ward down --purge` removes no data.")
        .also(&["no_database_removed", "prevent_destroy", "deletion_protection"]),
    Key::new("policy.volume_removed", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("No volume is removed, neither from the file nor by `ward volume delete`, and `ward down --purge` removes no data.")
        .also(&["no_volume_removed"]),
    Key::new("policy.export_removed", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("No service to which another stack links is removed, or exported to it no more. Without the rule a deploy that does so says who links to it.")
        .also(&["no_export_removed"]),
    Key::new("policy.min_instances", Kind::CountOr { least: 1, most: 100, words: LEVELS }, Need::Optional, "2")
        .about("Each service with a `port` has at least so many instances; a word: at least 2, and what becomes of fewer.")
        .also(&["instances", "min_replicas"]),
    Key::new("policy.tls", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("Each public route has `https = \"redirect\"`, and its host, unless it is below `localhost`, a certificate from files or by ACME.")
        .also(&["https", "force_tls"]),
    Key::new("policy.host_base", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("No build has `base = \"host\"`: an upgrade of the machine then changes no application.")
        .also(&["no_host_base", "base"]),
    Key::new("policy.rate_limit", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("Each public route has a `limit`, its own or its service's.")
        .also(&["limit", "limits"]),
    Key::new("policy.images", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("Images are built here, or come from this Ward's own registry by its address.")
        .also(&["registries", "image", "images_from_here", "trusted_registries"]),
    Key::new("policy.backups", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("Each database has `backups`.")
        .also(&["backup", "backups_required"]),
    Key::new("policy.reason", text(Rule::Choice(ASKED)), Need::Optional, r#""deny""#)
        .about("Whoever changes the environment says why (`--why`), and so does whoever gives a word in a pipeline that leads there. `protected` does not set it.")
        .also(&["why", "reasons", "require_reason"]),
    Key::new("policy.residency", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("An environment with a `stack.region` runs only on a Ward that was started with that `WARD_REGION`, and so do copies of its rows and what is restored from its backups.")
        .also(&["region", "data_residency", "location"]),
    Key::new("policy.freeze", Kind::List { of: Rule::Days, at_least: 0 }, Need::Default("[]"), r#"["2026-12-20/2027-01-05"]"#)
        .about("Days on which nothing is deployed, the first and the last among them. Going back is possible.")
        .also(&["freezes", "change_freeze", "blackout", "blackouts"]),
    Key::new("policy.freeze_zone", text(Rule::Zone), Need::Default(r#""UTC""#), r#""Europe/Berlin""#)
        .about("The time zone by whose calendar these days begin and end, by its name in the IANA time zone database. Ward brings a copy of it.")
        .also(&["time_zone", "timezone", "zone", "tz"]),
    Key::new("policy.pipeline", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("A build has passed the gates of the stages before, in a pipeline that is declared: neither `ward deploy` nor `ward promote` goes around them. Not asked of a build that serves or has served there, such as one with other values. `protected` does not set it.")
        .also(&["require_pipeline", "gates"]),
    Key::new("policy.second_person", text(Rule::Choice(LEVELS)), Need::Optional, r#""deny""#)
        .about("In a gate of the stages before somebody with its role has approved the build who neither started the run nor, as the commit says, wrote it. Approvals before such a stage are by another person whatever their `by` says. `protected` does not set it.")
        .also(&["four_eyes", "two_person", "second_pair_of_eyes"]),
    Key::new("secret", Kind::Each(200), Need::Optional, r#"{ API_KEY = { generate = 32 } }"#)
        .about("What is to be said of secrets beside who gets them, each under its name. One that is only to be set by people needs no table.")
        .also(&["credentials", "vault"]),
    Key::new("secret.*", Kind::Table, Need::Optional, r#"{ generate = 32 }"#)
        .about("One secret."),
    Key::new("secret.*.generate", Kind::Count { least: 16, most: 1024, port: false }, Need::Optional, "32")
        .about("How many random bytes Ward makes it of, as text in base64url, where nobody has set it: so that a new environment comes up by itself. `ward secret rotate` makes another one.")
        .also(&["random", "bytes", "length", "generated"]),
    Key::new("secret.*.rotate", Kind::Command, Need::Optional, r#"["returns-web", "rotate-key"]"#)
        .about("What `ward secret rotate` runs beside an instance of the first service that gets it, in its sandbox and with its secrets. What it writes to standard output is the new value.")
        .also(&["rotation", "renew"]),

    Key::new("environment", Kind::Each(100), Need::Default("{ dev = {} }"), "{ dev = {}, prod = {} }")
        .about("The environments. A stack that declares none has `dev`.")
        .also(&["environments", "env", "envs", "destinations"])
        .same_everywhere(),
    Key::new("environment.*", Kind::Overrides, Need::Optional, "{ service.web.instances = 4 }")
        .about("One environment: any keys of this page with the values that they have here. Tables are merged, everything else is replaced. `[stack]`'s `name` and `version` are the same in all environments, and an environment declares no service, database, volume, job or secret of its own. Beside them the keys below.")
        .same_everywhere(),
    Key::new("environment.*.seed", Kind::Flag, Need::Default("false"), "true")
        .about("Whether seed commands fill its data while that is new. In copies of environments they always do.")
        .also(&["seeded", "fixtures", "demo_data"]),
    Key::new("environment.*.copy_data", text(Rule::Choice(&["denied", "allowed"])), Need::Default(r#""denied""#), r#""allowed""#)
        .about("Whether its rows, and the files of its volumes, may be copied into another environment (`ward env clone`, or `ward env create --copy-data`), and its backups restored into one while it serves (`ward db restore`; where it is denied, `--why` gives a reason instead). Denied unless somebody writes it down.")
        .also(&["clone", "copy", "clone_data"]),
    Key::new("environment.*.sleep", text(Rule::DurationOr { word: "never", least: "1s", most: "30d" }), Need::Default(r#""never""#), r#""30m""#)
        .about("How long nobody asks it for anything until it sleeps: its instances stop, its data is kept, and its first request wakes it. Every request through the gateway counts, those between its own services too, and so do open websockets. Copies of it sleep as it does, unless `ward env create --sleep` says otherwise.")
        .also(&["idle", "idle_timeout", "sleep_after", "scale_to_zero", "suspend", "auto_stop", "hibernate"]),

    Key::new("pipeline", Kind::Each(20), Need::Optional, r#"{ delivery = { stages = ["dev", "qa", "prod"] } }"#)
        .about("The ways on which builds go through the environments, each under the name by which `ward pipeline run` calls it.")
        .also(&["pipelines", "workflow", "promotion"])
        .same_everywhere(),
    Key::new("pipeline.*", Kind::Table, Need::Optional, r#"{ stages = ["dev", "qa", "prod"] }"#)
        .about("One pipeline: a build is made once, and each stage gets it by digest when the one before has passed its gate.")
        .same_everywhere(),
    Key::new("pipeline.*.stages", Kind::List { of: Rule::Name, at_least: 1 }, Need::Required, r#"["dev", "qa", "prod"]"#)
        .about("The environments, in the order in which they get the build. None of them builds or fetches a service in a way of its own.")
        .also(&["environments", "steps"])
        .same_everywhere(),
    Key::new("pipeline.*.gate", Kind::Each(100), Need::Optional, r#"{ qa = { soak = "10m" } }"#)
        .about("What has to be passed behind a stage before the build goes further, each under the name of its environment: the command, then the time, then somebody's word.")
        .also(&["gates"])
        .same_everywhere(),
    Key::new("pipeline.*.gate.*", Kind::Table, Need::Optional, r#"{ soak = "10m" }"#)
        .about("The gate of one stage. Whoever moves the environment elsewhere meanwhile ends the run: what would be approved is not what was tried.")
        .same_everywhere(),
    Key::new("pipeline.*.gate.*.command", Kind::Command, Need::Optional, r#"["./smoke.sh"]"#)
        .about("A check that has to end with 0. It is run on this machine in the stack's folder, as build commands are, and finds the stage by `WARD_ENV`, `WARD_RELEASE`, `WARD_VERSION`, `WARD_ADDRESSES` (its URLs, with a space between) and `WARD_HTTP` (where the gateway listens). After a restart of Ward it is run again.")
        .also(&["check", "test", "script", "run"])
        .same_everywhere(),
    Key::new("pipeline.*.gate.*.timeout", duration("1s", "24h"), Need::Default(r#""10m""#), r#""30m""#)
        .about("How long the command may take; then it is ended, and the gate is not passed.")
        .same_everywhere(),
    Key::new("pipeline.*.gate.*.soak", duration("0s", "30d"), Need::Default(r#""0s""#), r#""10m""#)
        .about("How long the stage has to serve the build before it goes further.")
        .also(&["wait", "bake", "delay"])
        .same_everywhere(),
    Key::new("pipeline.*.gate.*.approve", Kind::Table, Need::Optional, r#"{ role = "qa-lead", by = "another" }"#)
        .about("Whose word it needs: `ward pipeline approve`. Words of others are refused and recorded.")
        .also(&["approval", "approvers", "manual"])
        .same_everywhere(),
    Key::new("pipeline.*.gate.*.approve.role", text(Rule::Name), Need::Required, r#""qa-lead""#)
        .about("The role, declared under `role`.")
        .same_everywhere(),
    Key::new("pipeline.*.gate.*.approve.by", text(Rule::Choice(&["anybody", "another"])), Need::Default(r#""anybody""#), r#""another""#)
        .about("`\"another\"`: not the one who started the run, nor whom the commit names as its author; a second person has to have seen it.")
        .same_everywhere(),

    Key::new("role", Kind::Each(100), Need::Optional, r#"{ qa-lead = { people = ["uid:1000", "anna"] } }"#)
        .about("Who may give which word.")
        .also(&["roles", "groups"])
        .same_everywhere(),
    Key::new("role.*", Kind::Table, Need::Optional, r#"{ people = ["uid:1000", "anna"] }"#)
        .about("One role.")
        .same_everywhere(),
    Key::new("role.*.people", Kind::List { of: Rule::Value, at_least: 1 }, Need::Required, r#"["uid:1000", "anna"]"#)
        .about("Who has it: users of this machine, by their number or their name.")
        .also(&["members", "users"])
        .same_everywhere(),
];

/// The keys that a table at `parent` may hold.
pub(crate) fn children(parent: &str) -> impl Iterator<Item = &'static Key> + '_ {
    KEYS.iter()
        .filter(move |key| key.parent() == parent && !key.path.is_empty())
}

/// Where an environment's keys stand: its own, and those of the whole file again.
pub(crate) const ENVIRONMENT: &str = "environment.*";

/// The key `name` in the table at `parent`: itself, or the one for names that the author chooses.
pub(crate) fn child(parent: &str, name: &str) -> Option<&'static Key> {
    let named = |wanted: &str| children(parent).find(|key| key.name() == wanted);
    // A literal `*` in the file is a bad name, which the wildcard's own check says.
    let found = named(name).or_else(|| named("*"));
    found.or_else(|| match parent {
        ENVIRONMENT => child("", name),
        _ => None,
    })
}

/// The key at `parent`.`name`, which the decoder knows to be in the table.
pub(crate) fn known(parent: &str, name: &str) -> &'static Key {
    child(parent, name).expect("the decoder asks only for keys of the table; a test asks for each")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_is_a_table_of_the_table() {
        for key in KEYS.iter().filter(|key| !key.parent().is_empty()) {
            let parent = KEYS.iter().find(|other| other.path == key.parent());
            let kind = parent.map(|parent| parent.kind);
            assert!(kind.is_some_and(Kind::is_table), "{}", key.path);
        }
    }

    #[test]
    fn no_key_is_there_twice_and_all_are_explained() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(!KEYS[..at].iter().any(|other| other.path == key.path));
            assert!(key.about.ends_with('.'), "{}", key.path);
            assert!(!key.also.contains(&key.name()), "{}", key.path);
        }
    }
}
