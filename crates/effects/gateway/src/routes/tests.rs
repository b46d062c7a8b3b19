use http::HeaderMap;
use http::uri::PathAndQuery;
use proptest::prelude::*;
use ward_types::id::{ReleaseId, Term};
use ward_types::table::{Pool as PoolEntry, Table, TableChange};

use super::memory::REMEMBERED;
use super::*;

fn table(generation: u64, instances: &[&str]) -> Table {
    let endpoint = |name: &&str| Endpoint {
        instance: InstanceId::parse(name).unwrap(),
        release: ReleaseId(1),
        dir: "/nowhere".into(),
        port: 8080,
        long_drain: None,
    };
    Table {
        term: Term(1),
        generation: Generation(generation),
        down: Vec::new(),
        pools: vec![Arc::new(PoolEntry {
            env: EnvId::parse("shop/dev").unwrap(),
            service: Name::parse("web").unwrap(),
            routes: vec![Route::plain("Shop.localhost")],
            endpoints: instances.iter().map(endpoint).collect(),
            split: None,
            probe: None,
            maintenance: None,
            asleep: None,
            exports: Vec::new(),
            guard: ward_types::guard::Guard::default(),
            balance: ward_types::balance::Balance::default(),
        })],
    }
}

fn offer(routing: &Routing, table: &Table) -> Offer {
    routing.read(&serde_json::to_vec(table).unwrap()).unwrap()
}

fn check(routing: &Routing, table: &Table) -> Result<bool, TableError> {
    routing.check(&offer(routing, table))
}

fn swap(routing: &Routing, table: Table) {
    routing.swap(offer(routing, &table));
}

fn only(routing: &Routing) -> Arc<Instance> {
    let current = routing.current();
    let target = PathAndQuery::from_static("/");
    let route = current
        .sites
        .find("shop.localhost", &target, &HeaderMap::new());
    Arc::clone(&route.unwrap_or_else(|f| panic!("{f:?}")).pool.endpoints[0])
}

#[test]
fn older_and_changed_tables_are_refused_and_the_same_is_taken() {
    let routing = Routing::new(affinity::Key::random());
    assert!(check(&routing, &table(5, &["web-r1-1"])).unwrap());
    swap(&routing, table(5, &["web-r1-1"]));
    assert!(!check(&routing, &table(5, &["web-r1-1"])).unwrap());
    assert!(check(&routing, &table(4, &["web-r1-1"])).is_err());
    assert!(check(&routing, &table(5, &["web-r1-2"])).is_err());
    let mut twice = table(6, &[]);
    let mut second = PoolEntry::clone(&twice.pools[0]);
    second.service = Name::parse("api").unwrap();
    second.routes = vec![Route::plain("shop.localhost.")];
    twice.pools.push(Arc::new(second.clone()));
    assert!(matches!(
        check(&routing, &twice),
        Err(TableError::RouteTwice { .. })
    ));
    second.routes[0].path = "/api".to_owned();
    twice.pools[1] = Arc::new(second.clone());
    assert!(check(&routing, &twice).unwrap());
    Arc::make_mut(&mut twice.pools[1]).env = EnvId::parse("shop/test").unwrap();
    assert!(matches!(
        check(&routing, &twice),
        Err(TableError::HostTwice { .. })
    ));
    let mut cases = second.clone();
    cases.routes[0].path = "/API".to_owned();
    cases.routes.extend(second.routes);
    twice.pools[1] = Arc::new(cases);
    assert!(matches!(
        check(&routing, &twice),
        Err(TableError::RouteTwice { .. })
    ));
}

#[test]
fn a_table_that_was_overtaken_after_its_check_does_not_come_back() {
    let routing = Routing::new(affinity::Key::random());
    let overtaken = offer(&routing, &table(1, &["web-r1-1"]));
    assert!(routing.check(&overtaken).unwrap());
    swap(&routing, table(2, &["web-r2-2"]));
    assert!(routing.swap(overtaken).is_none());
    assert_eq!(only(&routing).endpoint.instance.as_str(), "web-r2-2");
}

#[test]
fn what_has_not_changed_is_the_very_same() {
    let routing = Routing::new(affinity::Key::random());
    swap(&routing, table(1, &["web-r1-1"]));
    let pool = |routing: &Routing| {
        let current = routing.current();
        let (_, pool) = current.services().next().unwrap();
        Arc::clone(pool)
    };
    let first = pool(&routing);
    swap(&routing, table(2, &["web-r1-1"]));
    assert!(Arc::ptr_eq(&first, &pool(&routing)));
    assert_eq!(routing.current().table.generation, Generation(2));
    swap(&routing, table(3, &["web-r1-1", "web-r1-2"]));
    assert!(!Arc::ptr_eq(&first, &pool(&routing)));
    assert_eq!(
        pool(&routing).endpoints[0].serial,
        first.endpoints[0].serial
    );
}

