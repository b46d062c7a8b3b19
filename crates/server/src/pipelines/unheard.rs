//! Gates that nobody could let a run past, because no word of theirs would reach Ward, or count.
//!
//! Decision: it is told when the run begins, and hinders nothing: roles and sockets may be set up before it stands there.

use ward_plan::pipeline::may_approve;
use ward_store::Log;
use ward_types::id::PipelineRunId;
use ward_types::pipeline::{Approval, By, Run};
use ward_types::view::Progress;

use crate::actor::{Actor, users};
use crate::control::Control;
use crate::deploy::Steps;
use crate::server::Heard;

/// The number of the user who may do everything.
const ROOT: u32 = 0;

impl Control {
    /// Says at the beginning of a run which of its gates nobody, or nobody but root, could let it past.
    pub(crate) async fn tell_unheard(&self, id: PipelineRunId, steps: &Steps) {
        let state = self.store().state();
        let Some(run) = state.pipelines.get(&id) else {
            return;
        };
        for (at, stage) in run.stages.iter().enumerate() {
            let Some(approval) = &stage.gate.approve else {
                continue;
            };
            let able = able(run, at, heard(self.0.people, approval));
            let own = rustix::process::geteuid().as_raw();
            let who = match able[..] {
                [] => "nobody",
                [ROOT] if own != ROOT && self.0.people == Heard::Owner => "nobody but root",
                _ => continue,
            };
            let why = Why::of(run, at, approval);
            let message = message(run, at, approval, (who, why));
            let hint = hint(run, approval, why);
            let _ = steps.send(Progress::Warning { message, hint }).await;
        }
    }
}

/// Why nobody's word would count.
#[derive(Clone, Copy)]
enum Why {
    /// There is somebody, who is not heard.
    Unheard,
    /// Who has the role has a part in what is built.
    TheirOwn,
    /// Nobody on this machine has the role.
    Nobody,
}

impl Why {
    fn of(run: &Run, stage: usize, approval: &Approval) -> Self {
        let all = || heard(Heard::Everybody, approval);
        if !able(run, stage, all()).is_empty() {
            return Self::Unheard;
        }
        let mut of_anybody = run.clone();
        let gate = of_anybody
            .stages
            .get_mut(stage)
            .map(|stage| &mut stage.gate);
        if let Some(approval) = gate.and_then(|gate| gate.approve.as_mut()) {
            approval.by = By::Anybody;
        }
        match able(&of_anybody, stage, all()).is_empty() {
            true => Self::Nobody,
            false => Self::TheirOwn,
        }
    }
}

/// Which of these users could let a run past.
fn able(run: &Run, stage: usize, users: Vec<u32>) -> Vec<u32> {
    let may = |uid: &u32| may_approve(run, stage, &Actor::of_uid(*uid).who);
    users.into_iter().filter(may).collect()
}

/// The users whose word reaches Ward, as far as it matters here.
fn heard(people: Heard, approval: &Approval) -> Vec<u32> {
    let mut all = match people {
        Heard::Owner => vec![rustix::process::geteuid().as_raw(), ROOT],
        Heard::Everybody => {
            let known = users().into_iter().map(|(uid, _)| uid);
            // Somebody whom the machine knows by no name is a user, too.
            let numbers = approval.people.iter();
            let numbers = numbers.filter_map(|one| one.strip_prefix("uid:")?.parse().ok());
            known.chain(numbers).collect()
        }
    };
    all.sort_unstable();
    all.dedup();
    all
}

fn message(run: &Run, stage: usize, approval: &Approval, (who, why): (&str, Why)) -> String {
    let env = run
        .env(stage)
        .map_or_else(String::new, |env| env.to_string());
    let (role, named) = (&approval.role, approval.people.join(", "));
    let other = match approval.by {
        By::Anybody => "",
        By::Another => ", another person than its author",
    };
    let why = match why {
        Why::Unheard => {
            let own = rustix::process::geteuid().as_raw();
            let heard = match own {
                ROOT => "root is".to_owned(),
                own => format!("{} and root are", Actor::of_uid(own).who),
            };
            format!("without WARD_PEOPLE_DIR only {heard} heard")
        }
        Why::TheirOwn => {
            "each user of this machine who is one started the run, or wrote the commit".to_owned()
        }
        Why::Nobody => "no user of this machine is one".to_owned(),
    };
    format!("{who} can give the word that {env} will wait for, of a {role} ({named}){other}: {why}")
}

fn hint(run: &Run, approval: &Approval, why: Why) -> String {
    let (id, role) = (run.id, &approval.role);
    let how = match why {
        Why::Unheard => {
            "start Ward with WARD_PEOPLE_DIR=/run/ward (now: `WARD_PEOPLE_DIR=/run/ward ward upgrade`), where every \
             user of the machine is heard"
                .to_owned()
        }
        Why::TheirOwn | Why::Nobody => format!("name others in `[role.{role}]`, and begin another run"),
    };
    format!("{how}; `ward pipeline reject {id}` ends this one")
}
