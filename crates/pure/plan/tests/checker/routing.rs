//! Routing, and what nobody sees.

use ward_types::sharing::Export;
use ward_types::spec::EnvSpec;

use super::*;

/// web-r2-7 is healthy, the rest of r2 hangs.
fn half_started() -> Case {
    let mut world = serving();
    world.behave = Box::new(|start| match (start.role, start.ordinal) {
        (Role::ReleaseCommand, _) => Behaviour::exits(200, 0, &[]),
        (_, 7) => Behaviour::default(),
        _ => Behaviour::hangs(),
    });
    world.deploy(returns());
    world.run(2000);
    Case::of(&world)
}

fn maintained() -> World {
    let mut world = serving();
    world.maintain(Some("back at noon"));
    world
}

fn exporting() -> EnvSpec {
    let mut spec = returns();
    let web = spec.services.get_mut(&name("web")).unwrap();
    web.exports = vec![Export::parse("claims").unwrap()];
    spec
}

/// r1 exported web, and r2, which serves alone, does not.
fn taken_back() -> World {
    let mut world = world();
    world.deploy(exporting());
    world.settle();
    world.deploy(returns());
    world.settle();
    world
}

fn exported(service: &str, endpoints: &[&str], to: &str) -> Action {
    let Action::Route { mut pools } = route(service, endpoints) else {
        unreachable!("a route is one");
    };
    pools[0].exports = vec![Export::parse(to).unwrap()];
    Action::Route { pools }
}

pub(super) fn routing() -> Vec<Wrong> {
    let rest = || Case::of(&serving());
    let both = ["web-r1-3", "web-r1-4"];
    vec![
        (
            "route twice",
            rest(),
            vec![route("web", &both), route("web", &both)],
            "routes twice",
        ),
        (
            "end a maintenance that nobody ended",
            Case::of(&maintained()),
            vec![route("web", &both)],
            "wrong maintenance",
        ),
        (
            "let in whom nobody lets in",
            rest(),
            vec![exported("web", &both, "plans")],
            "lets in",
        ),
        (
            "let in whom the release before did",
            Case::of(&taken_back()),
            vec![exported("web", &["web-r2-7", "web-r2-8"], "claims")],
            "lets in",
        ),
        (
            "route to what starts",
            Case::of(&rolling()),
            vec![route("web", &["web-r2-7"])],
            "not healthy",
        ),
        (
            "route to what died",
            died(),
            vec![route("web", &both)],
            "not healthy",
        ),
        (
            "route to a worker",
            rest(),
            vec![route("web", &["worker-r1-5"])],
            "wrong instance",
        ),
        (
            "route to nobody",
            rest(),
            vec![route("web", &["web-r1-77"])],
            "no such instance",
        ),
        (
            "route to none of two",
            rest(),
            vec![route("web", &[])],
            "empties pool",
        ),
        (
            "forget the pool",
            rest(),
            vec![Action::Route { pools: Vec::new() }],
            "empties pool",
        ),
        (
            "route to two releases",
            Case::of(&switched()),
            vec![route("web", &["web-r1-3", "web-r2-7"])],
            "mixes releases",
        ),
        (
            "route while the gateway is away",
            Case::of(&away(serving())),
            vec![route("web", &both)],
            "routes blindly",
        ),
        (
            "route to half a release",
            half_started(),
            vec![route("web", &["web-r2-7"])],
            "routes early",
        ),
        (
            "route back without a rollback",
            Case::of(&switched()),
            vec![route("web", &both)],
            "routes early",
        ),
        (
            "route while down",
            going(Goal::Down),
            vec![route("web", &both)],
            "routes down",
        ),
    ]
}