#[test]
fn an_instance_that_leaves_is_closed_and_the_same_again_when_it_returns() {
    let routing = Routing::new(affinity::Key::random());
    swap(&routing, table(1, &["web-r1-1"]));
    let first = only(&routing);
    let place = first.take().unwrap();
    swap(&routing, table(2, &["web-r1-2"]));
    assert!(first.take().is_none());
    let env = EnvId::parse("shop/dev").unwrap();
    assert_eq!(
        routing.observe().traffic[&env][&first.endpoint.instance].requests,
        1
    );
    swap(&routing, table(3, &["web-r1-1"]));
    assert_eq!(only(&routing).serial, first.serial);
    drop(place);
}

#[test]
fn an_instance_that_comes_back_keeps_its_long_connections_and_has_a_new_budget_the_next_time() {
    let routing = Routing::new(affinity::Key::random());
    let with_budget = |generation, instances: &[&str]| {
        let mut table = table(generation, instances);
        let endpoints = &mut Arc::make_mut(&mut table.pools[0]).endpoints;
        endpoints
            .iter_mut()
            .for_each(|one| one.long_drain = Some(ward_types::time::Millis::secs(60)));
        table
    };
    swap(&routing, with_budget(1, &["web-r1-1"]));
    let place = only(&routing).take().unwrap();
    let told = place.lengthen();
    swap(&routing, with_budget(2, &[]));
    swap(&routing, with_budget(3, &["web-r1-1"]));
    let much_later = Instant::now() + Duration::from_secs(999);
    assert_eq!(only(&routing).parting.tell(much_later), None);
    assert_eq!(routing.tell(much_later), None);
    swap(&routing, with_budget(4, &[]));
    let next = routing.tell(Instant::now()).unwrap();
    assert!(next > Instant::now() + Duration::from_secs(30));
    assert!(!told.is_cancelled());
    routing.tell(much_later);
    assert!(told.is_cancelled());
}

#[test]
fn a_replaced_instance_is_remembered_as_long_as_its_release_is_in_rotation() {
    let routing = Routing::new(affinity::Key::random());
    let env = EnvId::parse("shop/dev").unwrap();
    let seen = |id: &str| {
        let traffic = routing.observe().traffic.remove(&env).unwrap_or_default();
        traffic.get(&InstanceId::parse(id).unwrap()).copied()
    };
    swap(&routing, table(1, &["web-r1-1"]));
    only(&routing).take().unwrap().failed();
    swap(&routing, table(2, &["web-r1-2"]));
    assert_eq!(seen("web-r1-1").unwrap().failed, 1);
    swap(&routing, table(3, &["web-r2-3"]));
    assert!(seen("web-r1-1").is_none() && seen("web-r1-2").is_none());
    for ordinal in 0..400 {
        swap(
            &routing,
            table(4 + ordinal, &[&format!("web-r3-{ordinal}")]),
        );
    }
    assert_eq!(routing.observe().traffic[&env].len(), REMEMBERED + 1);
    assert!(seen("web-r3-399").is_some() && seen("web-r3-0").is_none());
}

#[test]
fn a_table_whose_split_cannot_be_is_refused() {
    let mut table = table(1, &["web-r1-1"]);
    Arc::make_mut(&mut table.pools[0]).split = Some(ward_types::table::Split {
        release: ReleaseId(1),
        percent: 101,
        sticky: None,
    });
    let refused = check(&Routing::new(affinity::Key::random()), &table);
    assert!(matches!(refused, Err(TableError::BadSplit { .. })));
}

#[test]
fn cutting_is_refused_in_rotation_and_ends_what_is_under_way_out_of_it() {
    let routing = Routing::new(affinity::Key::random());
    swap(&routing, table(1, &["web-r1-1"]));
    let first = only(&routing);
    let _place = first.take().unwrap();
    assert!(routing.cut(&first.env, &first.endpoint.instance).is_err());
    swap(&routing, table(2, &[]));
    routing.cut(&first.env, &first.endpoint.instance).unwrap();
    assert!(first.cut.is_cancelled());
    swap(&routing, table(3, &["web-r1-1"]));
    assert_ne!(
        only(&routing).serial,
        first.serial,
        "a cut object came back into rotation"
    );
}

/// What of a small world a table says of a service: its route, if it has one, and which instances it has.
type Said = Option<(Option<u8>, Vec<u8>)>;

fn said() -> impl Strategy<Value = Said> {
    let instances = prop::collection::btree_set(0..3_u8, 0..3);
    let route = prop::option::weighted(0.8, 0..4_u8);
    let service = (route, instances.prop_map(|all| all.into_iter().collect()));
    prop::option::weighted(0.9, service)
}

/// Hosts in full, one of them with two paths, and a wildcard.
const ROUTES: [(&str, &str); 4] = [
    ("a.localhost", "/"),
    ("a.localhost", "/deep"),
    ("b.localhost", "/"),
    ("*.localhost", "/"),
];
const SERVICES: [(&str, &str); 3] = [
    ("shop/dev", "web"),
    ("shop/dev", "api"),
    ("shop/test", "worker"),
];

