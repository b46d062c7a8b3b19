//! Plans that are kept to be carried out: each a file in the state folder, named by the digest of all that it holds.
//!
//! Decision: the file that a person has is compared with the one that is kept here, whole, so that what is carried out is
//! what was shown, whoever had the file in between. A kept plan's images are not collected. It is kept for a week, and
//! the oldest gives way where there are too many.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ward_types::changes::{KeptPlan, PlanView};
use ward_types::id::{DeploymentId, Digest, Name};
use ward_types::life::Origin;
use ward_types::release::{DataState, Goal, Release};
use ward_types::time::{Millis, Timestamp};

use crate::actor::{Refusal, RefusalKind};
use crate::clock::now;
use crate::images::Images;
use crate::once;

/// The number of the form of the file.
const FORM: u64 = 1;
/// For how long a plan can be carried out.
const VALID: Millis = Millis::secs(7 * 24 * 3600);
/// How many are kept.
const MOST: usize = 50;
/// The largest file that is looked at.
const LARGEST: usize = 16 << 20;

const AGAIN: &str = "make a new one with `ward plan --out FILE`";

/// All that a plan holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Which Ward made it.
    pub(crate) ward: String,
    pub(crate) made: Timestamp,
    pub(crate) valid_until: Timestamp,
    /// Who asked for it.
    pub(crate) by: String,
    pub(crate) basis: Basis,
    /// What its environment is a copy of, where the stack file does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
    /// What is to serve; its number and time are those of the plan's making.
    pub(crate) release: Release,
    /// As it was shown.
    pub(crate) view: PlanView,
}

/// What a plan was computed against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Basis {
    pub(crate) goal: Goal,
    pub(crate) data: DataState,
    /// What served: the plan's parent.
    pub(crate) parent: Option<Release>,
    /// The deployment that had brought the environment there. Who comes back to the parent later has moved, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) moved_by: Option<DeploymentId>,
}

/// The plans of a state folder.
#[derive(Debug, Clone)]
pub(crate) struct Plans(PathBuf);

impl Plans {
    pub(crate) fn of(home: &Path) -> Self {
        Self(home.join("plans"))
    }

    /// Which Ward this is: a number that is drawn once for each state folder.
    pub(crate) fn ward(&self) -> io::Result<String> {
        let path = self.0.join("ward");
        match fs::read_to_string(&path) {
            Ok(id) if id.len() == 32 => return Ok(id),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::create_dir_all(&self.0)?;
        let mut bytes = [0u8; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write(&path, id.as_bytes())?;
        Ok(id)
    }

    /// Until when a plan that is made now can be carried out.
    pub(crate) fn valid_until(made: Timestamp) -> Timestamp {
        made + VALID
    }

    /// Keeps a plan; what is to be written for whoever asked, and how it is named.
    pub(crate) fn keep(&self, document: &Document) -> io::Result<(String, KeptPlan)> {
        let plan = serde_json::to_value(document)?;
        let digest = digest(&plan);
        let file = json!({ "ward_plan": FORM, "digest": digest, "plan": plan });
        let mut text = serde_json::to_string_pretty(&file)?;
        text.push('\n');
        fs::create_dir_all(&self.0)?;
        write(&self.path(&digest), text.as_bytes())?;
        self.give_way(&digest);
        let kept = KeptPlan {
            digest,
            valid_until: document.valid_until,
        };
        Ok((text, kept))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(format!("{}.json", digest.hex()))
    }

    /// The plans that are there and can be read, the oldest first.
    fn all(&self) -> Vec<(PathBuf, Document)> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path).ok()?;
            let mut file: Value = serde_json::from_str(&text).ok()?;
            let document = serde_json::from_value(file["plan"].take()).ok()?;
            Some((path, document))
        };
        let paths = entries.map(|entry| entry.path());
        let paths = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
        let mut all: Vec<(PathBuf, Document)> = paths.filter_map(read).collect();
        all.sort_by_key(|(_, document)| document.made);
        all
    }

    /// Removes those whose time is over, and the oldest where there are too many; never the one that was just made.
    fn give_way(&self, newest: &Digest) {
        let newest = self.path(newest);
        let mut all = self.all();
        all.retain(|(path, _)| *path != newest);
        let beyond = (all.len() + 1).saturating_sub(MOST);
        for (index, (path, document)) in all.iter().enumerate() {
            if index < beyond || document.valid_until <= now() {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The images that plans need, each with its repository. One whose time is over needs none.
    pub(crate) fn images(&self) -> BTreeSet<(String, Digest)> {
        let valid = self
            .all()
            .into_iter()
            .filter(|(_, plan)| now() < plan.valid_until);
        let images = valid.flat_map(|(_, plan)| {
            let stack = plan.release.spec.id.stack();
            let images = plan.release.build.images.into_iter();
            images.map(move |(service, digest)| (Images::repository(&stack, &service), digest))
        });
        images.collect()
    }

    /// The digest that a file names its plan by.
    pub(crate) fn named(text: &str) -> Option<Digest> {
        named(&opened(text).ok()?)
    }

    /// The plan that a file holds, word for word.
    ///
    /// # Errors
    /// Why it is none that this Ward can carry out.
    pub(crate) fn read(&self, text: &str, env: Option<&Name>) -> Result<Document, Refusal> {
        let refused = |message: String| Refusal::new(RefusalKind::Invalid, message).hint(AGAIN);
        let (file, named) = whole(text)?;
        let plan = &file["plan"];
        let document: Document = serde_json::from_value(plan.clone()).map_err(|error| {
            refused(format!(
                "the plan file cannot be read by this version of Ward: {error}"
            ))
        })?;
        let own = self
            .ward()
            .map_err(|error| Refusal::failed("which Ward this is cannot be read", &error))?;
        if document.ward != own {
            return Err(refused(format!(
                "the plan was made by another Ward, for {}; this one cannot carry it out",
                document.view.env
            )));
        }
        let of = &document.view.env;
        if let Some(asked) = env.filter(|asked| **asked != of.env()) {
            let message = format!("the plan is for {of}, and not for {asked}");
            return Err(Refusal::new(RefusalKind::Invalid, message)
                .hint(format!("leave --env away to carry it out in {of}")));
        }
        if document.valid_until <= now() {
            let (made, until) = (document.made, document.valid_until);
            return Err(refused(format!(
                "the plan of {made} could be carried out until {until}"
            )));
        }
        let kept = match fs::read_to_string(self.path(&named)) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(refused(format!(
                    "this Ward has no plan {}: it never made it, or the {MOST} newest have taken its place",
                    named.short()
                )));
            }
            Err(error) => {
                return Err(Refusal::failed(
                    "what was kept of the plan cannot be read",
                    &error,
                ));
            }
        };
        let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
        match kept == file {
            true => Ok(document),
            false => Err(refused(format!(
                "this is not the plan {} as it was written: the file was changed, or what Ward kept of it",
                named.short()
            ))),
        }
    }
}

