//! Webhooks: what they prove themselves with, and what they lead to.
//!
//! Decision: what can be refused by its head is refused then, and what is signed is held against its body as that comes in,
//! so that nothing of a stranger's is kept. A source's secret is opened once. A source that is not there is treated like one
//! that is, to the end, so that nobody learns the names of sources.

use aws_lc_rs::{constant_time, hmac};
use ward_store::Log;
use ward_types::id::Name;
use ward_types::secret::Secret;

use super::tokens::webhook_label;
use super::watched::Watched;
use crate::actor::{Refusal, RefusalKind, causes};
use crate::clock::now;
use crate::control::Control;

/// What a webhook proves itself with.
#[derive(Debug, Clone)]
pub enum Proof {
    /// `X-Hub-Signature-256: sha256=…`, as GitHub, Gitea and Forgejo send it: HMAC-SHA-256 of the body.
    Signature(String),
    /// `X-Gitlab-Token: …`, as GitLab sends it: the secret itself.
    Token(Secret),
}

/// A webhook whose body is still to come.
pub struct Hook {
    /// The source that takes it; `None`: there is none.
    source: Option<(Name, Watched)>,
    /// The body so far, and what it is said to be signed with. `None`: what was said proves it already.
    signed: Option<(hmac::Context, Vec<u8>)>,
}

impl Hook {
    /// Reads on in the body.
    pub fn read(&mut self, part: &[u8]) {
        if let Some((signing, _)) = &mut self.signed {
            signing.update(part);
        }
    }
}

impl Control {
    /// What the head of a webhook proves.
    ///
    /// # Errors
    /// Where its body can mend nothing. One and the same, whether there is no such source or the proof does not hold.
    pub async fn hook(&self, name: &str, proof: Proof) -> Result<Hook, Refusal> {
        let source = self.hooked_source(name);
        let secret = match &source {
            Some((name, watched)) => watched.webhook_secret(self.opened_for(name, watched)).await,
            None => None,
        };
        let signed = match proof {
            Proof::Signature(text) => {
                said(&text).map(|said| Some((signing(secret.as_ref()), said)))
            }
            Proof::Token(token) => {
                let holds = secret.as_ref().is_some_and(|secret| is_it(&token, secret));
                holds.then_some(None)
            }
        };
        match signed {
            Some(signed) => Ok(Hook {
                source: source.filter(|_| secret.is_some()),
                signed,
            }),
            None => Err(refused(source.as_ref())),
        }
    }

    /// What a webhook is answered that proves nothing.
    #[must_use]
    pub fn no_proof(&self, name: &str) -> Refusal {
        refused(self.hooked_source(name).as_ref())
    }

    /// Takes a webhook whose body was read: its source is looked at soon, where the proof holds.
    ///
    /// # Errors
    /// As [`Control::hook`].
    pub fn hooked(&self, hook: Hook) -> Result<(), Refusal> {
        let Hook { source, signed } = hook;
        let holds = signed.is_none_or(|(signing, said)| {
            constant_time::verify_slices_are_equal(signing.sign().as_ref(), &said).is_ok()
        });
        match source {
            Some((_, watched)) if holds => {
                watched.taken();
                watched.ask();
                Ok(())
            }
            source => Err(refused(source.as_ref())),
        }
    }

    fn hooked_source(&self, name: &str) -> Option<(Name, Watched)> {
        let state = self.store().state();
        let name = Name::parse(name).ok()?;
        let source = state.sources.get(&name).filter(|source| source.webhook)?;
        let watched = self.0.sources.get(&source.name)?;
        Some((name, watched))
    }

    async fn opened_for(&self, name: &Name, watched: &Watched) -> Option<Secret> {
        let opened = self.opened(webhook_label(name).ok()?).await;
        let told = opened.inspect_err(|error| {
            let error = causes(error);
            if watched.is_news(&error) {
                tracing::warn!(source = %name, error, "the secret of a source's webhooks cannot be opened");
            }
        });
        told.ok()
    }
}

/// However many there are, the log has one line a minute of it.
fn refused(source: Option<&(Name, Watched)>) -> Refusal {
    if let Some((name, watched)) = source
        && watched.refused(now())
    {
        tracing::warn!(source = %name, "a webhook was refused: it is not signed with the secret of the source");
    }
    let message = "there is no source of that name, or the webhook is not signed with its secret";
    Refusal::new(RefusalKind::Invalid, message)
}

/// Where there is no secret, and nothing is taken whatever it is signed with, the work is the same.
fn signing(secret: Option<&Secret>) -> hmac::Context {
    let secret = secret.map_or("", Secret::expose).as_bytes();
    hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret))
}

/// In a time that tells nothing of where it differs.
fn is_it(token: &Secret, secret: &Secret) -> bool {
    let (token, secret) = (token.expose().as_bytes(), secret.expose().as_bytes());
    constant_time::verify_slices_are_equal(token, secret).is_ok()
}

/// The signature that a header says.
fn said(text: &str) -> Option<Vec<u8>> {
    let said = hex::decode(text.strip_prefix("sha256=")?).ok()?;
    (said.len() == 32).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a signature holds for a body that comes in pieces of this length.
    fn holds(text: &str, secret: &Secret, body: &[u8], length: usize) -> bool {
        let Some(said) = said(text) else {
            return false;
        };
        let mut hook = Hook {
            source: None,
            signed: Some((signing(Some(secret)), said)),
        };
        body.chunks(length).for_each(|part| hook.read(part));
        let (signing, said) = hook.signed.expect("it is signed");
        signing.sign().as_ref() == said
    }

    #[test]
    fn a_proof_holds_for_its_secret_and_its_body_alone() {
        // GitHub, "Validating webhook deliveries": its own example.
        let secret = Secret::new("It's a Secret to Everybody".to_owned());
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        for length in 1..14 {
            assert!(holds(signature, &secret, b"Hello, World!", length));
        }
        assert!(!holds(signature, &secret, b"Hello, World", 5));
        assert!(!holds(
            signature,
            &Secret::new("other".into()),
            b"Hello, World!",
            5
        ));
        for wrong in [
            "",
            "sha256=",
            "sha256=7",
            "sha256=zz",
            &signature[..60],
            &signature[7..],
            &format!("{signature}00"),
            &signature.replace("sha256", "sha1"),
        ] {
            assert!(!holds(wrong, &secret, b"Hello, World!", 5), "{wrong}");
        }
        let token = |text: &str| is_it(&Secret::new(text.to_owned()), &secret);
        assert!(token("It's a Secret to Everybody"));
        assert!(!token("It's a Secret") && !token(""));
    }
}
