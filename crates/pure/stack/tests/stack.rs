//! What a good file means, and that the reference page is the table.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is right"
)]

use std::path::Path;

use ward_stack::{Code, EXAMPLE, read, reference, too_large};
use ward_types::balance::{Affinity, Balance};
use ward_types::guard::{Concurrency, Guard, LimitBy, Rate, RateLimit};
use ward_types::id::Name;
use ward_types::route::{Audience, Forwarded, Https, Prefix, RouteSettings, StandardHeaders};
use ward_types::spec::{
    Amount, Analysis, Base, CanaryStep, CopyData, Deadlines, EgressSpec, EnvSpec, ImageSource,
    Inconclusive, Schema, Sticky, Strategy,
};
use ward_types::time::Millis;
use ward_types::unit::ByteSize;

fn resolve(text: &str, env: &str) -> EnvSpec {
    let reading = read("ward.toml", text);
    assert_eq!(reading.mistakes, []);
    let stack = reading.stack.expect("a file without mistakes is a stack");
    stack.resolve(&Name::parse(env).unwrap()).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

#[test]
fn the_example_is_taken_as_it_stands() {
    let stack = read("ward.toml", EXAMPLE).stack.unwrap();
    assert_eq!(stack.name.as_str(), "returns");
    assert_eq!(stack.environments, [name("dev"), name("prod")]);
    let dev = stack.resolve(&name("dev")).unwrap();
    let web = &dev.services[&name("web")];
    assert_eq!(dev.id.as_str(), "returns/dev");
    assert_eq!(dev.version, "1.0");
    assert_eq!(
        web.source,
        ImageSource::Cargo {
            package: "returns-web".to_owned()
        }
    );
    assert_eq!(web.port, Some(8080));
    let health = web.health.as_ref().unwrap();
    assert_eq!((health.interval, health.healthy), (Millis(200), 2));
    assert_eq!((health.timeout, health.unhealthy), (Millis::secs(2), 3));
    assert_eq!(web.instances, 2);
    assert_eq!(web.links, [name("db")]);
    let outside = EgressSpec {
        host: "api.example.com".to_owned(),
        port: 443,
    };
    assert_eq!(web.egress, [outside]);
    assert_eq!(web.env["RUST_LOG"], "info");
    assert_eq!(web.memory, Some(ByteSize(256 << 20)));
    assert_eq!(
        web.release.as_ref().unwrap().command,
        ["returns-web", "migrate"]
    );
    assert_eq!(web.release.as_ref().unwrap().timeout, Millis::secs(300));
    assert_eq!(web.routes[0].host.as_deref(), Some("returns.localhost"));
    let prod = stack.resolve(&name("prod")).unwrap();
    assert_eq!(prod.services[&name("web")].instances, 4);
    assert_eq!(prod.databases, dev.databases);
}

#[test]
fn the_example_application_is_a_stack() {
    let text = include_str!("../../../../examples/returns/ward.toml");
    assert_eq!(resolve(text, "dev").id.as_str(), "returns/dev");
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let spec = resolve(
        "stack = { name = 's', version = '0.1' }\n[service.w]\nimage = 'a:1'\n",
        "dev",
    );
    let service = &spec.services[&name("w")];
    assert_eq!(spec.keep_warm, Millis::secs(600));
    assert_eq!((service.instances, service.port), (1, None));
    assert_eq!(service.start_timeout, Millis::secs(60));
    assert_eq!(service.drain_timeout, Millis::secs(30));
    assert_eq!(service.long_drain_timeout, Some(Millis::secs(60)));
    assert_eq!(service.stop_timeout, Millis::secs(10));
    assert_eq!(
        (&service.health, &service.memory, &service.command),
        (&None, &None, &None)
    );
}

const ROUTES: &str = r#"
stack = { name = "s", version = "0.1" }
[service.api]
image = "a:1"
port = 80
health = "none"

[[service.api.route]]
host = "s.localhost"
path = "/api"
strip = true
https = "redirect"
allow = ["10.0.0.0/8", "::1"]
timeout = "1m"
idle_timeout = "30s"
response_timeout = "10s"
body_limit = "10MiB"
limit = { rate = "5/m", by = "header:x-key" }
forwarded = true
response_headers = { x-frame-options = "DENY", referrer-policy = "" }

[[service.api.route]]
host = "*.s.localhost"
header = { name = "X-Beta", value = "1" }
standard_headers = false

[[service.api.route]]
path = "/admin"
private = true

[service.web]
image = "a:1"
port = 80
health = "none"
route = { host = "s.localhost" }

[environment.dev]
[environment.prod]
service.web.route.host = "s.example.org"
service.api.route = { host = "api.example.org" }
"#;

#[test]
fn routes_are_a_table_or_a_list_of_tables() {
    let dev = resolve(ROUTES, "dev");
    let routes = &dev.services[&name("api")].routes;
    let [first, second, third] = routes.as_slice() else {
        panic!("{routes:#?}");
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        (&first.host, first.path.as_str()),
        (&text("s.localhost"), "/api")
    );
    let settings = &first.settings;
    assert_eq!(
        (settings.prefix, settings.https),
        (Prefix::Stripped, Https::Redirect)
    );
    let ranges: Vec<String> = settings.allow.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.0.0.0/8", "::1"]);
    assert_eq!(
        [
            settings.timeout,
            settings.idle_timeout,
            settings.response_timeout
        ],
        [60, 30, 10].map(|seconds| Some(Millis::secs(seconds)))
    );
    assert_eq!(settings.body_limit, Some(ByteSize(10 << 20)));
    let limit = RateLimit {
        rate: Rate::parse("5/m").unwrap(),
        burst: 5,
        by: LimitBy::Header("x-key".to_owned()),
    };
    assert_eq!(
        (&settings.limit, &second.settings.limit),
        (&Some(limit), &None)
    );
    assert_eq!(settings.standard_headers, StandardHeaders::Added);
    assert_eq!(settings.forwarded, Forwarded::Said);
    assert_eq!(second.settings.forwarded, Forwarded::Unsaid);
    assert_eq!(settings.headers["x-frame-options"], "DENY");
    assert_eq!(settings.headers["referrer-policy"], "");
    let header = second.header.as_ref().unwrap();
    assert_eq!(
        (header.name.as_str(), &header.value),
        ("x-beta", &text("1"))
    );
    assert_eq!(second.settings, RouteSettings::bare());
    assert_eq!(
        (&third.host, third.settings.audience),
        (&None, Audience::Links)
    );
    let web = &dev.services[&name("web")].routes;
    assert_eq!(web[0].settings, RouteSettings::default());
}

#[test]
fn an_environment_changes_a_route_or_replaces_the_list() {
    let prod = resolve(ROUTES, "prod");
    let hosts = |service: &str| -> Vec<String> {
        let routes = prod.services[&name(service)].routes.iter();
        routes.filter_map(|route| route.host.clone()).collect()
    };
    assert_eq!(hosts("web"), ["s.example.org"]);
    assert_eq!(hosts("api"), ["api.example.org"]);
}

#[test]
fn a_probe_is_of_its_path_ten_times_a_second_unless_it_says_otherwise() {
    let with = |probe: &str| {
        let text = format!(
            "stack = {{ name = 's', version = '0.1' }}\n[service.w]\nimage = 'a:1'\nport = 80\n\
             health = 'none'\ndeploy = {{ bake = '1m', analysis = {{ {probe} }} }}\n"
        );
        resolve(&text, "dev").services[&name("w")].probe.clone()
    };
    assert_eq!(with(""), None);
    let probe = with("probe = { path = '/x?y' }").unwrap();
    assert_eq!((probe.path.as_str(), probe.every), ("/x?y", Millis(100)));
    let probe = with("probe = { path = '/', every = '1m' }").unwrap();
    assert_eq!(probe.every, Millis::secs(60));
}

/// A release that was recorded before long connections had a budget of their own.
#[test]
fn long_connections_of_an_old_record_have_what_requests_have() {
    let spec = resolve(
        "stack = { name = 's', version = '0.1' }\n[service.w]\nimage = 'a:1'\n",
        "dev",
    );
    let mut service = spec.services[&name("w")].clone();
    assert_eq!(service.long_drain(), Millis::secs(60));
    service.long_drain_timeout = None;
    assert_eq!(service.long_drain(), Millis::secs(30));
}

#[test]
fn an_environment_overrides_any_value() {
    let text = format!(
        "{EXAMPLE}\
         stack.keep_warm = '1h'\n\
         database.db.memory = '1GiB'\n\
         service.web.health.interval = '5s'\n\
         service.web.env = {{ EXTRA = 'yes' }}\n\
         service.web.egress = []\n\
         service.web.build = {{ files = ['app'], run = ['app/run'], base = 'host' }}\n\
         service.worker.image = 'worker:2'\n"
    );
    let prod = resolve(&text, "prod");
    let web = &prod.services[&name("web")];
    assert_eq!(prod.keep_warm, Millis::secs(3600));
    assert_eq!(prod.databases[&name("db")].memory, Some(ByteSize(1 << 30)));
    let health = web.health.as_ref().unwrap();
    assert_eq!(
        (health.path.as_str(), health.interval),
        ("/healthz", Millis::secs(5))
    );
    assert_eq!(web.env.len(), 2);
    assert_eq!(web.egress, []);
    assert!(
        matches!(&web.source, ImageSource::Command { command, base: Base::Host, .. } if command.is_empty())
    );
    let reference = "worker:2".to_owned();
    assert_eq!(
        prod.services[&name("worker")].source,
        ImageSource::Image { reference }
    );
    let dev = resolve(&text, "dev");
    assert_eq!(dev.keep_warm, Millis::secs(600));
    assert_eq!(dev.services[&name("web")].env.len(), 1);
}

#[test]
fn health_none_opts_out_in_writing() {
    let text = EXAMPLE.replace("health = {", "health = \"none\" # {");
    assert_eq!(resolve(&text, "dev").services[&name("web")].health, None);
}

#[test]
fn deadlines_are_read_and_what_is_not_said_is_as_it_always_was() {
    let spec = |deadlines: &str| {
        let text = format!(
            "[stack]\nname = 's'\nversion = '0.1'\n{deadlines}\n[service.w]\nimage = 'a:1'\n"
        );
        resolve(&text, "dev").deadlines
    };
    assert_eq!(spec(""), Deadlines::default());
    assert_eq!(spec("deadlines = {}"), Deadlines::default());
    let queue = Deadlines {
        queue: Millis::secs(12 * 3600),
        ..Deadlines::default()
    };
    assert_eq!(spec("deadlines.queue = '12h'"), queue);
    let all = spec(
        "deadlines = { queue = '1s', database_start = '2s', database_stop = '6s', acknowledge = '3s', promote = '4s', revert = '5s' }",
    );
    let each = [
        all.queue,
        all.database_start,
        all.acknowledge,
        all.promote,
        all.revert,
        all.database_stop,
    ];
    assert_eq!(each, [1, 2, 3, 4, 5, 6].map(Millis::secs));
}

#[test]
fn what_a_release_command_does_to_the_schema_is_read() {
    let schema = |said: &str| {
        let text = format!(
            "stack = {{ name = 's', version = '0.1' }}\n[service.w]\nimage = 'a:1'\n\
             release = {{ command = ['migrate']{said} }}\n"
        );
        let spec = resolve(&text, "dev");
        spec.services[&name("w")].release.as_ref().unwrap().schema
    };
    assert_eq!(schema(""), Schema::Expand);
    let kinds = [
        Schema::None,
        Schema::Expand,
        Schema::Contract,
        Schema::Irreversible,
    ];
    for kind in kinds {
        assert_eq!(schema(&format!(", schema = '{}'", kind.as_str())), kind);
    }
}

#[test]
fn an_irreversible_command_is_no_mistake_where_the_switch_is_one() {
    let text = |deploy: &str| {
        format!(
            "stack = {{ name = 's', version = '0.1' }}\n[service.w]\nimage = 'a:1'\nport = 80\n\
             health = 'none'\n{deploy}\nrelease = {{ command = ['m'], schema = 'irreversible' }}\n"
        )
    };
    for deploy in ["", "deploy.strategy = 'blue_green'", "deploy.bake = '0s'"] {
        assert_eq!(read("ward.toml", &text(deploy)).mistakes, [], "{deploy}");
    }
}

fn deployed(deploy: &str, env: &str) -> Strategy {
    let text = format!(
        "stack = {{ name = 's', version = '0.1' }}\n[service.w]\nimage = 'a:1'\nport = 80\n\
         health = 'none'\n{deploy}\n"
    );
    resolve(&text, env).services[&name("w")].strategy.clone()
}

#[test]
fn strategies_are_read_with_their_defaults() {
    assert_eq!(deployed("", "dev"), Strategy::default());
    assert_eq!(deployed("deploy = {}", "dev"), Strategy::default());
    let baked = Strategy::BlueGreen {
        bake: Millis::secs(600),
    };
    assert_eq!(deployed("deploy.bake = '10m'", "dev"), baked);
    let rolling = |batch, surge| Strategy::Rolling { batch, surge };
    assert_eq!(
        deployed("[service.w.deploy]\nstrategy = 'rolling'", "dev"),
        rolling(Amount::Count(1), Amount::Count(1))
    );
    assert_eq!(
        deployed(
            "deploy = { strategy = 'rolling', batch = '25%', surge = 3 }",
            "dev"
        ),
        rolling(Amount::Percent(25), Amount::Count(3))
    );
}

fn analysed(deploy: &str) -> Option<Analysis> {
    let text = format!(
        "stack = {{ name = 's', version = '0.1' }}\n[service.w]\nimage = 'a:1'\nport = 80\n\
         health = 'none'\n{deploy}\n"
    );
    resolve(&text, "dev").services[&name("w")].analysis
}

#[test]
fn an_analysis_is_read_with_its_defaults() {
    let analysis = |requests, inconclusive| {
        Some(Analysis {
            requests,
            inconclusive,
        })
    };
    assert_eq!(analysed(""), None);
    assert_eq!(analysed("deploy.bake = '1m'"), None);
    let usual = analysis(50, Inconclusive::Rollback);
    assert_eq!(analysed("deploy.analysis = {}"), usual);
    let held = "deploy = { bake = '1m', analysis = { requests = 1000000, inconclusive = 'hold' } }";
    assert_eq!(analysed(held), analysis(1_000_000, Inconclusive::Hold));
    let promoted = format!("{CANARY}analysis = {{ requests = 1, inconclusive = 'promote' }}");
    assert_eq!(analysed(&promoted), analysis(1, Inconclusive::Promote));
}

const CANARY: &str = "[service.w.deploy]
strategy = 'canary'
bake = '1h'
steps = [{ weight = 10, hold = '2m' }, { weight = 50, hold = 'until_told' }]
sticky = { cookie = 'side' }
";

#[test]
fn a_canary_is_read_and_an_environment_replaces_it_whole() {
    let step = |weight, hold| CanaryStep { weight, hold };
    let canary = |sticky| Strategy::Canary {
        steps: vec![step(10, Some(Millis::secs(120))), step(50, None)],
        sticky,
        bake: Millis::secs(3600),
    };
    let by_cookie = canary(Some(Sticky::Cookie("side".to_owned())));
    assert_eq!(deployed(CANARY, "dev"), by_cookie);
    let header = CANARY.replace("cookie = 'side'", "header = 'X-Patient'");
    let by_header = canary(Some(Sticky::Header("X-Patient".to_owned())));
    assert_eq!(deployed(&header, "dev"), by_header);
    let alone = CANARY.replace("sticky", "#");
    assert_eq!(deployed(&alone, "dev"), canary(None));
    let listed = CANARY.replace("steps =", "#").replace("sticky", "#")
        + "[[service.w.deploy.steps]]\nweight = 10\nhold = '2m'\n\
           [[service.w.deploy.steps]]\nweight = 50\nhold = 'until_told'\n";
    assert_eq!(deployed(&listed, "dev"), canary(None));
    let prod = "[environment.dev]\n[environment.prod]\nservice.w.deploy.bake = '1s'\n";
    let text = format!("{CANARY}{prod}");
    let baked = Strategy::BlueGreen {
        bake: Millis::secs(1),
    };
    assert_eq!(deployed(&text, "prod"), baked);
    assert_eq!(deployed(&text, "dev"), by_cookie);
}

#[test]
fn files_of_other_editors_are_read() {
    for text in [
        EXAMPLE.replace('\n', "\r\n"),
        format!("\u{feff}{EXAMPLE}"),
        EXAMPLE.trim_end().to_owned(),
    ] {
        assert_eq!(resolve(&text, "prod").services[&name("web")].instances, 4);
        let slip = text.replace("instances", "instnaces");
        let mistake = &read("ward.toml", &slip).mistakes[0];
        assert_eq!(&slip[mistake.span.start..mistake.span.end], "instnaces");
    }
}

#[test]
fn a_file_of_the_largest_size_is_read_and_a_larger_one_is_not() {
    let padded = |size: usize| format!("{EXAMPLE}#{}", " ".repeat(size - EXAMPLE.len() - 1));
    assert!(
        read("ward.toml", &padded(ward_stack::MAX_BYTES))
            .stack
            .is_some()
    );
    let reading = read("ward.toml", &padded(ward_stack::MAX_BYTES + 1));
    assert_eq!(
        reading.mistakes,
        [too_large(ward_stack::MAX_BYTES as u64 + 1)]
    );
    assert_eq!(reading.mistakes[0].code, Code::TooLarge);
}

#[test]
fn the_reference_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/stack.md");
    if std::env::var_os("WARD_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, reference()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == reference(),
        "docs/stack.md is not what the table says; run this test with WARD_WRITE_DOCS=1 and commit the page"
    );
}

