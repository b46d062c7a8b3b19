//! Holds what is wanted against the rules of a policy.
//!
//! Decision: a rule judges the whole of what is wanted and not only what changes, so that what was there before the rule
//! is found too; only what is about a change (a database that goes, a day on which nothing changes) asks for one. What
//! keeps an environment as it is is not asked, and neither is going back: that is for the caller to see to.

mod way;

use std::collections::BTreeMap;

use ward_types::changes::{Change, ChangeKind, ComponentKind};
use ward_types::id::Name;
use ward_types::policy::{Day, Level, Origin, Policy, Rule, Violation, Waivers};
use ward_types::route::{Audience, Https, RouteSpec};
use ward_types::sharing::Importer;
use ward_types::spec::{Base, EnvSpec, ImageSource, ServiceSpec};
use ward_types::time::Timestamp;

pub use self::way::{As, Built, Way, by_another};

/// What rules are asked of.
pub struct Wanted<'a> {
    /// What should be.
    pub spec: &'a EnvSpec,
    /// What is different by it.
    pub changes: &'a [Change],
    /// The policy that holds there now: its rules about changes hold for the change that takes them away, too.
    pub served: Option<&'a Policy>,
    /// The region that this Ward is in, if somebody said so.
    pub region: Option<&'a str>,
    /// The links of other stacks that what serves lets in, and what is wanted would not.
    pub lost: &'a [Importer],
    /// Where this Ward's own registry is reached, as `HOST:PORT`.
    pub registry: &'a str,
    /// How the build came there; `None`: nobody knows of runs here, and nothing is said of it.
    pub way: Option<&'a Way>,
    /// Which day it is in a time zone; `None`: nobody knows that zone, and its freezes hold.
    pub today: &'a dyn Fn(&str) -> Option<Day>,
}

/// Everything that breaks a rule, the stack file's own and the installation's; what both ask for once, by who is
/// stricter.
#[must_use]
pub fn violations(wanted: &Wanted<'_>, installation: &Policy) -> Vec<Violation> {
    let before = wanted.served.map(about_changes).unwrap_or_default();
    let own = [&wanted.spec.policy, &before].map(|policy| (Origin::Stack, policy));
    let mut found: Vec<Violation> = Vec::new();
    for (origin, policy) in own
        .into_iter()
        .chain([(Origin::Installation, installation)])
    {
        for rule in Rule::ALL {
            let level = policy.level(rule);
            if level == Level::Off {
                continue;
            }
            for broken in broken(wanted, rule, policy) {
                let violation = broken.of(rule, level, origin);
                let same = |one: &&mut Violation| (one.rule, &one.path) == (rule, &violation.path);
                match found.iter_mut().find(same) {
                    Some(known) if known.level >= level => {}
                    Some(known) => *known = violation,
                    None => found.push(violation),
                }
            }
        }
    }
    found
}

/// A rule that judges how things are can be dropped by whoever no longer wants them so. One that judges a change
/// would be none, could the same change drop it.
fn about_changes(policy: &Policy) -> Policy {
    Policy {
        database_removed: policy.database_removed,
        volume_removed: policy.volume_removed,
        export_removed: policy.export_removed,
        freeze: policy.freeze.clone(),
        pipeline: policy.pipeline,
        second_person: policy.second_person,
        ..Policy::default()
    }
}

/// Notes who answers for what breaks a rule.
pub fn waive(violations: &mut [Violation], waivers: &Waivers, now: Timestamp) {
    for violation in violations {
        violation.waived = waivers.of(violation.rule, now).cloned();
    }
}

struct Broken {
    path: String,
    message: String,
    way_out: String,
}

impl Broken {
    fn of(self, rule: Rule, level: Level, origin: Origin) -> Violation {
        Violation {
            rule,
            level,
            origin,
            path: self.path,
            message: self.message,
            way_out: self.way_out,
            place: None,
            waived: None,
        }
    }
}

