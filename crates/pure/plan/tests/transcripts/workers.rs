//! Services whose releases must not run at the same time.

use super::*;

/// A web service and a worker that must never run twice.
fn with_worker() -> EnvSpec {
    let worker = ServiceSpec {
        stop_timeout: Millis::secs(600),
        ..alone(worker(1))
    };
    spec(&[("web", web(2)), ("worker", worker)], &[])
}

/// Its release r1 serves.
fn working() -> World {
    let mut world = fresh();
    world.deploy(with_worker());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world
}

/// The worker of a release is so.
fn worker_of(release: u64, other: fn() -> Behaviour) -> Box<dyn Fn(&world::Start) -> Behaviour> {
    Box::new(
        move |start| match start.release == release && start.component == "worker" {
            true => other(),
            false => usual(start),
        },
    )
}

#[test]
fn worker_is_gone_before_the_next_one_starts() {
    let mut world = working();
    world.deploy(with_worker());
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn worker_that_is_let_finish_its_job() {
    let mut world = working();
    world.behave = worker_of(2, || Behaviour {
        stop_takes: 250_000,
        ..Behaviour::default()
    });
    world.deploy(with_worker());
    world.settle();
    world.run(2000);
    world.transcript.clear();
    world.deploy(with_worker());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn worker_that_does_not_heed_the_signal_is_killed_when_its_time_is_over() {
    let stack = || {
        let mut stack = with_worker();
        let worker = stack.services.get_mut(&name("worker"));
        worker.unwrap().stop_timeout = Millis::secs(10);
        stack
    };
    let mut world = fresh();
    world.behave = worker_of(1, || Behaviour {
        stop_takes: u64::MAX,
        ..Behaviour::default()
    });
    world.deploy(stack());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.deploy(stack());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn worker_that_cannot_start_gives_way_to_the_one_before() {
    let mut world = working();
    world.behave = worker_of(2, || Behaviour::exits(150, 1, &["no queue"]));
    world.deploy(with_worker());
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn worker_that_cannot_even_be_started() {
    let mut world = working();
    world.behave = worker_of(2, || Behaviour::refused("no room"));
    world.deploy(with_worker());
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn worker_is_exchanged_after_a_rollback_has_switched() {
    let mut world = working();
    world.deploy(with_worker());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn worker_is_exchanged_after_a_canary() {
    let stack = || {
        let mut stack = with_worker();
        let web = stack.services.get_mut(&name("web")).unwrap();
        web.strategy = canary(&[(20, 5)]);
        stack
    };
    let mut world = fresh();
    world.deploy(stack());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.deploy(stack());
    world.settle();
    golden!(world.transcript);
}

/// d2 waits for the worker of r1, which takes a minute to finish what it has begun.
fn finishing() -> World {
    let mut world = fresh();
    world.behave = worker_of(1, || Behaviour {
        stop_takes: 60_000,
        ..Behaviour::default()
    });
    world.deploy(with_worker());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.deploy(with_worker());
    world.run(5000);
    world
}

#[test]
fn cancelled_while_the_worker_finishes() {
    let mut world = finishing();
    world.cancel(ward_types::id::DeploymentId(2));
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn planner_killed_while_the_worker_finishes() {
    let mut world = finishing();
    world.memory = ward_plan::Memory::default();
    // Something else of the new release is ill meanwhile: the old worker is not started for that.
    let wall = world.wall();
    world.sim(&id("web-r2-4")).turn(false, wall);
    world.run(10_000);
    let wall = world.wall();
    world.sim(&id("web-r2-4")).turn(true, wall);
    world.memory = ward_plan::Memory::default();
    world.settle();
    world.run(2000);
    golden!(world.transcript);
}

#[test]
fn worker_that_dies_at_rest_is_replaced_when_it_is_gone() {
    let mut world = working();
    let wall = world.wall();
    world.sim(&id("worker-r1-3")).kill(wall);
    world.run(2000);
    golden!(world.transcript);
}

/// `jobs` is reached by links and must not run twice: its requests wait while nothing is there.
fn with_jobs() -> EnvSpec {
    spec(&[("jobs", alone(inner(1))), ("web", web(1))], &[])
}

#[test]
fn service_with_a_port_is_gone_before_the_next_one_starts() {
    let mut world = fresh();
    world.deploy(with_jobs());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.gateway.busy(&id("jobs-r1-1"), 1, 0);
    world.deploy(with_jobs());
    world.run(2000);
    world.gateway.cut(&id("jobs-r1-1"));
    world.settle();
    world.run(2000);
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn service_with_a_port_that_cannot_start_gives_way_to_the_one_before() {
    let mut world = fresh();
    world.deploy(with_jobs());
    world.settle();
    world.run(5000);
    world.transcript.clear();
    world.behave = Box::new(
        |start| match start.component == "jobs" && start.release == 2 {
            true => Behaviour::hangs(),
            false => usual(start),
        },
    );
    world.deploy(with_jobs());
    world.settle();
    golden!(world.transcript);
}

#[test]
fn worker_that_is_all_there_is() {
    let stack = || spec(&[("worker", alone(worker(1)))], &[]);
    let mut world = fresh();
    world.deploy(stack());
    world.settle();
    world.transcript.clear();
    world.deploy(stack());
    world.settle();
    world.queue(ReleaseId(1), Reason::Rollback);
    world.settle();
    golden!(world.transcript);
}

#[test]
fn worker_that_stays_stopped_is_gone_before_another_one_starts() {
    let mut world = working();
    let wall = world.wall();
    world.sim(&id("worker-r1-3")).pause(wall);
    world.say("! worker-r1-3 is stopped by a signal");
    world.run(25_000);
    golden!(world.transcript);
}

#[test]
fn worker_whose_files_were_changed_is_gone_before_another_one_starts() {
    let mut world = working();
    world.sim(&id("worker-r1-3")).alter("work.py was deleted");
    world.say("! the files of worker-r1-3 were changed");
    world.run(5000);
    golden!(world.transcript);
}

#[test]
fn workers_whose_files_were_changed_go_one_after_the_other() {
    let mut world = fresh();
    let two = ServiceSpec {
        instances: 2,
        ..alone(worker(2))
    };
    world.deploy(spec(&[("worker", two)], &[]));
    world.settle();
    world.run(5000);
    world.transcript.clear();
    for instance in ["worker-r1-1", "worker-r1-2"] {
        world.sim(&id(instance)).alter("work.py was edited");
    }
    world.say("! the files of both were changed");
    world.run(10_000);
    golden!(world.transcript);
}