#[test]
fn limits_have_defaults_and_releases_from_before_they_could_be_set_have_the_same() {
    let stack = |more: &str| {
        let text = "[stack]\nname = \"s\"\nversion = \"1.0\"\n[service.web]\nimage = \"a:1\"\n";
        resolve(&format!("{text}{more}"), "dev")
    };
    let plain = stack("");
    let web = &plain.services[&name("web")];
    assert_eq!((web.processes, web.scratch), (4096, ByteSize(1 << 30)));
    let small = stack("processes = 16\nscratch = \"64MiB\"\n");
    let web = &small.services[&name("web")];
    assert_eq!((web.processes, web.scratch), (16, ByteSize(64 << 20)));

    let mut recorded = serde_json::to_value(&plain).unwrap();
    let web = recorded["services"]["web"].as_object_mut().unwrap();
    assert!(web.remove("processes").is_some() && web.remove("scratch").is_some());
    let read: EnvSpec = serde_json::from_value(recorded).unwrap();
    assert_eq!(read, plain);
}

#[test]
fn releases_overlap_where_they_take_requests_or_that_is_said_or_they_are_from_before() {
    let web = |more: &str| {
        let text = "[stack]\nname = \"s\"\nversion = \"1.0\"\n[service.web]\nimage = \"a:1\"\n";
        resolve(&format!("{text}{more}"), "dev")
    };
    let overlaps = |more: &str| web(more).services[&name("web")].overlap;
    let port = "port = 80\nhealth = \"none\"\n";
    assert!(!overlaps("") && overlaps("overlap = true\n"));
    assert!(overlaps(port) && !overlaps(&format!("{port}overlap = false\n")));

    let mut recorded = serde_json::to_value(web("")).unwrap();
    let before = recorded["services"]["web"].as_object_mut().unwrap();
    assert_eq!(before.remove("overlap"), Some(false.into()));
    let read: EnvSpec = serde_json::from_value(recorded).unwrap();
    assert!(read.services[&name("web")].overlap);
}

