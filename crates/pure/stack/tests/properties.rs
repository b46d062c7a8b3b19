//! Whatever the text, reading it ends well: no panic, every place inside of the text, and a stack only
//! from a text without a mistake.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is right"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use ward_stack::{EXAMPLE, KEYS, Look, Reading, Span, read, render, views};
use ward_types::id::Name;
use ward_types::spec::{EnvSpec, ImageSource};

fn holds(text: &str) -> Reading {
    let reading = read("ward.toml", text);
    assert_eq!(reading.stack.is_none(), !reading.mistakes.is_empty());
    for mistake in &reading.mistakes {
        let labels = mistake.labels.iter().map(|label| label.span);
        for Span { start, end } in labels.chain([mistake.span]) {
            assert!(
                text.get(start..end).is_some(),
                "{start}..{end} of {text:?}: {mistake:?}"
            );
        }
        assert!(!mistake.message.contains(char::is_control), "{mistake:?}");
    }
    let places: Vec<usize> = reading
        .mistakes
        .iter()
        .map(|mistake| mistake.span.start)
        .collect();
    assert!(places.is_sorted());
    let shown = render("ward.toml", text, &reading.mistakes, Look::Plain, 80);
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!shown.contains(steers), "{shown:?}");
    assert!(!shown.contains("Failed to read contents"), "{shown}");
    assert_eq!(
        views("ward.toml", text, &reading.mistakes).len(),
        reading.mistakes.len()
    );
    reading
}

#[test]
fn no_suggestion_steers_a_terminal() {
    holds("[service.web]\nlinks = \"\u{80}\"\n");
}

/// Pieces of stack files, so that arbitrary sequences of them get further than arbitrary characters.
fn piece() -> impl Strategy<Value = String> {
    let mut words: Vec<String> = KEYS
        .iter()
        .flat_map(|key| {
            let path = key.path.replace('*', "web");
            [
                format!("{} = {}", key.name(), key.example),
                format!("[{path}]"),
                path,
                key.example.to_owned(),
            ]
        })
        .collect();
    words.extend(
        [
            "=",
            "\n",
            "\n\n",
            "[",
            "]",
            "{",
            "}",
            "\"",
            ",",
            ".",
            "#",
            "é",
            "\u{0}",
            "\r\n",
            " ",
            "environment.prod",
            "'''",
            "\"\"\"",
        ]
        .map(str::to_owned),
    );
    proptest::sample::select(words)
}

/// Any TOML value.
fn value() -> impl Strategy<Value = toml::Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(toml::Value::Integer),
        any::<bool>().prop_map(toml::Value::Boolean),
        ".{0,12}".prop_map(toml::Value::String),
        proptest::sample::select(vec![
            "1s", "db", "web", "none", "/x", "a:1", "256MiB", "x.de:1"
        ])
        .prop_map(|text| toml::Value::String(text.to_owned())),
        Just(toml::Value::Float(1.0)),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let mut names: Vec<&str> = KEYS.iter().map(|key| key.name()).collect();
        names.extend(["web", "api", "db", "dev"]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(toml::Value::Array),
            proptest::collection::btree_map(proptest::sample::select(names), inner, 0..6).prop_map(
                |map| toml::Value::Table(
                    map.into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect()
                )
            ),
        ]
    })
}

