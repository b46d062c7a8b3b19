//! What speaks against a copy whatever is set for it first.

use ward_stack::Stack;
use ward_types::copy::copied;
use ward_types::environments::{CopiedData, CreateRequest};
use ward_types::id::EnvId;
use ward_types::life::Origin;
use ward_types::pipeline::Pipeline;
use ward_types::policy::Policy;
use ward_types::release::{Environment, Goal, Release};
use ward_types::spec::EnvSpec;

use super::copying::unnamed;
use super::refusals::unserved;
use crate::actor::{Refusal, RefusalKind};
use crate::backups::original;
use crate::control::Control;
use crate::deploy::stack_of;
use crate::reasons::says_anything;
use crate::source;

impl Control {
    /// Whatever no value that is set first would change, all of it at once: who sets the secrets of a copy shall not
    /// do so in vain.
    pub(super) fn copy_is_barred(
        &self,
        request: &CreateRequest,
        (from, env): (&EnvId, &EnvId),
    ) -> Result<(), Refusal> {
        let parent = self.known(from).ok_or_else(|| unserved(from))?;
        let serves = original(&parent, &request.restores).ok_or_else(|| unserved(from))?;
        let known = self.known(env);
        let there = known.filter(|known| !known.is_deleted() && !known.is_bare());
        let in_the_way = there.and_then(|known| self.makes_room(&known).err());
        let (data, home) = match (request.data, request.restores.is_empty()) {
            (CopiedData::Rows, _) => (
                never_gives_data(&parent, &serves.spec),
                self.stays_home(&serves.spec).err(),
            ),
            (CopiedData::None, false) => (
                never_gives_backups(&parent, &serves.spec, &request.why),
                self.stays_home(&serves.spec).err(),
            ),
            (CopiedData::None, true) => (None, None),
        };
        let origin = origin_of_copy(&parent, request);
        let impossible = match copied(&serves.declared(), env, &origin) {
            Ok(spec) => self.possible(&spec, Some(&origin)).err(),
            Err(error) => Some(unnamed(&error)),
        };
        let declared = declared_as(serves, env, request);
        let all = [in_the_way, declared, data, home, impossible];
        let all = all.into_iter().flatten();
        all.reduce(Refusal::and).map_or(Ok(()), Err)
    }
}

/// Why what the stack file of `serves` declares is not made as a copy: the file says what it is, and its pipelines how a
/// build comes there. A backup may become one that is gone, which is the way back; its rules are asked then.
pub(super) fn declared_as(
    serves: &Release,
    env: &EnvId,
    request: &CreateRequest,
) -> Option<Refusal> {
    let stack = stack_file_of(serves).filter(|_| request.restores.is_empty())?;
    let (name, of) = (env.env(), env.stack());
    let staged = |pipeline: &&Pipeline| pipeline.stages.iter().any(|stage| stage.env == name);
    let pipeline = || stack.pipelines.iter().find(|(_, one)| staged(one));
    let (how, first) = match (stack.environments.contains(&name), pipeline()) {
        (true, None) => ("is declared in", format!("`ward deploy --env {name}`")),
        (true, Some((by, _))) => (
            "is declared in",
            format!("`ward deploy --env {name}`, or `ward pipeline run {by}`,"),
        ),
        (false, Some((by, _))) => (
            "is a stage of a pipeline in",
            format!("`[environment.{name}]` in it, and `ward pipeline run {by}`,"),
        ),
        (false, None) => return None,
    };
    let message = format!(
        "{env} {how} the stack file of {of}, and so is no copy of another one; nothing was changed"
    );
    Some(Refusal::new(RefusalKind::Conflict, message).hint(format!(
        "{first} brings it up; a copy takes a name that the file does not have"
    )))
}

/// What the stack file of `serves` asks for in an environment that it declares.
pub(super) fn declares(serves: &Release, env: &EnvId) -> Option<Policy> {
    let spec = stack_file_of(serves)?.resolve(&env.env()).ok()?;
    Some(spec.policy)
}

fn stack_file_of(release: &Release) -> Option<Stack> {
    let text = release.build.stack_file.as_deref()?;
    stack_of(source::FILE, text).ok()
}

pub(super) fn origin_of_copy(parent: &Environment, request: &CreateRequest) -> Origin {
    Origin {
        from: parent.id.env(),
        hosts: request.hosts.clone(),
        sleep: request.sleep,
        above: parent.life.origin.clone().map(Box::new),
    }
}

/// Who does not let the rows of an environment be copied, what serves there or what was declared last, and how a file that
/// does comes there. A release goes back, rules do not.
fn denies(parent: &Environment, spec: &EnvSpec) -> Option<(String, String)> {
    if spec.copy_data.is_denied() {
        let serves = "the release that serves there does not allow";
        return Some((serves.to_owned(), "deployed".to_owned()));
    }
    let declared = parent.keeps_data_from(spec)?;
    let newest = format!(
        "a release goes back, rules do not, and {}, the newest build that served there, does not allow",
        declared.version
    );
    let deployed = format!(
        "deployed as a newer build (`ward deploy --force --env {}`)",
        parent.id.env()
    );
    Some((newest, deployed))
}

/// Why an environment's rows and files are not copied as it is declared.
pub(super) fn never_gives_data(parent: &Environment, spec: &EnvSpec) -> Option<Refusal> {
    let (env, name) = (&parent.id, parent.id.env());
    denies(parent, spec).map(|(denies, deployed)| {
        let message = format!("the data of {env} must not be copied: {denies} it");
        Refusal::new(RefusalKind::Conflict, message).hint(format!(
            "`copy_data = \"allowed\"` under [environment.{name}] in ward.toml, {deployed}, allows it; \
             `ward env create NAME --from {name}` makes a copy with data of its own, which the stack's seed commands make \
             up, and with new, empty volumes"
        ))
    })
}

/// Why the backups of an environment that may not be copied become no other one beside it: these are its rows, too. Where
/// nothing serves in it they are the way back; and whoever needs them beside it answers for that with a reason, `why`.
pub(super) fn never_gives_backups(
    parent: &Environment,
    spec: &EnvSpec,
    why: &str,
) -> Option<Refusal> {
    let (env, name) = (&parent.id, parent.id.env());
    let serves = parent.goal == Goal::Up && parent.current.is_some();
    let answered = says_anything(why);
    let denies = denies(parent, spec).filter(|_| serves && !answered);
    denies.map(|(denies, deployed)| {
        let message = format!(
            "what the backups of {env} hold must not get into another environment beside it: {denies} to copy its data; \
             nothing was changed"
        );
        Refusal::new(RefusalKind::Conflict, message).hint(format!(
            "`--why \"…\"` says what they are needed for, and the log keeps it; \
             `copy_data = \"allowed\"` under [environment.{name}] in ward.toml, {deployed}, allows it; \
             one that takes the place of {env} can be made as soon as that is down (`ward down --env {env}`)"
        ))
    })
}
