//! How the platform's processes are started.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ward_types::id::Name;
use ward_types::range::AddressRange;
use ward_types::unit::ByteSize;

use super::Why;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) addresses: Addresses,
    #[command(flatten)]
    pub(crate) gateway: ForGateway,
    #[command(flatten)]
    pub(crate) acme: Acme,
    #[command(flatten)]
    pub(crate) site: Site,
    /// Folder for a second socket, by which every user of this machine may see pipelines and give a word about them, with
    /// the folder as WARD_HOME
    #[arg(long, env = "WARD_PEOPLE_DIR", value_name = "DIR")]
    pub(crate) people_dir: Option<PathBuf>,
    /// Take over from another version, for this reason (`ward upgrade` does this itself)
    #[arg(long, hide = true, value_name = "WHY")]
    pub(crate) upgrade: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    pub(crate) why: Why,
}

/// Where Ward listens.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Addresses {
    /// Where the gateway takes plain HTTP [default: 127.0.0.1:8080]
    #[arg(long, env = "WARD_HTTP_ADDR", value_name = "IP:PORT")]
    pub(crate) http_addr: Option<SocketAddr>,
    /// Where the gateway takes HTTPS [default: 127.0.0.1:8443]
    #[arg(long, env = "WARD_HTTPS_ADDR", value_name = "IP:PORT")]
    pub(crate) https_addr: Option<SocketAddr>,
    /// Where the registry listens [default: 127.0.0.1:5050]
    #[arg(long, env = "WARD_REGISTRY_ADDR", value_name = "IP:PORT")]
    pub(crate) registry_addr: Option<SocketAddr>,
    /// Where the gateway's metrics are had [default: 127.0.0.1:8090, or another port where that is taken]
    #[arg(long, env = "WARD_METRICS_ADDR", value_name = "IP:PORT")]
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// Where webhooks of repositories are taken, over plain HTTP [default: nowhere]
    #[arg(long, env = "WARD_HOOKS_ADDR", value_name = "IP:PORT")]
    pub(crate) hooks_addr: Option<SocketAddr>,
}

impl Addresses {
    /// Whichever ports are free: for a server that only takes things down.
    pub(crate) const ANY: Self = Self {
        http_addr: Some(SocketAddr::new(LOOPBACK, 0)),
        https_addr: Some(SocketAddr::new(LOOPBACK, 0)),
        registry_addr: Some(SocketAddr::new(LOOPBACK, 0)),
        metrics_addr: Some(SocketAddr::new(LOOPBACK, 0)),
        hooks_addr: None,
    };

    /// Where webhooks are taken, for another process of this binary.
    pub(crate) fn for_hooks(&self) -> Option<String> {
        let address = self.hooks_addr?;
        // A binary of an older version does not know it: none where there is none.
        Some(format!("--hooks-addr={address}"))
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http_addr.unwrap_or(SocketAddr::new(LOOPBACK, 8080))
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.https_addr.unwrap_or(SocketAddr::new(LOOPBACK, 8443))
    }

    pub(crate) fn registry(&self) -> SocketAddr {
        self.registry_addr
            .unwrap_or(SocketAddr::new(LOOPBACK, 5050))
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Where this Ward keeps what, and where it is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Site {
    /// Folder for backups of databases, best on another disk; it has to be there [default: backups in the state folder]
    #[arg(long, env = "WARD_BACKUP_DIR", value_name = "DIR")]
    pub(crate) backup_dir: Option<PathBuf>,
    /// The region that this Ward is in, by a name of yours: environments with another `stack.region` are refused
    #[arg(long, env = "WARD_REGION", value_name = "NAME")]
    pub(crate) region: Option<Name>,
}

impl Site {
    /// The same for another process of this binary.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let dir = self.backup_dir.as_ref();
        let dir = dir.map(|dir| format!("--backup-dir={}", dir.display()));
        let region = self.region.as_ref();
        let region = region.map(|region| format!("--region={region}"));
        dir.into_iter().chain(region).collect()
    }
}

/// Where certificates come from that are had by ACME (`tls = { acme = true }` in a stack file).
#[derive(Debug, Clone, Args)]
pub(crate) struct Acme {
    /// The URL of the directory of a certificate authority that speaks ACME; who gives it agrees to its terms
    #[arg(long, env = "WARD_ACME_DIRECTORY", value_name = "URL")]
    pub(crate) acme_directory: Option<String>,
    /// The mail address that the authority may write to
    #[arg(
        long,
        env = "WARD_ACME_CONTACT",
        value_name = "ADDRESS",
        requires = "acme_directory"
    )]
    pub(crate) acme_contact: Option<String>,
    /// The root of the authority's own certificate, in PEM, where this machine does not trust it
    #[arg(
        long,
        env = "WARD_ACME_ROOT",
        value_name = "FILE",
        requires = "acme_directory"
    )]
    pub(crate) acme_root: Option<PathBuf>,
}

