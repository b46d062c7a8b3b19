//! Builds by a command, and the files that they take.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod shelf;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use shelf::{Bench, command, strings};
use ward_build::{Error, Outcome, build};
use ward_types::spec::{Base, ImageSource};

const SCRIPT: &str = "mkdir -p dist && echo built >> builds.log && printf '#!/bin/sh\\necho hi' > dist/hello && chmod 750 dist/hello && echo done";

fn script(text: &str, files: &[&str]) -> ImageSource {
    command(&["sh", "-c", text], files)
}

#[tokio::test]
async fn a_command_makes_files_and_the_named_ones_are_taken() {
    let bench = Bench::new(&[("notes.txt", "not taken"), ("config/a.toml", "a = 1")]);
    symlink("../config/a.toml", bench.path("config/link.toml")).unwrap();
    let image = bench
        .build(script(SCRIPT, &["dist", "config"]))
        .await
        .unwrap();
    let listing: Vec<String> = bench.shelf.listing(&image).into_iter().collect();
    assert_eq!(
        listing,
        [
            "d755 app",
            "d755 app/config",
            "d755 app/dist",
            "f644 app/config/a.toml",
            "f755 app/dist/hello",
            "l777 app/config/link.toml -> ../config/a.toml",
        ]
    );
    let config = bench.shelf.config(&image);
    assert_eq!(
        config["config"]["Cmd"],
        serde_json::json!(["./hello", "--loud"])
    );
    assert_eq!(config["config"]["WorkingDir"], "/app");
    assert_eq!(
        config["config"]["Labels"],
        serde_json::json!({"io.ward.base": "host"})
    );
    assert_eq!(bench.output(), ["done"]);
}

#[tokio::test]
async fn an_unchanged_source_is_not_built_again_and_a_changed_one_is() {
    let bench = Bench::new(&[("main.js", "1")]);
    let builds = || {
        std::fs::read_to_string(bench.path("../builds.log")).map_or(0, |log| log.lines().count())
    };
    let source = || {
        script(
            "echo built >> \"$PWD\".log; mkdir -p dist; cp main.js dist/out.js",
            &["dist"],
        )
    };
    let log = bench.dir.path().with_extension("log");
    let count = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    let first = bench.build(source()).await.unwrap();
    let again = bench.build(source()).await.unwrap();
    assert_eq!(
        (&again.digest, again.outcome, count()),
        (&first.digest, Outcome::Unchanged, 1)
    );
    std::fs::remove_dir_all(bench.path("dist")).unwrap();
    let clean = bench.build(source()).await.unwrap();
    assert_eq!(
        (&clean.digest, count()),
        (&first.digest, 1),
        "its output is no part of its source"
    );

    bench.write("main.js", "2");
    let changed = bench.build(source()).await.unwrap();
    assert_eq!((changed.outcome, count()), (Outcome::Made, 2));
    assert_ne!(changed.digest, first.digest);
    bench.write("main.js", "1");
    std::fs::remove_dir_all(bench.path("dist")).unwrap();
    let back = bench.build(source()).await.unwrap();
    assert_eq!(
        (&back.digest, count()),
        (&first.digest, 2),
        "an earlier source is remembered"
    );

    bench.shelf.manifests.lock().unwrap().clear();
    let lost = bench.build(source()).await.unwrap();
    assert_eq!(
        (&lost.digest, lost.outcome, count()),
        (&first.digest, Outcome::Made, 3)
    );
    std::fs::remove_file(log).unwrap();
    assert_eq!(builds(), 0);
}

#[tokio::test]
async fn git_says_what_the_source_is_where_there_is_git() {
    let bench = Bench::new(&[("main.js", "1"), (".gitignore", "noise\ndist\n")]);
    let git = |args: &[&str]| {
        let status = std::process::Command::new("git")
            .args(args)
            .current_dir(bench.dir.path())
            .status();
        assert!(status.unwrap().success());
    };
    git(&["init", "--quiet"]);
    let source = || script("mkdir -p dist; cp main.js dist/", &["dist"]);
    let first = bench.build(source()).await.unwrap();
    bench.write("noise", "ignored by git");
    assert_eq!(
        bench.build(source()).await.unwrap().outcome,
        Outcome::Unchanged
    );
    bench.write(
        "dist/main.js",
        "an edited output is named by `files`, so it counts",
    );
    let edited = bench.build(source()).await.unwrap();
    assert_eq!(
        (edited.digest, edited.outcome),
        (first.digest, Outcome::Unchanged)
    );
    bench.write("new.js", "not tracked yet, and not ignored");
    let cache = bench.cache.path().join("returns/web.json");
    let before = std::fs::read(&cache).unwrap();
    bench.build(source()).await.unwrap();
    assert_ne!(
        std::fs::read(&cache).unwrap(),
        before,
        "a new file is a new source"
    );
}

#[tokio::test]
async fn files_alone_need_no_command_and_are_the_same_in_any_folder() {
    let (here, there) = (
        Bench::new(&[("b.py", "b"), ("a.py", "a")]),
        Bench::new(&[("a.py", "a"), ("b.py", "b")]),
    );
    let source = || command(&[], &["."]);
    let first = here.build(source()).await.unwrap();
    assert_eq!(there.build(source()).await.unwrap().digest, first.digest);
    here.write("a.py", "c");
    assert_ne!(here.build(source()).await.unwrap().digest, first.digest);
}

#[tokio::test]
async fn a_failing_command_is_named_with_its_status_and_its_last_lines() {
    let bench = Bench::new(&[]);
    let error = bench
        .build(script("echo to stdout; echo to stderr >&2; exit 3", &["."]))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`sh -c 'echo to stdout; echo to stderr >&2; exit 3'` ended with exit status 3"
    );
    assert_eq!(error.output(), ["to stdout", "to stderr"]);
    assert!(bench.shelf.manifests.lock().unwrap().is_empty());
    let error = bench
        .build(command(&["no-such-program"], &["."]))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot start `no-such-program`"),
        "{error}"
    );
}

