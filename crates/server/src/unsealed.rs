//! No stack file says a secret: releases, plans and the log keep its text, and what it declares, for ever.
//!
//! Decision: what is declared is held against the secrets of its environment, on each way to a release, before anything is
//! built; and a text that becomes a build against those of every environment of its stack, because a build for one has the
//! lines of all. What counts is what nobody writes by chance ([`is_telling`]), in the forms of `ward config set`: names,
//! addresses and short words that are also somebody's secret are said for many reasons, and a deploy has no way around
//! this. What is recorded already (a promotion, the next stage of a run) is not asked again. Where secrets do not open nobody
//! can tell, and it is not for a deploy to find that out: nothing is refused then.

use std::collections::BTreeSet;

use ward_store::Log;
use ward_types::id::{EnvId, Name};
use ward_types::release::{DataState, Environment};
use ward_types::secrets::{Mask, SecretHeld, SecretName};
use ward_types::spec::{EnvSpec, ImageSource};

use crate::actor::{Refusal, RefusalKind};
use crate::control::Control;
use crate::exec::said;

/// Words that are recorded, and where a stack file has them, for a sentence.
type Place<'a> = (String, &'a [String]);

impl Control {
    /// Whether the values and the commands that are declared for these environments of a stack say none of the secrets of
    /// each, and the text of its stack file, which is to be kept with a build, none of any environment.
    ///
    /// # Errors
    /// Which they say, and where.
    pub(crate) async fn say_no_secret(
        &self,
        stack: &Name,
        specs: &[&EnvSpec],
        text: Option<&str>,
    ) -> Result<(), Refusal> {
        let (mut found, mut in_text) = (Vec::new(), None);
        let state = self.store().state();
        for env in state
            .environments
            .keys()
            .filter(|env| env.stack() == *stack)
        {
            let spec = specs.iter().find(|spec| spec.id == *env);
            if spec.is_none() && text.is_none() {
                continue;
            }
            let masks = self.kept_from_readers(env).await;
            for (place, words) in spec.map(|spec| places(spec)).unwrap_or_default() {
                let name = said_in(&masks, words);
                found.extend(name.map(|name| declared(env, &name, &place)));
            }
            in_text = in_text.or_else(|| {
                let (name, line) = said_in_text(&masks, text?)?;
                Some(declared(
                    env,
                    &name,
                    &format!("line {line} of the stack file"),
                ))
            });
        }
        let declared = found.into_iter().reduce(Refusal::and);
        declared.or(in_text).map_or(Ok(()), Err)
    }

    /// The values of an environment that nobody should read, where it has any and they open.
    async fn kept_from_readers(&self, env: &EnvId) -> Vec<Mask> {
        if !self.known(env).as_ref().is_some_and(has_any) {
            return Vec::new();
        }
        let masks = self.masks(env, self.serving(env)).await;
        let mut masks = masks.unwrap_or_else(|why| {
            tracing::warn!(%env, why, "it cannot be told whether a secret is in a stack file");
            Vec::new()
        });
        masks.retain(|mask| is_telling(mask.value.expose()));
        masks
    }
}

/// Whether there is anything to keep: where there is not no key is asked for.
fn has_any(env: &Environment) -> bool {
    let held = |held: &SecretHeld| held.current.is_some() || held.leaving.is_some();
    let serves = env.current_release();
    let databases = serves.is_some_and(|release| !release.spec.databases.is_empty());
    let rows = databases && env.data == DataState::Kept;
    !env.is_deleted() && (rows || env.secrets.values().any(held))
}

/// The secret that one of these texts says. One of several lines is there whole, or not at all: a line of it may be said
/// anywhere.
fn said_in(masks: &[Mask], texts: &[String]) -> Option<String> {
    if masks.is_empty() {
        return None;
    }
    let lines = |mask: &&Mask| mask.value.expose().trim().contains('\n');
    let (long, short): (Vec<&Mask>, Vec<&Mask>) = masks.iter().partition(lines);
    let short: Vec<Mask> = short.into_iter().cloned().collect();
    let whole = |mask: &&&Mask| {
        let value = mask.value.expose().trim();
        texts.iter().any(|text| text.contains(value))
    };
    let long = || long.iter().find(whole).map(|mask| mask.name.clone());
    said(&short, texts).or_else(long)
}