#[test]
fn what_builds_take_is_told_with_its_place_and_by_environment() {
    let text = r#"[stack]
name = "s"
version = "1.0"
[service.a]
build = { files = ["a.py", "static"], run = ["python3"], base = "host" }
[service.b]
build = { command = ["make", "it"], files = ["made"], run = ["./made"], base = "host" }
[service.c]
image = "c:1"
[environment.dev]
[environment.prod]
service.c.build = { cargo = "c" }
"#;
    let stack = read("ward.toml", text).stack.unwrap();
    let told = |inputs: &[ward_stack::Input]| -> Vec<String> {
        let place = |input: &ward_stack::Input| {
            let mistake = input.absent("it is not there", "something", ["a.pi", "other"]);
            let view = &ward_stack::views("ward.toml", text, std::slice::from_ref(&mistake))[0];
            let meant = mistake.did_you_mean.unwrap_or_default();
            format!(
                "{} {}:{} {} {meant}",
                view.code, view.line, view.column, view.text
            )
        };
        inputs.iter().map(place).collect()
    };
    let dev = [
        "W0503 5:20 \"a.py\" a.pi",
        "W0503 5:28 \"static\" ",
        "W0504 7:22 \"make\" ",
    ];
    assert_eq!(told(stack.inputs(&name("dev"))), dev);
    let prod = [&dev[..], &["W0501 12:29 \"c\" "]].concat();
    assert_eq!(told(stack.inputs(&name("prod"))), prod);
    assert_eq!(told(&stack.all_inputs()), prod);
    assert!(stack.inputs(&name("other")).is_empty());
}

