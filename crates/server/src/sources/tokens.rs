//! What the sources prove themselves with: tokens for repositories over HTTPS, and the secrets of webhooks.

use ward_git::Credentials;
use ward_seal::generate;
use ward_store::Log;
use ward_types::event::Event;
use ward_types::id::{EnvId, Name};
use ward_types::secret::Secret;
use ward_types::secrets::{SecretLabel, SecretName};
use ward_types::source::{Login, Source};
use ward_types::view::{SetToken, Token};

use super::no_source;
use super::place::fetch;
use crate::actor::{Actor, Refusal};
use crate::control::Control;
use crate::kept::git_refusal;
use crate::secrets::refusal;

/// How many bytes a webhook's secret is drawn from.
const WEBHOOK: u32 = 32;

impl Control {
    /// Gives a source another token. It must open the repository; until it does, the source has the one before.
    ///
    /// # Errors
    /// When there is no source of that name, or it is not reached with a token, or not with this one.
    pub async fn set_source_token(&self, actor: &Actor, request: SetToken) -> Result<(), Refusal> {
        let _admitted = self.admit()?;
        let _alone = self.0.sources.change().await;
        let name = &request.name;
        let state = self.store().state();
        let source = state.sources.get(name).ok_or_else(|| no_source(name))?;
        let credentials = credentials(&request.token)?;
        let fetching = fetch(&self.0.home, source, Some(&credentials));
        fetching.await.map_err(|error| git_refusal(&error))?;
        let login = Login {
            user: request.token.user.clone(),
            version: source.login.as_ref().map_or(1, |login| login.version + 1),
        };
        let label = token_label(name, login.version)?;
        self.seal_for_source(label.clone(), request.token.token.clone())
            .await?;
        let event = Event::SourceTokenSet {
            source: name.clone(),
            login,
        };
        let desk = self.desk_for(&request.why).await;
        self.append(actor, &request.why, vec![event]).await?;
        drop(desk);
        // The webhook's secret and the new token are needed; the tokens before mean nothing any more.
        let needed = [label, webhook_label(name)?].map(|label| (label.name, label.version));
        let (vault, env) = (self.vault().clone(), env(name)?);
        let collecting = move || vault.collect(&env, &needed.into());
        if !matches!(tokio::task::spawn_blocking(collecting).await, Ok(Ok(_))) {
            tracing::warn!(source = %name, "a token is left, sealed, that is needed no more");
        }
        if let Some(watched) = self.0.sources.get(name) {
            watched.ask();
        }
        Ok(())
    }

    /// What a source proves itself with, if it has a token.
    pub(super) async fn source_login(
        &self,
        source: &Source,
    ) -> Result<Option<Credentials>, Refusal> {
        let Some(login) = &source.login else {
            return Ok(None);
        };
        let opened = self.opened(token_label(&source.name, login.version)?).await;
        let token = Token {
            user: login.user.clone(),
            token: opened.map_err(|error| refusal("the repository was not looked at", &error))?,
        };
        credentials(&token).map(Some)
    }

    /// Draws a webhook's secret: sealed, and on the disk, before the log knows of the source.
    pub(super) async fn new_webhook_secret(&self, source: &Name) -> Result<Secret, Refusal> {
        let secret = generate(WEBHOOK).map_err(|error| refusal("nothing was changed", &error))?;
        self.seal_for_source(webhook_label(source)?, secret.clone())
            .await?;
        Ok(secret)
    }

    pub(super) async fn seal_for_source(
        &self,
        label: SecretLabel,
        value: Secret,
    ) -> Result<(), Refusal> {
        let vault = self.vault().clone();
        let sealing = tokio::task::spawn_blocking(move || vault.seal(&label, &value));
        let sealed = sealing.await;
        let sealed = sealed.map_err(|error| Refusal::failed("nothing was changed", &error))?;
        sealed
            .map_err(|error| refusal("nothing was changed", &error))
            .map(drop)
    }
}

/// What git is told of a token.
pub(super) fn credentials(token: &Token) -> Result<Credentials, Refusal> {
    Credentials::new(&token.user, &token.token).map_err(|error| git_refusal(&error))
}

/// No stack's environment: the secrets of sources are sealed beside those of environments.
pub(super) fn env(source: &Name) -> Result<EnvId, Refusal> {
    let stack = Name::parse("ward-sources");
    let stack = stack.map_err(|error| Refusal::failed("nothing was changed", &error))?;
    Ok(EnvId::new(&stack, source))
}

pub(super) fn webhook_label(source: &Name) -> Result<SecretLabel, Refusal> {
    label(source, "WEBHOOK", 1)
}

pub(super) fn token_label(source: &Name, version: u64) -> Result<SecretLabel, Refusal> {
    label(source, "TOKEN", version)
}

fn label(source: &Name, name: &str, version: u64) -> Result<SecretLabel, Refusal> {
    let name = SecretName::parse(name);
    Ok(SecretLabel {
        env: env(source)?,
        name: name.map_err(|error| Refusal::failed("nothing was changed", &error))?,
        version,
    })
}