/// The file as JSON, where it is one of a plan at all.
fn opened(text: &str) -> Result<Value, Refusal> {
    let refused = |message: &str| Refusal::new(RefusalKind::Invalid, message).hint(AGAIN);
    if text.len() > LARGEST {
        return Err(refused("the file is too large to be a plan"));
    }
    let file: Value = once::read(text).map_err(|error| match error.is_data() {
        true => refused(&format!(
            "the plan file was changed after it was written: {error}"
        )),
        false => refused(&format!(
            "the file is no plan, or was cut or changed: it is not JSON ({error})"
        )),
    })?;
    match &file["ward_plan"] {
        Value::Null => Err(refused(
            "the file is no plan: `ward plan --out` did not write it",
        )),
        form if *form == FORM => Ok(file),
        form => Err(refused(&format!(
            "the plan file has the form {form}, and this version of Ward knows {FORM}"
        ))),
    }
}

/// Whether a plan file is what somebody's Ward wrote, which nobody has changed since.
///
/// # Errors
/// What is wrong with it.
pub fn as_written(text: &str) -> Result<(), Refusal> {
    whole(text).map(drop)
}

/// The file, where it holds what its digest says; and that.
fn whole(text: &str) -> Result<(Value, Digest), Refusal> {
    let refused = |message: &str| Refusal::new(RefusalKind::Invalid, message).hint(AGAIN);
    let file = opened(text)?;
    let named = named(&file)
        .ok_or_else(|| refused("the plan file has no digest: it is cut, or was written by hand"))?;
    match digest(&file["plan"]) == named {
        true => Ok((file, named)),
        false => Err(refused(
            "the plan file was changed after it was written: what it holds is not what its digest says",
        )),
    }
}

/// Of a value as it is written without a space, its keys in order.
fn named(file: &Value) -> Option<Digest> {
    let text = file["digest"].as_str()?;
    Digest::parse(text).ok()
}

