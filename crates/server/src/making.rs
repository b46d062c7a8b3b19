//! Makes the images of a release: builds or fetches each, and unpacks it. Nothing here is recorded, and
//! dropping it ends what it started.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::{RwLockReadGuard, mpsc};
use ward_build::{Line, Outcome};
use ward_registry::{Reference, Repository};
use ward_types::id::{Digest, EnvId, Name};
use ward_types::release::Goal;
use ward_types::spec::{EnvSpec, ImageSource, ServiceSpec};
use ward_types::time::Millis;
use ward_types::view::Progress;

use crate::actor::{Refusal, RefusalKind, causes};
use crate::builds::{Building, Doing};
use crate::control::{Control, lock};
use crate::deploy::{Steps, Stop};
use crate::images::{Images, Sink};

/// How long one service's build may take.
const BUILD_WITHIN: Duration = Duration::from_secs(30 * 60);

/// A build that takes no longer needs no word before it is done.
const SILENT: Duration = Duration::from_secs(1);

/// An unpacking that takes no longer is not worth a sentence.
const QUIET: Duration = Duration::from_millis(500);

/// The images of a release that is not recorded yet. While it lives nothing is collected.
pub(crate) struct Made<'a> {
    pub(crate) images: BTreeMap<Name, Digest>,
    _unrecorded: RwLockReadGuard<'a, ()>,
}

/// The images that several environments share: each is made once, and a tag is resolved once.
#[derive(Default)]
pub(crate) struct Once(Mutex<Vec<(Name, ImageSource, Digest)>>);

impl Once {
    fn digest(&self, name: &Name, source: &ImageSource) -> Option<Digest> {
        let made = lock(&self.0);
        let same = |(n, s, _): &&(Name, ImageSource, Digest)| (n, s) == (name, source);
        made.iter().find(same).map(|(_, _, digest)| digest.clone())
    }

    fn keep(&self, name: &Name, source: &ImageSource, digest: &Digest) {
        lock(&self.0).push((name.clone(), source.clone(), digest.clone()));
    }
}

