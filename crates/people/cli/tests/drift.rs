//! What drifts by other hands: an instance that is killed or stopped, a file of an image that is edited. It is shown, and
//! put right.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::load::{Load, get};
use support::schema::Schema;
use support::{APP, Ward, eventually, go_on, kill9, pause, poll, sql};

const HOST: &str = "shop.localhost";

/// From when an instance is stopped until another one has taken its place: five seconds to the look at it, fifteen to
/// its end, and time for a machine under load.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);

/// A plan as JSON, held against the published schema, and its exit status.
fn plan(ward: &Ward) -> (Value, i32) {
    let ran = ward.run(&["plan", "--output", "json"]);
    let value: Value = serde_json::from_str(&ran.stdout()).unwrap_or_else(|_| panic!("{ran:?}"));
    Schema::published("plan.schema.json").check("plan", &value);
    (value["drift"].clone(), ran.code())
}

/// What is said that holds a text, and whether that is put right; `None` where nothing is.
fn said(drift: &Value, holds: &str) -> Option<(String, bool)> {
    let all = drift.as_array().unwrap().iter();
    let mut texts = all.map(|one| {
        let text = one["text"].as_str().unwrap().to_owned();
        (text, one["put_right"].as_bool().unwrap())
    });
    texts.find(|(text, _)| text.contains(holds))
}

