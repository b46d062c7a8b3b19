//! What takes something away is marked, and what gives it back is not.

use std::fmt::Write;

use ward_plan::changes::dropped;
use ward_types::policy::Policy;
use ward_types::route::{Audience, Https, RouteSettings, RouteSpec};
use ward_types::spec::{CopyData, EnvSpec, ServiceSpec};
use ward_types::time::Millis;
use ward_types::unit::ByteSize;
use ward_types::volume::Snapshots;

use super::rich::{name, rich};
use super::{between, transcript};

type Take = (&'static str, fn(&mut EnvSpec));

fn web(spec: &mut EnvSpec) -> &mut ServiceSpec {
    spec.services.get_mut(&name("web")).unwrap()
}

fn route(spec: &mut EnvSpec) -> &mut RouteSpec {
    web(spec).routes.first_mut().unwrap()
}

/// A route that anybody may ask, without certificates.
fn open() -> EnvSpec {
    let mut spec = rich();
    for route in &mut web(&mut spec).routes {
        route.settings = RouteSettings::default();
        route.tls = None;
    }
    spec
}

/// Each takes something away, or gives it, and is the only difference.
const TAKES: &[Take] = &[
    ("no backups", |spec| {
        spec.databases.get_mut(&name("db")).unwrap().backups = None;
    }),
    ("fewer backups", |spec| {
        let database = spec.databases.get_mut(&name("db")).unwrap();
        database.backups.as_mut().unwrap().keep = 2;
    }),
    ("rarer backups", |spec| {
        let database = spec.databases.get_mut(&name("db")).unwrap();
        database.backups.as_mut().unwrap().every = Millis::secs(7 * 24 * 3600);
    }),
    ("fewer releases", |spec| spec.keep_releases = 2),
    ("fewer snapshots", |spec| {
        spec.volumes
            .get_mut(&name("uploads"))
            .unwrap()
            .keep_snapshots = 1;
    }),
    ("no snapshots", |spec| {
        spec.volumes.get_mut(&name("uploads")).unwrap().snapshot = Snapshots::Never;
    }),
    ("a smaller volume", |spec| {
        spec.volumes.get_mut(&name("uploads")).unwrap().size = ByteSize(1 << 20);
    }),
    ("no job", |spec| spec.jobs.clear()),
    ("no schedule", |spec| {
        spec.jobs.get_mut(&name("close-month")).unwrap().schedule = None;
    }),
    ("a job not of copies", |spec| {
        spec.jobs.get_mut(&name("close-month")).unwrap().copies = false;
    }),
    ("no seed", |spec| web(spec).seed = None),
    ("another seed", |spec| {
        web(spec).seed.as_mut().unwrap().timeout = Millis::secs(8);
    }),
    ("not seeded", |spec| spec.seeded = false),
    ("no sleep", |spec| spec.sleep = None),
    ("later sleep", |spec| spec.sleep = Some(Millis::secs(3600))),
    ("rows stay", |spec| spec.copy_data = CopyData::Denied),
    ("few addresses", |spec| {
        route(spec).settings.allow = vec!["10.0.0.0/8".parse().unwrap()];
    }),
    ("certificates", |spec| {
        route(spec).tls = Some(ward_types::tls::HostTls {
            client_ca: Some("/etc/ca.pem".into()),
            ..Default::default()
        });
    }),
    ("not of the outside", |spec| {
        route(spec).settings.audience = Audience::Links;
    }),
    ("only with TLS", |spec| {
        route(spec).settings.https = Https::Redirect
    }),
    ("no route", |spec| drop(web(spec).routes.remove(0))),
];

#[test]
fn what_is_taken_away_is_marked_and_said() {
    let mut text = String::new();
    for (what, take) in TAKES {
        let mut taken = open();
        take(&mut taken);
        let (there, back) = (between(&open(), &taken), between(&taken, &open()));
        assert!(
            there.len() == 1 && back.len() == 1,
            "{what}: {there:?}, {back:?}"
        );
        assert!(!back[0].destructive, "{what} comes back: {back:?}");
        write!(text, "{what}\n{}{}", transcript(&there), transcript(&back)).unwrap();
    }
    insta::assert_snapshot!(text);
}

/// What is allowed is compared as ranges, not as texts.
#[test]
fn who_is_still_allowed_loses_nothing() {
    let cases: [(&[&str], &[&str], bool); 8] = [
        (&[], &["10.0.0.0/8"], true),
        (&["10.0.0.0/8"], &[], false),
        (&["10.0.0.0/8"], &["10.0.0.0/8", "192.0.2.7"], false),
        (&["10.0.0.0/8", "192.0.2.7"], &["10.0.0.0/8"], true),
        (&["10.1.0.0/16"], &["10.0.0.0/8"], false),
        (&["10.0.0.0/8"], &["10.1.0.0/16"], true),
        (&["10.0.0.0/8"], &["::/0"], true),
        (&["10.0.0.0/8", "::1"], &["::1", "10.0.0.0/8"], false),
    ];
    for (from, to, destructive) in cases {
        let [one, other] = [from, to].map(|ranges| {
            let mut spec = open();
            let ranges = ranges.iter().map(|range| range.parse().unwrap());
            route(&mut spec).settings.allow = ranges.collect();
            spec
        });
        let found = between(&one, &other);
        assert_eq!(found.len(), 1, "{from:?} to {to:?}: {found:?}");
        assert!(found[0].path.ends_with("].allow"), "{found:?}");
        assert_eq!(
            found[0].destructive, destructive,
            "{from:?} to {to:?}: {found:?}"
        );
    }
}

#[test]
fn what_an_older_release_drops_is_what_is_taken_away_and_no_rule() {
    let (mut served, mut older) = (open(), open());
    served.policy = Policy::of_protected();
    older.policy = Policy::default();
    older.protected = false;
    route(&mut served).settings.https = Https::Redirect;
    web(&mut older).guard.limit = None;
    older.databases.get_mut(&name("db")).unwrap().backups = None;
    let paths = |from: &EnvSpec, to: &EnvSpec| -> Vec<String> {
        let found = dropped(between(from, to)).into_iter();
        found.map(|change| change.path).collect()
    };
    let lost = paths(&served, &older);
    assert_eq!(lost.len(), 3, "{lost:?}");
    for part in ["backups", "limit", ".https"] {
        assert!(
            lost.iter().any(|path| path.contains(part)),
            "{part}: {lost:?}"
        );
    }
    // Forward again it has more, and drops nothing.
    assert_eq!(paths(&older, &served), [""; 0]);
}
