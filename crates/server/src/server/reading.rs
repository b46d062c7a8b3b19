//! A state folder as it lies there, for who only wants to know something while no platform runs on it.
//!
//! Decision: nothing is started and nobody is listened to; no environment has a driver, so that nothing that should run
//! is brought up by a question. The lock is held meanwhile, because what is built for the answer is written to the same
//! registry: a platform that is started in between waits for it.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::mpsc;
use ward_engine::Engine;
use ward_registry::Registry;
use ward_seal::{KeySource, Vault};
use ward_store::{Lease, Lock, Log as _, Store};
use ward_types::changes::PlanRequest;
use ward_types::id::Name;
use ward_types::view::Progress;

use super::{Heard, Site, StartError, altered, control, make_home};
use crate::actor::Actor;
use crate::addresses::Addresses;
use crate::audit::Auditor;
use crate::clock::now;
use crate::control::{Control, Duty};
use crate::routing::{Found, GatewayPlace, Routing};

/// Where the state is, and what a server would be told.
#[derive(Debug, Clone)]
pub struct ReadingOptions {
    /// The state folder, absolute.
    pub home: PathBuf,
    /// The binary.
    pub exe: PathBuf,
    /// Where a server would listen: HTTP, HTTPS and the registry.
    pub addresses: [SocketAddr; 3],
    /// The region that this Ward is in, if somebody says so.
    pub region: Option<Name>,
}

/// A control plane that answers and acts on nothing.
pub struct Reading {
    control: Control,
    _lock: Lock,
}

impl Reading {
    /// Opens a state folder that no server has; one that is not there is made.
    ///
    /// # Errors
    /// [`StartError`], as it says.
    pub async fn open(options: ReadingOptions) -> Result<Self, StartError> {
        let ReadingOptions {
            home,
            exe,
            addresses: [http, https, registry_address],
            region,
        } = options;
        make_home(&home)?;
        let lock = ward_store::lock(&home)?;
        let store = Store::open(&home.join("ward.db"))?;
        // Whatever was mended is found this once.
        if let Some(found) = altered(&store) {
            store.append(vec![found])?;
        }
        let lease = Lease::take(&home, &store)?;
        let registry = Registry::open(home.join("registry"))?;
        let kept = Addresses::read(&home);
        let engine = Engine::open(ward_engine::Options {
            home: home.clone(),
            exe: exe.clone(),
            clock: now,
        })
        .await?;
        let place = GatewayPlace {
            home: home.clone(),
            exe: exe.clone(),
            http,
            https,
            metrics: None,
            arguments: Vec::new(),
            again: Vec::new(),
            kept,
            found: Found::Kept,
        };
        let routing = Routing::none(place, store.clone(), lease.clone());
        let auditor = Auditor::idle(home.clone(), store.clone());
        let vault = Vault::new(&home, KeySource::from_environment());
        let site = Site {
            backup_dir: None,
            region,
            people: Heard::Owner,
            duty: Duty::Reads,
        };
        let registry_address = kept.registry.unwrap_or(registry_address);
        let control = control(
            (home, exe),
            (store, lease),
            registry,
            (registry_address.to_string(), None),
            engine,
            (routing, vault),
            (auditor, None, site),
        );
        Ok(Self {
            control,
            _lock: lock,
        })
    }

    /// Says what a deploy would change. What is built for that stays, and is not built again.
    pub async fn plan(&self, actor: Actor, request: PlanRequest, steps: mpsc::Sender<Progress>) {
        self.control.clone().plan(actor, request, steps).await;
    }
}