fn broken(wanted: &Wanted<'_>, rule: Rule, policy: &Policy) -> Vec<Broken> {
    let services = || wanted.spec.services.iter();
    match rule {
        Rule::DatabaseRemoved => removed(wanted, ComponentKind::Database),
        Rule::VolumeRemoved => removed(wanted, ComponentKind::Volume),
        Rule::ExportRemoved => unexported(wanted.lost),
        Rule::MinInstances => services()
            .filter_map(|(name, service)| few(name, service, policy.instances))
            .collect(),
        Rule::Tls => services()
            .flat_map(|(name, service)| without_tls(wanted.spec, name, service))
            .collect(),
        Rule::HostBase => services()
            .filter_map(|(name, service)| on_the_host(name, service))
            .collect(),
        Rule::RateLimit => services()
            .filter_map(|(name, service)| without_limit(name, service))
            .collect(),
        Rule::Images => services()
            .filter_map(|(name, service)| foreign(name, service, wanted.registry))
            .collect(),
        Rule::Backups => {
            let databases = wanted.spec.databases.iter();
            let open = databases.filter(|(_, database)| database.backups.is_none());
            open.map(|(name, _)| without_backups(name)).collect()
        }
        // Not of what is wanted, but of who wants it: it is asked where a change is recorded.
        Rule::Reason => Vec::new(),
        Rule::Residency => {
            let broken = abroad(wanted.spec, wanted.region).into_iter();
            broken
                .map(|(message, way_out)| Broken {
                    path: "stack.region".to_owned(),
                    message,
                    way_out,
                })
                .collect()
        }
        Rule::Freeze => frozen(wanted, policy),
        Rule::Pipeline => way::around(wanted).into_iter().collect(),
        Rule::SecondPerson => way::alone(wanted).into_iter().collect(),
    }
}

fn removed(wanted: &Wanted<'_>, kind: ComponentKind) -> Vec<Broken> {
    let gone = wanted.changes.iter().filter_map(|change| {
        let part = change.component.as_ref().filter(|part| part.kind == kind)?;
        let whole = change.path == format!("{}.{}", kind.as_str(), part.name);
        let gone = change.kind == ChangeKind::Remove && whole;
        gone.then(|| Broken {
            path: change.path.clone(),
            message: format!("the {part} would be removed"),
            way_out: format!("keep `[{}]`", change.path),
        })
    });
    gone.collect()
}

/// One for each service, whoever links to it.
fn unexported(lost: &[Importer]) -> Vec<Broken> {
    let mut linked: BTreeMap<&Name, Vec<&Importer>> = BTreeMap::new();
    for one in lost {
        linked.entry(&one.to).or_default().push(one);
    }
    let broken = linked.into_iter().map(|(service, by)| Broken {
        path: format!("service.{service}.export"),
        message: format!(
            "{service} would not be exported any more to whoever links to it: {}",
            words(&by)
        ),
        way_out: format!("keep `{service}` and its `export`, or take the links away first"),
    });
    broken.collect()
}

fn words(importers: &[&Importer]) -> String {
    let all: Vec<String> = importers.iter().map(ToString::to_string).collect();
    all.join(", ")
}

fn few(name: &Name, service: &ServiceSpec, least: u32) -> Option<Broken> {
    let few = service.port.is_some() && service.instances < least;
    few.then(|| Broken {
        path: format!("service.{name}.instances"),
        message: format!(
            "{name} would have {}, and at least {least} are asked for",
            match service.instances {
                1 => "1 instance".to_owned(),
                count => format!("{count} instances"),
            }
        ),
        way_out: format!("`service.{name}.instances = {least}`"),
    })
}

