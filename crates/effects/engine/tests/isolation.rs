//! What an instance cannot do: each promise of the sandbox is tried from inside.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[allow(dead_code, reason = "another test file uses the rest")]
mod real;
#[allow(dead_code, reason = "another test file uses the rest")]
mod world;

use std::net::{Ipv4Addr, TcpListener};

use real::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ward_types::keeper::{InstanceSpec, InstanceState, LinkSpec, LinkTarget};
use world::World;

/// Runs a shell script in an instance to its end; what it wrote.
async fn output(world: &World, script: &str) -> Vec<String> {
    run(world, world.shell(script)).await
}

async fn run(world: &World, spec: InstanceSpec) -> Vec<String> {
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    let seen = world.until_over(&facts.id).await;
    assert!(
        matches!(seen.status.state, InstanceState::Exited { .. }),
        "{seen:?}"
    );
    world.engine.output_tail(&facts, 100)
}

#[tokio::test]
async fn p5_it_has_no_capability_and_a_filter() {
    let world = World::new().await;
    let lines = output(&world, "cat /proc/self/status").await;
    let value = |name: &str| {
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        line.split_once('\t').unwrap().1.to_owned()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (value("NoNewPrivs:"), value("Seccomp:")),
        ("1".to_owned(), "2".to_owned())
    );
}

#[tokio::test]
async fn p5_denied_system_calls_are_denied() {
    let world = World::new().await;
    // unshare, mount, setns by way of nsenter, ptrace of its own init, a device, a kernel setting.
    let script = r#"
unshare -U true 2>/dev/null && echo unshare
mount -t tmpfs none /tmp 2>/dev/null && echo mount
nsenter -t 1 -n true 2>/dev/null && echo setns
mknod /tmp/null c 1 3 2>/dev/null && echo mknod
echo 1 2>/dev/null >/proc/sys/kernel/panic && echo sysctl
hostname other 2>/dev/null && echo hostname
chroot / true 2>/dev/null && echo chroot
dd if=/dev/mem of=/dev/null count=1 2>/dev/null && echo memory
echo end
"#;
    assert_eq!(output(&world, script).await, ["end"]);
}

#[tokio::test]
async fn p5_its_root_is_read_only_but_for_its_own_scratch() {
    let world = World::new().await;
    let script = r#"
for dir in / /usr /etc /proc /dev; do touch $dir/x 2>/dev/null && echo "wrote $dir"; done
touch /tmp/x && echo scratch
"#;
    assert_eq!(output(&world, script).await, ["scratch"]);
}

#[tokio::test]
async fn p5_it_sees_its_own_processes_and_devices_only() {
    let world = World::new().await;
    let script = r#"
for dir in /proc/[0-9]*; do [ -d $dir ] && count=$((count+1)); done
[ $count -le 4 ] && echo few
[ -e /sys/kernel ] && echo sysfs
[ -s /proc/kcore ] && echo kcore
ls /dev | tr '\n' ' '
"#;
    let lines = output(&world, script).await;
    assert_eq!(lines[0], "few", "{lines:?}");
    for device in ["sda", "vda", "mem", "kmsg", "fuse", "kvm"] {
        assert!(!lines[1].split(' ').any(|name| name == device), "{lines:?}");
    }
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[tokio::test]
async fn p5_its_network_is_a_loopback_device_and_nothing_else() {
    let world = World::new().await;
    // A service of the host's, which it must not reach.
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let script = format!(
        r#"
grep -c : /proc/net/dev
perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => {port}, Timeout => 2) ? "reached" : "closed", "\n"'
perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(PeerAddr => "192.0.2.1", PeerPort => 80, Timeout => 2) ? "reached" : "closed", "\n"'
"#
    );
    assert_eq!(output(&world, &script).await, ["1", "closed", "closed"]);
    host.set_nonblocking(true).unwrap();
    assert!(host.accept().is_err(), "the host's service was reached");
}

