//! What a keeper's health checks say of applications that do not do what they should.

use ward_types::keeper::{HealthCheck, InstanceState, Probe};
use ward_types::time::Millis;

use crate::real::until;
use crate::world::World;

/// Answers each connection by `answer`, a piece of Perl, with `$peer` and the count `$n`.
fn server(answer: &str) -> String {
    format!(
        r#"
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, Listen => 16) or die $!;
my $n = 0; my @kept;
sub say_it {{ my ($peer, $code) = @_; while (<$peer>) {{ last if /^\r/ }} print $peer "HTTP/1.1 $code Word\r\nContent-Length: 0\r\n\r\n"; close $peer; }}
while (my $peer = $listener->accept) {{ $n++; {answer} }}
"#
    )
}

fn check(timeout: Millis) -> HealthCheck {
    HealthCheck {
        probe: Probe::Http {
            path: "/healthz".to_owned(),
        },
        port: 8080,
        interval: Millis(20),
        timeout,
        healthy: 2,
        unhealthy: 2,
    }
}

/// Waits until the last failure holds a text, and says the state at that moment.
async fn failing(perl: &str, expected: &str) -> InstanceState {
    let world = World::new().await;
    let mut spec = world.server(perl);
    spec.health = Some(check(Millis(100)));
    let id = spec.facts.id.clone();
    world.engine.start(spec).await.unwrap();
    let look = || world.engine.observe(&world.env)[&id].status.clone();
    until(expected, || {
        look()
            .last_failure
            .is_some_and(|failure| failure.contains(expected))
    })
    .await;
    look().state
}

#[tokio::test]
async fn one_that_listens_nowhere_is_starting() {
    assert_eq!(
        failing("sleep 600", "nothing listens on port 8080").await,
        InstanceState::Starting
    );
}

#[tokio::test]
async fn one_that_answers_500_is_starting() {
    let perl = server("say_it($peer, 500);");
    let expected = "GET /healthz on port 8080 answered 500";
    assert_eq!(failing(&perl, expected).await, InstanceState::Starting);
}

#[tokio::test]
async fn a_redirection_is_no_good_answer() {
    let perl = server("say_it($peer, 302);");
    assert_eq!(
        failing(&perl, "answered 302").await,
        InstanceState::Starting
    );
}

#[tokio::test]
async fn one_that_accepts_and_says_nothing_is_starting() {
    let perl = server("push @kept, $peer;");
    assert_eq!(
        failing(&perl, "was not answered within 100 ms").await,
        InstanceState::Starting
    );
}

#[tokio::test]
async fn one_that_stops_in_the_middle_of_its_answer_is_starting() {
    let perl = server(r#"print $peer "HTTP/1.1 2"; $peer->flush; push @kept, $peer;"#);
    assert_eq!(
        failing(&perl, "did not arrive within 100 ms").await,
        InstanceState::Starting
    );
}

#[tokio::test]
async fn one_that_hangs_up_is_starting() {
    assert_eq!(
        failing(&server("close $peer;"), "before").await,
        InstanceState::Starting
    );
}

#[tokio::test]
async fn one_that_speaks_something_else_is_starting() {
    let perl = server(r#"print $peer "220 mail ready\r\n"; close $peer;"#);
    assert_eq!(
        failing(&perl, "something else: 220 mail").await,
        InstanceState::Starting
    );
}

#[tokio::test]
async fn two_good_answers_make_it_healthy_and_two_bad_ones_unhealthy_again() {
    let world = World::new().await;
    let perl = server("say_it($peer, $n <= 10 || -e '/tmp/well' ? 204 : 503);");
    let mut spec = world.server(&perl);
    spec.health = Some(check(Millis(5000)));
    let id = spec.facts.id.clone();
    world.engine.start(spec.clone()).await.unwrap();
    let state = || world.engine.observe(&world.env)[&id].status.state.clone();
    until("it is healthy", || state() == InstanceState::Healthy).await;
    until("it is unhealthy", || state() == InstanceState::Unhealthy).await;
    let status = world.engine.observe(&world.env)[&id].status.clone();
    assert!(status.last_failure.unwrap().contains("answered 503"));
    let keeper = ward_engine::client::KeeperClient::connect(&spec.dir).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let stdio = [&null, &null, &null].map(std::os::fd::AsFd::as_fd);
    let argv = ["touch", "/tmp/well"].map(str::to_owned).to_vec();
    keeper
        .exec(argv, std::collections::BTreeMap::new(), stdio)
        .await
        .unwrap();
    until("it is well again", || state() == InstanceState::Healthy).await;
    until("it has forgotten the failure", || {
        world.engine.observe(&world.env)[&id]
            .status
            .last_failure
            .is_none()
    })
    .await;
}

#[tokio::test]
async fn a_database_that_starts_is_not_healthy_yet() {
    let world = World::new().await;
    // Reads the startup message, answers an error first and an authentication request from the third on.
    let perl = r#"
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, Listen => 16) or die $!;
my $n = 0;
while (my $peer = $listener->accept) {
    sysread $peer, my $length, 4; sysread $peer, my $rest, unpack("N", $length) - 4;
    die "no startup message" unless unpack("N", $rest) == 196608;
    my $fields = "SFATAL\0C57P03\0Mthe database system is starting up\0\0";
    my $ready = -e "/tmp/well";
    syswrite $peer, $ready ? "R" . pack("NN", 8, 10) : "E" . pack("N", 4 + length $fields) . $fields;
    close $peer;
}
"#;
    let mut spec = world.server(perl);
    spec.health = Some(HealthCheck {
        probe: Probe::Postgres,
        ..check(Millis(5000))
    });
    let id = spec.facts.id.clone();
    world.engine.start(spec.clone()).await.unwrap();
    let look = || world.engine.observe(&world.env)[&id].status.clone();
    until("it says why", || {
        let failure = look().last_failure.unwrap_or_default();
        failure == "PostgreSQL says: the database system is starting up"
    })
    .await;
    assert_eq!(look().state, InstanceState::Starting);
    let keeper = ward_engine::client::KeeperClient::connect(&spec.dir).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let stdio = [&null, &null, &null].map(std::os::fd::AsFd::as_fd);
    let argv = ["touch", "/tmp/well"].map(str::to_owned).to_vec();
    keeper
        .exec(argv, std::collections::BTreeMap::new(), stdio)
        .await
        .unwrap();
    until("it is healthy", || look().state == InstanceState::Healthy).await;
}
