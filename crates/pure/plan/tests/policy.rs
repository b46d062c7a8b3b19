//! What breaks which rule of a policy.

#![allow(clippy::unwrap_used, reason = "a test may")]

use ward_plan::changes::{Between, changes};
use ward_plan::policy::{Wanted, violations, waive};
use ward_types::changes::Change;
use ward_types::id::{EnvId, Name, ReleaseId};
use ward_types::policy::{Day, Freeze, Level, Origin, Policy, Rule, Violation, Waiver, Waivers};
use ward_types::release::{Build, Release};
use ward_types::sharing::{Importer, lost};
use ward_types::spec::EnvSpec;
use ward_types::time::Timestamp;

const HERE: &str = "127.0.0.1:5050";

fn spec(services: &str, databases: &str) -> EnvSpec {
    let text = format!(
        r#"{{"id": "shop/prod", "version": "1.0", "keep_warm": 0, "services": {{{services}}}, "databases": {{{databases}}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// A service that breaks no rule, but for what is laid over it.
fn service(over: serde_json::Value) -> String {
    let mut all = serde_json::json!({
        "source": {"kind": "cargo", "package": "web"}, "command": null, "port": 80, "health": null, "instances": 2,
        "links": [], "egress": [], "env": {}, "memory": null, "release": null, "start_timeout": 1, "drain_timeout": 1,
        "stop_timeout": 1, "guard": {"limit": {"rate": {"requests": 1, "per": 1000}, "burst": 1, "by": "address"}},
        "route": [{"host": "a.localhost", "settings": {"https": "redirect"}}],
    });
    for (key, value) in over.as_object().unwrap() {
        all[key] = value.clone();
    }
    format!("\"web\": {all}")
}

fn release(spec: EnvSpec) -> Release {
    Release {
        id: ReleaseId(1),
        build: Build {
            version: "1.0.1".to_owned(),
            images: std::collections::BTreeMap::new(),
            stack_file: None,
            provenance: None,
        },
        spec,
        config: ward_types::configuration::Configured::default(),
        secrets: std::collections::BTreeMap::new(),
        recorded: Timestamp(0),
        by: String::new(),
        named: None,
        promoted: None,
    }
}

fn judged(
    spec: &EnvSpec,
    changes: &[Change],
    installation: &Policy,
    day: Option<&str>,
) -> Vec<Violation> {
    let wanted = Wanted {
        spec,
        changes,
        served: None,
        region: None,
        lost: &[],
        way: None,
        registry: HERE,
        today: &|zone| (zone == "UTC").then(|| Day::parse(day.unwrap()).unwrap()),
    };
    violations(&wanted, installation)
}

/// The rules that a service breaks where all are on, with the places.
fn broken(over: serde_json::Value) -> Vec<(Rule, String)> {
    let mut spec = spec(&service(over), "");
    spec.policy = Policy::of_protected();
    let found = judged(&spec, &[], &Policy::default(), None);
    found.into_iter().map(|one| (one.rule, one.path)).collect()
}

#[test]
fn each_rule_finds_what_it_is_for_and_nothing_else() {
    use serde_json::json;
    let one = |over, rule, path: &str| {
        assert_eq!(broken(over), [(rule, path.to_owned())]);
    };
    assert_eq!(broken(json!({})), []);
    one(
        json!({"instances": 1}),
        Rule::MinInstances,
        "service.web.instances",
    );
    one(json!({"guard": {}}), Rule::RateLimit, "service.web.limit");
    let limit = json!({"rate": {"requests": 5, "per": 1000}, "burst": 5, "by": "address"});
    let limited = json!({"host": "a.localhost", "settings": {"https": "redirect", "limit": limit}});
    let open = json!({"host": "b.localhost", "settings": {"https": "redirect"}});
    assert_eq!(broken(json!({"guard": {}, "route": [limited]})), []);
    one(
        json!({"guard": {}, "route": [limited, open]}),
        Rule::RateLimit,
        "service.web.limit",
    );
    one(
        json!({"source": {"kind": "command", "command": [], "files": ["a"], "run": ["a"], "base": "host"}}),
        Rule::HostBase,
        "service.web.build.base",
    );
    one(
        json!({"route": [{"host": "a.localhost", "settings": {}}]}),
        Rule::Tls,
        "service.web.route.https",
    );
    let outside = |tls| json!({"route": [{"host": "a.example.org", "settings": {"https": "redirect"}, "tls": tls}]});
    one(outside(json!(null)), Rule::Tls, "service.web.route.tls");
    one(
        outside(json!({"client_ca": "/ca.pem"})),
        Rule::Tls,
        "service.web.route.tls",
    );
    assert_eq!(broken(outside(json!({"acme": true}))), []);
    assert_eq!(
        broken(outside(
            json!({"certificate": {"certificate": "/a", "key": "/b"}})
        )),
        []
    );
    // Only what the outside reaches.
    let private =
        json!({"guard": {}, "route": [{"host": "a.localhost", "settings": {"audience": "links"}}]});
    assert_eq!(broken(private), []);
    assert_eq!(
        broken(json!({"port": null, "route": [], "guard": {}, "instances": 1})),
        [],
        "a worker"
    );
}

#[test]
fn images_come_from_here_by_the_address_of_the_registry() {
    for (reference, good) in [
        ("127.0.0.1:5050/shop/web:1", true),
        ("127.0.0.1:5051/shop/web:1", false),
        ("web:1", false),
        ("registry.example.org/127.0.0.1:5050/web:1", false),
        ("127.0.0.1:5050.example.org/web:1", false),
    ] {
        let source = serde_json::json!({"source": {"kind": "image", "reference": reference}});
        assert_eq!(broken(source).is_empty(), good, "{reference}");
    }
}

#[test]
fn a_database_that_goes_is_found_and_one_that_changes_is_not() {
    let two = r#""db": {"engine": "postgres", "memory": null}, "old": {"engine": "postgres", "memory": 1000}"#;
    let one = r#""db": {"engine": "postgres", "memory": 5000}"#;
    let from = release(spec("", two));
    let mut to = spec("", one);
    to.policy.database_removed = Level::Deny;
    let changes = changes(Between::Releases, Some(&from), Some(&release(to.clone())));
    let found = judged(&to, &changes, &Policy::default(), None);
    let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["database.old"]);
}

#[test]
fn a_volume_that_goes_is_found_and_one_that_grows_is_not() {
    let with = |volumes: serde_json::Value| {
        let mut spec = spec("", "");
        spec.volumes = serde_json::from_value(volumes).unwrap();
        spec
    };
    let from = with(serde_json::json!({"uploads": {"size": 5000}, "old": {"size": 1000}}));
    let mut to = with(serde_json::json!({"uploads": {"size": 9000}}));
    to.policy.volume_removed = Level::Deny;
    let changes = changes(
        Between::Releases,
        Some(&release(from)),
        Some(&release(to.clone())),
    );
    let gone = changes.iter().find(|c| c.path == "volume.old").unwrap();
    assert!(gone.destructive && gone.means.contains("ward volume delete"));
    let found = judged(&to, &changes, &Policy::default(), None);
    let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["volume.old"]);
}

