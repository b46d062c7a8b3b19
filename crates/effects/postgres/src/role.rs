//! The roles that log in, and how one takes another's place.
//!
//! Decision: the application's database belongs to the role `app`. It is also the first that logs in; after that two
//! login roles take turns, which are members of it and act as it from their first statement on (`ALTER ROLE … SET
//! role`), so that whatever they make belongs to `app`. PostgreSQL has one password per role: this way two are valid
//! at once. PostgreSQL is told a password as the verifier that it would keep anyway (RFC 5803), so that none is in any
//! statement.

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ward_types::secret::Secret;
use ward_types::time::Timestamp;
use zeroize::Zeroizing;

use crate::error::Error;

/// The role that everything belongs to.
pub(crate) const OWNER: &str = "app";

/// PostgreSQL's own default (RFC 7677 names it as the least).
const ITERATIONS: u32 = 4096;

/// A role and its password.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The role that logs in.
    pub role: String,
    /// Its password.
    pub password: Secret,
}

/// The role that logs in with the password of this version; 0 is the first, before any rotation.
#[must_use]
pub fn role_of(version: u64) -> String {
    match version {
        0 => OWNER.to_owned(),
        odd if odd % 2 == 1 => format!("{OWNER}_1"),
        _ => format!("{OWNER}_2"),
    }
}

/// The statements that make a credential valid, all or none, and none behind `until`. Repeating them does no harm.
///
/// # Errors
/// [`Error::Random`].
pub fn admission(credential: &Credential, until: Timestamp) -> Result<String, Error> {
    let (role, verifier) = (&credential.role, verifier(&credential.password)?);
    let make = format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; \
         END IF; END $$;\n\
         GRANT {OWNER} TO {role};\n\
         ALTER ROLE {role} SET role = '{OWNER}';\n\
         ALTER ROLE {role} LOGIN INHERIT PASSWORD '{verifier}';\n"
    );
    Ok(in_time(&make, until))
}

/// The statements that make a role's password invalid, and end the sessions that it still has; none behind `until`.
/// Repeating them does no harm.
#[must_use]
pub fn withdrawal(role: &str, until: Timestamp) -> String {
    let invalid = in_time(
        &format!("ALTER ROLE {role} NOLOGIN PASSWORD NULL;\n"),
        until,
    );
    // Behind what makes it invalid: no session begins any more.
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{role}';\n"
    );
    format!("{invalid}{}", in_time(&end, until))
}

/// Statements that take effect together before a moment of the machine's clock, or not at all: whoever gave up waiting
/// for them knows that they do nothing later.
fn in_time(statements: &str, until: Timestamp) -> String {
    let (seconds, millis) = (until.0 / 1000, until.0 % 1000);
    let late = format!(
        "DO $$ BEGIN IF clock_timestamp() > to_timestamp({seconds}.{millis:03}) THEN RAISE 'too late'; END IF; END $$;\n"
    );
    format!("BEGIN;\n{late}{statements}{late}COMMIT;\n")
}

/// What PostgreSQL keeps of a password: `SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`. Passwords of letters,
/// digits, `-` and `_` need no preparation.
fn verifier(password: &Secret) -> Result<String, Error> {
    let mut salt = [0; 16];
    rand::fill(&mut salt).map_err(|_| Error::Random(std::io::ErrorKind::Other.into()))?;
    Ok(verifier_with(password, &salt))
}

fn verifier_with(password: &Secret, salt: &[u8]) -> String {
    let mut salted = Zeroizing::new([0; 32]);
    let iterations = std::num::NonZeroU32::new(ITERATIONS).unwrap_or(std::num::NonZeroU32::MIN);
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(
        algorithm,
        iterations,
        salt,
        password.expose().as_bytes(),
        &mut *salted,
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
    let client = hmac::sign(&key, b"Client Key");
    let stored = digest::digest(&digest::SHA256, client.as_ref());
    let server = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored.as_ref()),
        STANDARD.encode(server.as_ref())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3: from its keys come the proof and the signature that it shows.
    #[test]
    fn verifiers_are_those_of_the_specification() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = verifier_with(&Secret::new("pencil".to_owned()), &salt);
        let expected = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(verifier, expected);
    }

    #[test]
    fn roles_take_turns_and_no_statement_holds_a_password() {
        let roles: Vec<String> = (0..5).map(role_of).collect();
        assert_eq!(roles, ["app", "app_1", "app_2", "app_1", "app_2"]);
        let password = Secret::new("hunter2".to_owned());
        let (role, until) = (role_of(1), Timestamp(1_700_000_000_042));
        let statements = admission(&Credential { role, password }, until).unwrap();
        assert!(!statements.contains("hunter2"));
        assert_eq!(
            statements.matches("to_timestamp(1700000000.042)").count(),
            2
        );
    }
}
