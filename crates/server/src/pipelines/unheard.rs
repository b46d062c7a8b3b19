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
            let heard = heard(self.0.people, approval);
            let may = |uid: &&u32| may_approve(run, at, &Actor::of_uid(**uid).who);
            let able: Vec<u32> = heard.iter().filter(may).copied().collect();
            let own = rustix::process::geteuid().as_raw();
            let who = match able[..] {
                [] => "nobody",
                [ROOT] if own != ROOT && self.0.people == Heard::Owner => "nobody but root",
                _ => continue,
            };
            let message = message(run, at, approval, (who, self.0.people));
            let hint = hint(run, approval, self.0.people);
            let _ = steps.send(Progress::Warning { message, hint }).await;
        }
    }
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

fn message(run: &Run, stage: usize, approval: &Approval, (who, people): (&str, Heard)) -> String {
    let env = run
        .env(stage)
        .map_or_else(String::new, |env| env.to_string());
    let (role, named) = (&approval.role, approval.people.join(", "));
    let other = match approval.by {
        By::Anybody => "",
        By::Another => ", another person than its author",
    };
    let why = match people {
        Heard::Owner => {
            let own = Actor::of_uid(rustix::process::geteuid().as_raw()).who;
            format!("without WARD_PEOPLE_DIR only {own} and root are heard")
        }
        Heard::Everybody => "no user of this machine is one".to_owned(),
    };
    format!("{who} can give the word that {env} will wait for, of a {role} ({named}){other}: {why}")
}

fn hint(run: &Run, approval: &Approval, people: Heard) -> String {
    let (id, role) = (run.id, &approval.role);
    let how = match people {
        Heard::Owner => {
            "start Ward with WARD_PEOPLE_DIR=/run/ward (now: `WARD_PEOPLE_DIR=/run/ward ward upgrade`), where every \
             user of the machine is heard"
                .to_owned()
        }
        Heard::Everybody => format!("name others in `[role.{role}]`, and begin another run"),
    };
    format!("{how}; `ward pipeline reject {id}` ends this one")
}
