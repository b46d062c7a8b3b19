//! From the tree of one environment to its spec. Everything has been checked before: what is wrong here
//! falls back to its default, and the spec is thrown away with the mistakes.

mod pipeline;
mod policy;
mod route;
mod secret;
mod strategy;

use std::collections::BTreeMap;

use toml::de::DeTable;
use ward_types::backup::BackupSpec;
use ward_types::balance::{Affinity, Balance};
use ward_types::guard::{Concurrency, Guard, LimitBy, Rate, RateLimit};
use ward_types::id::{EnvId, Name};
use ward_types::run::{JobSpec, Missed, Overlap, Schedule};
use ward_types::sharing::{Export, SharedLink};
use ward_types::spec::{
    Base, CopyData, DatabaseEngine, DatabaseSpec, Deadlines, EgressSpec, EnvSpec, HealthSpec,
    ImageSource, ReleaseCommand, Schema, SeedCommand, ServiceSpec,
};
use ward_types::time::Millis;
use ward_types::unit::{ByteSize, parse_duration};
use ward_types::volume::{Snapshots, VolumeSpec};

use crate::keys::{self, Need};
use crate::tree::{self, Node, Table, Value};
use crate::value;

pub(crate) use pipeline::pipelines;

/// The spec of one environment; `None` when the tree is not what was checked.
pub(crate) fn spec(id: EnvId, env: &Table) -> Option<EnvSpec> {
    let file = At::new(env, "");
    let stack = file.below("stack")?;
    let nothing = Table::default();
    let own = env.table("environment").unwrap_or(&nothing);
    let own = At::new(own, keys::ENVIRONMENT);
    Some(EnvSpec {
        id,
        version: stack.text("version")?,
        services: each(env, "service", service)?,
        databases: each(env, "database", database)?,
        volumes: each(env, "volume", volume)?,
        jobs: each(env, "job", job)?,
        keep_warm: stack.duration("keep_warm"),
        keep_releases: stack.count("keep_releases"),
        deadlines: deadlines(&stack),
        seeded: own.flag("seed").unwrap_or_default(),
        copy_data: match own.text("copy_data")?.as_str() {
            "allowed" => CopyData::Allowed,
            _ => CopyData::Denied,
        },
        // The one word that is no duration is `never`.
        sleep: own.limit("sleep"),
        region: stack
            .text("region")
            .and_then(|region| Name::parse(&region).ok()),
        protected: file.flag("protected").unwrap_or_default(),
        policy: policy::policy(&file),
        secrets: secret::specs(env),
    })
}

fn deadlines(stack: &At<'_>) -> Deadlines {
    let Some(at) = stack.below("deadlines") else {
        return Deadlines::default();
    };
    Deadlines {
        queue: at.duration("queue"),
        database_start: at.duration("database_start"),
        database_stop: at.duration("database_stop"),
        acknowledge: at.duration("acknowledge"),
        promote: at.duration("promote"),
        revert: at.duration("revert"),
    }
}