/// Each of the ways in which a program that lies beside the stack file is none says what helps.
#[tokio::test]
async fn a_program_that_cannot_be_started_is_told_with_what_helps() {
    let files = [
        ("check.sh", "#!/bin/sh\n"),
        ("other", "#!/no/interpreter\n"),
    ];
    let bench = Bench::new(&files);
    fs::set_permissions(bench.path("other"), Permissions::from_mode(0o755)).unwrap();
    for (program, helps) in [
        ("./check.sh", "`chmod +x` makes it executable"),
        ("./other", "the interpreter in its first line"),
        ("./none", "it has to be a file there"),
        ("none", "in the PATH that `ward serve` was started with"),
    ] {
        let built = bench.build(command(&[program], &["."])).await;
        let said = built.unwrap_err().to_string();
        assert!(said.contains(helps), "{program}: {said}");
    }
}

#[tokio::test]
async fn lines_come_in_the_order_in_which_they_were_written() {
    let bench = Bench::new(&[]);
    let both = "for n in 1 2 3 4 5 6 7 8 9; do echo out $n; echo err $n >&2; done";
    bench.build(script(both, &["."])).await.unwrap();
    let written: Vec<String> = (1..=9)
        .flat_map(|n| [format!("out {n}"), format!("err {n}")])
        .collect();
    assert_eq!(bench.output(), written);
}

#[tokio::test]
async fn a_missing_file_is_named_with_its_key() {
    let bench = Bench::new(&[]);
    let error = bench
        .build(script("true", &["dist/app.js"]))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("there is no dist/app.js in "), "{error}");
    assert!(
        error.ends_with("which the key `files` names; the build command did not make it"),
        "{error}"
    );
}

#[tokio::test]
async fn nothing_leads_out_of_the_stacks_folder() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let bench = Bench::new(&[("app/x", "x")]);
    let take = |name: &str| bench.build(command(&[], &[name]));
    for name in ["../x", "/etc/passwd"] {
        assert!(
            matches!(take(name).await, Err(Error::Outside { .. })),
            "{name}"
        );
    }
    symlink(outside.path(), bench.path("door")).unwrap();
    assert!(matches!(take("door").await, Err(Error::Escapes { .. })));
    assert!(matches!(
        take("door/secret").await,
        Err(Error::Outside { .. })
    ));
    symlink("../../etc/passwd", bench.path("app/up")).unwrap();
    let error = take("app").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("app/up leads to ../../etc/passwd"),
        "{error}"
    );
    std::fs::remove_file(bench.path("app/up")).unwrap();
    symlink("/usr/bin/python3", bench.path("app/python")).unwrap();
    take("app").await.unwrap();
    let empty = ImageSource::Command {
        command: vec![],
        files: strings(&["app"]),
        run: strings(&["./x"]),
        base: Base::Empty,
    };
    assert!(matches!(
        bench.build(empty).await,
        Err(Error::Escapes { .. })
    ));
    std::fs::remove_file(bench.path("app/python")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.path("app/pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert!(matches!(take("app").await, Err(Error::Special { .. })));
}

#[tokio::test]
async fn a_build_does_not_see_the_servers_environment() {
    let bench = Bench::new(&[]);
    bench.build(script("env", &["."])).await.unwrap();
    let output = bench.output();
    assert!(
        output.iter().any(|line| line.starts_with("PATH=")),
        "{output:?}"
    );
    assert!(
        output
            .iter()
            .any(|line| line == "SOURCE_DATE_EPOCH=315532800"),
        "{output:?}"
    );
    // Cargo sets this one for every test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(
        !output
            .iter()
            .any(|line| line.starts_with("CARGO_MANIFEST_DIR")),
        "{output:?}"
    );
}

#[tokio::test]
async fn a_cancelled_build_kills_all_that_it_started() {
    let bench = Bench::new(&[]);
    let source = script("sleep 1000 & echo $! ; echo $$; wait", &["."]);
    let request = bench.request(source);
    let output = |line: ward_build::Line| bench.lines.lock().unwrap().push(line.text);
    let mut running = Box::pin(build(&request, &bench.shelf, &output));
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.output().len() < 2 {
        assert!(Instant::now() < deadline);
        assert!(
            tokio::time::timeout(Duration::from_millis(10), &mut running)
                .await
                .is_err()
        );
    }
    drop(running);
    for pid in bench.output() {
        wait_until_gone(&pid).await;
    }
    bench.assert_tidy();
}

#[tokio::test]
async fn what_a_command_leaves_running_is_killed_with_it() {
    let bench = Bench::new(&[]);
    bench
        .build(script("sleep 1000 & echo $!", &["."]))
        .await
        .unwrap();
    wait_until_gone(&bench.output()[0]).await;
}

/// Gone, or dead and waiting for its parent to notice.
async fn wait_until_gone(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        if stat.rsplit(") ").next().unwrap().starts_with('Z') {
            break;
        }
        assert!(Instant::now() < deadline, "process {pid} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_a_killed_ward_left_is_removed() {
    let bench = Bench::new(&[("a", "a")]);
    let left = bench.cache.path().join("returns/work-1-7/storage");
    std::fs::create_dir_all(&left).unwrap();
    bench.build(command(&[], &["a"])).await.unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn an_image_of_others_is_not_built() {
    let bench = Bench::new(&[]);
    let source = ImageSource::Image {
        reference: "alpine:3".into(),
    };
    assert!(matches!(
        bench.build(source).await,
        Err(Error::NothingToBuild)
    ));
}