impl Acme {
    /// The same for another process of this binary.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let text = |name: &str, value: &Option<String>| {
            let value = value.as_ref().filter(|value| !value.is_empty());
            value.map(|value| format!("--acme-{name}={value}"))
        };
        let root = self
            .acme_root
            .as_ref()
            .map(|path| path.display().to_string());
        let all = [
            text("directory", &self.acme_directory),
            text("contact", &self.acme_contact),
            text("root", &root),
        ];
        // Nothing else means anything without a directory.
        match &all[0] {
            Some(_) => all.into_iter().flatten().collect(),
            None => Vec::new(),
        }
    }

    /// The same as the server takes it; `None` where there is no authority.
    pub(crate) fn settings(self) -> Option<ward_acme::Settings> {
        Some(ward_acme::Settings {
            directory: self.acme_directory.filter(|url| !url.is_empty())?,
            contact: self.acme_contact.map(|address| format!("mailto:{address}")),
            root: self.acme_root,
        })
    }
}

/// How the gateway keeps its access log, `gateway/access.log` in the state folder, and whom it believes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ForGateway {
    /// Whether the gateway has an access log
    #[arg(
        long,
        env = "WARD_ACCESS_LOG",
        value_enum,
        default_value = "on",
        hide_env_values = true
    )]
    pub(crate) access_log: Switch,
    /// How long a file of it grows before the next one begins
    #[arg(long, env = "WARD_ACCESS_LOG_SIZE", value_name = "SIZE", value_parser = file_size, default_value = "64MiB")]
    pub(crate) access_log_size: ByteSize,
    /// How many of its files are kept beside the newest
    #[arg(
        long,
        env = "WARD_ACCESS_LOG_FILES",
        value_name = "FILES",
        value_parser = clap::value_parser!(u32).range(1..=1000),
        default_value_t = 8
    )]
    pub(crate) access_log_files: u32,
    /// Whether it has query strings, in which there may be what nobody else should read
    #[arg(
        long,
        env = "WARD_ACCESS_LOG_QUERY",
        value_enum,
        default_value = "off",
        hide_env_values = true
    )]
    pub(crate) access_log_query: Switch,
    /// Addresses of balancers that pass connections on with the PROXY protocol, version 2; each of their connections
    /// must begin with it
    #[arg(
        long,
        env = "WARD_PROXY_PROTOCOL",
        value_name = "RANGES",
        value_delimiter = ','
    )]
    pub(crate) proxy_protocol: Vec<AddressRange>,
    /// What requests get that belong to no trace (`traceparent`): one whose caller records it, one whose caller does
    /// not, or none
    #[arg(
        long,
        env = "WARD_TRACEPARENT",
        value_enum,
        default_value = "sampled",
        hide_env_values = true
    )]
    pub(crate) traceparent: Traceparent,
    /// How much memory the gateway may use before it refuses and cuts clients; a quarter of what the machine has
    /// unless it is said
    #[arg(
        long,
        env = "WARD_GATEWAY_MEMORY",
        value_name = "SIZE",
        value_parser = gateway_memory
    )]
    pub(crate) gateway_memory: Option<ByteSize>,
}

/// What becomes of requests that belong to no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Traceparent {
    /// They get one that asks applications to record them
    Sampled,
    /// They get one that does not
    Unsampled,
    /// They get none
    Pass,
}

impl ForGateway {
    /// The same for another process of this binary.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let word = |switch: Switch| match switch {
            Switch::On => "on",
            Switch::Off => "off",
        };
        let mut arguments = vec![
            format!("--access-log={}", word(self.access_log)),
            format!("--access-log-size={}", self.access_log_size),
            format!("--access-log-files={}", self.access_log_files),
            format!("--access-log-query={}", word(self.access_log_query)),
        ];
        // Each for itself, and none where there is none: a binary of an older version does not know it.
        let balancers = self.proxy_protocol.iter();
        arguments.extend(balancers.map(|range| format!("--proxy-protocol={range}")));
        match self.traceparent {
            Traceparent::Sampled => {}
            Traceparent::Unsampled => arguments.push("--traceparent=unsampled".to_owned()),
            Traceparent::Pass => arguments.push("--traceparent=pass".to_owned()),
        }
        let memory = self.gateway_memory.iter();
        arguments.extend(memory.map(|size| format!("--gateway-memory={size}")));
        arguments
    }
}

/// With less it could not hold what it needs for itself.
const LEAST_MEMORY: ByteSize = ByteSize(64 << 20);

fn gateway_memory(text: &str) -> Result<ByteSize, String> {
    let size = ByteSize::parse(text).map_err(|error| error.to_string())?;
    match size < LEAST_MEMORY {
        true => Err(format!("it must be {LEAST_MEMORY} at least")),
        false => Ok(size),
    }
}

/// A file shorter than what is written at once would never be long enough.
const SHORTEST_FILE: ByteSize = ByteSize(256 * 1024);

fn file_size(text: &str) -> Result<ByteSize, String> {
    let size = ByteSize::parse(text).map_err(|error| error.to_string())?;
    match size < SHORTEST_FILE {
        true => Err(format!("it must be {SHORTEST_FILE} at least")),
        false => Ok(size),
    }
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}
