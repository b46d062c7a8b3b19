//! Specifications that cannot work: each is refused with what is wrong, and nothing is left.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ward_types::keeper::{Access, InstanceSpec, MountSpec, Reply};

use crate::real;
use crate::world::World;

async fn refusal(change: impl FnOnce(&mut InstanceSpec)) -> String {
    let world = World::new().await;
    let mut spec = world.shell("exec sleep 600");
    change(&mut spec);
    let dir = spec.dir.clone();
    let error = world.engine.start(spec).await.unwrap_err().to_string();
    assert!(!dir.join("k.sock").exists(), "a socket is left: {error}");
    error
}

#[tokio::test]
async fn a_program_that_is_not_there() {
    let error = refusal(|spec| spec.argv[0] = "no-such-program".to_owned()).await;
    assert!(
        error.contains("the program no-such-program is not in the image"),
        "{error}"
    );
    let error = refusal(|spec| spec.argv[0] = "/etc/hosts".to_owned()).await;
    assert!(error.contains("/etc/hosts cannot be run"), "{error}");
}

#[tokio::test]
async fn a_program_whose_loader_is_not_there() {
    let error = refusal(|spec| {
        let layer = spec.dir.ancestors().nth(4).unwrap().join("layer");
        std::fs::create_dir_all(&layer).unwrap();
        std::fs::copy("/bin/sleep", layer.join("app")).unwrap();
        spec.root.layers = vec![layer];
        spec.root.host_usr = false;
        spec.argv = vec!["/app".to_owned()];
    })
    .await;
    assert!(error.contains("library loader"), "{error}");
}

#[tokio::test]
async fn a_working_folder_that_is_not_there() {
    let error = refusal(|spec| spec.cwd = "/no/such".to_owned()).await;
    assert!(error.contains("working folder /no/such"), "{error}");
}

#[tokio::test]
async fn a_layer_that_is_not_there() {
    let error = refusal(|spec| spec.root.layers = vec![PathBuf::from("/no/such/layer")]).await;
    assert!(error.contains("/no/such/layer"), "{error}");
}

#[tokio::test]
async fn a_mount_outside_the_root() {
    let error = refusal(|spec| {
        spec.root.mounts.push(MountSpec {
            source: PathBuf::from("/usr"),
            target: "/../../x".to_owned(),
            access: Access::ReadOnly,
        });
    })
    .await;
    assert!(error.contains("/../../x"), "{error}");
}

#[tokio::test]
async fn a_nul_in_an_argument_or_a_variable() {
    let error = refusal(|spec| spec.argv.push("a\0b".to_owned())).await;
    assert!(error.contains("an argument holds a NUL byte"), "{error}");
    let error = refusal(|spec| {
        let secret = ward_types::secret::Secret::new("planted\0secret".to_owned());
        spec.env.insert("TOKEN".to_owned(), secret);
    })
    .await;
    assert!(
        error.contains("the variable TOKEN holds a NUL byte"),
        "{error}"
    );
    assert!(!error.contains("planted"), "{error}");
}

#[tokio::test]
async fn a_user_that_nobody_may_be() {
    let error = refusal(|spec| {
        spec.user.host_id = if rustix::process::geteuid().is_root() {
            0
        } else {
            1
        };
    })
    .await;
    let why = if rustix::process::geteuid().is_root() {
        "that is root outside"
    } else {
        "can only run as that user"
    };
    assert!(error.contains(why), "{error}");
}

/// A machine that gives no user namespace: a user namespace in which the limit of further ones is zero.
#[tokio::test]
async fn a_machine_without_user_namespaces_is_told_what_to_do() {
    let world = World::new().await;
    let mut spec = world.shell("exec sleep 600");
    std::fs::create_dir_all(&spec.dir).unwrap();
    std::fs::create_dir_all(spec.log.file.parent().unwrap()).unwrap();
    // Inside, whoever we are is root.
    spec.user.host_id = 1;
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" keeper";
    let mut keeper = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(real::keeper())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut instructions = keeper.stdin.take().unwrap();
    instructions
        .write_all(&serde_json::to_vec(&spec).unwrap())
        .unwrap();
    drop(instructions);
    let output = keeper.wait_with_output().unwrap();
    let reply: Reply = serde_json::from_slice(&output.stdout).unwrap();
    let Reply::Refused { message } = reply else {
        panic!("{reply:?}");
    };
    assert!(message.contains("max_user_namespaces"), "{message}");
    assert!(!output.status.success());
}

#[tokio::test]
async fn a_description_that_is_none() {
    for text in ["", "{", "{\"facts\": 3}"] {
        let mut keeper = Command::new(real::keeper())
            .arg("keeper")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        keeper
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = keeper.wait_with_output().unwrap();
        let reply: Reply = serde_json::from_slice(&output.stdout).unwrap();
        assert!(matches!(reply, Reply::Refused { .. }), "{reply:?}");
    }
}
