//! Programs that run beside an instance.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use ward_engine::client::{ClientError, KeeperClient};
use ward_types::keeper::{Exit, InstanceSpec};

use crate::real::until;
use crate::world::World;

/// What a program said on standard output and error, and how it ended.
type Said = (Result<Exit, ClientError>, String, String);

async fn run(world: &World, spec: &InstanceSpec, script: &str) -> Said {
    run_program(world, spec, &["sh", "-c", script]).await
}

async fn run_program(world: &World, spec: &InstanceSpec, argv: &[&str]) -> Said {
    let keeper = KeeperClient::connect(&spec.dir).unwrap();
    let (mut output, output_inside) = std::io::pipe().unwrap();
    let (mut errors, errors_inside) = std::io::pipe().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let argv = argv.iter().map(|&text| text.to_owned()).collect();
    let stdio = [null.as_fd(), output_inside.as_fd(), errors_inside.as_fd()];
    let exit = keeper.exec(argv, BTreeMap::new(), stdio).await;
    drop((output_inside, errors_inside));
    let (mut said, mut complained) = (String::new(), String::new());
    output.read_to_string(&mut said).unwrap();
    errors.read_to_string(&mut complained).unwrap();
    let _ = world;
    (exit, said, complained)
}

#[tokio::test]
async fn p5_a_program_beside_has_the_instances_restrictions() {
    let world = World::new().await;
    let spec = world.shell("echo up; exec sleep 600");
    world.engine.start(spec.clone()).await.unwrap();
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id -u; touch /usr/x; touch /tmp/y; \
                  grep -c : /proc/net/dev; unshare -U true; echo end";
    let (exit, said, complained) = run(&world, &spec, script).await;
    assert_eq!(exit.unwrap(), Exit::Code(0), "{complained}");
    let expected = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
                    CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
                    1000\n1\nend\n";
    assert_eq!(said, expected, "{complained}");
    assert!(complained.contains("Read-only file system"), "{complained}");
    assert!(complained.contains("unshare failed"), "{complained}");
    let (exit, said, _) = run(&world, &spec, "ls /tmp; cat /proc/1/environ; kill -9 $$").await;
    assert_eq!((exit.unwrap(), said.as_str()), (Exit::Signal(9), "y\n"));
}

#[tokio::test]
async fn the_hosts_tools_lie_below_an_image_that_has_none() {
    let world = World::new().await;
    let mut spec = static_image(&world);
    spec.limits.processes = Some(50);
    world.engine.start(spec.clone()).await.unwrap();
    let said = run(
        &world,
        &spec,
        "cat /app.txt; ls /usr/bin/env; test -e /root && echo root; pwd; hostname",
    )
    .await;
    let (exit, output, complained) = said;
    assert_eq!(exit.unwrap(), Exit::Code(0), "{complained}");
    let expected = format!("of the image\n/usr/bin/env\n/\n{}\n", spec.facts.id);
    assert_eq!(output, expected);
    assert_eq!(complained.lines().count(), 1, "{complained}");
    assert!(complained.starts_with("ward: "), "{complained}");
    // Scratch space and processes are the instance's.
    run(&world, &spec, "echo left >/tmp/note").await.0.unwrap();
    let (_, output, _) = run(
        &world,
        &spec,
        "cat /tmp/note; tr '\\0' ' ' </proc/2/cmdline; ulimit -u",
    )
    .await;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "left");
    assert!(lines[1].contains("600"), "{lines:?}");
    let status = run(
        &world,
        &spec,
        "grep -E '^(CapEff|Seccomp:)' /proc/self/status",
    )
    .await
    .1;
    assert_eq!(status, "CapEff:\t0000000000000000\nSeccomp:\t2\n");
    // What is nowhere is said to be nowhere.
    let (exit, ..) = run_program(&world, &spec, &["no-such-program"]).await;
    let message = exit.unwrap_err().to_string();
    assert!(message.contains("no-such-program"), "{message}");
}