fn table() -> impl Strategy<Value = toml::Table> {
    let names = ["stack", "service", "database", "environment", "servce"];
    proptest::collection::btree_map(proptest::sample::select(names.to_vec()), value(), 0..5)
        .prop_map(|map| {
            map.into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_to_the_end(text in "(?s).{0,200}") {
        holds(&text);
    }

    #[test]
    fn any_pieces_of_a_stack_file_are_read_to_the_end(pieces in proptest::collection::vec(piece(), 0..30)) {
        holds(&pieces.concat());
        holds(&pieces.join("\n"));
    }

    #[test]
    fn any_toml_is_read_to_the_end(table in table()) {
        holds(&toml::to_string(&table).unwrap());
    }

    #[test]
    fn the_example_with_any_cut_is_read_to_the_end(start in 0..EXAMPLE.len(), length in 0..40usize, patch in ".{0,6}") {
        let end = (start + length).min(EXAMPLE.len());
        if EXAMPLE.is_char_boundary(start) && EXAMPLE.is_char_boundary(end) {
            holds(&format!("{}{patch}{}", &EXAMPLE[..start], &EXAMPLE[end..]));
        }
    }

    #[test]
    fn a_valid_stack_means_what_it_says(wanted in wanted()) {
        let text = written(&wanted);
        let reading = holds(&text);
        prop_assert_eq!(&reading.mistakes, &Vec::new(), "{}", text);
        let stack = reading.stack.unwrap();
        for (env, scale) in &wanted.environments {
            let spec = stack.resolve(&Name::parse(env).unwrap()).unwrap();
            compare(&wanted, scale, &spec);
        }
    }
}

#[derive(Debug, Clone)]
struct Service {
    instances: u32,
    port: Option<u16>,
    healthy: Option<u32>,
    linked: bool,
    memory: Option<u32>,
    stop: Option<u32>,
    env: BTreeMap<String, String>,
    command: Vec<String>,
}

#[derive(Debug, Clone)]
struct Wanted {
    services: BTreeMap<String, Service>,
    environments: BTreeMap<String, BTreeMap<String, u32>>,
}

prop_compose! {
    fn service()(
        instances in 0..=100u32,
        port in proptest::option::of(1..=u16::MAX),
        healthy in proptest::option::of(1..=100u32),
        linked in any::<bool>(),
        memory in proptest::option::of(4..100_000u32),
        stop in proptest::option::of(0..=3600u32),
        env in proptest::collection::btree_map("[A-OQ-V_][A-Z0-9_]{0,8}", "[^\u{0}]{0,20}", 0..4),
        command in proptest::collection::vec("[a-z][^\u{0}]{0,8}", 0..4),
    ) -> Service {
        Service { instances, port, healthy, linked, memory, stop, env, command }
    }
}

prop_compose! {
    fn wanted()(
        services in proptest::collection::btree_map("s[a-z]{0,8}", service(), 1..6),
        names in proptest::collection::btree_set("e[a-z]{0,8}", 1..4),
        scales in proptest::collection::vec(proptest::option::of(0..=100u32), 24),
    ) -> Wanted {
        let mut scales = scales.into_iter();
        let environments = names.into_iter().map(|env| {
            let scale = services.keys().filter_map(|service| Some((service.clone(), scales.next()??)));
            (env, scale.collect())
        });
        Wanted { environments: environments.collect(), services: services.clone() }
    }
}

/// The file, written by hand and not by the reader's own code.
fn written(wanted: &Wanted) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text =
        "[stack]\nname = 'generated'\nversion = '3.14'\n[database.db]\nengine = 'postgres'\n"
            .to_owned();
    for (name, service) in &wanted.services {
        text += &format!(
            "[service.{name}]\nimage = 'example.com/a/{name}:1'\ninstances = {}\n",
            service.instances
        );
        if let Some(port) = service.port {
            let healthy = service
                .healthy
                .map_or(String::new(), |healthy| format!(", healthy = {healthy}"));
            text += &format!(
                "port = {port}\nhealth = {{ path = '/h'{healthy} }}\nroute.host = '{name}.localhost'\n"
            );
        }
        if service.linked {
            text += "links = ['db']\n";
        }
        if let Some(memory) = service.memory {
            text += &format!("memory = '{memory}MiB'\n");
        }
        if let Some(stop) = service.stop {
            text += &format!("stop_timeout = '{stop}s'\n");
        }
        if !service.command.is_empty() {
            let words: Vec<String> = service.command.iter().map(|word| quoted(word)).collect();
            text += &format!("command = [{}]\n", words.join(", "));
        }
        for (name, value) in &service.env {
            text += &format!("env.{name} = {}\n", quoted(value));
        }
    }
    for (env, scale) in &wanted.environments {
        text += &format!("[environment.{env}]\n");
        for (service, instances) in scale {
            text += &format!("service.{service}.instances = {instances}\n");
        }
    }
    text
}

fn compare(wanted: &Wanted, scale: &BTreeMap<String, u32>, spec: &EnvSpec) {
    assert_eq!(spec.version, "3.14");
    assert_eq!(spec.services.len(), wanted.services.len());
    for (name, service) in &wanted.services {
        let got = &spec.services[&Name::parse(name).unwrap()];
        let reference = format!("example.com/a/{name}:1");
        assert_eq!(got.source, ImageSource::Image { reference });
        assert_eq!(
            got.instances,
            scale.get(name).copied().unwrap_or(service.instances)
        );
        assert_eq!(got.port, service.port);
        assert_eq!(got.routes.len(), usize::from(service.port.is_some()));
        let healthy = service.port.map(|_| service.healthy.unwrap_or(2));
        assert_eq!(got.health.as_ref().map(|health| health.healthy), healthy);
        assert_eq!(got.links.len(), usize::from(service.linked));
        assert_eq!(
            got.memory.map(|size| size.0),
            service.memory.map(|mib| u64::from(mib) << 20)
        );
        assert_eq!(
            got.stop_timeout.0,
            u64::from(service.stop.unwrap_or(10)) * 1000
        );
        assert_eq!(got.env, service.env);
        let command = (!service.command.is_empty()).then(|| service.command.clone());
        assert_eq!(got.command, command);
    }
}

#[test]
fn a_hostile_file_is_read_to_the_end() {
    let size = ward_stack::MAX_BYTES / 4;
    let fill = |piece: &str| piece.repeat(size / piece.len());
    let numbered = |line: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for n in 0.. {
            let line = line(n);
            if text.len() + line.len() > size {
                return text;
            }
            text += &line;
        }
        text
    };
    let hostile = [
        fill("a"),
        fill("a."),
        fill("["),
        fill("{a="),
        fill("a\n"),
        fill("\n"),
        fill("a=1\n"),
        fill("[a]\n"),
        fill("[[a]]\n"),
        fill("a=b\n"),
        numbered(&|n| format!("k{n}=1\n")),
        numbered(&|n| format!("[service.s{n}]\n")),
        numbered(&|n| format!("[environment.e{n}]\nservice.s{n}.port = 1\n")),
        numbered(&|n| {
            if n < 450 {
                format!("[service.s{n}]\nimage='a:1'\nport=1\nhealth='none'\n")
            } else if n < 550 {
                format!("[environment.e{n}]\n")
            } else {
                format!("service.s{}.links=['s{}','t{n}']\n", n % 450, n % 7)
            }
        }),
        format!(
            "stack={{name='s',version='1.0'}}\n[service.web]\nimage='a:1'\nlinks=[{}]\n",
            numbered(&|n| format!("'l{n}',")).split_at(size - 200).0
        ),
    ];
    // Each takes a second or so in a debug build; what this is about would take hours.
    for text in hostile {
        holds(&text);
    }
}
