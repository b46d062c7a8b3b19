//! Real keepers, real sandboxes: start, look, stop, die, be found again.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod real;
#[allow(dead_code, reason = "another test file uses the rest")]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use real::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ward_engine::Error;
use ward_engine::client::KeeperClient;
use ward_sandbox::keeper_socket;
use ward_types::keeper::{Access, Exit, InstanceState, MountSpec, Reply, Request};
use ward_types::secret::Secret;
use ward_types::time::{Millis, Timestamp};
use world::World;

/// A small server: answers each connection with its first line, backwards. Perl is part of every Debian.
const SERVER: &str = r#"
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die $!;
$| = 1; print "listening\n";
while (my $peer = $listener->accept) { my $line = <$peer>; chomp $line; print $peer scalar reverse($line), "\n"; close $peer; }
"#;

#[tokio::test]
async fn an_instance_runs_to_its_end_and_its_output_is_kept() {
    let world = World::new().await;
    let spec = world.shell("echo out; echo err >&2; exit 3");
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    assert!(world.engine.observe(&world.env).contains_key(&facts.id));
    let seen = world.until_over(&facts.id).await;
    let (exit, asked) = (Exit::Code(3), false);
    assert_eq!(seen.status.state, InstanceState::Exited { exit, asked });
    assert!(seen.since >= facts.started);
    let mut output = world.engine.output_tail(&facts, 10);
    output.sort();
    assert_eq!(output, ["err", "out"]);
    world.engine.remove(&world.env, &facts.id).await.unwrap();
    assert!(!world.engine.instance_dir(&world.env, &facts.id).exists());
    assert_eq!(world.engine.output_tail(&facts, 10).len(), 2);
}

#[tokio::test]
async fn an_instance_is_asked_to_stop_and_then_killed() {
    let world = World::new().await;
    let polite = world.shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done");
    let deaf = world.shell("trap '' TERM; echo up; while :; do sleep 0.05; done");
    let ids = (polite.facts.id.clone(), deaf.facts.id.clone());
    let facts = (polite.facts.clone(), deaf.facts.clone());
    for spec in [polite, deaf] {
        world.engine.start(spec).await.unwrap();
    }
    until("both are up", || {
        [&facts.0, &facts.1]
            .iter()
            .all(|facts| !world.engine.output_tail(facts, 1).is_empty())
    })
    .await;
    let removed = world.engine.remove(&world.env, &ids.0).await;
    assert!(removed.is_err(), "a running instance was removed");
    world
        .engine
        .stop(&world.env, &ids.0, Millis::secs(20))
        .await
        .unwrap();
    world
        .engine
        .stop(&world.env, &ids.1, Millis(200))
        .await
        .unwrap();
    let polite = world.until_over(&ids.0).await;
    let (exit, asked) = (Exit::Code(0), true);
    assert_eq!(polite.status.state, InstanceState::Exited { exit, asked });
    assert_eq!(world.engine.output_tail(&facts.0, 1), ["bye"]);
    let deaf = world.until_over(&ids.1).await;
    let (exit, asked) = (Exit::Signal(9), true);
    assert_eq!(deaf.status.state, InstanceState::Exited { exit, asked });
    // Once more changes nothing.
    world
        .engine
        .stop(&world.env, &ids.1, Millis(200))
        .await
        .unwrap();
}

#[tokio::test]
async fn starting_twice_starts_once() {
    let world = World::new().await;
    let spec = world.shell("echo started; sleep 60");
    let (first, second) = tokio::join!(
        world.engine.start(spec.clone()),
        world.engine.start(spec.clone())
    );
    first.unwrap();
    second.unwrap();
    world.engine.start(spec.clone()).await.unwrap();
    let keepers = real::keepers(&world.engine, &world.env);
    assert_eq!(keepers.len(), 1, "{keepers:?}");
    until("it says so", || {
        !world.engine.output_tail(&spec.facts, 5).is_empty()
    })
    .await;
    assert_eq!(world.engine.output_tail(&spec.facts, 5), ["started"]);
}