#[test]
fn what_clients_may_take_is_read_and_without_a_word_it_is_anything() {
    let guard = |lines: &str| {
        let text = format!(
            "stack = {{ name = \"s\", version = \"1.0\" }}\n[service.web]\nimage = \"a:1\"\nport = 80\nhealth = \"none\"\n{lines}\n"
        );
        resolve(&text, "dev").services[&name("web")].guard.clone()
    };
    assert_eq!(guard(""), Guard::default());
    assert_eq!(guard("concurrency = \"unlimited\""), Guard::default());
    let limit = |text: &str, burst, by| RateLimit {
        rate: Rate::parse(text).unwrap(),
        burst,
        by,
    };
    let read = guard("concurrency = 8\nlimit = { rate = \"5/m\" }");
    assert_eq!(read.concurrency, Concurrency::PerInstance(8));
    assert_eq!(read.limit, Some(limit("5/m", 5, LimitBy::Address)));
    let read = guard(
        "concurrency = \"adaptive\"\nlimit = { rate = \"9/s\", burst = 2, by = \"header:x-key\" }",
    );
    assert_eq!(read.concurrency, Concurrency::Adaptive);
    let by = LimitBy::Header("x-key".to_owned());
    assert_eq!(read.limit, Some(limit("9/s", 2, by)));
}