#[tokio::test]
async fn p5_a_declared_link_is_reached_by_name_and_nothing_else_of_the_other_instance() {
    let world = World::new().await;
    let server = world.server(
        r#"
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 5432, Listen => 16) or die $!;
$| = 1; print "listening\n";
while (my $peer = $listener->accept) { while (my $line = <$peer>) { print $peer "heard $line"; } close $peer; }
"#,
    );
    let facts = server.facts.clone();
    world.engine.start(server).await.unwrap();
    until("the server listens", || {
        !world.engine.output_tail(&facts, 1).is_empty()
    })
    .await;
    let database = ward_types::id::Name::parse("db").unwrap();
    world
        .engine
        .point(&world.env, &database, &facts.id)
        .unwrap();
    let mut client = world.server(
        r#"
use IO::Socket::INET;
my $peer = IO::Socket::INET->new(PeerAddr => "db", PeerPort => 5432, Timeout => 5) or die "db: $!";
print $peer "one\n"; print scalar <$peer>;
print $peer "x" x 3_000_000, "\n"; print length(scalar <$peer>), "\n";
shutdown($peer, 1); print defined(<$peer>) ? "more" : "end", "\n";
print IO::Socket::INET->new(PeerAddr => "db", PeerPort => 5433, Timeout => 2) ? "reached" : "closed", "\n";
"#,
    );
    client.links = vec![world.link(&database, 5432)];
    let lines = run(&world, client).await;
    assert_eq!(lines, ["heard one", "3000007", "end", "closed"]);
}

#[tokio::test]
async fn a_link_waits_for_a_database_that_is_being_restarted() {
    let world = World::new().await;
    let database = ward_types::id::Name::parse("db").unwrap();
    let mut client = world.server(
        r#"
use IO::Socket::INET;
my $peer = IO::Socket::INET->new(PeerAddr => "db", PeerPort => 5432, Timeout => 5) or die "db: $!";
$| = 1; print "asked\n"; print $peer "one\n"; print scalar <$peer>;
"#,
    );
    client.links = vec![world.link(&database, 5432)];
    let facts = client.facts.clone();
    world.engine.start(client).await.unwrap();
    until("the client has asked", || {
        !world.engine.output_tail(&facts, 1).is_empty()
    })
    .await;
    let server = world.server(
        r#"
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 5432, Listen => 16) or die $!;
my $peer = $listener->accept; my $line = <$peer>; print $peer "heard $line"; close $peer; sleep 600;
"#,
    );
    let id = server.facts.id.clone();
    world.engine.start(server).await.unwrap();
    world.engine.point(&world.env, &database, &id).unwrap();
    world.until_over(&facts.id).await;
    assert_eq!(world.engine.output_tail(&facts, 2), ["asked", "heard one"]);
}

#[tokio::test]
async fn an_outside_address_that_is_a_number_is_listened_on_inside() {
    let world = World::new().await;
    let mut client = world.server(
        r#"
use IO::Socket::INET;
sub try { print IO::Socket::INET->new(PeerAddr => $_[0], PeerPort => $_[1], Timeout => 2) ? "reached" : "closed", "\n" }
try("192.0.2.2", 443); try("192.0.2.2", 444); try("192.0.2.3", 443);
"#,
    );
    client.links = vec![LinkSpec {
        host: "192.0.2.2".to_owned(),
        address: Ipv4Addr::new(192, 0, 2, 2),
        port: 443,
        target: LinkTarget::Egress {
            host: "192.0.2.2".to_owned(),
            port: 443,
        },
    }];
    assert_eq!(run(&world, client).await, ["reached", "closed", "closed"]);
}

#[tokio::test]
async fn many_connections_go_in_at_once() {
    let world = World::new().await;
    let server = world.server(
        r#"
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, Listen => 128) or die $!;
$| = 1; print "listening\n";
while (my $peer = $listener->accept) { my $line = <$peer>; print $peer $line; close $peer; }
"#,
    );
    let facts = server.facts.clone();
    world.engine.start(server).await.unwrap();
    until("the server listens", || {
        !world.engine.output_tail(&facts, 1).is_empty()
    })
    .await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (engine, env, id) = (world.engine.clone(), world.env.clone(), facts.id.clone());
        asking.spawn(async move {
            let mut stream = engine.connect(&env, &id, 8080).await.unwrap();
            stream
                .write_all(format!("{number}\n").as_bytes())
                .await
                .unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, format!("{number}\n"));
        });
    }
    while let Some(result) = asking.join_next().await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_limit_of_memory_is_kept_or_said_to_be_missing() {
    let world = World::new().await;
    let mut spec =
        world.server(r#"my $all = "x" x 400_000_000; print length $all, "\n"; sleep 1;"#);
    spec.limits.memory = Some(64 << 20);
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    let missing = world.engine.observe(&world.env)[&facts.id]
        .status
        .missing
        .clone();
    let seen = world.until_over(&facts.id).await;
    let survived = !world.engine.output_tail(&facts, 1).is_empty();
    let said = missing
        .iter()
        .any(|sentence| sentence.contains("memory limit"));
    assert_eq!(survived, said, "{seen:?} {missing:?}");
}

#[test]
fn all_of_it_holds_for_an_ordinary_user() {
    real::repeat_as_an_ordinary_user("all_of_it_holds_for_an_ordinary_user");
}