/// The secret that a text says, and the number of the line in which its value ends.
fn said_in_text(masks: &[Mask], text: &str) -> Option<(String, usize)> {
    let name = said_in(masks, &[text.to_owned()])?;
    let ends = text.match_indices('\n').map(|(at, _)| at);
    let ends: Vec<usize> = ends.collect();
    let silent = |end: &usize| said_in(masks, &[text[..*end].to_owned()]).is_none();
    Some((name, ends.partition_point(silent) + 1))
}

/// The shortest value that nobody writes by chance, in bytes, and how many different ones it has.
const TELLING: usize = 12;
const DIFFERENT: usize = 8;

/// Whether a value is one that a file says only where it says the secret: no name, no address, and not short.
fn is_telling(value: &str) -> bool {
    let value = value.trim();
    let is_word = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '_');
    let of_address = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".:-".contains(c);
    let is_address = value.contains(['.', ':']) && value.chars().all(of_address);
    let is_place = value.contains("://") && !value.contains('@');
    let different: BTreeSet<u8> = value.bytes().collect();
    let is_long = value.len() >= TELLING && different.len() >= DIFFERENT;
    is_long && !value.chars().all(is_word) && !is_address && !is_place
}

/// The values and the commands that are declared.
fn places(spec: &EnvSpec) -> Vec<Place<'_>> {
    let mut all: Vec<Place<'_>> = Vec::new();
    for (name, service) in &spec.services {
        let values = service.env.iter();
        all.extend(values.map(|(key, value)| {
            let place = format!("{key} of the service {name}");
            (place, std::slice::from_ref(value))
        }));
        let (build, run): (&[String], &[String]) = match &service.source {
            ImageSource::Command { command, run, .. } => (command, run),
            ImageSource::Cargo { .. }
            | ImageSource::Dockerfile { .. }
            | ImageSource::Image { .. } => (&[], &[]),
        };
        let release = service.release.as_ref();
        let seed = service.seed.as_ref();
        let commands: [(&str, &[String]); 5] = [
            ("command", service.command.as_deref().unwrap_or_default()),
            ("build command", build),
            ("run command", run),
            ("release command", release.map_or(&[], |one| &one.command)),
            ("seed command", seed.map_or(&[], |one| &one.command)),
        ];
        all.extend(
            commands.map(|(which, words)| (format!("the {which} of the service {name}"), words)),
        );
    }
    let jobs = spec.jobs.iter();
    all.extend(jobs.map(|(name, job)| (format!("the command of the job {name}"), &*job.command)));
    let secrets = spec.secrets.iter();
    all.extend(secrets.map(|(name, secret)| (format!("what rotates {name}"), &*secret.rotate)));
    all.retain(|(_, words)| !words.is_empty());
    all
}

