//! Pipelines: the stages that a build goes through, and the gate behind each.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{DeploymentId, Digest, EnvId, Name, PipelineRunId, ReleaseId};
use crate::release::Build;
use crate::text::shown;
use crate::time::{Millis, Timestamp};

/// What a stack file declares under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// At least one, each environment once.
    pub stages: Vec<Stage>,
}

/// One environment on the way, and what has to be passed before the build goes further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The environment's name within the stack.
    pub env: Name,
    /// Nothing where it declares none.
    #[serde(default)]
    pub gate: Gate,
}

/// What has to be passed behind a stage, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Gate {
    /// A command that has to end with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// How long the release has to serve there, from the end of the check on.
    #[serde(default, skip_serializing_if = "is_none_at_all")]
    pub soak: Millis,
    /// Whose word it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approval>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none_at_all(soak: &Millis) -> bool {
    soak.0 == 0
}

/// A command that is run against a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take; then it is ended, and has failed.
    pub timeout: Millis,
}

/// Whose word a gate needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The role.
    pub role: Name,
    /// Who has it: `uid:1000`, or the name that the machine knows them by.
    pub people: Vec<String>,
    /// Whether the one who started the run may be the one.
    pub by: By,
}

/// Who of those that have the role may approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Each of them.
    Anybody,
    /// Not the one who started the run: a second person.
    Another,
}

/// A build on its way through a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number, counted over all stacks.
    pub id: PipelineRunId,
    /// The stack.
    pub stack: Name,
    /// The pipeline's name.
    pub pipeline: Name,
    /// The stages as they were declared when it began, with the people of the roles.
    pub stages: Vec<Stage>,
    /// Who started it.
    pub author: String,
    /// When.
    pub began: Timestamp,
    /// Why, in the words of the one who started it; none of runs that an older Ward began.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The folder of the stack file, where checks are run.
    pub dir: String,
    /// The files of that folder that its checks name, as they were when it began; none of runs that an older Ward began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Digest>,
    /// What is on its way.
    pub build: Build,
    /// Where it stands.
    pub position: Position,
    /// Since when.
    pub since: Timestamp,
    /// The releases that it has come to so far, in the stages' order.
    #[serde(default)]
    pub reached: Vec<Reached>,
    /// Every word that was given, those that were refused too.
    #[serde(default)]
    pub votes: Vec<Vote>,
}

/// What a run came to in one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The release.
    pub release: ReleaseId,
    /// The deployment to it; `None` where it served already.
    pub deployment: Option<DeploymentId>,
    /// Whether the run itself asked for that deployment. One that somebody else had asked for it has only joined; of what
    /// an older Ward wrote down that is not known, and it is taken for one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub queued: bool,
}

/// Where a run stands; stages are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Position {
    /// A stage gets its release.
    Deploying {
        /// Which.
        stage: usize,
    },
    /// The command of its gate is run.
    Checking {
        /// Which.
        stage: usize,
    },
    /// Its release has to serve for a while.
    Soaking {
        /// Which.
        stage: usize,
        /// Until when.
        until: Timestamp,
    },
    /// Its gate waits for somebody's word.
    Approving {
        /// Which.
        stage: usize,
    },
    /// It is over.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Every stage has the build, and every gate was passed.
    Succeeded,
    /// A stage did not get it, or did not pass its gate.
    Failed {
        /// Which.
        stage: usize,
        /// What failed, as a sentence.
        message: String,
        /// The last lines of a check.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        output: Vec<String>,
    },
    /// Somebody said no.
    Rejected {
        /// At which stage it was.
        stage: usize,
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
}

/// A word about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// At which stage the run was.
    pub stage: usize,
    /// Who gave it.
    pub by: String,
    /// Yes or no.
    pub word: Word,
    /// Why, in their words.
    pub why: String,
    /// Why it does not count, of one that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// When, as its event says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Vote {
    /// Whether somebody said the same at the same stage, and it counted as much, whatever the reason given.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        let same = (self.stage, self.word) == (other.stage, other.word);
        same && (&self.by, &self.refused) == (&other.by, &other.refused)
    }
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The build may go further.
    Approve,
    /// It goes no further.
    Reject,
}

impl Run {
    /// The environment of a stage.
    #[must_use]
    pub fn env(&self, stage: usize) -> Option<EnvId> {
        Some(EnvId::new(&self.stack, &self.stages.get(stage)?.env))
    }

    /// Whether it goes no further.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.position, Position::Ended { .. })
    }

    /// At which stage it is, or ended; the last where it succeeded.
    #[must_use]
    pub fn stage(&self) -> usize {
        match &self.position {
            Position::Deploying { stage }
            | Position::Checking { stage }
            | Position::Soaking { stage, .. }
            | Position::Approving { stage }
            | Position::Ended {
                outcome: Outcome::Failed { stage, .. } | Outcome::Rejected { stage, .. },
            } => *stage,
            Position::Ended {
                outcome: Outcome::Succeeded,
            } => self.stages.len().saturating_sub(1),
        }
    }

    /// The word that counts about its present stage, if one was given.
    #[must_use]
    pub fn word(&self) -> Option<&Vote> {
        let stage = self.stage();
        let mut votes = self.votes.iter().rev();
        votes.find(|vote| {
            vote.refused.is_none() && (vote.stage == stage || vote.word == Word::Reject)
        })
    }

    /// The word by which a stage passed its gate, if it needed one and got it.
    #[must_use]
    pub fn approval(&self, stage: usize) -> Option<&Vote> {
        let mut votes = self.votes.iter();
        votes.find(|vote| {
            vote.stage == stage && vote.word == Word::Approve && vote.refused.is_none()
        })
    }

    /// Where it stands, as a sentence without its end.
    #[must_use]
    pub fn stands(&self) -> String {
        let env = self.env(self.stage());
        let env = env.as_ref().map_or("", EnvId::as_str);
        match &self.position {
            Position::Deploying { .. } => format!("{env} gets {}", self.build.version),
            Position::Checking { .. } => format!("the check of {env} runs"),
            Position::Soaking { until, .. } => format!("{env} serves it until {until}"),
            Position::Approving { stage } => {
                let approval = self
                    .stages
                    .get(*stage)
                    .and_then(|s| s.gate.approve.as_ref());
                match approval {
                    Some(Approval { role, by, .. }) => {
                        let other = match by {
                            By::Anybody => "",
                            By::Another => ", another person than its author",
                        };
                        format!("{env} waits for the word of a {role}{other}")
                    }
                    None => format!("{env} waits for a word"),
                }
            }
            Position::Ended { outcome } => outcome.to_string(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Succeeded => f.write_str("it succeeded"),
            Outcome::Failed { message, .. } => write!(f, "it failed: {message}"),
            Outcome::Rejected { by, why, .. } if why.is_empty() => write!(f, "{by} rejected it"),
            Outcome::Rejected { by, why, .. } => {
                write!(f, "{by} rejected it: “{}”", shown(why))
            }
        }
    }
}