#[test]
fn a_freeze_holds_from_its_first_day_to_its_last_and_where_nobody_knows_the_day() {
    let freeze = |zone: &str| Policy {
        freeze: vec![Freeze::try_from(format!("2026-12-20/2027-01-05 {zone}")).unwrap()],
        ..Policy::default()
    };
    let spec = spec("", "");
    for (day, frozen) in [
        ("2026-12-19", 0),
        ("2026-12-20", 1),
        ("2027-01-05", 1),
        ("2027-01-06", 0),
    ] {
        assert_eq!(
            judged(&spec, &[], &freeze("UTC"), Some(day)).len(),
            frozen,
            "{day}"
        );
    }
    assert_eq!(
        judged(&spec, &[], &freeze("Mars/Base"), Some("2026-06-01")).len(),
        1
    );
    let one = Policy {
        freeze: vec![Freeze::try_from("2026-12-24 UTC".to_owned()).unwrap()],
        ..Policy::default()
    };
    let said = |freeze: &Policy| {
        judged(&spec, &[], freeze, Some("2026-12-24"))[0]
            .message
            .clone()
    };
    assert_eq!(said(&one), "nothing is deployed on 2026-12-24 (UTC)");
    assert_eq!(
        said(&freeze("UTC")),
        "nothing is deployed from 2026-12-20 to 2027-01-05 (UTC)"
    );
}

/// Whoever is stricter is named, and what both ask for is said once.
#[test]
fn the_stricter_of_both_holds() {
    let mut spec = spec(&service(serde_json::json!({"instances": 1})), "");
    let asks = |level, instances| Policy {
        min_instances: level,
        instances,
        ..Policy::default()
    };
    let levels = [Level::Off, Level::Warn, Level::Deny];
    for own in levels {
        for its in levels {
            spec.policy = asks(own, 2);
            let found = judged(&spec, &[], &asks(its, 3), None);
            let Some(strictest) = Some(own.max(its)).filter(|level| *level != Level::Off) else {
                assert_eq!(found, []);
                continue;
            };
            assert_eq!(found.len(), 1, "{own:?} and {its:?}");
            assert_eq!(found[0].level, strictest);
            let origin = if its > own {
                Origin::Installation
            } else {
                Origin::Stack
            };
            assert_eq!(found[0].origin, origin, "{own:?} and {its:?}");
        }
    }
}