fn each<T>(
    env: &Table,
    kind: &str,
    read: impl Fn(&At<'_>) -> Option<T>,
) -> Option<BTreeMap<Name, T>> {
    let pattern = format!("{kind}.*");
    let parts = env.tables(kind);
    parts
        .map(|(name, _, table)| Some((Name::parse(name).ok()?, read(&At::new(table, &pattern))?)))
        .collect()
}

fn service(at: &At<'_>) -> Option<ServiceSpec> {
    let port = at.number("port");
    let port = port.and_then(|port| u16::try_from(port).ok());
    Some(ServiceSpec {
        source: source(at)?,
        command: at.words("command"),
        port,
        health: at.below("health").and_then(|health| self::health(&health)),
        instances: at.count("instances"),
        links: at
            .texts("links")
            .filter_map(|link| Name::parse(link).ok())
            .collect(),
        shared_links: at.texts("links").filter_map(SharedLink::parse).collect(),
        exports: at.texts("export").filter_map(Export::parse).collect(),
        egress: egress(at),
        env: at.pairs("env"),
        secrets: secret::places(&at.pairs("secrets")),
        volumes: volumes(at),
        memory: at.size("memory"),
        processes: at.count("processes"),
        scratch: at.size("scratch")?,
        release: at
            .below("release")
            .and_then(|release| self::release(&release)),
        seed: at.below("seed").and_then(|seed| self::seed(&seed)),
        routes: at.list("route").iter().filter_map(route::spec).collect(),
        start_timeout: at.duration("start_timeout"),
        drain_timeout: at.duration("drain_timeout"),
        long_drain_timeout: Some(at.duration("long_drain_timeout")),
        stop_timeout: at.duration("stop_timeout"),
        overlap: at.flag("overlap").unwrap_or(port.is_some()),
        strategy: strategy::strategy(at)?,
        analysis: strategy::analysis(at),
        probe: strategy::probe(at),
        guard: Guard {
            limit: at.below("limit").and_then(|limit| self::limit(&limit)),
            concurrency: concurrency(at),
        },
        balance: Balance {
            affinity: at
                .below("affinity")
                .and_then(|affinity| affinity.text("cookie"))
                .map(|cookie| Affinity { cookie }),
            hedge: at.limit("hedge"),
            retries: Some(at.count("retries")).filter(|most| *most < Balance::MOST_RETRIES),
        },
    })
}

fn source(at: &At<'_>) -> Option<ImageSource> {
    let Some(build) = at.below("build") else {
        let reference = at.text("image")?;
        return Some(ImageSource::Image { reference });
    };
    if let Some(package) = build.text("cargo") {
        return Some(ImageSource::Cargo { package });
    }
    if let Some(path) = build.text("dockerfile") {
        return Some(ImageSource::Dockerfile { path });
    }
    Some(ImageSource::Command {
        command: build.words("command").unwrap_or_default(),
        files: build.words("files")?,
        run: build.words("run")?,
        base: match build.text("base")?.as_str() {
            "host" => Base::Host,
            _ => Base::Empty,
        },
    })
}

fn health(at: &At<'_>) -> Option<HealthSpec> {
    Some(HealthSpec {
        path: at.text("path")?,
        interval: at.duration("interval"),
        timeout: at.duration("timeout"),
        healthy: at.count("healthy"),
        unhealthy: at.count("unhealthy"),
    })
}

fn release(at: &At<'_>) -> Option<ReleaseCommand> {
    Some(ReleaseCommand {
        command: at.words("command")?,
        timeout: at.duration("timeout"),
        schema: match at.text("schema")?.as_str() {
            "none" => Schema::None,
            "contract" => Schema::Contract,
            "irreversible" => Schema::Irreversible,
            _ => Schema::Expand,
        },
    })
}

fn seed(at: &At<'_>) -> Option<SeedCommand> {
    Some(SeedCommand {
        command: at.words("command")?,
        timeout: at.duration("timeout"),
    })
}

fn limit(at: &At<'_>) -> Option<RateLimit> {
    let rate = Rate::parse(&at.text("rate")?)?;
    let burst = at.number("burst");
    let burst = burst.and_then(|burst| u32::try_from(burst).ok());
    Some(RateLimit {
        rate,
        burst: burst.unwrap_or(rate.requests),
        by: LimitBy::parse(&at.text("by")?)?,
    })
}

fn concurrency(at: &At<'_>) -> Concurrency {
    let number = at.number("concurrency");
    match number.and_then(|number| u32::try_from(number).ok()) {
        Some(number) => Concurrency::PerInstance(number),
        None if at.text("concurrency").as_deref() == Some("adaptive") => Concurrency::Adaptive,
        None => Concurrency::Unlimited,
    }
}

fn egress(at: &At<'_>) -> Vec<EgressSpec> {
    at.texts("egress")
        .filter_map(|address| value::egress(address).ok())
        .collect()
}

fn database(at: &At<'_>) -> Option<DatabaseSpec> {
    let engine = match at.text("engine")?.as_str() {
        "postgres" => DatabaseEngine::Postgres,
        _ => return None,
    };
    Some(DatabaseSpec {
        engine,
        memory: at.size("memory"),
        backups: at.below("backups").map(|backups| BackupSpec {
            every: backups.duration("every"),
            keep: backups.count("keep"),
        }),
    })
}

fn volume(at: &At<'_>) -> Option<VolumeSpec> {
    Some(VolumeSpec {
        size: at.size("size")?,
        snapshot: match at.text("snapshot")?.as_str() {
            "before_release" => Snapshots::BeforeRelease,
            _ => Snapshots::Never,
        },
        keep_snapshots: at.count("keep_snapshots"),
    })
}

fn volumes(at: &At<'_>) -> BTreeMap<Name, String> {
    let pairs = at.pairs("volumes").into_iter();
    pairs
        .filter_map(|(name, path)| Some((Name::parse(&name).ok()?, path)))
        .collect()
}

fn job(at: &At<'_>) -> Option<JobSpec> {
    let time_zone = at.text("time_zone")?;
    Some(JobSpec {
        service: Name::parse(&at.text("service")?).ok()?,
        command: at.words("command")?,
        schedule: at.text("schedule").map(|cron| Schedule { cron, time_zone }),
        overlap: match at.text("overlap")?.as_str() {
            "queue" => Overlap::Queue,
            "allow" => Overlap::Allow,
            _ => Overlap::Skip,
        },
        retries: at.count("retries"),
        deadline: at.duration("deadline"),
        missed: match at.text("missed")?.as_str() {
            "skip" => Missed::Skip,
            _ => Missed::Run,
        },
        copies: at.flag("copies").unwrap_or_default(),
    })
}

/// What `policy` and `protected` of a file without anything else say.
pub(crate) fn policy_alone(env: &Table) -> ward_types::policy::Policy {
    policy::policy(&At::new(env, ""))
}

/// A table and its place in the table of keys, which knows the defaults.
struct At<'a> {
    table: &'a Table,
    pattern: String,
}

