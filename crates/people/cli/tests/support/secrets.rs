//! A service that has secrets, and what it says of them.

use super::load::get;
use super::{ANSWERING, Ran, Ward, head, piped, python};

/// Where the service is.
pub const HOST: &str = "shop.localhost";

/// Writes the stack file of a service `web` that gets these secrets and answers what it is asked, and more lines.
pub fn stack(ward: &Ward, secrets: &str, more: &str) {
    ward.write("asked.py", include_str!("asked.py"));
    ward.write("answering.py", ANSWERING);
    let head = head("1s", &python(&["asked.py", "answering.py"]));
    let text = format!(
        r#"{head}route = {{ host = "{HOST}" }}
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
