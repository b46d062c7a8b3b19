//! Every key of the table is accepted with its example, found when misspelt, and on the reference page.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is right"
)]

use toml::{Table, Value};
use ward_stack::{Code, KEYS, Key, Kind, Mistake, Need, Scope, read, reference};

/// The smallest stack in which the key can stand.
fn around(key: &Key) -> Table {
    let service = match key.path {
        path if path.starts_with("service.*.build.files")
            || path.starts_with("service.*.build.run")
            || path.starts_with("service.*.build.base")
            || path.starts_with("service.*.build.command") =>
        {
            "build = { files = ['app'], run = ['app'], base = 'host' }\nport = 80"
        }
        path if path.starts_with("secret") => {
            "image = 'a:1'\nport = 80\nsecrets = { SOME = 'env', API_KEY = 'env' }"
        }
        path if path.starts_with("volume") || path.starts_with("service.*.volumes") => {
            "image = 'a:1'\nport = 80\nvolumes = { uploads = '/data' }"
        }
        path if path.starts_with("service.*.build.") => "build = {}\nport = 80",
        "service.*.build" => "port = 80",
        "service.*.deploy.batch" | "service.*.deploy.surge" => {
            "image = 'a:1'\nport = 80\ndeploy = { strategy = 'rolling' }"
        }
        "service.*.deploy.analysis.probe.every" => {
            "image = 'a:1'\nport = 80\ndeploy = { analysis = { probe = { path = '/' } } }"
        }
        "service.*.deploy.steps" => "image = 'a:1'\nport = 80\ndeploy = { strategy = 'canary' }",
        path if path.starts_with("service.*.deploy.st") && path != "service.*.deploy.strategy" => {
            "image = 'a:1'\nport = 80\n\
             deploy = { strategy = 'canary', steps = [{ weight = 1, hold = '1s' }] }"
        }
        "service.*.limit.burst" | "service.*.limit.by" => {
            "image = 'a:1'\nport = 80\nlimit = { rate = '1/s' }"
        }
        "service.*.route.limit.burst" | "service.*.route.limit.by" => {
            "image = 'a:1'\nport = 80\nroute = { host = 'a.localhost', limit = { rate = '1/s' } }"
        }
        "service.*.release.timeout" | "service.*.release.schema" => {
            "image = 'a:1'\nport = 80\nrelease = { command = ['a'] }"
        }
        "service.*.seed.timeout" => "image = 'a:1'\nport = 80\nseed = { command = ['a'] }",
        "service.*.route.host" => "image = 'a:1'\nport = 80",
        path if path.starts_with("service.*.route.header.") => {
            "image = 'a:1'\nport = 80\nroute = { host = 'a.localhost', header = { name = 'x' } }"
        }
        "service.*.route.tls.certificate" | "service.*.route.tls.key" => {
            "image = 'a:1'\nport = 80\n\
             route = { host = 'a.localhost', tls = { certificate = '/a.pem', key = '/a.key' } }"
        }
        "service.*.route.tls.acme" => "image = 'a:1'\nport = 80\nroute = { host = 'a.example' }",
        path if path.starts_with("service.*.route.") => {
            "image = 'a:1'\nport = 80\nroute = { host = 'a.localhost', path = '/a' }"
        }
        "service.*.port" => "image = 'a:1'",
        _ => "image = 'a:1'\nport = 80",
    };
    let health = match key.path {
        path if path.starts_with("service.*.health.") => "health = { path = '/' }",
        _ => "health = 'none'",
    };
    let secrets = match key.path {
        path if path.starts_with("secret") => "[secret.SOME]\n[secret.API_KEY]\n",
        path if path.starts_with("volume") || path.starts_with("service.*.volumes") => {
            "[volume.uploads]\nsize = '1GiB'\n"
        }
        "database.*.backups.keep" => "backups = { every = '1d' }\n",
        _ => "",
    };
    let pipelines = match key.path {
        "pipeline.*.gate.*.approve.by" => {
            "[environment.qa]\n[environment.prod]\n[role.qa-lead]\npeople = ['anna']\n\
             [pipeline.delivery]\nstages = ['qa']\ngate.qa.approve.role = 'qa-lead'\n"
        }
        path if path.starts_with("job") => {
            "[service.worker]\nimage = 'a:1'\n[job.close-month]\nservice = 'worker'\ncommand = ['a']\n\
             schedule = '0 2 1 * *'\n"
        }
        path if path.starts_with("pipeline") || path.starts_with("role") => {
            "[environment.qa]\n[environment.prod]\n[role.qa-lead]\npeople = ['anna']\n\
             [pipeline.delivery]\nstages = ['qa']\n"
        }
        _ => "",
    };
    let text = format!(
        "stack = {{ name = 's', version = '1.0' }}\n[service.web]\n{service}\n{health}\n\
         [service.api]\nimage = 'a:1'\n[database.db]\nengine = 'postgres'\n{secrets}[environment.dev]\n{pipelines}"
    );
    text.parse().unwrap()
}

