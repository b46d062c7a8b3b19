//! An environment in which every field of every type says something.

use std::collections::BTreeMap;

use ward_types::backup::BackupSpec;
use ward_types::balance::{Affinity, Balance};
use ward_types::configuration::Configured;
use ward_types::guard::{Concurrency, Guard, LimitBy, Rate, RateLimit};
use ward_types::id::{Digest, EnvId, Name, ReleaseId};
use ward_types::policy::{Freeze, Level, Policy};
use ward_types::release::{Build, Environment, Release};
use ward_types::route::{
    Audience, Forwarded, HeaderCondition, Https, Prefix, RouteSettings, RouteSpec, StandardHeaders,
};
use ward_types::run::{JobSpec, Missed, Overlap, Schedule};
use ward_types::secrets::{SecretName, SecretPlace, SecretSpec};
use ward_types::sharing::{Export, SharedLink};
use ward_types::spec::{
    Analysis, Base, CanaryStep, DatabaseEngine, DatabaseSpec, Deadlines, EgressSpec, EnvSpec,
    HealthSpec, ImageSource, Inconclusive, Probe, ReleaseCommand, Schema, ServiceSpec, Sticky,
    Strategy as Takeover,
};
use ward_types::time::{Millis, Timestamp};
use ward_types::tls::{CertificateFiles, HostTls};
use ward_types::unit::ByteSize;
use ward_types::volume::{Snapshots, VolumeSpec};

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// An environment without data yet.
pub(crate) fn new() -> Environment {
    Environment::new(EnvId::parse("shop/dev").unwrap())
}

pub(crate) fn job() -> JobSpec {
    JobSpec {
        service: name("worker"),
        command: vec!["close-month".to_owned()],
        schedule: Some(Schedule {
            cron: "0 2 1 * *".to_owned(),
            time_zone: "Europe/Berlin".to_owned(),
        }),
        overlap: Overlap::Queue,
        retries: 2,
        deadline: Millis::secs(60),
        missed: Missed::Skip,
        copies: true,
    }
}

/// Every field of every type says something. No `..`: whoever adds a field is asked for it here, and it is compared
/// from then on.
pub(crate) fn rich() -> EnvSpec {
    EnvSpec {
        id: EnvId::parse("shop/prod").unwrap(),
        version: "1.4".to_owned(),
        services: BTreeMap::from([(name("web"), web()), (name("worker"), worker())]),
        databases: BTreeMap::from([
            (
                name("db"),
                DatabaseSpec {
                    engine: DatabaseEngine::Postgres,
                    memory: Some(ByteSize(1 << 30)),
                    backups: Some(BackupSpec {
                        every: Millis::secs(24 * 3600),
                        keep: 7,
                    }),
                },
            ),
            (
                name("old"),
                DatabaseSpec {
                    engine: DatabaseEngine::Postgres,
                    memory: None,
                    backups: None,
                },
            ),
        ]),
        volumes: BTreeMap::from([(
            name("uploads"),
            VolumeSpec {
                size: ByteSize(1 << 30),
                snapshot: Snapshots::BeforeRelease,
                keep_snapshots: 3,
            },
        )]),
        jobs: BTreeMap::from([(name("close-month"), job())]),
        secrets: BTreeMap::from([(
            secret("API_KEY"),
            SecretSpec {
                generate: Some(32),
                rotate: vec!["new-key".to_owned()],
            },
        )]),
        keep_warm: Millis::secs(600),
        seeded: true,
        copy_data: ward_types::spec::CopyData::Allowed,
        sleep: Some(Millis::secs(1800)),
        keep_releases: 10,
        deadlines: Deadlines {
            queue: Millis::secs(1),
            database_start: Millis::secs(2),
            database_stop: Millis::secs(3),
            acknowledge: Millis::secs(4),
            promote: Millis::secs(5),
            revert: Millis::secs(6),
        },
        region: Some(name("eu")),
        protected: true,
        policy: Policy {
            database_removed: Level::Deny,
            export_removed: Level::Warn,
            volume_removed: Level::Deny,
            min_instances: Level::Warn,
            instances: 3,
            tls: Level::Deny,
            host_base: Level::Warn,
            rate_limit: Level::Deny,
            images: Level::Warn,
            backups: Level::Deny,
            reason: Level::Deny,
            residency: Level::Warn,
            freeze: vec![
                Freeze::try_from("2026-12-20/2027-01-05 UTC".to_owned()).unwrap(),
                Freeze::try_from("2026-11-27/2026-11-27 Europe/Berlin".to_owned()).unwrap(),
            ],
            pipeline: Level::Deny,
            second_person: Level::Warn,
        },
    }
}

pub(crate) fn secret(text: &str) -> SecretName {
    text.parse().unwrap()
}

