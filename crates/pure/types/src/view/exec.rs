//! What is asked and told about programs beside instances.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, InstanceId, Name};
use crate::keeper::{Disclosure, Exit};

/// The body of `POST /v1/exec`: the CLI wants to run a program in an instance. It is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The environment; the only one when it is not named.
    pub env: Option<EnvId>,
    /// The service or database, or an instance's id.
    pub component: Name,
    /// What to run.
    pub program: ExecProgram,
    /// Whether it gets the instance's secrets. An older Ward does not say, and may give them.
    #[serde(default)]
    pub secrets: Disclosure,
    /// Why, for the audit log.
    pub why: String,
}

/// What `ward exec` and `ward db psql` run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "run", rename_all = "snake_case")]
pub enum ExecProgram {
    /// A program of the caller's choice.
    Named {
        /// The program's name.
        program: String,
        /// Its arguments; `None`: an older CLI does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arguments: Option<Vec<String>>,
    },
    /// A database's own shell.
    DatabaseShell {
        /// What the caller tells it beside what Ward does; `None`: an older CLI does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arguments: Option<Vec<String>>,
    },
}

/// The answer to [`ExecRequest`]: where to reach the instance. The CLI then talks to the keeper itself,
/// with its own terminal's descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecTarget {
    /// Which instance.
    pub instance: InstanceId,
    /// Its folder.
    pub dir: String,
    /// The command and its variables, when Ward chose the program.
    pub command: Option<ExecCommand>,
}

/// A program that Ward chose, with its variables. Travels over the API's Unix socket only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCommand {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its variables.
    pub env: BTreeMap<String, crate::secret::Secret>,
}

/// How a program run by `ward exec` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecView {
    /// How.
    pub exit: Exit,
}