fn example(key: &Key) -> Value {
    let mut table: Table = format!("x = {}", key.example).parse().unwrap();
    table.remove("x").unwrap()
}

/// The names for the stars of a path.
fn parts(key: &Key) -> Vec<&'static str> {
    let mut parts: Vec<&str> = key.path.split('.').collect();
    for at in 1..parts.len() {
        if parts[at] == "*" {
            parts[at] = match parts[at - 1] {
                "service" => "web",
                "database" => "db",
                "volume" | "volumes" => "uploads",
                "environment" => "dev",
                "pipeline" => "delivery",
                "job" => "close-month",
                "gate" => "qa",
                "role" => "qa-lead",
                "response_headers" => "x-some",
                _ => "SOME",
            };
        }
    }
    parts
}

fn holder<'a>(table: &'a mut Table, parts: &[&str]) -> &'a mut Table {
    let mut at = table;
    for part in parts {
        // Of a list of tables the first.
        if at.get(*part).is_some_and(|value| value.is_array()) {
            let first = at.get_mut(*part).and_then(|list| list.get_mut(0));
            at = first.unwrap().as_table_mut().unwrap();
            continue;
        }
        let next = at
            .entry(*part)
            .or_insert_with(|| Value::Table(Table::new()));
        if !next.is_table() {
            *next = Value::Table(Table::new());
        }
        at = next.as_table_mut().unwrap();
    }
    at
}

fn with(key: &Key, name: &str) -> (String, Vec<Mistake>) {
    let mut table = around(key);
    let parts = parts(key);
    let (_, above) = parts.split_last().unwrap();
    holder(&mut table, above).insert(name.to_owned(), example(key));
    let text = toml::to_string(&table).unwrap();
    let mistakes = read("ward.toml", &text).mistakes;
    (text, mistakes)
}

#[test]
fn every_key_is_accepted_with_its_example() {
    for key in KEYS {
        let (text, mistakes) = with(key, parts(key).last().unwrap());
        assert_eq!(mistakes, [], "{}:\n{text}", key.path);
    }
}

#[test]
fn every_key_but_those_of_the_stack_can_be_overridden() {
    for key in KEYS.iter().filter(|key| key.path.contains('.')) {
        let mut table = around(key);
        let mut path = vec!["environment", "dev"];
        path.extend(parts(key));
        let (last, above) = path.split_last().unwrap();
        for whole in ["build", "deploy"] {
            let given = table["service"]["web"].get(whole).cloned();
            // It is replaced whole, so a part of it cannot stand alone.
            if let Some(given) = given
                && key.path.starts_with(&format!("service.*.{whole}."))
            {
                let web = holder(&mut table, &["environment", "dev", "service", "web"]);
                web.insert(whole.to_owned(), given);
            }
        }
        holder(&mut table, above).insert((*last).to_owned(), example(key));
        let text = toml::to_string(&table).unwrap();
        let mistakes = read("ward.toml", &text).mistakes;
        match key.scope {
            // An environment's own keys stand in no other one.
            Scope::Everywhere if key.path.starts_with("environment.*.") => {
                assert_eq!(mistakes[0].code, Code::NotOverridable, "{}", key.path);
            }
            Scope::Everywhere => assert_eq!(mistakes, [], "{}:\n{text}", key.path),
            Scope::Stack => {
                assert_eq!(
                    mistakes[0].code,
                    Code::NotOverridable,
                    "{}:\n{text}",
                    key.path
                );
            }
        }
    }
}