fn world(generation: u64, said: &[Said]) -> Table {
    let mut whole = table(generation, &[]);
    let like = whole.pools.remove(0);
    for ((env, name), said) in SERVICES.iter().zip(said) {
        let Some((route, instances)) = said else {
            continue;
        };
        let ids: Vec<String> = instances.iter().map(|n| format!("{name}-r1-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let route = route.map(|which| {
            let (host, path) = ROUTES[usize::from(which)];
            Route {
                path: path.to_owned(),
                ..Route::plain(host)
            }
        });
        whole.pools.push(Arc::new(PoolEntry {
            env: EnvId::parse(env).unwrap(),
            service: Name::parse(name).unwrap(),
            routes: route.into_iter().collect(),
            endpoints: table(0, &ids).pools[0].endpoints.clone(),
            ..PoolEntry::clone(&like)
        }));
    }
    whole
}

/// Who answers whom: for each service and each request its instances, whether they take requests, and which are known
/// that are out of rotation and take some.
fn answering(routing: &Routing) -> (Vec<Option<Vec<String>>>, usize) {
    let current = routing.current();
    let ids = |pool: &Arc<Pool>| {
        let mut ids = pool.endpoints.iter().map(|one| {
            assert!(!one.is_closed());
            one.endpoint.instance.to_string()
        });
        let mut all: Vec<String> = vec![pool.service.1.to_string()];
        all.extend(&mut ids);
        all
    };
    let services = SERVICES.map(|(env, name)| {
        let service = (EnvId::parse(env).unwrap(), Name::parse(name).unwrap());
        current.by_service(&service).map(ids)
    });
    let asked = ["a.localhost", "b.localhost", "c.localhost"];
    let asked = asked
        .iter()
        .flat_map(|host| [(host, "/"), (host, "/deep/er")]);
    let found = asked.map(|(host, path)| {
        let target = PathAndQuery::from_static(path);
        let found = current.sites.find(host, &target, &HeaderMap::new());
        found.ok().map(|route| ids(&route.pool))
    });
    let all = services.into_iter().chain(found).collect();
    let known = routing.known.lock().unwrap();
    let open = known.values().filter(|one| !one.is_closed()).count();
    assert!(known.closed().all(|one| one.is_closed()));
    assert_eq!(known.closed().count(), known.values().count() - open);
    (all, open)
}

/// What a table has otherwise than the one before.
#[derive(Debug, Clone, Copy)]
enum Other {
    /// Anything.
    Anything,
    /// Instances alone.
    Instances,
    /// One environment, and the gateway is told that alone.
    Environment(&'static str),
}

fn other() -> impl Strategy<Value = Other> {
    let environment = prop::sample::select(vec!["shop/dev", "shop/test"]);
    prop_oneof![
        Just(Other::Anything),
        Just(Other::Instances),
        environment.prop_map(Other::Environment),
    ]
}

impl Other {
    fn than(self, before: &[Said], said: Vec<Said>) -> Vec<Said> {
        let both = before.iter().cloned().zip(said).zip(SERVICES);
        both.map(|((before, said), (env, _))| match self {
            Self::Anything => said,
            Self::Instances => match (before, said) {
                (Some((route, _)), Some((_, instances))) => Some((route, instances)),
                (before, _) => before,
            },
            Self::Environment(other) if other == env => said,
            Self::Environment(_) => before,
        })
        .collect()
    }

    fn offer(self, routing: &Routing, table: &Table) -> Offer {
        let Self::Environment(env) = self else {
            return offer(routing, table);
        };
        let env = EnvId::parse(env).unwrap();
        let pools = table.pools.iter().filter(|pool| pool.env == env);
        let change = TableChange {
            from: routing.current().table,
            to: table.version(),
            pools: pools.cloned().collect(),
            env,
            down: None,
        };
        let text = serde_json::to_string(&change).unwrap();
        routing.read_change(&text).unwrap()
    }
}

proptest! {
    /// Whatever came before: what is the same in both is not looked at. Of most only the instances are others.
    #[test]
    fn a_table_is_in_force_as_if_there_had_been_no_other(
        tables in prop::collection::vec((other(), prop::collection::vec(said(), 3)), 1..12),
    ) {
        let routing = Routing::new(affinity::Key::random());
        let mut before: Vec<Said> = vec![None; 3];
        for (generation, (other, said)) in (1..).zip(tables) {
            let now = other.than(&before, said);
            let table = world(generation, &now);
            let alone = Routing::new(affinity::Key::random());
            let offer = other.offer(&routing, &table);
            let (can_be, can_follow) = (check(&alone, &table), routing.check(&offer));
            prop_assert_eq!(can_be.is_ok(), can_follow.is_ok());
            if can_be.is_err() {
                continue;
            }
            before = now;
            swap(&alone, table);
            routing.swap(offer);
            prop_assert_eq!(answering(&routing), answering(&alone));
        }
    }
}
