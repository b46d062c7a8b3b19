//! What is asked and told about policies.

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, ReleaseId};
use crate::policy::{Level, Origin, Rule, Waiver};
use crate::time::Timestamp;

/// `POST /v1/policy`: what a plan for an environment must pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// The environment.
    pub env: EnvId,
    /// Every rule.
    pub rules: Vec<RuleView>,
    /// The waivers, also those that are over.
    pub waivers: Vec<WaiverView>,
    /// Whose rules these are, beside the installation's.
    #[serde(default)]
    pub of: RulesOf,
    /// The release that serves, where these are a release's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// That the rules of a newer build than the one that serves hold, where they ask for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlasting: Option<String>,
}

/// Where the rules of an environment are from, beside those of the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RulesOf {
    /// The releases that have served: the one of the newest build, and the one that serves.
    #[default]
    Release,
    /// The stack file: there is no release yet.
    File,
    /// Nothing: there is no release yet, and no stack file was at hand. A deploy asks those of its file.
    Nothing,
}

/// The body of `POST /v1/policy`, which changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// The folder of a stack file, whose rules are told where no release has any yet.
    #[serde(default)]
    pub dir: Option<String>,
}

/// A rule, and what becomes of a plan that breaks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Which.
    pub rule: Rule,
    /// By what has served (or the stack file) and by the installation, whichever is stricter.
    pub level: Level,
    /// Who says so.
    pub origin: Origin,
    /// How many, or when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it asks for.
    pub about: String,
}

/// Who answers for it that a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverView {
    /// Which rule.
    pub rule: Rule,
    /// Whether it holds now.
    pub holds: bool,
    /// Who, why and until when.
    pub waiver: Waiver,
}

/// The body of `POST /v1/policy/waive`, which is answered by a [`PolicyView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiveRequest {
    /// The environment.
    pub env: Option<EnvId>,
    /// Which rule.
    pub rule: Rule,
    /// Until when; `None`: it holds again from now on.
    pub until: Option<Timestamp>,
    /// Why.
    pub why: String,
    /// As in a [`PolicyRequest`].
    #[serde(default)]
    pub dir: Option<String>,
}
