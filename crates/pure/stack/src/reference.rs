//! The reference page, `docs/stack.md`, from the same table as the decoder.

use std::fmt::Write;

use crate::keys::{KEYS, Key, Need, Scope, children};
use crate::mistake::CODES;

/// A whole stack file, shown on the page and accepted by the tests.
pub const EXAMPLE: &str = r#"[stack]
name = "returns"
version = "1.0"                            # MAJOR.MINOR; Ward appends the build number: 1.0.7

[service.web]
build = { cargo = "returns-web" }          # a package of the Cargo workspace beside this file
port = 8080
health = { path = "/healthz", interval = "200ms", healthy = 2 }
instances = 2
links = ["db"]
egress = ["api.example.com:443"]
env = { RUST_LOG = "info" }
memory = "256MiB"
release = { command = ["returns-web", "migrate"] }
route = { host = "returns.localhost" }

[service.worker]
build = { cargo = "returns-worker" }
links = ["db"]

[database.db]
engine = "postgres"

[environment.dev]
[environment.prod]
service.web.instances = 4                  # an environment overrides any value
"#;

const OPENING: &str = "# The stack file

<!-- Generated from the table of keys in crates/pure/stack/src/keys.rs; change it there. -->

`ward.toml` describes what a team runs: services, databases, how they reach each other and what each
environment has of its own. It is TOML 1.1, at most 1 MiB. A file with any mistake changes nothing, and
all of its mistakes are shown in one run.
";

const OVERRIDES: &str = "## Overrides

Inside `[environment.NAME]` stand the same keys as outside, with the values that they have there:

- Tables are merged key by key, so `service.web.health.interval` leaves the rest of `health` as it is.
- Everything else is replaced, lists included.
- `build` and `deploy` are replaced whole, and a `build` replaces an `image` and the other way round.
- Nothing can be taken away, and no service or database can be added.
- `stack.name`, `stack.version` and `environment` are the same in all environments.

Commands that name no environment use `dev`.
";

const SUGGESTIONS: &str = "## Mistakes

Each mistake has a code that never changes its meaning.

| code | what it means | what to do |
| --- | --- | --- |
";

/// The reference page for every key and every mistake, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = format!("{OPENING}\n```toml\n{EXAMPLE}```\n");
    top(&mut page);
    for table in KEYS.iter().filter(|key| key.kind.is_table()) {
        section(&mut page, table);
    }
    page.push_str(&format!("\n{OVERRIDES}\n{SUGGESTIONS}"));
    for code in CODES {
        line(
            &mut page,
            &[&format!("`{code}`"), code.title(), code.advice()],
        );
    }
    page
}

/// The keys of the file itself that are no tables.
fn top(page: &mut String) {
    page.push_str("\n## The top of the file, and of each environment\n");
    page.push_str(COLUMNS);
    for key in children("").filter(|key| !key.kind.is_table()) {
        row(page, key);
    }
}

const COLUMNS: &str = "\n| key | value | required or default | meaning | example |\n| --- | --- | --- | --- | --- |\n";

/// A table of the file with the keys that it holds.
fn section(page: &mut String, table: &Key) {
    let keys: Vec<&Key> = children(table.path)
        .filter(|key| key.name() != "*")
        .collect();
    let named = children(table.path).find(|key| key.name() == "*");
    // A table that only holds tables of chosen names is described with these.
    if keys.is_empty() && named.is_some_and(|named| named.kind.is_table()) {
        return;
    }
    let parent = KEYS.iter().find(|key| key.path == table.parent());
    let _ = write!(page, "\n## `{}`\n\n", shown(table.path));
    for about in parent
        .filter(|_| table.name() == "*")
        .into_iter()
        .chain([table])
    {
        let _ = writeln!(page, "{}", about.about);
    }
    let _ = writeln!(
        page,
        "\nExample: `{} = {}`",
        shown(table.path),
        table.example
    );
    let rows: Vec<&Key> = keys.into_iter().chain(named).collect();
    if !rows.is_empty() {
        page.push_str(COLUMNS);
    }
    for key in rows {
        row(page, key);
    }
}

fn row(page: &mut String, key: &Key) {
    let name = shown(key.name());
    let fixed = match key.scope {
        Scope::Stack => " The same in all environments.",
        Scope::Everywhere => "",
    };
    let strategies: Vec<String> = key
        .strategies
        .iter()
        .map(|one| format!("`{one}`"))
        .collect();
    let only = match strategies.is_empty() {
        true => String::new(),
        false => format!(" Only of {}.", strategies.join(" and ")),
    };
    line(
        page,
        &[
            &format!("`{name}`"),
            &key.kind.describe(),
            &need(key.need),
            &format!("{}{only}{fixed}", key.about),
            &format!("`{name} = {}`", key.example),
        ],
    );
}

fn need(need: Need) -> String {
    match need {
        Need::Required => "required".to_owned(),
        Need::RequiredIn(place) => format!("required in {place}"),
        Need::Optional => "optional".to_owned(),
        Need::Default(value) => format!("`{value}`"),
    }
}

/// A path as it stands in a file, the chosen names in capitals.
fn shown(path: &str) -> String {
    path.replace('*', "NAME")
}

fn line(page: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}