/// An image that holds one program, which sleeps, and a text. The program is the host's `busybox`-like: perl would need
/// its libraries, so those of the host's `sleep` come along.
fn static_image(world: &World) -> InstanceSpec {
    let layer = world.home().join("layer");
    for folder in ["bin", "lib", "lib64"] {
        fs::create_dir_all(layer.join(folder)).unwrap();
    }
    let libraries = std::process::Command::new("ldd")
        .arg("/bin/sleep")
        .output()
        .unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    let paths = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for path in paths {
        let to = layer.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(path, to).unwrap();
    }
    fs::copy("/bin/sleep", layer.join("bin/app")).unwrap();
    fs::write(layer.join("app.txt"), "of the image\n").unwrap();
    open_to_all(&layer);
    let mut spec = world.shell("");
    spec.argv = ["/bin/app", "600"].map(str::to_owned).to_vec();
    spec.root.host_usr = false;
    spec.root.layers = vec![layer];
    spec
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            open_to_all(&entry.path());
        }
    }
}

#[tokio::test]
async fn a_program_ends_when_who_asked_for_it_leaves() {
    let world = World::new().await;
    let spec = world.shell("exec sleep 600");
    world.engine.start(spec.clone()).await.unwrap();
    let keeper = KeeperClient::connect(&spec.dir).unwrap();
    let (mut output, inside) = std::io::pipe().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let argv = ["sh", "-c", "echo on; exec sleep 601"]
        .map(str::to_owned)
        .to_vec();
    let asking = tokio::spawn(async move {
        let stdio = [null.as_fd(), inside.as_fd(), inside.as_fd()];
        keeper.exec(argv, BTreeMap::new(), stdio).await
    });
    let mut word = [0; 3];
    let (output, word) = tokio::task::spawn_blocking(move || {
        output.read_exact(&mut word).unwrap();
        (output, word)
    })
    .await
    .unwrap();
    assert_eq!(&word, b"on\n");
    asking.abort();
    assert!(asking.await.is_err());
    // The program held the pipe's other end.
    let rest = tokio::task::spawn_blocking(move || {
        let mut output = output;
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        rest
    });
    assert_eq!(rest.await.unwrap(), "");
}

#[tokio::test]
async fn a_terminal_becomes_the_programs_own() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let world = World::new().await;
    let spec = world.shell("exec sleep 600");
    world.engine.start(spec.clone()).await.unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let slave: OwnedFd = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    let keeper = KeeperClient::connect(&spec.dir).unwrap();
    // /dev/tty can only be opened by a process that has a controlling terminal.
    let argv = ["sh", "-c", "echo own >/dev/tty"]
        .map(str::to_owned)
        .to_vec();
    let stdio = [slave.as_fd(), slave.as_fd(), slave.as_fd()];
    let exit = keeper.exec(argv, BTreeMap::new(), stdio).await.unwrap();
    assert_eq!(exit, Exit::Code(0));
    let mut said = [0; 64];
    let length = rustix::io::read(&master, &mut said).unwrap();
    assert_eq!(&said[..length], b"own\r\n");
}

#[tokio::test]
async fn a_program_beside_dies_with_the_instance() {
    let world = World::new().await;
    let spec = world.shell("exec sleep 600");
    world.engine.start(spec.clone()).await.unwrap();
    let (dir, stopping) = (spec.dir.clone(), world.engine.clone());
    let (env, id) = (world.env.clone(), spec.facts.id.clone());
    let stop = tokio::spawn(async move {
        until("the program runs", || {
            dir.join("k.sock").exists() && !crate::real::arguments_holding("602.5").is_empty()
        })
        .await;
        stopping.stop(&env, &id, ward_types::time::Millis(0)).await
    });
    let (exit, ..) = run_program(&world, &spec, &["sleep", "602.5"]).await;
    stop.await.unwrap().unwrap();
    assert_eq!(exit.unwrap(), Exit::Signal(9));
}