#[tokio::test]
async fn p4_a_new_server_finds_the_keepers_of_the_old_one() {
    let mut world = World::new().await;
    let (runs, ends) = (
        world.server(SERVER),
        world.shell("read line </dev/zero; sleep 60"),
    );
    let (running, ended) = (runs.facts.clone(), ends.facts.clone());
    let done = world.shell("exit 4");
    let before = done.facts.clone();
    for spec in [runs, ends, done] {
        world.engine.start(spec).await.unwrap();
    }
    world.until_over(&before.id).await;
    until("the server listens", || {
        !world.engine.output_tail(&running, 1).is_empty()
    })
    .await;
    let known = world.engine.observe(&world.env);
    let killed = known[&ended.id].status.keeper_pid;

    world.replace_engine(|| real::kill(killed)).await;
    let seen = world.engine.observe(&world.env);
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[&running.id].status, known[&running.id].status);
    assert_eq!(seen[&running.id].facts, running);
    assert_eq!(seen[&ended.id].status.state, InstanceState::Lost);
    let (exit, asked) = (Exit::Code(4), false);
    assert_eq!(
        seen[&before.id].status.state,
        InstanceState::Exited { exit, asked }
    );

    assert_eq!(world.ask(&running.id, "found again").await, "niaga dnuof");
    world
        .engine
        .stop(&world.env, &running.id, Millis(500))
        .await
        .unwrap();
    let seen = world.until_over(&running.id).await;
    assert!(
        matches!(seen.status.state, InstanceState::Exited { asked: true, .. }),
        "{seen:?}"
    );
}

#[tokio::test]
async fn an_instance_dies_with_its_keeper_and_is_lost() {
    let world = World::new().await;
    let spec = world.shell("sleep 60 & sleep 61");
    let id = spec.facts.id.clone();
    world.engine.start(spec).await.unwrap();
    let seen = world.engine.observe(&world.env)[&id].clone();
    let application = seen.status.pid.expect("it runs");
    real::kill(seen.status.keeper_pid);
    let seen = world.until_over(&id).await;
    assert_eq!(
        (seen.status.state, seen.status.pid),
        (InstanceState::Lost, None)
    );
    until("the application is gone", || {
        !Path::new(&format!("/proc/{application}")).exists()
    })
    .await;
    world.engine.remove(&world.env, &id).await.unwrap();
}