#[test]
fn how_requests_are_placed_is_read_and_without_a_word_it_is_by_load() {
    let balance = |lines: &str| {
        let text = format!(
            "stack = {{ name = \"s\", version = \"1.0\" }}\n[service.web]\nimage = \"a:1\"\nport = 80\nhealth = \"none\"\n{lines}\n"
        );
        resolve(&text, "dev").services[&name("web")].balance.clone()
    };
    assert_eq!(balance(""), Balance::default());
    let cookie = "at".to_owned();
    let read = balance("affinity = { cookie = \"at\" }");
    assert_eq!(read.affinity, Some(Affinity { cookie }));
    assert_eq!(balance("hedge = \"50ms\"").hedge, Some(Millis(50)));
    assert_eq!(balance("retries = 0").retries, Some(0));
    assert_eq!(balance("retries = 2"), Balance::default());
}

#[test]
fn seeds_are_for_environments_that_say_so_and_rows_are_copied_where_that_is_written_down() {
    let text = "stack = { name = 's', version = '1.0' }
        [service.web]
        image = 'a:1'
        seed = { command = ['seed', '--small'] }
        [environment.dev]
        seed = true
        service.web.seed.timeout = '20s'
        [environment.prod]
        copy_data = 'allowed'
        [environment.qa]";
    let dev = resolve(text, "dev");
    let seed = dev.services[&name("web")].seed.clone().unwrap();
    assert_eq!(seed.command, ["seed", "--small"]);
    assert_eq!(seed.timeout, Millis::secs(20));
    assert_eq!((dev.seeded, dev.copy_data), (true, CopyData::Denied));
    let prod = resolve(text, "prod");
    assert_eq!((prod.seeded, prod.copy_data), (false, CopyData::Allowed));
    assert_eq!(
        prod.services[&name("web")].seed.as_ref().unwrap().timeout,
        Millis::secs(300)
    );
    let qa = resolve(text, "qa");
    assert_eq!((qa.seeded, qa.copy_data), (false, CopyData::Denied));
}

