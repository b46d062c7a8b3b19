//! One deploy or rollback after the other, with what happens meanwhile.

use std::time::{Duration, Instant};

use ward_types::id::ReleaseId;
use ward_types::view::EnvironmentView;

use super::applications::Application;
use super::faults::{self, Fault, Planned};
use crate::error::Error;
use crate::load::Load;
use crate::process;
use crate::report::say;
use crate::ward::Ward;

/// How long a move may take to its verdict when something was killed in it.
const SETTLES: Duration = Duration::from_secs(120);

/// What was killed with -9 is gone so soon, with all that it started.
const DIES_WITHIN: Duration = Duration::from_millis(500);

/// What became of the moves.
#[derive(Default)]
pub(super) struct Moves {
    pub(super) succeeded: u32,
    pub(super) cut_short: u32,
    pub(super) upgrades: u32,
    broken: Vec<String>,
}

impl Moves {
    pub(super) fn broken(&self) -> &[String] {
        &self.broken
    }

    /// A deploy where the first release serves, else a rollback; and a fault meanwhile, if one is planned.
    /// What of that was done.
    pub(super) async fn make(
        &mut self,
        ward: &Ward,
        application: &mut Application,
        planned: Option<Planned>,
        loads: &[Load],
        round: u32,
    ) -> Result<Option<Fault>, Error> {
        let before = environment(ward, application.stack()).await?;
        let command = match before.current {
            Some(release) if release != ReleaseId(1) => "rollback",
            _ => {
                application.change()?;
                "deploy"
            }
        };
        let arguments = [command];
        let (moved, made) = tokio::join!(
            ward.run_in(application.folder(), &arguments),
            inflict(ward, planned, loads)
        );
        let made = made?;
        match moved {
            Ok(_) => self.succeeded += 1,
            Err(_) if made.is_some_and(Fault::kills) => self.cut_short += 1,
            Err(error) => self.broke(round, &format!("`ward {command}`: {}", error.sentence())),
        }
        if made == Some(Fault::KillServer) {
            ward.up_alone().await?;
        }
        self.prove(ward, application, round).await?;
        Ok(made)
    }

    /// What is said to serve does, by the gateway and by its own answer.
    async fn prove(
        &mut self,
        ward: &Ward,
        application: &mut Application,
        round: u32,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + SETTLES;
        loop {
            let now = environment(ward, application.stack()).await?;
            if now.deployment.is_none() {
                let Some(release) = now.current else {
                    self.broke(round, "nothing is said to serve");
                    return Ok(());
                };
                let services = now.components.iter().filter(|c| c.kind == "service");
                let mut routed = services
                    .flat_map(|component| &component.instances)
                    .filter(|instance| instance.in_rotation);
                if let Some(other) = routed.find(|instance| instance.release != release) {
                    let (id, what) = (&other.id, format!("{release} is said to serve"));
                    self.broke(round, &format!("{what}, and {id} is in rotation"));
                }
                if let Err(why) = application.prove(ward, release).await {
                    self.broke(round, &why);
                }
                return Ok(());
            }
            if Instant::now() > deadline {
                let waiting = now.waiting.join(" ");
                self.broke(round, &format!("no verdict after two minutes: {waiting}"));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn upgrade(&mut self, ward: &Ward, round: u32) {
        match ward.run(&["upgrade"]).await {
            Ok(_) => self.upgrades += 1,
            Err(error) => self.broke(round, &format!("`ward upgrade`: {}", error.sentence())),
        }
    }

    /// Each deployment of the log has exactly one verdict, and the log is whole.
    pub(super) async fn examine_log(&mut self, ward: &Ward) -> Result<(), Error> {
        if let Err(error) = ward.run(&["audit", "verify"]).await {
            self.broke(0, &error.sentence());
        }
        for env in ward.status().await?.environments {
            let name = env.id.to_string();
            if env.deployment.is_some() {
                self.broke(
                    0,
                    &format!("{name}: a deployment has no verdict at the end"),
                );
            }
        }
        Ok(())
    }

    fn broke(&mut self, round: u32, why: &str) {
        let why = format!("move {round}: {why}");
        say(&why);
        self.broken.push(why);
    }
}

async fn environment(ward: &Ward, stack: &str) -> Result<EnvironmentView, Error> {
    let status = ward.status().await?;
    let mut all = status.environments.into_iter();
    all.find(|env| env.id.to_string().starts_with(stack))
        .ok_or_else(|| Error::Unexpected(format!("`ward status` does not show {stack}")))
}

/// Does what is planned, and says so, unless nothing is there to do it to.
async fn inflict(
    ward: &Ward,
    planned: Option<Planned>,
    loads: &[Load],
) -> Result<Option<Fault>, Error> {
    let Some(planned) = planned else {
        return Ok(None);
    };
    tokio::time::sleep(planned.after).await;
    let status = ward.status().await?;
    let (fault, server) = (planned.fault, status.server.pid);
    let at = loads.first().map_or(0.0, Load::age);
    say(&format!("  {fault:?} after {at:.2} s"));
    match fault {
        Fault::KillServer => process::kill9(server),
        Fault::StopServer => faults::pause(vec![server], planned.time).await,
        Fault::KillKeeper | Fault::StopKeeper | Fault::KillInstance | Fault::StopInstance => {
            let Some(instance) = faults::any_instance(&status, planned.pick) else {
                return Ok(None);
            };
            match fault {
                Fault::KillKeeper => kill(instance.keeper, &instance.env, loads),
                Fault::KillInstance => kill(instance.pid, &instance.env, loads),
                Fault::StopKeeper => faults::pause(vec![instance.keeper], planned.time).await,
                _ => faults::pause(process::descendants(instance.pid), planned.time).await,
            }
        }
    }
    Ok(Some(fault))
}

/// What is under way there is lost, until the last of it is dead.
fn kill(pid: u32, env: &str, loads: &[Load]) {
    let hit = || loads.iter().filter(|load| env.starts_with(load.stack()));
    let all = process::descendants(pid);
    // First, because they may fail before anything else can be said.
    hit().for_each(Load::something_was_killed);
    process::kill9(pid);
    let deadline = Instant::now() + DIES_WITHIN;
    while all.iter().any(|pid| process::lives(*pid)) && Instant::now() < deadline {
        std::thread::yield_now();
    }
    hit().for_each(Load::something_was_killed);
}