fn misspellings(name: &str) -> [String; 3] {
    let (first, rest) = name.split_at(1);
    let (second, others) = rest.split_at(1);
    [
        format!("{name}{}", &name[name.len() - 1..]),
        format!("{second}{first}{others}"),
        name.to_uppercase(),
    ]
}

#[test]
fn every_misspelt_key_is_found_and_suggested() {
    for key in KEYS.iter().filter(|key| key.name() != "*") {
        for wrong in misspellings(key.name()) {
            let (text, mistakes) = with(key, &wrong);
            let found = mistakes
                .iter()
                .find(|mistake| mistake.code == Code::UnknownKey);
            let meant = found.and_then(|mistake| mistake.did_you_mean.as_deref());
            assert_eq!(meant, Some(key.name()), "{wrong}:\n{text}");
        }
    }
}

#[test]
fn the_words_of_other_tools_lead_to_the_key() {
    for key in KEYS.iter().filter(|key| key.name() != "*") {
        for word in key.also {
            let (text, mistakes) = with(key, word);
            let found = mistakes
                .iter()
                .find(|mistake| mistake.code == Code::UnknownKey);
            assert!(
                found.is_some_and(|mistake| mistake.did_you_mean.is_some()),
                "{word}:\n{text}"
            );
        }
    }
}

#[test]
fn a_value_of_another_type_is_refused_for_every_key() {
    for key in KEYS {
        let wrong = Value::Array(vec![Value::Boolean(true)]);
        let mut table = around(key);
        let parts = parts(key);
        let (last, above) = parts.split_last().unwrap();
        holder(&mut table, above).insert((*last).to_owned(), wrong);
        let mistakes = read("ward.toml", &toml::to_string(&table).unwrap()).mistakes;
        let found = mistakes
            .iter()
            .any(|mistake| mistake.code == Code::WrongType);
        assert!(found, "{}: {mistakes:?}", key.path);
    }
}

#[test]
fn every_default_is_a_value_that_the_key_takes() {
    for key in KEYS {
        if let Need::Default(default) = key.need {
            let given = Key {
                example: default,
                ..*key
            };
            let (text, mistakes) = with(&given, parts(key).last().unwrap());
            assert_eq!(mistakes, [], "{}:\n{text}", key.path);
        }
    }
}

#[test]
fn values_outside_of_their_range_are_refused_for_every_key_that_has_one() {
    for key in KEYS {
        if let Kind::Count { least, most, port } = key.kind {
            for (value, good) in [
                (least - 1, false),
                (least, true),
                (most, true),
                (most + 1, false),
            ] {
                let written = value.to_string().leak();
                let (text, mistakes) = with(
                    &Key {
                        example: written,
                        ..*key
                    },
                    parts(key).last().unwrap(),
                );
                let code = if port {
                    Code::BadPort
                } else {
                    Code::OutOfRange
                };
                let refused = mistakes.iter().any(|mistake| mistake.code == code);
                assert_eq!(refused, !good, "{}:\n{text}", key.path);
            }
        }
    }
}

#[test]
fn every_key_is_on_the_reference_page() {
    let page = reference();
    for key in KEYS.iter().filter(|key| key.name() != "*") {
        assert!(page.contains(key.about), "{}", key.path);
        let shown = format!("`{}`", key.name());
        let heading = format!("## `{}", key.path);
        assert!(
            page.contains(&shown) || page.contains(&heading),
            "{}",
            key.path
        );
    }
}
