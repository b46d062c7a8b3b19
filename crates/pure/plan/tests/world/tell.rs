//! The transcript: one line for each thing that happens.

use ward_plan::{Action, Plan, PlannedPool};
use ward_types::id::InstanceId;
use ward_types::release::{Failure, Phase};
use ward_types::spec::Sticky;

use super::World;

pub fn word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Preparing => "preparing",
        Phase::Rolling { .. } => "rolling",
        Phase::Reverting { .. } => "reverting",
        Phase::Finished { .. } => "finished",
    }
}

impl World {
    pub fn say(&mut self, line: &str) {
        let seconds = self.now as f64 / 1000.0;
        self.transcript
            .push_str(&format!("{seconds:>8.3} {line}\n"));
    }

    fn more(&mut self, line: &str) {
        self.transcript.push_str(&format!("             {line}\n"));
    }

    /// Only when it changes.
    pub(super) fn tell_waiting(&mut self, plan: &Plan) {
        let waiting: Vec<String> = plan.waiting.iter().map(ToString::to_string).collect();
        if !plan.actions.is_empty() || waiting == self.waiting {
            return;
        }
        for line in &waiting {
            self.say(&format!("… {line}"));
        }
        if waiting.is_empty() {
            self.say("… nothing is waited for");
        }
        self.waiting = waiting;
    }

    pub(super) fn tell_action(&mut self, action: &Action) {
        match action {
            Action::Move { deployment, phase } => {
                let what = word(phase);
                match phase {
                    Phase::Finished {
                        verdict, failure, ..
                    } => {
                        self.say(&format!("= {deployment} is {what}: {}", verdict.as_str()));
                        self.tell_failure(failure.as_ref());
                    }
                    Phase::Reverting { failure } => {
                        self.say(&format!("= {deployment} is {what}"));
                        self.tell_failure(Some(failure));
                    }
                    Phase::Rolling { stage: 1.. } => {
                        let number = stage_of(phase) + 1;
                        self.say(&format!("= {deployment} is {what}: stage {number}"));
                    }
                    _ => self.say(&format!("= {deployment} is {what}")),
                }
            }
            Action::Serve { deployment, stage } => {
                let stage = stage.map(|stage| format!(": stage {}", stage + 1));
                let stage = stage.unwrap_or_default();
                self.say(&format!("= {deployment} takes requests{stage}"));
            }
            Action::Start { id, role, .. } => self.say(&format!("+ start {id} ({role:?})")),
            Action::Route { pools } => {
                let pools: Vec<String> = pools.iter().map(pool).collect();
                self.say(&format!("* route {{{}}}", pools.join(", ")));
            }
            Action::Check { id, within, .. } => {
                self.say(&format!("? check {id} within {} ms", within.0));
            }
            Action::Cut { id } => self.say(&format!("- cut {id}")),
            Action::Stop { id, grace } => self.say(&format!("- stop {id} within {} ms", grace.0)),
            Action::ChangeSchema {
                service, schema, ..
            } => self.say(&format!(
                "= the release command of {service} begins: {}",
                schema.as_str()
            )),
            Action::Report { id, how } => self.say(&format!("= {id} {how}")),
            Action::GiveUp { id, because } => {
                self.say(&format!("= {id} {because}, and is given up"));
            }
            Action::Exchanged { gap, .. } => {
                let (service, release, lasted) = (&gap.service, gap.release, gap.lasted.0);
                self.say(&format!(
                    "= nothing of {service} ran for {lasted} ms before {release}"
                ));
            }
            Action::Remove { id } => self.say(&format!("- remove {id}")),
            Action::PurgeData => self.say("- purge the data"),
            Action::End { cause } => self.say(&format!("= the environment ends: {cause:?}")),
            Action::Fill {
                filling, component, ..
            } => self.say(&format!("= {component} is filled: {filling:?}")),
            Action::Snapshotted {
                volume, snapshot, ..
            } => self.say(&format!("= {snapshot} of the volume {volume} is whole")),
            Action::Sleep { cause } => self.say(&format!("= it falls asleep: {cause:?}")),
            Action::Wake { by } => self.say(&format!("= it is woken: {by:?}")),
            Action::WarnOfEnd => self.say("= its end is near"),
            Action::Delete => self.say("= it is gone"),
            Action::Tried {
                run,
                attempt,
                again,
            } => {
                let again = again.map_or("", |_| ", and is tried again");
                self.say(&format!("= {run}: {:?}{again}", attempt.outcome));
            }
            Action::Retire { release } => self.say(&format!("- retire {release}")),
        }
    }

    fn tell_failure(&mut self, failure: Option<&Failure>) {
        let Some(failure) = failure else { return };
        self.more(&failure.message);
        for line in &failure.output {
            self.more(&format!("| {line}"));
        }
        if let Some(hint) = &failure.hint {
            self.more(&format!("hint: {hint}"));
        }
    }
}

fn pool(pool: &PlannedPool) -> String {
    let ids: Vec<&str> = pool.endpoints.iter().map(InstanceId::as_str).collect();
    let split = pool.split.as_ref().map_or_else(String::new, |split| {
        let sticky = match &split.sticky {
            Some(Sticky::Cookie(name)) => format!(" by cookie {name}"),
            Some(Sticky::Header(name)) => format!(" by header {name}"),
            None => String::new(),
        };
        format!(" ({} % to {}{sticky})", split.percent, split.release)
    });
    let probe = pool.probe.as_ref().map_or_else(String::new, |probe| {
        format!(" (probes of {} every {} ms)", probe.path, probe.every.0)
    });
    let maintenance = pool.maintenance.as_ref();
    let page = maintenance.map_or_else(String::new, |it| format!(" (a page: {})", it.message));
    let held = pool.asleep.map_or("", |_| " (held)");
    format!(
        "{}: [{}]{split}{probe}{page}{held}",
        pool.service,
        ids.join(" ")
    )
}

fn stage_of(phase: &Phase) -> u32 {
    match phase {
        Phase::Rolling { stage } => *stage,
        _ => 0,
    }
}