#[test]
fn what_an_environment_says_of_itself_is_checked_like_the_rest() {
    let wrong = |line: &str| {
        let text = format!(
            "stack = {{ name = 's', version = '1.0' }}\n[service.web]\nimage = 'a:1'\n[environment.dev]\n{line}\n"
        );
        let mistakes = read("ward.toml", &text).mistakes;
        assert_eq!(mistakes.len(), 1, "{line}: {mistakes:?}");
        let mistake = mistakes.into_iter().next().unwrap();
        (mistake.code, mistake.did_you_mean.unwrap_or_default())
    };
    assert_eq!(wrong("sed = true"), (Code::UnknownKey, "seed".to_owned()));
    assert_eq!(wrong("seed = 'yes'"), (Code::WrongType, "true".to_owned()));
    assert_eq!(
        wrong("copy_data = 'allow'"),
        (Code::BadChoice, "allowed".to_owned())
    );
    assert_eq!(wrong("servce = {}").1, "service");
    let outside = "copy_data = 'allowed'\nstack = { name = 's', version = '1.0' }\n[service.web]\nimage = 'a:1'\n";
    let mistakes = read("ward.toml", outside).mistakes;
    assert_eq!(mistakes[0].code, Code::UnknownKey);
    assert_eq!(
        mistakes[0].did_you_mean.as_deref(),
        Some("environment.NAME.copy_data")
    );
}
