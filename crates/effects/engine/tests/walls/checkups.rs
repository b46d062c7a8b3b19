//! Health checks out of turn: what a keeper says of its instance to whoever must know it now.

use ward_types::checkup::{Checkup, Found, Occasion};
use ward_types::id::DeploymentId;
use ward_types::keeper::{HealthCheck, InstanceSpec, InstanceState, Probe};
use ward_types::time::Millis;

use crate::real::{signal, until};
use crate::world::World;

/// Answers well until `/tmp/mute` is there; then it takes connections and says nothing.
const SERVER: &str = r#"
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, Listen => 16) or die $!;
my @kept;
while (my $peer = $listener->accept) {
    if (-e "/tmp/mute") { push @kept, $peer; next; }
    while (<$peer>) { last if /^\r/ }
    print $peer "HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n"; close $peer;
}
"#;

/// Checked once an hour.
fn seldom(world: &World) -> InstanceSpec {
    let mut spec = world.server(SERVER);
    spec.health = Some(HealthCheck {
        probe: Probe::Http {
            path: "/healthz".to_owned(),
        },
        port: 8080,
        interval: Millis::secs(3600),
        timeout: Millis::secs(3600),
        healthy: 1,
        unhealthy: 3,
    });
    spec
}

/// That of a deployment which was never resumed.
fn occasion(deployment: u64) -> Occasion {
    Occasion {
        deployment: DeploymentId(deployment),
        resumed: None,
    }
}

struct Checked {
    world: World,
    spec: InstanceSpec,
}

impl Checked {
    async fn new(spec: impl FnOnce(&World) -> InstanceSpec) -> Self {
        let world = World::new().await;
        let spec = spec(&world);
        world.engine.start(spec.clone()).await.unwrap();
        let checked = Self { world, spec };
        until("it is healthy", || checked.is_healthy()).await;
        checked
    }

    fn is_healthy(&self) -> bool {
        let seen = self.world.engine.observe(&self.world.env);
        seen[&self.spec.facts.id].status.state == InstanceState::Healthy
    }

    fn checkup(&self) -> Option<Checkup> {
        let seen = self.world.engine.observe(&self.world.env);
        seen[&self.spec.facts.id].checkup.clone()
    }

    fn begin(&self, of: u64, within: u64) {
        let (env, id) = (&self.world.env, &self.spec.facts.id);
        let begun = self
            .world
            .engine
            .check(env, id, occasion(of), Millis(within));
        begun.unwrap();
    }

    /// What a check for a deployment comes to.
    async fn found(&self, of: u64, within: u64) -> Found {
        self.begin(of, within);
        let over = || {
            self.checkup()
                .filter(|now| now.of == occasion(of) && now.found != Found::Awaited)
        };
        until("the check is over", || over().is_some()).await;
        over().unwrap().found
    }

    fn pid(&self) -> u32 {
        let seen = self.world.engine.observe(&self.world.env);
        seen[&self.spec.facts.id].status.pid.unwrap()
    }

    /// SIGSTOP takes effect when the process runs the next time.
    async fn stop(&self) {
        signal(self.pid(), rustix::process::Signal::STOP);
        let stat = format!("/proc/{}/stat", self.pid());
        let is_stopped = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "));
        until("it is stopped", is_stopped).await;
    }

    async fn mute(&self) {
        let keeper = ward_engine::client::KeeperClient::connect(&self.spec.dir).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let stdio = [&null, &null, &null].map(std::os::fd::AsFd::as_fd);
        let argv = ["touch", "/tmp/mute"].map(str::to_owned).to_vec();
        let ran = keeper.exec(argv, std::collections::BTreeMap::new(), stdio);
        ran.await.unwrap();
    }
}

#[tokio::test]
async fn one_that_is_well_says_so_at_once_and_for_each_who_asks() {
    let checked = Checked::new(seldom).await;
    assert_eq!(checked.checkup(), None);
    assert_eq!(checked.found(1, 60_000).await, Found::Well);
    // Once for each deployment: this one knows already.
    checked.begin(1, 60_000);
    assert_eq!(checked.checkup().unwrap().found, Found::Well);
    assert_eq!(checked.found(2, 60_000).await, Found::Well);
}

#[tokio::test]
async fn one_that_is_stopped_is_known_at_once() {
    let checked = Checked::new(seldom).await;
    checked.stop().await;
    let Found::Ill(why) = checked.found(1, 600_000).await else {
        panic!("it is well");
    };
    assert_eq!(why, "it is stopped by a signal, and makes no progress");
    until("its state says so", || !checked.is_healthy()).await;
    signal(checked.pid(), rustix::process::Signal::CONT);
    until("it is let go on", || checked.is_healthy()).await;
    assert_eq!(checked.found(2, 600_000).await, Found::Well);
}

#[tokio::test]
async fn one_without_a_check_of_its_own_is_well_unless_it_is_stopped() {
    let checked = Checked::new(|world| world.shell("sleep 600")).await;
    assert_eq!(checked.found(1, 600_000).await, Found::Well);
    checked.stop().await;
    assert!(matches!(checked.found(2, 600_000).await, Found::Ill(_)));
}

#[tokio::test]
async fn one_that_does_not_answer_is_waited_for_so_long() {
    let checked = Checked::new(seldom).await;
    checked.mute().await;
    let Found::Ill(why) = checked.found(1, 300).await else {
        panic!("it is well");
    };
    assert_eq!(why, "its health check was not answered within 300 ms");
    // That check has not come to an end: the next one waits behind it.
    assert!(checked.is_healthy());
    assert!(matches!(checked.found(2, 300).await, Found::Ill(_)));
}

#[tokio::test]
async fn one_that_ends_while_it_is_checked_is_not_well() {
    let checked = Checked::new(seldom).await;
    checked.mute().await;
    checked.begin(1, 600_000);
    let (env, id) = (&checked.world.env, &checked.spec.facts.id);
    checked.world.engine.stop(env, id, Millis(0)).await.unwrap();
    until("the check is over", || {
        matches!(checked.checkup().map(|now| now.found), Some(Found::Ill(_)))
    })
    .await;
}

#[tokio::test]
async fn one_whose_keeper_is_gone_is_not_well() {
    let checked = Checked::new(seldom).await;
    let seen = checked.world.engine.observe(&checked.world.env);
    let keeper = seen[&checked.spec.facts.id].status.keeper_pid;
    signal(keeper, rustix::process::Signal::KILL);
    let found = checked.found(1, 600_000).await;
    assert_eq!(found, Found::Ill("its keeper does not answer".to_owned()));
}