pub(crate) fn web() -> ServiceSpec {
    ServiceSpec {
        volumes: BTreeMap::from([(name("uploads"), "/data".to_owned())]),
        secrets: BTreeMap::from([
            (secret("API_KEY"), SecretPlace::Variable),
            (
                secret("signing-key"),
                SecretPlace::File("/run/secrets/key".to_owned()),
            ),
        ]),
        source: ImageSource::Command {
            command: vec!["make".to_owned()],
            files: vec!["server.py".to_owned(), "static".to_owned()],
            run: vec!["python3".to_owned(), "server.py".to_owned()],
            base: Base::Host,
        },
        command: Some(vec!["python3".to_owned(), "-u".to_owned()]),
        port: Some(8080),
        health: Some(HealthSpec {
            path: "/healthz".to_owned(),
            interval: Millis(200),
            timeout: Millis::secs(1),
            healthy: 2,
            unhealthy: 3,
        }),
        seed: Some(ward_types::spec::SeedCommand {
            command: vec!["seed".to_owned()],
            timeout: Millis::secs(7),
        }),
        instances: 2,
        links: vec![name("db"), name("worker")],
        shared_links: vec![SharedLink::parse("claims/api").unwrap()],
        exports: vec![Export::parse("plans/*").unwrap()],
        egress: vec![
            EgressSpec {
                host: "api.example.com".to_owned(),
                port: 443,
            },
            EgressSpec {
                host: "api.example.com".to_owned(),
                port: 80,
            },
        ],
        env: BTreeMap::from([
            ("LEVEL".to_owned(), "info".to_owned()),
            ("MODE".to_owned(), String::new()),
        ]),
        memory: Some(ByteSize(256 << 20)),
        processes: 100,
        scratch: ByteSize(64 << 20),
        release: Some(ReleaseCommand {
            command: vec!["web".to_owned(), "migrate".to_owned()],
            timeout: Millis::secs(300),
            schema: Schema::Expand,
        }),
        routes: vec![
            route("shop.example.org", "/"),
            route("shop.example.org", "/api"),
            route("*.example.org", "/"),
        ],
        start_timeout: Millis::secs(60),
        drain_timeout: Millis::secs(30),
        long_drain_timeout: Some(Millis::secs(60)),
        stop_timeout: Millis::secs(10),
        overlap: true,
        strategy: Takeover::Canary {
            steps: vec![
                CanaryStep {
                    weight: 10,
                    hold: Some(Millis::secs(60)),
                },
                CanaryStep {
                    weight: 50,
                    hold: None,
                },
            ],
            sticky: Some(Sticky::Cookie("side".to_owned())),
            bake: Millis::secs(60),
        },
        analysis: Some(Analysis {
            requests: 50,
            inconclusive: Inconclusive::Hold,
        }),
        probe: Some(Probe {
            path: "/".to_owned(),
            every: Millis(100),
        }),
        guard: Guard {
            limit: Some(RateLimit {
                rate: Rate::parse("100/s").unwrap(),
                burst: 200,
                by: LimitBy::Header("x-key".to_owned()),
            }),
            concurrency: Concurrency::PerInstance(32),
        },
        balance: Balance {
            affinity: Some(Affinity {
                cookie: "instance".to_owned(),
            }),
            hedge: Some(Millis(100)),
            retries: Some(1),
        },
    }
}

pub(crate) fn route(host: &str, path: &str) -> RouteSpec {
    RouteSpec {
        host: Some(host.to_owned()),
        path: path.to_owned(),
        header: Some(HeaderCondition {
            name: "x-beta".to_owned(),
            value: Some("1".to_owned()),
        }),
        settings: RouteSettings {
            prefix: Prefix::Stripped,
            https: Https::Redirect,
            audience: Audience::Links,
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            response_timeout: Some(Millis::secs(1)),
            idle_timeout: Some(Millis::secs(2)),
            timeout: Some(Millis::secs(3)),
            body_limit: Some(ByteSize(1 << 20)),
            limit: Some(RateLimit {
                rate: Rate::parse("5/m").unwrap(),
                burst: 10,
                by: LimitBy::Address,
            }),
            standard_headers: StandardHeaders::Left,
            forwarded: Forwarded::Said,
            headers: BTreeMap::from([("x-frame-options".to_owned(), "DENY".to_owned())]),
        },
        tls: Some(HostTls {
            certificate: Some(CertificateFiles {
                certificate: "/etc/shop.pem".into(),
                key: "/etc/shop.key".into(),
            }),
            client_ca: Some("/etc/ca.pem".into()),
            acme: true,
        }),
    }
}

pub(crate) fn worker() -> ServiceSpec {
    ServiceSpec {
        volumes: BTreeMap::new(),
        secrets: BTreeMap::new(),
        source: ImageSource::Image {
            reference: "worker:1.0".to_owned(),
        },
        command: None,
        port: None,
        health: None,
        instances: 1,
        links: Vec::new(),
        shared_links: Vec::new(),
        exports: Vec::new(),
        egress: Vec::new(),
        env: BTreeMap::new(),
        memory: None,
        processes: 4096,
        scratch: ByteSize(1 << 30),
        release: None,
        seed: None,
        routes: Vec::new(),
        start_timeout: Millis::secs(60),
        drain_timeout: Millis::secs(30),
        long_drain_timeout: None,
        stop_timeout: Millis::secs(10),
        overlap: false,
        strategy: Takeover::BlueGreen { bake: Millis(0) },
        analysis: None,
        probe: None,
        guard: Guard::default(),
        balance: Balance::default(),
    }
}

pub(crate) fn release(number: u64, spec: EnvSpec) -> Release {
    let digest =
        |name: &Name| Digest::from_sha256(&[u8::try_from(name.as_str().len()).unwrap(); 32]);
    let images = spec
        .services
        .keys()
        .map(|name| (name.clone(), digest(name)));
    Release {
        id: ReleaseId(number),
        build: Build {
            version: format!("1.4.{number}"),
            images: images.collect(),
            stack_file: None,
            provenance: None,
        },
        spec,
        config: Configured {
            version: 3,
            replaced: BTreeMap::new(),
        },
        secrets: BTreeMap::from([(secret("API_KEY"), 2)]),
        recorded: Timestamp(number),
        by: format!("somebody {number}"),
        named: None,
        promoted: None,
    }
}