fn public(service: &ServiceSpec) -> impl Iterator<Item = &RouteSpec> {
    let routes = service.routes.iter();
    routes.filter(|route| route.settings.audience == Audience::Public)
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn without_tls(spec: &EnvSpec, name: &Name, service: &ServiceSpec) -> Vec<Broken> {
    let mut broken = Vec::new();
    for route in public(service) {
        let Some(host) = &route.host else { continue };
        let path = format!("service.{name}.route");
        if route.settings.https != Https::Redirect {
            broken.push(Broken {
                path: format!("{path}.https"),
                message: format!("the route of {name} at {host} would answer without TLS"),
                way_out: "`https = \"redirect\"` in the route".to_owned(),
            });
        }
        let same = |other: &&RouteSpec| other.host.as_ref() == Some(host);
        let mut all = spec
            .services
            .values()
            .flat_map(|service| &service.routes)
            .filter(same);
        let certified = |route: &RouteSpec| {
            let tls = route.tls.as_ref();
            tls.is_some_and(|tls| tls.acme || tls.certificate.is_some())
        };
        if !is_local(host) && !all.any(certified) {
            broken.push(Broken {
                path: format!("{path}.tls"),
                message: format!("{host} would have no certificate"),
                way_out: "`tls = { acme = true }` in the route, or the files of a certificate"
                    .to_owned(),
            });
        }
    }
    broken.dedup_by(|one, other| (&one.path, &one.message) == (&other.path, &other.message));
    broken
}

fn on_the_host(name: &Name, service: &ServiceSpec) -> Option<Broken> {
    let on_host = matches!(
        &service.source,
        ImageSource::Command {
            base: Base::Host,
            ..
        }
    );
    on_host.then(|| Broken {
        path: format!("service.{name}.build.base"),
        message: format!("the image of {name} would lie on the machine's own files"),
        way_out: "a build by `cargo` or `dockerfile`, or `base = \"empty\"`".to_owned(),
    })
}

fn without_limit(name: &Name, service: &ServiceSpec) -> Option<Broken> {
    let mut routes = public(service).filter(|route| route.settings.limit.is_none());
    let open = routes.find_map(|route| Some((route.host.as_ref()?, &route.path)));
    let (host, path) = open.filter(|_| service.guard.limit.is_none())?;
    let path = if path == "/" { "" } else { path };
    Some(Broken {
        path: format!("service.{name}.limit"),
        message: format!("the route of {name} at {host}{path} would have no limit on requests"),
        way_out: format!(
            "`service.{name}.limit = {{ rate = \"100/s\" }}`, or a `limit` in the route"
        ),
    })
}

fn foreign(name: &Name, service: &ServiceSpec, registry: &str) -> Option<Broken> {
    let ImageSource::Image { reference } = &service.source else {
        return None;
    };
    let here = reference
        .split_once('/')
        .is_some_and(|(host, _)| host == registry);
    (!here).then(|| Broken {
        path: format!("service.{name}.image"),
        message: format!("the image of {name}, {reference}, would come from elsewhere"),
        way_out: format!("a `build`, or an image that was pushed to {registry}"),
    })
}

fn without_backups(name: &Name) -> Broken {
    Broken {
        path: format!("database.{name}.backups"),
        message: format!("the database {name} would have no backups"),
        way_out: format!("`database.{name}.backups = {{ every = \"1d\", keep = 7 }}`"),
    }
}

/// Whether the data of an environment is to be in another region than this Ward is in, or nobody knows where that is:
/// what is wrong, and what can be done.
#[must_use]
pub fn abroad(spec: &EnvSpec, here: Option<&str>) -> Option<(String, String)> {
    let region = spec.region.as_ref()?;
    if here == Some(region.as_str()) {
        return None;
    }
    let (is, way_out) = match here {
        Some(here) => (
            format!("this Ward is in {here}"),
            format!("a deploy by a Ward in {region}"),
        ),
        None => (
            "this Ward does not say where it is".to_owned(),
            format!(
                "a deploy by a Ward in {region}; one that is started with WARD_REGION={region} says so"
            ),
        ),
    };
    let message = format!("the data of {} stays in {region}, and {is}", spec.id);
    Some((message, way_out))
}

fn frozen(wanted: &Wanted<'_>, policy: &Policy) -> Vec<Broken> {
    let holds = policy.freeze.iter().filter(|freeze| {
        let today = (wanted.today)(&freeze.zone);
        today.is_none_or(|day| freeze.holds_on(day))
    });
    let broken = holds.map(|freeze| Broken {
        path: "policy.freeze".to_owned(),
        message: format!("nothing is deployed {} ({})", freeze.when(), freeze.zone),
        way_out: format!("a deploy after {}", freeze.last),
    });
    broken.take(1).collect()
}