fn digest(value: &Value) -> Digest {
    let text = serde_json::to_vec(&sorted(value)).unwrap_or_default();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
    let mut bytes = [0u8; 32];
    bytes.copy_from_slice(digest.as_ref());
    Digest::from_sha256(&bytes)
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            let entries = entries
                .into_iter()
                .map(|(key, value)| (key.clone(), sorted(value)));
            Value::Object(entries.collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Whole or not at all, also where the machine stops meanwhile.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use ward_types::changes::{CostChange, FORMAT, Outcome, Side, Summary};
    use ward_types::policy::PolicyOutcome;
    use ward_types::release::Build;
    use ward_types::spec::EnvSpec;

    use super::*;

    fn document(plans: &Plans, made: Timestamp) -> Document {
        let spec = r#"{"id": "shop/dev", "version": "1.0", "keep_warm": 0, "services": {}, "databases": {}}"#;
        let spec: EnvSpec = serde_json::from_str(spec).expect("a spec");
        let image = Digest::from_sha256(&[7; 32]);
        let version = "1.0.1".to_owned();
        let view = PlanView {
            format: FORMAT,
            env: spec.id.clone(),
            outcome: Outcome::Changes,
            from: None,
            to: Side {
                release: None,
                version: version.clone(),
            },
            summary: Summary::default(),
            changes: Vec::new(),
            steps: Vec::new(),
            cost: CostChange::default(),
            drift: Vec::new(),
            policy: PolicyOutcome::default(),
            notes: Vec::new(),
            kept: None,
        };
        Document {
            ward: plans.ward().expect("a number"),
            made,
            valid_until: Plans::valid_until(made),
            by: "somebody".to_owned(),
            basis: Basis {
                goal: Goal::Up,
                data: DataState::New,
                parent: None,
                moved_by: None,
            },
            origin: None,
            release: Release {
                id: ward_types::id::ReleaseId(1),
                build: Build {
                    version,
                    images: [(Name::parse("web").expect("a name"), image)].into(),
                    stack_file: None,
                    provenance: None,
                },
                spec,
                config: ward_types::configuration::Configured::default(),
                secrets: std::collections::BTreeMap::new(),
                recorded: made,
                by: "somebody".to_owned(),
                named: None,
                promoted: None,
            },
            view,
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_kept_until_its_time_is_over() {
        let home = tempfile::tempdir().expect("a folder");
        let plans = Plans::of(home.path());
        let made = document(&plans, now());
        let (text, kept) = plans.keep(&made).expect("it is kept");
        assert_eq!(plans.read(&text, None), Ok(made));
        assert_eq!(
            kept.valid_until,
            Plans::valid_until(Timestamp(kept.valid_until.0 - VALID.0))
        );
        // Another form of the same is the same.
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(plans.read(&value.to_string(), None).is_ok());
        let images = plans.images();
        assert_eq!(images.len(), 1, "they are retained: {images:?}");

        let old = Timestamp(now().0 - VALID.0);
        let (text, _) = plans.keep(&document(&plans, old)).expect("it is kept");
        let refusal = plans.read(&text, None).expect_err("its time is over");
        assert!(
            refusal.message.contains("could be carried out until"),
            "{refusal}"
        );
    }

    #[test]
    fn whatever_a_file_holds_it_is_refused_with_a_sentence() {
        let home = tempfile::tempdir().expect("a folder");
        let plans = Plans::of(home.path());
        let deep = "[".repeat(100_000);
        let nothing = format!(
            r#"{{"ward_plan": 1, "digest": "{}", "plan": null}}"#,
            digest(&Value::Null)
        );
        let texts = [
            "",
            "1",
            "[]",
            "null",
            "\"x\"",
            "{\"ward_plan\": []}",
            "{\"ward_plan\": 1, \"ward_plan\": 1}",
            &deep,
            &nothing,
        ];
        for text in texts {
            let refusal = plans.read(text, None).expect_err("it is none");
            assert!(
                refusal.hint.is_some() && refusal.message.len() < 300,
                "{refusal}"
            );
        }
    }

    #[test]
    fn an_image_of_a_plan_that_is_over_is_not_retained() {
        let home = tempfile::tempdir().expect("a folder");
        let plans = Plans::of(home.path());
        let old = Timestamp(now().0 - VALID.0);
        plans.keep(&document(&plans, old)).expect("it is kept");
        assert!(plans.images().is_empty());
    }

    #[test]
    fn the_oldest_gives_way_where_there_are_too_many() {
        let home = tempfile::tempdir().expect("a folder");
        let plans = Plans::of(home.path());
        let start = now().0 - 1000;
        let many = (0..=MOST as u64).map(|n| {
            let document = document(&plans, Timestamp(start + n));
            plans.keep(&document).expect("it is kept").0
        });
        let texts: Vec<String> = many.collect();
        assert_eq!(plans.all().len(), MOST);
        let gone = plans.read(&texts[0], None).expect_err("it gave way");
        assert!(gone.message.contains("this Ward has no plan"), "{gone}");
        assert!(plans.read(&texts[1], None).is_ok() && plans.read(&texts[MOST], None).is_ok());
    }
}