fn declared(env: &EnvId, name: &str, place: &str) -> Refusal {
    let message = format!(
        "the value of the secret {name} of {env} is in {place}, and what a stack file says is recorded with each build; \
         nothing was changed"
    );
    let database = SecretName::parse(name).ok();
    let database = database.and_then(|name| name.database());
    let hint = match database {
        Some(database) => format!(
            "a service with `links = [\"{database}\"]` has the password in its variables; take it out of the file"
        ),
        None => format!(
            "a service with `secrets = {{ {name} = \"env\" }}` has it as the variable {name}, and nobody reads it; take it \
             out of the file. Where the file has to say this, `ward secret set {name} --env {env}` gives the secret another \
             value"
        ),
    };
    Refusal::new(RefusalKind::Invalid, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use ward_types::secret::Secret;

    use super::*;

    fn masks(values: &[(&str, &str)]) -> Vec<Mask> {
        let mask = |(name, value): &(&str, &str)| Mask {
            name: (*name).to_owned(),
            value: Secret::new((*value).to_owned()),
        };
        values.iter().map(mask).collect()
    }

    #[test]
    fn a_text_says_a_secret_in_a_line_in_whichever_form() {
        let masks = masks(&[("API_KEY", "planted-J7kq2vX9Lm4"), ("SHORT", "a:b")]);
        let encoded = "cGxhbnRlZC1KN2txMnZYOUxtNA==";
        for says in ["planted-J7kq2vX9Lm4", "planted-J7%6bq2vX9Lm4", encoded] {
            let text = format!("[stack]\nname = \"a:b\"\n# it is {says}\n");
            let found = said_in_text(&masks, &text);
            assert_eq!(found, Some(("API_KEY".to_owned(), 3)), "{says}");
        }
        assert_eq!(
            said_in_text(&masks, "name = \"a:b\"\n# planted-J7kq2vX9"),
            None
        );
        assert_eq!(said_in_text(&[], "name = \"a:b\""), None);
        let last = "a = 1\nb = 'planted-J7kq2vX9Lm4'";
        assert_eq!(said_in_text(&masks, last), Some(("API_KEY".to_owned(), 2)));
    }

    #[test]
    fn what_a_file_says_for_many_reasons_is_no_secret_of_anybody() {
        for usual in [
            "postgres",
            "a-very-long-name-of-something",
            "PRODUCTION\n",
            "eu-west-1",
            "localhost:5432",
            "db.internal.example.org",
            "192.168.100.200:8443",
            "https://api.example.org/v1",
            "00000000000000001",
            "hunter22",
        ] {
            assert!(!is_telling(usual), "{usual}");
        }
        for telling in [
            "planted-J7kq2vX9Lm4",
            "postgres://web:Kx81@db.example.org/web",
            "correct horse battery staple",
            "9f86d081884c7d659a2feaa0c55ad015",
        ] {
            assert!(is_telling(telling), "{telling}");
        }
    }

    /// Of a whole file that is a secret each line may be said anywhere, and all of it nowhere.
    #[test]
    fn a_secret_of_several_lines_is_said_whole_or_not_at_all() {
        let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nengine = \"postgres\"\n-----END KEY-----\n";
        let masks = masks(&[("KEY", pem)]);
        assert_eq!(
            said_in_text(&masks, "[database.db]\nengine = \"postgres\"\n"),
            None
        );
        let text = format!("[service.web]\nenv.KEY = \"\"\"\n{pem}\"\"\"\n");
        assert_eq!(said_in_text(&masks, &text), Some(("KEY".to_owned(), 6)));
    }

    #[test]
    fn whatever_is_run_or_set_is_looked_at() {
        let spec = serde_json::json!({
            "id": "shop/prod", "version": "1.0", "keep_warm": 0, "databases": {},
            "services": {},
            "jobs": {"nightly": {"service": "web", "command": ["sh", "-c", "x"], "overlap": "skip", "retries": 0,
                "deadline": 1, "missed": "skip"}},
            "secrets": {"API_KEY": {"rotate": ["new", "key"]}},
        });
        let spec: EnvSpec = serde_json::from_value(spec).unwrap();
        let places = places(&spec);
        let told: Vec<&str> = places.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(
            told,
            ["the command of the job nightly", "what rotates API_KEY"]
        );
    }

    #[test]
    fn a_refusal_names_the_secret_and_the_way_out_and_says_no_value() {
        let env = EnvId::parse("shop/prod").unwrap();
        let refusal = declared(&env, "API_KEY", "KEY of the service web");
        assert!(
            refusal
                .message
                .contains("the secret API_KEY of shop/prod is in KEY of the service web")
        );
        assert!(
            refusal
                .hint
                .unwrap()
                .contains("`secrets = { API_KEY = \"env\" }`")
        );
        let refusal = declared(&env, "database/db", "line 3 of the stack file");
        assert!(refusal.hint.unwrap().contains("`links = [\"db\"]`"));
    }
}
