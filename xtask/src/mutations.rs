//! Each guard removed in turn: a suite that stays green without it has a hole.
//!
//! The guards are removed from a copy of the sources, below `target`, one at a time; the tests that should
//! notice are run there, and must fail. A guard whose text is not found any more is a failure too: then
//! this list is to be mended. Tests that hang for `PATIENCE` have noticed as well.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{root, run, say};

/// One guard: what it is, where it stands, its text and what takes its place, and the crates whose tests
/// should notice.
struct Mutation {
    guard: &'static str,
    file: &'static str,
    text: &'static str,
    without: &'static str,
    noticed_by: &'static [&'static str],
}

/// How long the tests may take without a guard, in seconds.
const PATIENCE: &str = "600";

const PLANNED: &[&str] = &["ward-plan", "ward-sim"];

const MUTATIONS: &[Mutation] = &[
    Mutation {
        guard: "an instance is drained only when the table in force does not name it",
        file: "crates/pure/plan/src/drain.rs",
        text: "if scene.in_force(id) || named {",
        without: "if named {",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "without the gateway nobody knows what is in rotation",
        file: "crates/pure/plan/src/drain.rs",
        text: "scene.gateway().is_none() && instance.is_routable() && !never_healthy",
        without: "never_healthy && false",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "what is under way has its budget before it is cut",
        file: "crates/pure/plan/src/drain.rs",
        text: "None if scene.is_past(&budget) => {",
        without: "None => {",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "long connections have a budget of their own before they are cut",
        file: "crates/pure/plan/src/drain.rs",
        text: "(_, 0) => ordinary,",
        without: "_ if true => ordinary,",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "those who make the gateway hold the most are cut when there is too little memory",
        file: "crates/effects/gateway/src/memory.rs",
        text: "                cut();\n",
        without: "",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "long connections are told to go away when their instance leaves rotation",
        file: "crates/effects/gateway/src/instance.rs",
        text: "self.parting.begin(Instant::now());",
        without: "",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "an instance that comes back keeps its long connections",
        file: "crates/effects/gateway/src/instance.rs",
        text: "self.parting.stop();",
        without: "",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "a path that climbs out of its prefix is refused",
        file: "crates/effects/gateway/src/path.rs",
        text: " || climbs(&decoded)",
        without: "",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "a path that leads elsewhere where cases are one is refused",
        file: "crates/effects/gateway/src/site.rs",
        text: "(Some(one), Some(other)) => Arc::ptr_eq(one, other),",
        without: "(Some(_), Some(_)) => true,",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "who waits under a newer table must be one whom it lets in",
        file: "crates/effects/gateway/src/proxy/finding.rs",
        text: "gate::admit(route, outside)?;",
        without: "if generation.0 == 1 { gate::admit(route, outside)?; }",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "a second instance is asked only while the budget of retries lasts",
        file: "crates/effects/gateway/src/proxy/racing.rs",
        text: "pool.budget.spend(now).then_some(second)",
        without: "Some(second)",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "a second instance that fails does not answer for a first one that may not",
        file: "crates/effects/gateway/src/proxy/racing.rs",
        text: "Either::Right((Ok(answered), first)) if is_failure(&answered)",
        without: "Either::Right((Ok(answered), first)) if false && is_failure(&answered)",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "an instance has not failed when its caller's time is over",
        file: "crates/effects/gateway/src/proxy.rs",
        text: "Failure::GIVEN_UP => place.outrun(),",
        without: "Failure::GIVEN_UP => place.failed(),",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "strangers do not say how long work may take",
        file: "crates/effects/gateway/src/head.rs",
        text: "|| is(EXPECTED_WITHIN.as_str().as_bytes())",
        without: "",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "what an instance sends behind its answer is nobody's",
        file: "crates/effects/gateway/src/lean/exchange.rs",
        text: "if keeps && clean {",
        without: "if keeps {",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "a plain request with a body is not sent twice",
        file: "crates/effects/gateway/src/lean/exchange.rs",
        text: "self.ask.method.is_idempotent() && self.ask.body == 0",
        without: "self.ask.method.is_idempotent()",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "what may not come twice is not sent again when a kept connection closes",
        file: "crates/effects/gateway/src/proxy/asking.rs",
        text: "Reuse::Recent | Reuse::Never => Harmless::Untouched,",
        without: "Reuse::Recent | Reuse::Never => Harmless::Any,",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "another stack is let in only where the service is exported to it",
        file: "crates/effects/gateway/src/sharing.rs",
        text: "} => sharing::admits(&pool.entry.pool.exports, &pool.service.0, guest),",
        without: "} => guest.as_str() != \"\" || sharing::admits(&pool.entry.pool.exports, &pool.service.0, guest),",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "an export lets nobody in from an environment of another name unless it says so",
        file: "crates/pure/types/src/sharing.rs",
        text: "Importers::Same => env == own.env(),",
        without: "Importers::Same => true,",
        noticed_by: &["ward-types"],
    },
    Mutation {
        guard: "nobody is let in whom no release lets in that serves there",
        file: "crates/pure/plan/src/check/routing.rs",
        text: "services.any(|service| service.exports.contains(export))",
        without: "services.any(|service| service.exports.contains(export)) || true",
        noticed_by: &["ward-plan"],
    },
    Mutation {
        guard: "trailers do not say where a body ends",
        file: "crates/effects/gateway/src/coming.rs",
        text: "&& may_trail(&name)",
        without: "",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "nobody claims on the lean path where a request comes from",
        file: "crates/effects/gateway/src/lean/ask.rs",
        text: "claim if is_claim(claim, self.asker) => return Some(Line::Dropped),",
        without: "",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "an instance is asked for HTTP/2 before it gets a call",
        file: "crates/effects/gateway/src/upstream/pool.rs",
        text: "preface::ask(self.stream().await?).await?;",
        without: "",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "what the application sent is never replaced",
        file: "crates/effects/gateway/src/settings.rs",
        text: "&& let Entry::Vacant(place) = headers.entry(name)",
        without: "&& let Entry::Vacant(place) = { headers.remove(name); headers.entry(name) }",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "nobody but the log puts a service into maintenance",
        file: "crates/pure/plan/src/check/routing.rs",
        text: "pool.maintenance.as_ref() != case.env.maintained.of(&pool.service)",
        without: "pool.maintenance.is_some() && false",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a close frame stands between two frames",
        file: "crates/effects/gateway/src/tunnel.rs",
        text: "tokio::time::timeout(NEAR, self.finish_frame())",
        without: "tokio::time::timeout(NEAR, async { Ok::<(), io::Error>(()) })",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "an event stream ends between two events",
        file: "crates/effects/gateway/src/reply.rs",
        text: "match self.marks.may_end() || ",
        without: "match true || ",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "probes end with the trial",
        file: "crates/pure/plan/src/trial.rs",
        text: "pool.probe = probe.filter(|_| on_trial && (bakes || pool.split.is_some()));",
        without: "pool.probe = probe;",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the checker refuses probes of what is not on trial",
        file: "crates/pure/plan/src/check/course.rs",
        text: "asks && (on_trial || pool.split.is_some())",
        without: "asks",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "both releases are probed in turn",
        file: "crates/effects/gateway/src/probe.rs",
        text: "turn = (turn + 1) % releases.len();",
        without: "",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "a table that serves is not given up for one that does not",
        file: "crates/pure/plan/src/route.rs",
        text: "false => whole,",
        without: "false => wanted,",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "what does not overlap gives way to what takes its place",
        file: "crates/pure/plan/src/apart.rs",
        text: "&& others.any(|other| excludes(env, service, [next, other]))",
        without: "&& others.any(|other| other.0 == u64::MAX)",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a release that was switched to keeps its requests",
        file: "crates/pure/plan/src/roll.rs",
        text: "Outcome::Done => scene.stage().map_or(Stand::Rest, Stand::At),",
        without: "Outcome::Done => reached(scene, deployment),",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "one deployment at a time",
        file: "crates/pure/plan/src/queue.rs",
        text: "let mut before = scene.active();",
        without: "let mut before: Option<&Deployment> = None;",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "an instance that does not become healthy in its time fails the deployment",
        file: "crates/pure/plan/src/roll.rs",
        text: ".or_else(|| never_healthy(scene, deployment, spec))",
        without: "",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a verdict says that the old release serves only if it does",
        file: "crates/pure/plan/src/verdict.rs",
        text: "Some(_) if !serves_in_full(scene, current) => Verdict::FailedDegraded,",
        without: "",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a release command that ended well is not run again",
        file: "crates/pure/plan/src/prepare.rs",
        text: ".filter(|name| !done.contains(name))",
        without: ".filter(|name| done.len() < 100 || !done.contains(name))",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "releases that served are retained behind a row of failures",
        file: "crates/pure/plan/src/retention.rs",
        text: "let kept = newest_served.contains(id) || running.contains(id);",
        without: "let kept = newest_served.len() > 1000 || running.contains(id);",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the checker refuses to stop what is in rotation",
        file: "crates/pure/plan/src/check/stopping.rs",
        text: "if case.is_in_rotation(&id) {",
        without: "if case.is_in_rotation(&id) && verb.is_empty() {",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a stage is held for its time",
        file: "crates/pure/plan/src/hold.rs",
        text: "(!scene.is_past(&bound)).then_some((until, bound))",
        without: "(scene.is_past(&bound) && bound.until < since).then_some((until, bound))",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "nothing moves while a deployment is paused",
        file: "crates/pure/plan/src/roll.rs",
        text: "held || (deployment.paused.is_none() && pools::is_complete(scene, deployment.to))",
        without: "held || pools::is_complete(scene, deployment.to)",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "an instance on trial has no second chance",
        file: "crates/pure/plan/src/roll.rs",
        text: ".or_else(|| trial::breached(scene, deployment))",
        without: "",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a release that fails its requests goes back",
        file: "crates/pure/plan/src/trial.rs",
        text: ".or_else(|| answers_worse(scene, deployment))",
        without: "",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a release of which too little was seen goes back",
        file: "crates/pure/plan/src/trial.rs",
        text: ".or_else(|| unproven(scene, deployment))",
        without: "",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "what was answered before the stage's table is not counted",
        file: "crates/pure/plan/src/watch.rs",
        text: "let more = counted.since(last);",
        without: "let more = counted.since(&Sample::default());",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "what begins to fail late is seen at once",
        file: "crates/pure/plan/src/watch.rs",
        text: "analysis::judge_recent(&old.sound(), &new.sound())",
        without: "analysis::judge_recent(&new.sound(), &new.sound())",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "batches and their way back stay below the surge",
        file: "crates/pure/plan/src/roll.rs",
        text: "(pace.most as usize).saturating_sub(running)",
        without: "(pace.most as usize + 9).saturating_sub(running)",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "old instances become fewer only with the table that needs fewer",
        file: "crates/pure/plan/src/pools.rs",
        text: "Stand::At(stage) if rollout.from == Some(release) => Some(rollout.share(stage, name)?.old),",
        without: "_ if rollout.from == Some(release) => Some(rollout.share(stage, name)?.old),",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "new instances stay in rotation while the old are too few",
        file: "crates/pure/plan/src/tables.rs",
        text: "let stays = *index < needed || matches!",
        without: "let stays = matches!",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "what new instances call stays while they take requests",
        file: "crates/pure/plan/src/route.rs",
        text: "tables::with_what_is_called(scene, rollout, table)",
        without: "table",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a stage is left only when its table is in force",
        file: "crates/pure/plan/src/roll.rs",
        text: "let next = over && pools::is_complete(scene, deployment.to) && in_force();",
        without: "let next = over && pools::is_complete(scene, deployment.to);",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the verdict of a way back waits for all old instances",
        file: "crates/pure/plan/src/revert.rs",
        text: "!scene.rollout.is_some_and(shrank) || rest::is_unprepared(scene, old)",
        without: "!scene.rollout.is_some_and(shrank) || old.0 > 0",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the checker knows what share a step names",
        file: "crates/pure/plan/src/check/course.rs",
        text: "&& steps.any(|step| step.weight == split.percent)",
        without: "&& steps.any(|step| step.weight <= 100)",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the checker knows the floor of a rolling service",
        file: "crates/pure/plan/src/check/routing.rs",
        text: "(keeps < floor.min(has)).then(",
        without: "(keeps + 99 < floor.min(has)).then(",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the checker knows when a stage may follow",
        file: "crates/pure/plan/src/check/moving.rs",
        text: "stage < next && next <= farthest && known && begun",
        without: "stage < next && next <= farthest && known",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "that a release took requests is recorded before it is taken back",
        file: "crates/pure/plan/src/serve.rs",
        text: "if stage.is_some() || goes_back(scene, draft, deployment) {",
        without: "if stage.is_some() {",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a planner that has forgotten knows by the log since when a stage is held",
        file: "crates/pure/plan/src/memory.rs",
        text: "let before = before.or_else(|| recorded(scene, active, stage));",
        without: "",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the checker refuses a verdict that denies what the log says",
        file: "crates/pure/plan/src/check/moving.rs",
        text: "Verdict::FailedOldServing if has_served(case, deployment) => false,",
        without: "Verdict::FailedOldServing if has_served(case, deployment) && !told => false,",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a driver that was succeeded does nothing any more",
        file: "crates/base/drive/src/driver.rs",
        text: "world.holds().await?;",
        without: "",
        noticed_by: &["ward-sim"],
    },
    Mutation {
        guard: "the log takes no way back that the schema cannot take",
        file: "crates/pure/types/src/event/environment.rs",
        text: "self.takes(deployment)?;",
        without: "",
        noticed_by: &["ward-plan", "ward-store"],
    },
    Mutation {
        guard: "nor does one begin that was asked for before",
        file: "crates/pure/types/src/event/environment.rs",
        text: "self.takes(&begins)?;",
        without: "drop(begins);",
        noticed_by: &["ward-plan"],
    },
    Mutation {
        guard: "a rollback that the schema cannot take any more ends before it begins",
        file: "crates/pure/plan/src/queue.rs",
        text: "if let Some(change) = scene.env.schema_refuses(deployment) {",
        without: "if let Some(change) = scene.env.schema_refuses(deployment).filter(|c| c.by.is_empty()) {",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "what takes something away from earlier releases is recorded before it starts",
        file: "crates/pure/plan/src/prepare.rs",
        text: "match schema.filter(|schema| schema.takes_away() && !recorded) {",
        without: "match schema.filter(|schema| schema.takes_away() && recorded) {",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the checker knows what is to be recorded first",
        file: "crates/pure/plan/src/check/schema.rs",
        text: "harmless || is_recorded(case, active.id, service)",
        without: "harmless || active.id.0 > 0",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the checker knows what the schema cannot take",
        file: "crates/pure/plan/src/check/schema.rs",
        text: "goes_back && older && !serves && d.despite_schema.is_none()",
        without: "goes_back && older && !serves && d.by.is_empty()",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a release that the data was never prepared for runs its commands",
        file: "crates/pure/types/src/schema.rs",
        text: "self.data == DataState::New || newer",
        without: "self.data == DataState::New || (newer && self.builds == 0)",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "nobody waits for ever for its turn",
        file: "crates/pure/plan/src/queue.rs",
        text: "    let bound = bound(scene, waiting);\n    if scene.is_past(&bound) {",
        without: "    let bound = bound(scene, waiting);\n    if scene.is_past(&bound) && waiting.by.is_empty() {",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "ordinals are durable before the first start",
        file: "crates/base/drive/src/driver.rs",
        text: "if plan.next_ordinal == plan.first_ordinal {",
        without: "if plan.next_ordinal >= plan.first_ordinal {",
        noticed_by: &["ward-sim"],
    },
    Mutation {
        guard: "a websocket over HTTP/2 is one only when the instance has answered the gateway's key",
        file: "crates/effects/gateway/src/proxy/delivering.rs",
        text: "self.knock.as_ref().is_none_or(answers)",
        without: "self.knock.as_ref().is_none_or(answers) || true",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "a page is no websocket over HTTP/2",
        file: "crates/effects/gateway/src/proxy/delivering.rs",
        text: "if self.knock.is_some() && response.status().is_success() {",
        without: "if false {",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "a connection with a websocket on it is not idle",
        file: "crates/effects/gateway/src/proxy/delivering.rs",
        text: "self.knock.as_ref().and_then(|_| self.client.stream())",
        without: "None",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "of all CONNECTs only one for a websocket is taken",
        file: "crates/effects/gateway/src/extended.rs",
        text: "_ if parts.method != Method::CONNECT || is_asked(parts) => Ok(()),",
        without: "_ if true => Ok(()),",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "what one trace's state says is not passed on with another trace",
        file: "crates/effects/gateway/src/trace.rs",
        text: "    headers.remove(TRACESTATE);\n",
        without: "\n",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "a plain request with a trace's state alone is not passed on as it is",
        file: "crates/effects/gateway/src/lean/ask.rs",
        text: "(ask.trace.is_some() || !stateful)",
        without: "(ask.trace.is_some() || true)",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "cookies over HTTP/2 are one line for the instance",
        file: "crates/effects/gateway/src/head.rs",
        text: "if lines.len() > 1\n",
        without: "if lines.len() > 9\n",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "the order of TLS suites is the gateway's",
        file: "crates/effects/gateway/src/tls.rs",
        text: "usual.ignore_client_order = true;",
        without: "usual.ignore_client_order = false;",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "the gateway refuses a table of a server that was succeeded",
        file: "crates/effects/gateway/src/routes.rs",
        text: "if offered.term < in_force.term {",
        without: "if offered.term.0 == u64::MAX {",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "who takes the lease fences whoever had it",
        file: "crates/base/store/src/lease.rs",
        text: "match found == Some(self.term()) {",
        without: "match found.is_some() {",
        noticed_by: &["ward-store"],
    },
    Mutation {
        guard: "the gateway refuses a table of an older generation",
        file: "crates/effects/gateway/src/routes.rs",
        text: "if offered.generation < in_force.generation {",
        without: "if offered.generation.0 == u64::MAX {",
        noticed_by: &["ward-gateway"],
    },
    Mutation {
        guard: "another writer to the log is noticed before it does harm",
        file: "crates/base/store/src/writer.rs",
        text: "if found != self.frontier.size() {",
        without: "if found == u64::MAX {",
        noticed_by: &["ward-store"],
    },
    Mutation {
        guard: "the checker refuses a worker beside one of another release",
        file: "crates/pure/plan/src/check/starting.rs",
        text: "let other = others.find(|i| apart(i.facts.release, name) || apart(release, name));",
        without: "let other = others.find(|i| apart(i.facts.release, name) && i.facts.component != *name);",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a worker starts when that of the other release is gone",
        file: "crates/pure/plan/src/exchange.rs",
        text: "if !may_start(scene, release, service) {",
        without: "if !may_start(scene, release, service) && draft.started(service) > 1000 {",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a worker is replaced when it is gone",
        file: "crates/pure/plan/src/exchange.rs",
        text: "wanted.saturating_sub(running + draft.started(service))",
        without: "wanted.saturating_sub(running.min(0) + draft.started(service))",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "no limit of a deployment runs while a worker finishes what it has begun",
        file: "crates/pure/plan/src/exchange.rs",
        text: "barred.map_or(since, |barred| since.max(barred.until))",
        without: "barred.map_or(since, |barred| since.min(barred.until))",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "no promotion leaves out the stage in which everything gets ready for an exchange",
        file: "crates/pure/plan/src/hold.rs",
        text: "let ready = rollout.ready().filter(|ready| stage < *ready);",
        without: "let ready = rollout.ready().filter(|ready| stage > *ready);",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "a release whose worker has left does not serve in full",
        file: "crates/pure/plan/src/verdict.rs",
        text: "serve >= service.instances as usize",
        without: "serve <= service.instances as usize",
        noticed_by: PLANNED,
    },
    Mutation {
        guard: "the order of what has names is a difference, too",
        file: "crates/pure/plan/src/changes/walk.rs",
        text: "if self.found.len() == found && from != to {",
        without: "if false && self.found.len() == found && from != to {",
        noticed_by: &["ward-plan"],
    },
    Mutation {
        guard: "of two items with one name none is lost",
        file: "crates/pure/plan/src/changes/walk.rs",
        text: "count => format!(\"{name} #{count}\"),",
        without: "_ => name,",
        noticed_by: &["ward-plan"],
    },
    Mutation {
        guard: "only what is standard may be left out without a difference",
        file: "crates/pure/plan/src/changes/walk.rs",
        text: "if from.or(absent.as_ref()) == to.or(absent.as_ref()) {",
        without: "if absent.is_some() {",
        noticed_by: &["ward-plan"],
    },
    Mutation {
        guard: "a change does not get past the rule that it takes away",
        file: "crates/pure/plan/src/policy.rs",
        text: "wanted.served.map(about_changes).unwrap_or_default()",
        without: "Policy::default()",
        noticed_by: &["ward-plan"],
    },
    Mutation {
        guard: "a freeze holds where nobody knows which day it is",
        file: "crates/pure/plan/src/policy.rs",
        text: "today.is_none_or(|day| freeze.holds_on(day))",
        without: "today.is_some_and(|day| freeze.holds_on(day))",
        noticed_by: &["ward-plan"],
    },
    Mutation {
        guard: "the stricter of both policies holds",
        file: "crates/pure/plan/src/policy.rs",
        text: "Some(known) if known.level >= level => {}",
        without: "Some(_) => {}",
        noticed_by: &["ward-plan"],
    },
];

