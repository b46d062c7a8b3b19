//! What is left when something dies: nothing.

use std::fs;
use std::path::Path;

use ward_types::keeper::{Exit, InstanceState};
use ward_types::time::Millis;

use crate::real::{self, until};
use crate::world::World;

#[tokio::test]
async fn an_application_that_leaves_children_leaves_nothing() {
    let world = World::new().await;
    let spec = world.shell(
        "setsid sleep 603.25 & (setsid sleep 603.25 &) ; trap '' HUP; sleep 603.25 & exit 7",
    );
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    let seen = world.until_over(&facts.id).await;
    let (exit, asked) = (Exit::Code(7), false);
    assert_eq!(seen.status.state, InstanceState::Exited { exit, asked });
    until("its children are gone", || {
        real::arguments_holding("603.25").is_empty()
    })
    .await;
}

#[tokio::test]
async fn p4_a_killed_keeper_leaves_no_process_mount_or_group() {
    let world = World::new().await;
    let mut spec = world.shell("setsid sleep 604.25 & exec sleep 604.25");
    spec.limits.memory = Some(64 << 20);
    spec.limits.processes = Some(20);
    let id = spec.facts.id.clone();
    let dir = spec.dir.clone();
    world.engine.start(spec).await.unwrap();
    let keeper = world.engine.observe(&world.env)[&id].status.keeper_pid;
    let group = format!("ward-{keeper}-");
    real::kill(keeper);
    until("everything is gone", || {
        real::arguments_holding("604.25").is_empty()
    })
    .await;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.to_str().unwrap()), "{mounts}");
    until("its groups are empty and swept", || {
        ward_sandbox::sweep_cgroups();
        real::groups(Path::new("/sys/fs/cgroup"), &group).is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_opens_sweeps_what_killed_keepers_left() {
    let world = World::new().await;
    let mut spec = world.shell("exec sleep 605.25");
    spec.limits.memory = Some(64 << 20);
    spec.limits.processes = Some(20);
    let id = spec.facts.id.clone();
    world.engine.start(spec).await.unwrap();
    let keeper = world.engine.observe(&world.env)[&id].status.keeper_pid;
    let groups = || real::groups(Path::new("/sys/fs/cgroup"), &format!("ward-{keeper}-"));
    real::kill(keeper);
    until("its groups are empty", || {
        groups().iter().all(|group| {
            let inside = fs::read_to_string(Path::new(group).join("cgroup.procs"));
            inside.is_ok_and(|processes| processes.is_empty())
        })
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let _engine = real::open(home.path()).await;
    until("its groups are swept", || groups().is_empty()).await;
}

#[tokio::test]
async fn an_ended_keeper_leaves_no_group_and_no_socket() {
    let world = World::new().await;
    let mut spec = world.shell("exec sleep 600");
    spec.limits.memory = Some(64 << 20);
    spec.limits.processes = Some(20);
    let (id, dir) = (spec.facts.id.clone(), spec.dir.clone());
    world.engine.start(spec).await.unwrap();
    let keeper = world.engine.observe(&world.env)[&id].status.keeper_pid;
    world
        .engine
        .stop(&world.env, &id, Millis::secs(10))
        .await
        .unwrap();
    world.until_over(&id).await;
    until("its keeper has left", || {
        !Path::new(&format!("/proc/{keeper}")).exists()
    })
    .await;
    assert!(!dir.join("k.sock").exists());
    let left = real::groups(Path::new("/sys/fs/cgroup"), &format!("ward-{keeper}-"));
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn pid_1_of_the_sandbox_killed_is_an_end_by_that_signal() {
    let world = World::new().await;
    let spec = world.shell("echo $PPID; exec sleep 600");
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    let application = world.engine.observe(&world.env)[&facts.id]
        .status
        .pid
        .unwrap();
    let stat = fs::read_to_string(format!("/proc/{application}/stat")).unwrap();
    let init = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap();
    real::kill(init.parse().unwrap());
    let seen = world.until_over(&facts.id).await;
    let (exit, asked) = (Exit::Signal(9), false);
    assert_eq!(seen.status.state, InstanceState::Exited { exit, asked });
}

#[tokio::test]
async fn a_keeper_that_is_asked_by_the_machine_to_end_stops_its_instance() {
    let world = World::new().await;
    let spec = world.shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done");
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    until("it is up", || {
        !world.engine.output_tail(&facts, 1).is_empty()
    })
    .await;
    let keeper = world.engine.observe(&world.env)[&facts.id]
        .status
        .keeper_pid;
    real::signal(keeper, rustix::process::Signal::TERM);
    let seen = world.until_over(&facts.id).await;
    let (exit, asked) = (Exit::Code(0), true);
    assert_eq!(seen.status.state, InstanceState::Exited { exit, asked });
    assert_eq!(world.engine.output_tail(&facts, 1), ["bye"]);
}

#[tokio::test]
async fn a_second_stop_can_only_make_it_sooner() {
    let world = World::new().await;
    let spec = world.shell("trap '' TERM; echo up; while :; do sleep 0.05; done");
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    until("it is up", || {
        !world.engine.output_tail(&facts, 1).is_empty()
    })
    .await;
    let stop = |grace| world.engine.stop(&world.env, &facts.id, grace);
    stop(Millis::secs(3600)).await.unwrap();
    let state = world.engine.observe(&world.env)[&facts.id]
        .status
        .state
        .clone();
    assert!(matches!(
        state,
        InstanceState::Stopping | InstanceState::Healthy
    ));
    stop(Millis(1)).await.unwrap();
    let seen = world.until_over(&facts.id).await;
    let (exit, asked) = (Exit::Signal(9), true);
    assert_eq!(seen.status.state, InstanceState::Exited { exit, asked });
}

#[tokio::test]
async fn the_last_line_needs_no_end_and_a_flood_is_kept_in_order() {
    let world = World::new().await;
    let spec = world.server(
        r#"$| = 0; print "line $_\n" for 1..20000; print STDERR "to the other side\n"; print "the last, unfinished";"#,
    );
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    world.until_over(&facts.id).await;
    let lines = world.engine.output_tail(&facts, 3000);
    let output: Vec<_> = lines
        .iter()
        .filter(|line| *line != "to the other side")
        .collect();
    assert_eq!(*output[output.len() - 1], "the last, unfinished");
    for (back, line) in output.iter().rev().skip(1).enumerate() {
        assert_eq!(**line, format!("line {}", 20000 - back));
    }
}

#[tokio::test]
async fn a_limit_of_processes_holds() {
    let world = World::new().await;
    let mut spec = world.server(
        r#"my $n = 0; for (1..200) { my $pid = fork; last unless defined $pid; if (!$pid) { sleep 600; exit } $n++ } printf "%s %s\n", $n, $!{EAGAIN} ? "EAGAIN" : $!;"#,
    );
    spec.limits.processes = Some(30);
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    let missing = world.engine.observe(&world.env)[&facts.id]
        .status
        .missing
        .clone();
    world.until_over(&facts.id).await;
    // Itself is the thirtieth.
    let said = world.engine.output_tail(&facts, 1);
    assert_eq!(said, ["29 EAGAIN"], "{missing:?}");
    assert!(
        !missing
            .iter()
            .any(|sentence| sentence.contains("process limit")),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_limit_of_one_process_is_enough_for_one() {
    let world = World::new().await;
    let mut spec = world.server(r#"print defined fork ? "forked" : "alone", "\n";"#);
    spec.limits.processes = Some(1);
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    world.until_over(&facts.id).await;
    assert_eq!(world.engine.output_tail(&facts, 9), ["alone"]);
}

#[tokio::test]
async fn scratch_space_is_bounded() {
    let world = World::new().await;
    let fill = r#"for f in /tmp /run /dev/shm; do head -c 9000000 /dev/zero 2>&1 >$f/x | grep -o "No space left"; wc -c <$f/x; done"#;
    let little = ["No space left", "1048576"].repeat(3);
    for (scratch, expected) in [(1 << 20, little), (16 << 20, vec!["9000000"; 3])] {
        let mut spec = world.shell(fill);
        spec.limits.scratch = Some(scratch);
        let facts = spec.facts.clone();
        world.engine.start(spec).await.unwrap();
        world.until_over(&facts.id).await;
        assert_eq!(world.engine.output_tail(&facts, 100), expected);
    }
}

#[tokio::test]
async fn scratch_space_is_never_more_than_memory() {
    let world = World::new().await;
    for (memory, scratch, mib) in [
        (Some(64 << 20), Some(1 << 30), 64),
        (Some(64 << 20), Some(16 << 20), 16),
        (Some(64 << 20), None, 64),
        (None, None, 1024),
    ] {
        let mut spec = world.shell("stat -f -c '%b %S' /tmp /run /dev/shm");
        (spec.limits.memory, spec.limits.scratch) = (memory, scratch);
        let facts = spec.facts.clone();
        world.engine.start(spec).await.unwrap();
        world.until_over(&facts.id).await;
        let expected = vec![format!("{} 4096", mib * 256); 3];
        assert_eq!(world.engine.output_tail(&facts, 100), expected);
    }
}

#[tokio::test]
async fn one_that_is_killed_for_want_of_memory_says_so() {
    let world = World::new().await;
    let mut spec = world.server(r#"my $all = "x" x 400_000_000; sleep 600;"#);
    spec.limits.memory = Some(64 << 20);
    let (facts, dir) = (spec.facts.clone(), spec.dir.clone());
    world.engine.start(spec).await.unwrap();
    let look = || world.engine.observe(&world.env)[&facts.id].status.clone();
    let missing = look().missing;
    if missing
        .iter()
        .any(|sentence| sentence.contains("memory limit"))
    {
        // No limit can be had here, which it says; another test looks at that.
        return;
    }
    let seen = world.until_over(&facts.id).await;
    let (exit, asked) = (Exit::Signal(9), false);
    assert_eq!(seen.status.state, InstanceState::Exited { exit, asked });
    let why = seen.status.last_failure.unwrap();
    assert!(why.contains("for want of memory"), "{why}");
    let note = fs::read_to_string(dir.join("exit.json")).unwrap();
    assert!(note.contains("for want of memory"), "{note}");
}
