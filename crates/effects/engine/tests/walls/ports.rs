//! An instance and its link at the same port.

use tokio::io::AsyncReadExt as _;
use ward_types::id::{InstanceId, Name};
use ward_types::keeper::InstanceSpec;

use crate::real::until;
use crate::world::World;

/// Listens at port 8080 of all addresses by `FAMILY`, 4 or 6 (both), and says its name and what the link says.
const SERVER: &str = r#"
use Socket qw(:all);
$| = 1;
my $six = $ENV{FAMILY} eq "6";
socket(my $listener, $six ? PF_INET6 : PF_INET, SOCK_STREAM, 0) or die $!;
setsockopt($listener, IPPROTO_IPV6, IPV6_V6ONLY, 0) if $six;
setsockopt($listener, SOL_SOCKET, SO_REUSEADDR, 1) if $ENV{REUSE};
bind($listener, $six ? pack_sockaddr_in6(8080, IN6ADDR_ANY) : pack_sockaddr_in(8080, INADDR_ANY)) or die "bind: $!";
listen($listener, 16) or die "listen: $!";
socket(my $other, PF_INET, SOCK_STREAM, 0) or die $!;
bind($other, pack_sockaddr_in(8081, INADDR_ANY)) or die "other: $!";
print "everywhere at 8081\n" if (unpack_sockaddr_in(getsockname $other))[1] eq INADDR_ANY;
while (accept(my $peer, $listener)) {
    my $said = "";
    if ($ENV{LINK}) {
        socket(my $link, PF_INET, SOCK_STREAM, 0);
        connect($link, pack_sockaddr_in(8080, inet_aton("api"))) or die "link: $!";
        $said = " and " . <$link>;
    }
    syswrite $peer, "$ENV{NAME}$said"; close $peer;
}
"#;

fn server(world: &World, name: &str, family: &str) -> InstanceSpec {
    let mut spec = world.server(SERVER);
    for (key, value) in [("NAME", name), ("FAMILY", family)] {
        let value = ward_types::secret::Secret::new(value.to_owned());
        spec.env.insert(key.to_owned(), value);
    }
    spec
}

async fn said(world: &World, id: &InstanceId) -> String {
    let mut text = String::new();
    let mut stream = world.engine.connect(&world.env, id, 8080).await.unwrap();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

async fn both_at_one_port(family: &str, reuse: &str) {
    let world = World::new().await;
    let api = server(&world, "api", "4");
    let id = api.facts.id.clone();
    let listens = |facts: &ward_types::keeper::InstanceFacts| {
        let lines = world.engine.output_tail(facts, 5);
        lines.iter().any(|line| line == "everywhere at 8081")
    };
    let facts = api.facts.clone();
    world.engine.start(api).await.unwrap();
    until("the api listens", || listens(&facts)).await;
    let name = Name::parse("api").unwrap();
    world.engine.point(&world.env, &name, &id).unwrap();

    let mut web = server(&world, "web", family);
    for (key, value) in [("LINK", "1"), ("REUSE", reuse)] {
        let value = ward_types::secret::Secret::new(value.to_owned());
        web.env.insert(key.to_owned(), value);
    }
    web.links = vec![world.link(&name, 8080)];
    let facts = web.facts.clone();
    world.engine.start(web).await.unwrap();
    until("the web service listens", || listens(&facts)).await;
    assert_eq!(said(&world, &facts.id).await, "web and api");
    assert_eq!(said(&world, &id).await, "api");
}

#[tokio::test]
async fn a_service_may_listen_everywhere_at_a_links_port() {
    both_at_one_port("4", "").await;
    both_at_one_port("4", "1").await;
}

#[tokio::test]
async fn a_service_may_listen_everywhere_at_a_links_port_for_both_families() {
    both_at_one_port("6", "1").await;
}