impl<'a> At<'a> {
    fn new(table: &'a Table, pattern: &str) -> Self {
        Self {
            table,
            pattern: pattern.to_owned(),
        }
    }

    fn below(&self, name: &str) -> Option<At<'a>> {
        let table = self.table.table(name)?;
        Some(At::new(table, keys::known(&self.pattern, name).path))
    }

    /// The tables in the list under `name`, or the table that stands there alone.
    fn list(&self, name: &str) -> Vec<At<'a>> {
        let pattern = keys::known(&self.pattern, name).path;
        let list = match self.table.get(name).map(|entry| &entry.node) {
            Some(Node {
                value: Value::List(list),
                ..
            }) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        let tables = list.iter().filter_map(|node| match &node.value {
            Value::Table(table) => Some(At::new(table, pattern)),
            _ => None,
        });
        tables.collect()
    }

    /// The value under `name`, or else its default.
    fn value<T>(&self, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let given = self
            .table
            .get(name)
            .and_then(|entry| read(&entry.node.value));
        given.or_else(|| read(&default(&self.pattern, name)?.value))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name, |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.value(name, |value| match value {
            Value::Integer(number) => *number,
            _ => None,
        })
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.value(name, |value| match value {
            Value::Boolean(flag) => Some(*flag),
            _ => None,
        })
    }

    /// The duration under `name`, which has no default.
    fn limit(&self, name: &str) -> Option<Millis> {
        let text = self.text(name)?;
        parse_duration(&text).ok()
    }

    /// The texts in the table under `name`.
    fn pairs(&self, name: &str) -> BTreeMap<String, String> {
        let table = self.table.table(name);
        let entries = table.into_iter().flat_map(|table| &table.entries);
        let texts = entries.filter_map(|(name, entry)| match &entry.node.value {
            Value::Text(text) => Some((name.clone(), text.clone())),
            _ => None,
        });
        texts.collect()
    }

    fn count(&self, name: &str) -> u32 {
        let number = self
            .number(name)
            .and_then(|number| u32::try_from(number).ok());
        number.unwrap_or_default()
    }

    fn duration(&self, name: &str) -> Millis {
        let read = |value: &Value| match value {
            Value::Text(text) => parse_duration(text).ok(),
            _ => None,
        };
        self.value(name, read).unwrap_or_default()
    }

    fn size(&self, name: &str) -> Option<ByteSize> {
        self.text(name).and_then(|text| ByteSize::parse(&text).ok())
    }

    fn texts(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.table.texts(name).map(|(text, _)| text)
    }

    fn words(&self, name: &str) -> Option<Vec<String>> {
        self.table.get(name)?;
        Some(self.texts(name).map(str::to_owned).collect())
    }
}

/// The default of a key, read from the table of keys.
fn default(pattern: &str, name: &str) -> Option<Node> {
    let Need::Default(written) = keys::known(pattern, name).need else {
        return None;
    };
    let line = format!("x = {written}");
    let (table, _) = DeTable::parse_recoverable(&line);
    tree::from_toml(table.get_ref())
        .entries
        .remove("x")
        .map(|entry| entry.node)
}