/// Removes each guard in turn.
pub(crate) fn mutations(from: usize) -> Result<(), String> {
    let tree = root().join("target/mutations/tree");
    copy(&tree)?;
    let mut unnoticed = Vec::new();
    for (number, mutation) in MUTATIONS.iter().enumerate().skip(from) {
        let noticed = mutation.is_noticed(&tree)?;
        let word = if noticed { "noticed" } else { "NOT NOTICED" };
        say(&format!("# {number} without: {} … {word}", mutation.guard));
        if !noticed {
            unnoticed.push(mutation.guard);
        }
    }
    let removed = MUTATIONS.len().saturating_sub(from);
    say(&format!(
        "{removed} guards removed, {} noticed",
        removed - unnoticed.len()
    ));
    match unnoticed.is_empty() {
        true => Ok(()),
        false => Err(format!("no test notices: {}", unnoticed.join("; "))),
    }
}

/// What is committed, and what is not yet; over what a run that was stopped left changed.
fn copy(tree: &Path) -> Result<(), String> {
    fs::create_dir_all(tree).map_err(|error| format!("cannot make {}: {error}", tree.display()))?;
    let mut copy = Command::new("sh");
    copy.current_dir(root())
        .args(["-c", "git ls-files -z | xargs -0 cp --parents -t \"$0\""])
        .arg(tree);
    run(&mut copy)
}