fn ids(instances: &[Value]) -> Vec<String> {
    let ids = instances.iter().map(|one| one["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

fn pid(instance: &Value) -> i32 {
    i32::try_from(instance["pid"].as_i64().unwrap()).unwrap()
}

fn answers(ward: &Ward) -> String {
    get(&ward.http(), HOST, "/").unwrap().body
}

/// A file of this name where the layers of images are unpacked, in those that serve.
fn unpacked(ward: &Ward, name: &str) -> PathBuf {
    let condemned = |folder: &Path| {
        let name = folder.file_name().unwrap().to_str().unwrap();
        folder.with_file_name(format!("{name}.changed")).exists()
    };
    let mut layers: Vec<PathBuf> = fs::read_dir(ward.home().join("layers"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !condemned(path))
        .collect();
    layers.sort();
    let mut found = layers.iter().filter_map(|layer| below(layer, name));
    found.next().unwrap()
}

fn below(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut paths = fs::read_dir(folder)
        .ok()?
        .map(|entry| entry.unwrap().path());
    paths.find_map(|path| match path.is_dir() {
        true => below(&path, name),
        false => path.ends_with(name).then_some(path),
    })
}

/// The test application, which answers with what stands in a file beside it.
fn reads_a_page(ward: &Ward) {
    let reads = APP.replace(
        "        return self.answer(200, BODY)\n\n    def do_POST",
        "        return self.answer(200, open(\"page.txt\").read())\n\n    def do_POST",
    );
    assert_ne!(reads, APP);
    ward.write("app.py", &reads);
    ward.write("page.txt", "as built");
    ward.stack("", "");
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    ward.write(
        "ward.toml",
        &text.replace(r#"files = ["app.py"]"#, r#"files = ["app.py", "page.txt"]"#),
    );
}

#[test]
fn an_instance_that_is_killed_is_shown_and_put_right() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "one""#, "");
    ward.ok(&["deploy"]);
    assert_eq!(plan(&ward), (Value::Array(Vec::new()), 0));
    let victim = ward.healthy("web").swap_remove(0);
    let id = victim["id"].as_str().unwrap().to_owned();
    kill9(pid(&victim));
    eventually("the end is drift that was put right", || {
        let (drift, code) = plan(&ward);
        let one = said(&drift, &id).is_some_and(|(_, right)| right);
        one && code == 0 && drift.as_array().unwrap().len() == 1
    });
    // It runs well, and gets requests a moment later.
    eventually("both get requests", || ward.healthy("web").len() == 2);
    let text = ward.ok(&["plan"]);
    let ended = format!("web: {id} was ended by SIGKILL");
    assert!(text.contains(&ended), "{text}");
    assert!(text.contains("put right since"), "{text}");
}

#[test]
fn an_instance_that_is_stopped_is_shown_and_replaced_without_a_lost_request() {
    let ward = Ward::new();
    ward.stack("", "");
    ward.up();
    let before = ids(&ward.healthy("web"));
    let victim = ward.healthy("web").swap_remove(0);
    let id = victim["id"].as_str().unwrap().to_owned();
    pause(pid(&victim));
    eventually("the stopped one is drift", || {
        let (drift, code) = plan(&ward);
        let stopped = said(&drift, &format!("{id} is stopped by a signal, for "));
        let few = said(&drift, "1 of 2 run well");
        code == 2 && stopped.is_some_and(|(_, right)| !right) && few.is_some()
    });
    let shown = ward.ok(&["status"]);
    assert!(shown.contains("it is stopped by a signal, for"), "{shown}");
    let load = Load::start(&ward.http(), HOST);
    let replaced = || {
        let now = ids(&ward.healthy("web"));
        now.len() == 2 && !now.contains(&id) && now.contains(&before[1])
    };
    assert!(poll(REPLACED_WITHIN, replaced), "{:#}", ward.status());
    let (asked, failures) = load.end();
    assert!(asked > 20 && failures.is_empty(), "{asked}: {failures:?}");
    let (drift, code) = plan(&ward);
    let (text, right) = said(&drift, &id).unwrap();
    assert!(text.contains("was stopped by a signal for 15 s"), "{text}");
    assert!(right && code == 0, "{drift:#}");
    let events = ward.ok(&["events", "-n", "50"]);
    let said = format!("{id} was stopped by a signal for 15 s, and is given up");
    assert!(events.contains(&said), "{events}");
}

#[test]
fn one_that_is_let_go_on_in_time_stays() {
    let ward = Ward::new();
    ward.stack("", "");
    ward.up();
    let before = ids(&ward.healthy("web"));
    let victim = pid(&ward.healthy("web")[0]);
    pause(victim);
    eventually("it is seen", || ward.healthy("web").len() == 1);
    go_on(victim);
    eventually("it answers again", || ids(&ward.healthy("web")) == before);
    assert_eq!(plan(&ward), (Value::Array(Vec::new()), 0));
}

/// Nothing asks these whether they are well.
#[test]
fn a_worker_and_a_database_that_are_stopped_are_replaced() {
    let ward = Ward::new();
    let more = r#"
links = ["db"]
[service.worker]
build = { files = ["app.py"], run = ["/bin/sh", "-c", "sleep 3600; true"], base = "host" }
overlap = false
[database.db]
engine = "postgres"
"#;
    ward.stack("", more);
    ward.up();
    sql(
        &ward,
        None,
        "create table kept (n int); insert into kept values (7);",
    );
    // No request leads to these.
    let instance = |of: &str| {
        let mut all = ward.instances(of).into_iter();
        all.find(|one| one["state"]["state"] == "healthy")
    };
    let (worker, database) = (instance("worker").unwrap(), instance("db").unwrap());
    pause(pid(&worker));
    pause(pid(&database));
    eventually("both are drift", || {
        let (drift, _) = plan(&ward);
        let stopped = |one: &Value| {
            let id = one["id"].as_str().unwrap();
            said(&drift, &format!("{id} is stopped by a signal")).is_some()
        };
        stopped(&worker) && stopped(&database)
    });
    let is_new = |of: &str, old: &Value| instance(of).is_some_and(|now| now["id"] != old["id"]);
    let replaced = || is_new("worker", &worker) && is_new("db", &database);
    assert!(poll(REPLACED_WITHIN, replaced), "{:#}", ward.status());
    assert_eq!(sql(&ward, None, "select n from kept"), "7");
}

#[test]
fn an_attempt_of_a_job_that_is_stopped_has_failed() {
    let ward = Ward::new();
    let job = "[job.long]\nservice = \"web\"\ncommand = [\"/bin/sleep\", \"600\"]\n";
    ward.stack("", job);
    ward.up();
    ward.ok(&["job", "run", "long", "--detach"]);
    let running = || {
        let all = ward.instances("web").into_iter();
        let ours = |one: &Value| !one["in_rotation"].as_bool().unwrap() && one["pid"].is_i64();
        all.filter(ours).map(|one| pid(&one)).next()
    };
    eventually("it runs", || running().is_some());
    pause(running().unwrap());
    let failed = || {
        let history = ward.ok(&["job", "history", "--output", "json"]);
        history.contains("was stopped by a signal for 15 s")
    };
    assert!(poll(REPLACED_WITHIN, failed));
}

/// What is done to an unpacked layer, and how it is told.
type Deed = (fn(&Path), &'static str);

const DEEDS: [Deed; 4] = [
    (
        |page| fs::write(page, "changed").unwrap(),
        "page.txt was edited",
    ),
    (
        |page| {
            // With its date put back, as whoever hides it would.
            let dated = fs::metadata(page).unwrap().modified().unwrap();
            fs::write(page, "AS BUILT").unwrap();
            let file = fs::File::options().write(true).open(page).unwrap();
            file.set_modified(dated).unwrap();
        },
        "page.txt was edited",
    ),
    (
        |page| fs::remove_file(page).unwrap(),
        "page.txt was deleted",
    ),
    (
        |page| fs::write(page.with_file_name("more.txt"), "more").unwrap(),
        "more.txt was added",
    ),
];

#[test]
fn files_that_are_edited_deleted_or_added_are_shown_and_put_right_without_a_lost_request() {
    let ward = Ward::new();
    reads_a_page(&ward);
    ward.up();
    assert_eq!(answers(&ward), "as built");
    assert_eq!(plan(&ward), (Value::Array(Vec::new()), 0));
    let mut given_up = 0;
    for (deed, told) in DEEDS {
        let before = ids(&ward.healthy("web"));
        let load = Load::start(&ward.http(), HOST);
        eventually("it is asked", || load.asked() > 20);
        deed(&unpacked(&ward, "page.txt"));
        let text = ward.run(&["plan"]);
        assert_eq!(text.code(), 2, "{text:?}");
        let (words, stdout) = (
            "runs from files that are not its image's any more",
            text.stdout(),
        );
        assert!(stdout.contains(words) && stdout.contains(told), "{text:?}");
        let replaced = || {
            let now = ids(&ward.healthy("web"));
            now.len() == 2 && now.iter().all(|id| !before.contains(id))
        };
        assert!(poll(REPLACED_WITHIN, replaced), "{:#}", ward.status());
        let (_, failures) = load.end();
        // Whoever deletes what an application reads breaks it until it is replaced.
        if !told.contains("deleted") {
            assert!(failures.is_empty(), "{told}: {failures:?}");
        }
        assert_eq!(answers(&ward), "as built");
        let page = unpacked(&ward, "page.txt");
        assert_eq!(fs::read_to_string(&page).unwrap(), "as built");
        assert!(!page.with_file_name("more.txt").exists());
        given_up += 2;
        let events = ward.ok(&["events", "-n", "500"]);
        assert_eq!(
            events.matches("and is given up").count(),
            given_up,
            "{events}"
        );
        eventually("it is drift that was put right", || {
            let (drift, code) = plan(&ward);
            code == 0 && said(&drift, told).is_some_and(|(_, right)| right)
        });
    }
    ward.ok(&["audit", "verify"]);
}

/// What is done to the whole folder of an unpacked layer, and how it is told.
const WHOLE: [Deed; 3] = [
    (
        |layer| fs::remove_dir_all(layer).unwrap(),
        "a whole layer was removed",
    ),
    (
        |layer| {
            // To the very same files, somewhere else.
            let name = layer.file_name().unwrap();
            let elsewhere = layer.ancestors().nth(2).unwrap().join(name);
            fs::rename(layer, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, layer).unwrap();
        },
        "a symbolic link took the place of a whole layer",
    ),
    (
        |layer| {
            fs::remove_dir_all(layer).unwrap();
            fs::write(layer, "a file").unwrap();
        },
        "a file took the place of a whole layer",
    ),
];

/// Does this to the layer that a file is in.
fn do_to_layer(ward: &Ward, deed: fn(&Path)) {
    let page = unpacked(ward, "page.txt");
    let layers = ward.home().join("layers");
    let mut above = page.ancestors();
    deed(above.find(|path| path.parent() == Some(&layers)).unwrap());
}

#[test]
fn a_layer_that_is_no_folder_any_more_is_shown_and_put_right() {
    let ward = Ward::new();
    reads_a_page(&ward);
    ward.up();
    for (deed, told) in WHOLE {
        let before = ids(&ward.healthy("web"));
        do_to_layer(&ward, deed);
        let (drift, code) = plan(&ward);
        let right = said(&drift, told).map(|one| one.1);
        assert_eq!((right, code), (Some(false), 2), "{drift:#}");
        let replaced = || {
            let now = ids(&ward.healthy("web"));
            now.len() == 2 && now.iter().all(|id| !before.contains(id))
        };
        assert!(poll(REPLACED_WITHIN, replaced), "{:#}", ward.status());
        assert_eq!(answers(&ward), "as built");
        let events = ward.ok(&["events", "-n", "500"]);
        assert_eq!(events.matches(told).count(), 2, "{events}");
        // Whoever deploys before anybody looked gets it put right as well.
        do_to_layer(&ward, deed);
        ward.ok(&["config", "set", &format!("web.AFTER={told}")]);
        assert_eq!(answers(&ward), "as built");
        do_to_layer(&ward, deed);
        ward.ok(&["rollback"]);
        // Those that were kept ran from the layer that was gone first.
        let replaced = || {
            let now = ward.healthy("web");
            now.len() == 2 && now.iter().all(|one| one["drift"].is_null())
        };
        assert!(poll(REPLACED_WITHIN, replaced), "{:#}", ward.status());
        assert_eq!(answers(&ward), "as built");
    }
    ward.ok(&["audit", "verify"]);
}

/// `ward plan --output json` says the same.
#[test]
fn changed_files_are_in_the_plan_as_json_and_seen_without_being_asked_for() {
    let ward = Ward::new();
    reads_a_page(&ward);
    ward.up();
    let before = ids(&ward.healthy("web"));
    fs::write(unpacked(&ward, "page.txt"), "changed").unwrap();
    let (drift, code) = plan(&ward);
    assert_eq!(code, 2, "{drift:#}");
    let all = drift.as_array().unwrap();
    assert!(all.iter().all(|one| one["component"] == "web"), "{drift:#}");
    assert_eq!(
        said(&drift, "page.txt was edited").map(|one| one.1),
        Some(false)
    );
    let replaced = |before: &[String]| {
        let now = ids(&ward.healthy("web"));
        now.len() == 2 && now.iter().all(|id| !before.contains(id))
    };
    assert!(poll(REPLACED_WITHIN, || replaced(&before)));
    // Nobody asks now: within half a minute Ward looks by itself.
    let before = ids(&ward.healthy("web"));
    fs::write(unpacked(&ward, "page.txt"), "changed again").unwrap();
    let looked = Duration::from_secs(30) + REPLACED_WITHIN;
    assert!(poll(looked, || replaced(&before)));
    assert_eq!(answers(&ward), "as built");
}

/// A new date of change alone, as every file has in a state folder that was copied, is no drift.
#[test]
fn files_that_hold_what_they_did_are_no_drift() {
    let ward = Ward::new();
    reads_a_page(&ward);
    ward.up();
    let before = ids(&ward.healthy("web"));
    let page = unpacked(&ward, "page.txt");
    let changed = |page: &Path| {
        let of = fs::metadata(page).unwrap();
        (of.ctime(), of.ctime_nsec())
    };
    let was = changed(&page);
    let dated = fs::metadata(&page).unwrap().modified().unwrap();
    let file = fs::File::open(&page).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
    file.set_modified(dated).unwrap();
    assert_ne!(changed(&page), was);
    assert_eq!(plan(&ward), (Value::Array(Vec::new()), 0));
    assert_eq!(ids(&ward.healthy("web")), before);
    assert_eq!(
        unpacked(&ward, "page.txt"),
        page,
        "nothing was unpacked anew"
    );
}

#[test]
fn p4_files_that_were_changed_while_no_server_ran_are_put_right_by_the_next_one() {
    let ward = Ward::new();
    reads_a_page(&ward);
    ward.up();
    let before = ids(&ward.healthy("web"));
    fs::write(unpacked(&ward, "page.txt"), "changed").unwrap();
    assert_eq!(plan(&ward).1, 2);
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    let replaced = || {
        let now = ids(&ward.healthy("web"));
        now.len() == 2 && now.iter().all(|id| !before.contains(id))
    };
    assert!(poll(REPLACED_WITHIN, replaced), "{:#}", ward.status());
    assert_eq!(answers(&ward), "as built");
    ward.ok(&["audit", "verify"]);
}
