//! A service that has secrets, and what it says of them.

use super::load::get;
use super::{Ran, Ward, piped};

/// Where the service is.
pub const HOST: &str = "shop.localhost";

/// Writes the stack file of a service `web` that gets these secrets and answers what it is asked, and more lines.
pub fn stack(ward: &Ward, secrets: &str, more: &str) {
    ward.write("asked.py", include_str!("asked.py"));
    let text = format!(
        r#"
[stack]
name = "shop"
version = "1.0"
keep_warm = "1s"

[service.web]
build = {{ files = ["asked.py"], run = ["python3", "-u", "asked.py"], base = "host" }}
port = 8000
health = {{ path = "/healthz", interval = "50ms", healthy = 2 }}
route = {{ host = "{HOST}" }}
secrets = {{ {secrets} }}
{more}
"#
    );
    ward.write("ward.toml", &text);
}

/// Gives a secret of `shop/dev` this value.
pub fn set(ward: &Ward, name: &str, value: &str) -> Ran {
    let ran = piped(ward, &["secret", "set", name, "--env", "shop/dev"], value);
    assert_eq!(ran.code(), 0, "{ran:?}");
    ran
}

/// What the service answers.
pub fn asked(ward: &Ward, path: &str) -> String {
    get(&ward.http(), HOST, path).unwrap().body
}