impl Mutation {
    /// Whether any test fails without the guard, or the tests do not even build.
    fn is_noticed(&self, tree: &Path) -> Result<bool, String> {
        let path = tree.join(self.file);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let whole = self.found_in(tree)?;
        fs::write(&path, whole.replace(self.text, self.without)).map_err(failed)?;
        let built = self.cargo(tree, &["--no-run"])?;
        let passed = built && self.cargo(tree, &[])?;
        fs::write(&path, whole).map_err(failed)?;
        match built {
            true => Ok(!passed),
            false => Err(format!("{} does not compile without it", self.guard)),
        }
    }

    /// The file that the guard stands in, once.
    fn found_in(&self, tree: &Path) -> Result<String, String> {
        let path = tree.join(self.file);
        let whole =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        match whole.matches(self.text).count() {
            1 => Ok(whole),
            times => Err(format!(
                "{} holds this guard {times} times and not once: {}",
                self.file, self.text
            )),
        }
    }

    fn cargo(&self, tree: &Path, more: &[&str]) -> Result<bool, String> {
        // Not only cargo: what it started as well.
        let mut test = Command::new("timeout");
        test.args(["--kill-after=10", PATIENCE, "cargo"])
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", root().join("target"))
            .env("INSTA_UPDATE", "no")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .args(["test", "--locked", "--quiet"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null());
        for package in self.noticed_by {
            test.args(["--package", package]);
        }
        let status = test.args(more).status();
        let status = status.map_err(|error| format!("cargo cannot be run: {error}"))?;
        Ok(status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_stands_where_the_list_says() {
        let wrong: Vec<String> = MUTATIONS
            .iter()
            .filter_map(|mutation| mutation.found_in(&root()).err())
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