/// A stack that asks for fewer than the installation does not take the rest away.
#[test]
fn where_the_stack_is_content_the_installation_need_not_be() {
    let mut spec = spec(&service(serde_json::json!({"instances": 2})), "");
    spec.policy = Policy::of_protected();
    let more = Policy {
        min_instances: Level::Deny,
        instances: 3,
        ..Policy::default()
    };
    let found = judged(&spec, &[], &more, None);
    assert_eq!((found.len(), found[0].origin), (1, Origin::Installation));
    assert_eq!(found[0].way_out, "`service.web.instances = 3`");
}

#[test]
fn a_waiver_counts_until_its_end_and_for_its_rule() {
    let mut spec = spec(
        &service(serde_json::json!({"instances": 1, "guard": {}})),
        "",
    );
    spec.policy = Policy::of_protected();
    let mut found = judged(&spec, &[], &Policy::default(), None);
    let waiver = Waiver {
        until: Timestamp(100),
        why: "why".to_owned(),
        by: "who".to_owned(),
        at: Timestamp(1),
    };
    let waivers = Waivers([(Rule::MinInstances, waiver)].into());
    let mut denied = |now| {
        waive(&mut found, &waivers, Timestamp(now));
        let denied = found.iter().filter(|one| one.is_denied());
        denied.map(|one| one.rule).collect::<Vec<_>>()
    };
    assert_eq!(denied(99), [Rule::RateLimit]);
    assert_eq!(
        denied(100),
        [Rule::MinInstances, Rule::RateLimit],
        "it is over"
    );
}

/// Whoever takes a rule about changes out of the file does not get past it in the same breath.
#[test]
fn a_change_that_drops_the_rule_it_breaks_is_found() {
    let gone = release(spec("", r#""db": {"engine": "postgres", "memory": null}"#));
    let to = spec("", "");
    let changes = changes(Between::Releases, Some(&gone), Some(&release(to.clone())));
    let freeze = Freeze::try_from("2026-12-20/2027-01-05 UTC".to_owned()).unwrap();
    let served = Policy {
        freeze: vec![freeze],
        ..Policy::of_protected()
    };
    let wanted = |served| Wanted {
        spec: &to,
        changes: &changes,
        served,
        region: None,
        lost: &[],
        way: None,
        registry: HERE,
        today: &|_| Day::parse("2026-12-24"),
    };
    let rules = |served| -> Vec<Rule> {
        let found = violations(&wanted(served), &Policy::default());
        found.iter().map(|one| one.rule).collect()
    };
    assert_eq!(rules(None), []);
    assert_eq!(rules(Some(&served)), [Rule::DatabaseRemoved, Rule::Freeze]);
}

/// Whoever links to it is named, once for each service, and what serves is asked as well.
#[test]
fn an_export_that_others_use_is_not_taken_back() {
    let before = spec(
        &service(serde_json::json!({"exports": ["returns", "plans/*"]})),
        "",
    );
    let after = spec(&service(serde_json::json!({"exports": ["plans/*"]})), "");
    let importer = |env: &str, to: &str| Importer {
        env: EnvId::parse(env).unwrap(),
        service: Name::parse("api").unwrap(),
        to: Name::parse(to).unwrap(),
    };
    let importers = [
        importer("returns/prod", "web"),
        importer("returns/dev", "web"),
        importer("plans/dev", "web"),
        importer("returns/prod", "db"),
    ];
    assert_eq!(lost(&before, &after, &importers), importers[..1]);
    assert_eq!(lost(&before, &spec("", ""), &importers).len(), 2);
    assert_eq!(lost(&after, &before, &importers), []);
    let lost = lost(&before, &spec("", ""), &importers);
    let served = Policy {
        export_removed: Level::Deny,
        ..Policy::default()
    };
    let empty = spec("", "");
    let wanted = |served, lost| Wanted {
        spec: &empty,
        changes: &[],
        served,
        region: None,
        lost,
        way: None,
        registry: HERE,
        today: &|_| None,
    };
    let found = violations(&wanted(Some(&served), &lost), &Policy::default());
    let [one] = found.as_slice() else {
        panic!("one for the service: {found:?}");
    };
    assert_eq!(
        (one.rule, one.path.as_str()),
        (Rule::ExportRemoved, "service.web.export")
    );
    for env in ["api of returns/prod", "api of plans/dev"] {
        assert!(one.message.contains(env), "{}", one.message);
    }
    assert_eq!(violations(&wanted(None, &lost), &Policy::default()), []);
    assert_eq!(
        violations(&wanted(Some(&served), &[]), &Policy::default()),
        []
    );
}