#[tokio::test]
async fn p3_a_stop_ends_though_the_keeper_hangs() {
    let world = World::new().await;
    let spec = world.shell("sleep 60");
    let id = spec.facts.id.clone();
    world.engine.start(spec).await.unwrap();
    let seen = world.engine.observe(&world.env)[&id].clone();
    let application = seen.status.pid.expect("it runs");
    real::signal(seen.status.keeper_pid, rustix::process::Signal::STOP);
    let stopped = world.engine.stop(&world.env, &id, Millis(10)).await;
    assert!(
        matches!(stopped, Err(Error::NoAnswer { .. })),
        "{stopped:?}"
    );
    assert_eq!(
        world.until_over(&id).await.status.state,
        InstanceState::Lost
    );
    until("the application is gone", || {
        !Path::new(&format!("/proc/{application}")).exists()
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_is_killed_says_how() {
    let world = World::new().await;
    let spec = world.shell("exec sleep 60");
    let id = spec.facts.id.clone();
    world.engine.start(spec).await.unwrap();
    real::kill(
        world.engine.observe(&world.env)[&id]
            .status
            .pid
            .expect("it runs"),
    );
    let seen = world.until_over(&id).await;
    let (exit, asked) = (Exit::Signal(9), false);
    assert_eq!(seen.status.state, InstanceState::Exited { exit, asked });
}

#[tokio::test]
async fn a_connection_leads_inside_and_a_program_runs_beside() {
    let world = World::new().await;
    let spec = world.server(SERVER);
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    until("it listens", || {
        !world.engine.output_tail(&facts, 1).is_empty()
    })
    .await;
    assert_eq!(world.ask(&facts.id, "hello").await, "olleh");
    let nobody = world.engine.connect(&world.env, &facts.id, 8081).await;
    assert!(
        nobody.is_err(),
        "a connection to a port where nobody listens"
    );

    let (mut reader, writer) = std::io::pipe().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let keeper = KeeperClient::connect(&world.engine.instance_dir(&world.env, &facts.id)).unwrap();
    let argv = ["/bin/sh", "-c", "echo $PLANTED; exit 5"]
        .map(str::to_owned)
        .to_vec();
    let env = BTreeMap::from([("PLANTED".to_owned(), "here".to_owned())]);
    use std::os::fd::AsFd as _;
    let stdio = [null.as_fd(), writer.as_fd(), writer.as_fd()];
    let exit = keeper.exec(argv, env, stdio).await.unwrap();
    drop(writer);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
    assert_eq!((exit, said.as_str()), (Exit::Code(5), "here\n"));
}

#[tokio::test]
async fn a_connection_that_there_was_no_room_for_is_made_as_soon_as_there_is() {
    let world = World::new().await;
    let spec = world.server(&SERVER.replace("Listen => 16", "Listen => 1"));
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    until("it listens", || {
        !world.engine.output_tail(&facts, 1).is_empty()
    })
    .await;
    let connect = || world.engine.connect(&world.env, &facts.id, 8080);
    let mut taken = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), connect()).await {
        taken.push(stream.unwrap());
        assert!(taken.len() < 10, "there is room for everybody");
    }
    let began = Instant::now();
    let mut waits = std::pin::pin!(connect());
    let soon = tokio::time::timeout(Duration::from_millis(50), &mut waits).await;
    assert!(soon.is_err(), "there was room");
    drop(taken);
    waits.await.unwrap();
    // The kernel tries again after a second.
    let took = began.elapsed();
    assert!(took < Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn who_asks_a_keeper_for_much_at_once_has_nobody_else_wait_for_all_of_it() {
    use std::os::fd::{AsFd as _, OwnedFd};
    let world = World::new().await;
    let answers = r#"my $line = <$peer>; chomp $line; print $peer scalar reverse($line), "\n";"#;
    let counts = SERVER.replace(answers, r#"print $peer ++$count, "\n";"#);
    let spec = world.server(&counts);
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    until("it listens", || {
        !world.engine.output_tail(&facts, 1).is_empty()
    })
    .await;
    let dir = world.engine.instance_dir(&world.env, &facts.id);
    let keeper = world.engine.observe(&world.env)[&facts.id]
        .status
        .keeper_pid;
    // All have asked before it looks.
    real::signal(keeper, rustix::process::Signal::STOP);
    until("it is stopped", || {
        let stat = fs::read_to_string(format!("/proc/{keeper}/stat")).unwrap();
        stat.contains(") T ")
    })
    .await;
    let line = || keeper_socket::connect_nonblocking(&dir).unwrap();
    let ask = |line: &OwnedFd| {
        let question = Request::Connect { port: 8080 };
        keeper_socket::send(line.as_fd(), &question, &[]).unwrap();
    };
    let (crowd, other) = (line(), line());
    for _ in 0..10 {
        ask(&crowd);
    }
    ask(&other);
    real::signal(keeper, rustix::process::Signal::CONT);
    // Which connection it is of all that the application takes.
    let number = async |line: &OwnedFd| {
        let mut connected = None;
        until("it is answered", || {
            let answer = keeper_socket::recv::<Reply>(line.as_fd());
            connected = answer.ok().flatten();
            connected.is_some()
        })
        .await;
        let stream = connected.unwrap().1.pop().expect("a connection");
        let stream = std::net::TcpStream::from(stream);
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let mut number = String::new();
        stream.read_to_string(&mut number).await.unwrap();
        number.trim().parse::<u32>().unwrap()
    };
    let (first, other) = (number(&crowd).await, number(&other).await);
    assert!(other <= first + 1, "{other}, and the crowd's was {first}");
}

#[tokio::test]
async fn a_folder_that_it_may_write_to_is_made_and_keeps_what_is_written() {
    let world = World::new().await;
    let folder = world.home().join("data/returns/dev/db");
    let mut last = String::new();
    for round in ["first", "second"] {
        let mut spec = world.shell(&format!("cat /data/note; echo {round} >/data/note"));
        spec.root.mounts.push(MountSpec {
            source: folder.clone(),
            target: "/data".to_owned(),
            access: Access::ReadWrite,
        });
        let facts = spec.facts.clone();
        world.engine.start(spec).await.unwrap();
        let seen = world.until_over(&facts.id).await;
        let (exit, asked) = (Exit::Code(0), false);
        assert_eq!(seen.status.state, InstanceState::Exited { exit, asked });
        last = world.engine.output_tail(&facts, 1).join("");
    }
    assert_eq!(last, "first");
    assert_eq!(fs::read_to_string(folder.join("note")).unwrap(), "second\n");
}

#[tokio::test]
async fn an_image_hides_what_its_upper_layers_removed() {
    let world = World::new().await;
    let lower: &[(&str, &str)] = &[
        ("srv/gone", "1"),
        ("srv/stays", "2"),
        ("opaque/old", "3"),
        ("again/old", "4"),
    ];
    let upper: &[(&str, &str)] = &[
        ("srv/.wh.gone", ""),
        ("opaque/.wh..wh..opq", ""),
        ("opaque/new", "5"),
        (".wh.again", ""),
        ("again/new", "6"),
    ];
    let mut spec = world.shell("cd / && ls srv opaque again && cat srv/stays");
    spec.root.layers = world.image(&[lower, upper]);
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    world.until_over(&facts.id).await;
    let output = world.engine.output_tail(&facts, 20);
    let expected = [
        "again:", "new", "", "opaque:", "new", "", "srv:", "stays", "2",
    ];
    assert_eq!(output, expected);
}

#[tokio::test]
async fn p6_a_secret_is_in_no_argument_and_no_file() {
    let world = World::new().await;
    let secret = "planted-secret-2718281828";
    let mut spec = world.shell("test -n \"$TOKEN\" && echo has it; sleep 60");
    spec.env
        .insert("TOKEN".to_owned(), Secret::new(secret.to_owned()));
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    until("it has it", || {
        world.engine.output_tail(&facts, 1) == ["has it"]
    })
    .await;
    assert_eq!(real::arguments_holding(secret), Vec::<String>::new());
    assert_eq!(
        real::files_holding(world.home(), secret),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn changes_are_told_and_the_clock_is_the_given_one() {
    let world = World::new().await;
    let mut changed = world.engine.changed();
    changed.mark_unchanged();
    let spec = world.shell("sleep 0.2");
    let id = spec.facts.id.clone();
    world.engine.start(spec).await.unwrap();
    assert!(changed.has_changed().unwrap());
    let started = world.engine.observe(&world.env)[&id].since;
    assert!(started > Timestamp(1_600_000_000_000));
    loop {
        let told = tokio::time::timeout(Duration::from_secs(20), changed.changed()).await;
        told.expect("a change in time").unwrap();
        let seen = world.engine.observe(&world.env)[&id].clone();
        if seen.status.state.is_over() {
            assert!(seen.since > started);
            return;
        }
    }
}

#[tokio::test]
async fn whoever_looks_after_one_environment_is_not_woken_for_another() {
    let world = World::new().await;
    let other = ward_types::id::EnvId::parse("shop/other").unwrap();
    let others = world.engine.changed_in(&other);
    let own = world.engine.changed_in(&world.env);
    world.engine.start(world.shell("sleep 5")).await.unwrap();
    assert!(own.has_changed().unwrap());
    assert!(!others.has_changed().unwrap());
}

impl World {
    async fn ask(&self, id: &ward_types::id::InstanceId, line: &str) -> String {
        let mut stream = self.engine.connect(&self.env, id, 8080).await.unwrap();
        stream
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.trim_end().to_owned()
    }
}

/// All of the above once more as an ordinary user, when the tests run as root.
#[test]
fn all_of_it_works_for_an_ordinary_user() {
    real::repeat_as_an_ordinary_user("all_of_it_works_for_an_ordinary_user");
}
