//! What is planted and looked for, and a database's password that is changed under load: two tests of the command line
//! do that, on the real thing, and say what they counted. They are run here, so that there is one list of the forms that
//! a secret can take and one of the places where it is looked for.

use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Error, doing};
use crate::measure::Measured;
use crate::report::{Bar, informs};

pub(super) const FOUND: Bar = Bar {
    name: "environments: places where one of 50 planted secrets is found",
    unit: "places",
    most: 0.0,
};
pub(super) const FAILED: Bar = Bar {
    name: "environments: requests failed while a database's password is rotated",
    unit: "requests",
    most: 0.0,
};

/// What a test says before it judges.
const SAYS: &str = "measured:";

pub(super) async fn measure() -> Measured {
    let planted = counts("planted", "p6_fifty_planted_secrets_are_found_nowhere").await?;
    let rotated = counts(
        "rotation",
        "a_databases_password_is_rotated_under_load_and_no_request_fails",
    )
    .await?;
    let rows = vec![
        FOUND.row(planted.bad),
        informs(
            "environments: files, outputs and processes looked through",
            planted.of,
            "places",
        ),
        FAILED.row(rotated.bad),
        informs(
            "environments: requests during three rotations",
            rotated.of,
            "requests",
        ),
    ];
    let note = "50 secrets in plain text, base64, base32, hexadecimal with and without separators, URLs, JSON and in pieces, \
                looked for in state, logs, events, images, plans, what commands print, and the arguments and variables \
                of processes; three rotations of a PostgreSQL password while each request is a new session of the \
                database. Both are tests of ward-cli, run with this build.";
    Ok((rows, vec![note.to_owned()]))
}

/// What a test counted.
#[derive(Debug, PartialEq)]
struct Counted {
    bad: f64,
    of: f64,
}

/// Runs a test of ward-cli. One that fails has counted all the same, unless it did not come so far.
async fn counts(file: &str, test: &str) -> Result<Counted, Error> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "test",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "ward-cli",
    ]);
    cargo.args(["--test", file, "--", "--exact", test, "--nocapture"]);
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = doing(format!("run the test {test}"), cargo.output().await)?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    read(&said).ok_or_else(|| Error::Command {
        line: format!("cargo test --release --package ward-cli --test {file} {test}"),
        how: output.status.to_string(),
        output: said.into_owned(),
    })
}

/// `measured: 0 of 213 …`.
fn read(said: &str) -> Option<Counted> {
    let line = said.lines().find_map(|line| line.split_once(SAYS))?.1;
    let mut words = line.split_whitespace();
    let bad = words.next()?.parse().ok()?;
    let of = words.nth(1)?.parse().ok()?;
    Some(Counted { bad, of })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_counted_is_read_from_among_its_words() {
        let said = "running 1 test\nmeasured: 2 of 213 places hold a secret\ntest result: FAILED";
        assert_eq!(
            read(said),
            Some(Counted {
                bad: 2.0,
                of: 213.0
            })
        );
        assert_eq!(read("running 0 tests"), None);
    }
}
