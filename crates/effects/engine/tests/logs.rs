//! Reading and following output, from files as keepers write them.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use ward_engine::{Engine, LogFollow, LogQuery, Options};
use ward_types::id::{EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceFacts, Role};
use ward_types::time::Timestamp;

struct World {
    _home: TempDir,
    engine: Engine,
    env: EnvId,
}

impl World {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::open(Options {
            home: home.path().to_owned(),
            exe: PathBuf::from("/bin/false"),
            clock: || Timestamp(1),
        });
        let engine = engine.await.unwrap();
        Self {
            engine,
            env: EnvId::parse("returns/dev").unwrap(),
            _home: home,
        }
    }

    fn facts(&self, component: &str, release: u64, ordinal: u64) -> InstanceFacts {
        let component = Name::parse(component).unwrap();
        let release = ReleaseId(release);
        InstanceFacts {
            id: InstanceId::new(&component, release, ordinal),
            env: self.env.clone(),
            component,
            release,
            role: Role::Service,
            port: None,
            started: Timestamp(0),
            passwords: None,
        }
    }

    fn append(&self, facts: &InstanceFacts, text: &str) {
        let path = self.engine.log_file(facts);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, facts: &InstanceFacts) {
        let path = self.engine.log_file(facts);
        fs::rename(&path, path.with_extension("log.1")).unwrap();
    }

    fn texts(&self, query: &LogQuery) -> Vec<String> {
        let lines = self.engine.logs(&self.env, query).unwrap();
        lines.into_iter().map(|line| line.text).collect()
    }
}

#[tokio::test]
async fn lines_of_all_instances_come_in_order_of_time() {
    let world = World::new().await;
    let (web, worker) = (world.facts("web", 1, 1), world.facts("worker", 2, 2));
    world.append(&web, "10 o first\n");
    world.rotate(&web);
    world.append(
        &web,
        "30 e third\nnot a line of a keeper\n50 o \n60 o unfinish",
    );
    world.append(&worker, "20 o second of  two words\n40 o fourth\n");
    assert_eq!(
        world.texts(&LogQuery::default()),
        ["first", "second of  two words", "third", "fourth", ""]
    );
    let all = world.engine.logs(&world.env, &LogQuery::default()).unwrap();
    assert_eq!((all[2].at, all[2].stream.as_str()), (Timestamp(30), "e"));
    assert_eq!(all[2].instance, web.id);

    let components = BTreeSet::from([Name::parse("worker").unwrap()]);
    let only_worker = LogQuery {
        components,
        ..LogQuery::default()
    };
    assert_eq!(
        world.texts(&only_worker),
        ["second of  two words", "fourth"]
    );
    let release = LogQuery {
        release: Some(ReleaseId(1)),
        ..LogQuery::default()
    };
    assert_eq!(world.texts(&release), ["first", "third", ""]);
    let instance = LogQuery {
        instances: Some([worker.id].into()),
        ..LogQuery::default()
    };
    assert_eq!(world.texts(&instance), ["second of  two words", "fourth"]);
    let since = LogQuery {
        since: Some(Timestamp(40)),
        ..LogQuery::default()
    };
    assert_eq!(world.texts(&since), ["fourth", ""]);
    let tail = LogQuery {
        tail: Some(3),
        ..LogQuery::default()
    };
    assert_eq!(world.texts(&tail), ["third", "fourth", ""]);
    let other = EnvId::parse("returns/prod").unwrap();
    assert!(
        world
            .engine
            .logs(&other, &LogQuery::default())
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_tail_reaches_into_the_file_before() {
    let world = World::new().await;
    let web = world.facts("web", 1, 1);
    assert!(world.engine.output_tail(&web, 5).is_empty());
    for number in 0..40_000 {
        world.append(&web, &format!("{number} o line {number}\n"));
    }
    assert_eq!(
        world.engine.output_tail(&web, 2),
        ["line 39998", "line 39999"]
    );
    world.rotate(&web);
    world.append(&web, "50000 e last words\n");
    assert_eq!(
        world.engine.output_tail(&web, 2),
        ["line 39999", "last words"]
    );
}

async fn next_texts(follow: &mut LogFollow, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let lines = tokio::time::timeout(Duration::from_secs(10), follow.next()).await;
        let lines = lines.expect("lines in time").expect("no end").unwrap();
        texts.extend(lines.into_iter().map(|line| line.text));
    }
    texts
}

#[tokio::test]
async fn following_sees_new_lines_new_instances_and_new_files() {
    let world = World::new().await;
    let web = world.facts("web", 1, 1);
    world.append(&web, "1 o a\n2 o b\n");
    let tail = LogQuery {
        tail: Some(1),
        ..LogQuery::default()
    };
    let mut follow = world.engine.follow(&world.env, tail);
    assert_eq!(next_texts(&mut follow, 1).await, ["b"]);
    world.append(&web, "3 o c\n4 o d");
    assert_eq!(next_texts(&mut follow, 1).await, ["c"]);
    world.append(&web, " and more\n");
    assert_eq!(next_texts(&mut follow, 1).await, ["d and more"]);
    // Written and renamed between two looks: neither the end of the old nor the beginning of the new is missed.
    world.append(&web, "5 o e\n");
    world.rotate(&web);
    world.append(&web, "6 o f\n");
    assert_eq!(next_texts(&mut follow, 2).await, ["e", "f"]);
    let second = world.facts("web", 2, 2);
    world.append(&second, "7 o g\n");
    assert_eq!(next_texts(&mut follow, 1).await, ["g"]);
}

#[tokio::test]
async fn output_of_retired_releases_and_of_older_instances_is_collected() {
    let world = World::new().await;
    let outputs = [
        ("web", 1, 1),
        ("web", 2, 2),
        ("web", 2, 3),
        ("web", 2, 10),
        ("db", 0, 4),
    ];
    for (component, release, ordinal) in outputs {
        world.append(&world.facts(component, release, ordinal), "1 o text\n");
    }
    let rotated = world.engine.log_file(&world.facts("web", 2, 2));
    fs::write(format!("{}.1", rotated.display()), "0 o older\n").unwrap();
    let strange = rotated.with_file_name("notes.txt");
    fs::write(&strange, "not Ward's").unwrap();
    let retained = BTreeSet::from([ReleaseId(2)]);
    world.engine.collect_logs(&world.env, &retained, 2).unwrap();
    let left = world.engine.logs(&world.env, &LogQuery::default()).unwrap();
    let left: BTreeSet<String> = left.iter().map(|line| line.instance.to_string()).collect();
    let expected = ["db-r0-4", "web-r2-10", "web-r2-3"].map(String::from);
    assert_eq!(left, BTreeSet::from(expected));
    assert!(strange.exists());
    let retired = world.engine.log_file(&world.facts("web", 1, 1));
    assert!(!retired.parent().unwrap().exists());
}