impl Control {
    /// Waits for its turn, then makes every image that `spec` needs.
    pub(crate) async fn images_made(
        &self,
        dir: &Path,
        spec: &EnvSpec,
        building: &Building,
        once: &Once,
        steps: &Steps,
    ) -> Result<Made<'_>, Stop> {
        turn_of(building, steps).await;
        let unrecorded = self.0.unrecorded.read().await;
        let images = self.built(dir, spec, building, once, steps).await?;
        self.unpacked(&spec.id, &images, building, steps).await?;
        Ok(Made {
            images,
            _unrecorded: unrecorded,
        })
    }

    async fn built(
        &self,
        dir: &Path,
        spec: &EnvSpec,
        building: &Building,
        once: &Once,
        steps: &Steps,
    ) -> Result<BTreeMap<Name, Digest>, Stop> {
        let mut images = BTreeMap::new();
        for (name, service) in &spec.services {
            let since = Instant::now();
            if let Some(digest) = once.digest(name, &service.source) {
                images.insert(name.clone(), digest);
                continue;
            }
            let (digest, what) = match &service.source {
                ImageSource::Image { reference } => {
                    building.does(Doing::Fetching(name.clone()));
                    step(steps, format!("{name}: fetching {reference}"), None).await;
                    (self.pulled(spec, name, reference).await?, "fetched")
                }
                _ => {
                    building.does(Doing::Building(name.clone()));
                    self.made(dir, spec, name, service, steps).await?
                }
            };
            step(
                steps,
                format!("{name}: {what} {}", digest.short()),
                Some(since),
            )
            .await;
            once.keep(name, &service.source, &digest);
            images.insert(name.clone(), digest);
        }
        Ok(images)
    }

    async fn made(
        &self,
        dir: &Path,
        spec: &EnvSpec,
        name: &Name,
        service: &ServiceSpec,
        steps: &Steps,
    ) -> Result<(Digest, &'static str), Stop> {
        let request = ward_build::Request {
            service: name.clone(),
            source: service.source.clone(),
            dir: dir.to_owned(),
            cache: self.0.home.join("builds").join(spec.id.stack().as_str()),
            repository: Images::repository(&spec.id.stack(), name),
        };
        let (lines, mut written) = mpsc::unbounded_channel::<Line>();
        let output = move |line: Line| drop(lines.send(line));
        let mut last: Vec<String> = Vec::new();
        let result = {
            let sink = Sink(self.0.registry.clone());
            // Dropping the build kills what it started.
            let building =
                tokio::time::timeout(BUILD_WITHIN, ward_build::build(&request, &sink, &output));
            let mut building = std::pin::pin!(building);
            let mut silent = std::pin::pin!(tokio::time::sleep(SILENT));
            let mut told = false;
            loop {
                tokio::select! {
                    biased;
                    () = &mut silent, if !told => {
                        told = true;
                        step(steps, format!("{name}: building"), None).await;
                    }
                    Some(line) = written.recv() => keep(&mut last, line, steps).await,
                    result = &mut building => break result,
                }
            }
        };
        while let Ok(line) = written.try_recv() {
            keep(&mut last, line, steps).await;
        }
        let Ok(result) = result else {
            let message = format!(
                "the build of {name} took longer than {} minutes and was ended",
                BUILD_WITHIN.as_secs() / 60
            );
            return Err(Refusal::new(RefusalKind::Failed, message)
                .hint(self.untouched(&spec.id))
                .into());
        };
        match result {
            Ok(image) if image.outcome == Outcome::Unchanged => Ok((image.digest, "unchanged")),
            Ok(image) => Ok((image.digest, "built")),
            Err(error) => {
                let mut message = format!("the build of {name} failed: {}", causes(&error));
                for line in last {
                    message.push_str("\n  | ");
                    message.push_str(&line);
                }
                Err(Refusal::new(RefusalKind::Invalid, message)
                    .hint(self.untouched(&spec.id))
                    .into())
            }
        }
    }

    /// What a deploy that failed before it was recorded left as it was.
    pub(crate) fn untouched(&self, env: &EnvId) -> String {
        let known = self.known(env).filter(|env| env.goal == Goal::Up);
        match known.and_then(|env| env.current) {
            Some(current) => format!("nothing was changed; {current} serves as before"),
            None => "nothing was changed".to_owned(),
        }
    }

    /// Fetches an image that others built, and records it under the service's own repository, so that
    /// the release depends on nobody else's registry.
    async fn pulled(
        &self,
        spec: &EnvSpec,
        name: &Name,
        reference: &str,
    ) -> Result<Digest, Refusal> {
        let refused = |error: &(dyn std::error::Error + 'static)| {
            Refusal::new(
                RefusalKind::Failed,
                format!("cannot use {reference} for {name}: {}", causes(error)),
            )
            .hint(self.untouched(&spec.id))
        };
        let pulled = ward_registry::pull(&self.0.registry, reference)
            .await
            .map_err(|error| {
                let message = format!("{name}: {}", causes(&error));
                let hint = format!("{}\n{}", error.hint(), self.untouched(&spec.id));
                Refusal::new(RefusalKind::Failed, message).hint(hint)
            })?;
        let there = Reference::parse(pulled.digest.as_str()).map_err(|error| refused(&error))?;
        let manifest = self
            .0
            .registry
            .manifest(&pulled.repo, &there)
            .await
            .map_err(|error| refused(&error))?;
        let own = Repository::parse(&Images::repository(&spec.id.stack(), name))
            .map_err(|error| refused(&error))?;
        let stored = self
            .0
            .registry
            .put_manifest(&own, None, &manifest.media_type, manifest.bytes)
            .await;
        stored.map_err(|error| refused(&error))
    }

    pub(crate) async fn unpacked(
        &self,
        env: &EnvId,
        images: &BTreeMap<Name, Digest>,
        building: &Building,
        steps: &Steps,
    ) -> Result<(), Refusal> {
        for (name, digest) in images {
            building.does(Doing::Unpacking(name.clone()));
            let since = Instant::now();
            let repository = Images::repository(&env.stack(), name);
            self.0
                .images
                .ready(&repository, digest)
                .await
                .map_err(|error| {
                    Refusal::failed(&format!("the image of {name} cannot be used"), &error)
                        .hint(self.untouched(env))
                })?;
            if since.elapsed() > QUIET {
                step(steps, format!("{name}: unpacked"), Some(since)).await;
            }
        }
        Ok(())
    }
}

/// Returns when it is a build's turn, and says before what it waits for.
pub(crate) async fn turn_of(building: &Building, steps: &Steps) {
    if let Some(sentence) = building.ahead() {
        let on = vec![sentence];
        let _ = steps.send(Progress::Waiting { on }).await;
    }
    building.turn().await;
}

async fn step(steps: &Steps, message: impl Into<String>, since: Option<Instant>) {
    let took = since.map(|since| {
        let millis = since.elapsed().as_millis();
        Millis(u64::try_from(millis).unwrap_or(u64::MAX))
    });
    let _ = steps
        .send(Progress::Step {
            message: message.into(),
            took,
        })
        .await;
}

/// Passes a line on, and keeps the last for an error message.
async fn keep(last: &mut Vec<String>, line: Line, steps: &Steps) {
    if last.len() == 30 {
        last.remove(0);
    }
    last.push(line.text.clone());
    let _ = steps
        .send(Progress::Output {
            source: line.service.to_string(),
            line: line.text,
        })
        .await;
}
