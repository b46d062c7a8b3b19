//! Each system call of the table, made from inside.

use ward_sandbox::filter::{DENIED, DENIED_BY_NUMBER, LAST_REVIEWED};

use crate::world::World;

/// Makes calls (number and first three arguments, a line each) and prints the error number of each, or 0.
const CALLER: &str = r#"
$| = 1;
for my $line (split /\n/, $ENV{CALLS}) {
    my ($name, @call) = split / /, $line;
    my @arguments = map { $_ + 0 } @call, (0) x (7 - @call);
    my $result = syscall($arguments[0], @arguments[1..6]);
    print "$name ", $result == -1 ? $! + 0 : 0, "\n";
}
"#;

async fn errors(calls: &[String]) -> Vec<String> {
    let world = World::new().await;
    let mut spec = world.server(CALLER);
    let text = ward_types::secret::Secret::new(calls.join("\n"));
    spec.env.insert("CALLS".to_owned(), text);
    let facts = spec.facts.clone();
    world.engine.start(spec).await.unwrap();
    world.until_over(&facts.id).await;
    world.engine.output_tail(&facts, 1000)
}

#[tokio::test]
async fn p5_every_call_of_the_table_is_denied() {
    let groups = DENIED.iter().flat_map(|group| group.calls);
    let calls: Vec<_> = groups.chain(DENIED_BY_NUMBER).collect();
    let asked: Vec<String> = calls
        .iter()
        .map(|(name, number)| format!("{name} {number}"))
        .collect();
    let expected: Vec<String> = calls.iter().map(|(name, _)| format!("{name} 1")).collect();
    assert!(
        expected.len() > 50,
        "the table is short: {}",
        expected.len()
    );
    assert_eq!(errors(&asked).await, expected);
}

#[tokio::test]
async fn p5_calls_that_nobody_reviewed_do_not_exist() {
    let asked = [
        "clone3 435".to_owned(),
        format!("next {}", LAST_REVIEWED + 1),
        "far 100000".to_owned(),
        // getpid of the x32 interface.
        format!("x32 {}", 0x4000_0000 + 39),
    ];
    assert_eq!(
        errors(&asked).await,
        ["clone3 38", "next 38", "far 38", "x32 38"]
    );
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn p5_some_calls_are_denied_for_some_arguments_only() {
    const SOCKET: u32 = 41;
    const CLONE: u32 = 56;
    const PERSONALITY: u32 = 135;
    const IOCTL: u32 = 16;
    let (datagram, stream, raw) = (2, 1, 3);
    let asked = [
        format!("unix {SOCKET} 1 {stream}"),
        format!("inet {SOCKET} 2 {stream}"),
        format!("inet6 {SOCKET} 10 {datagram}"),
        format!("routing {SOCKET} 16 {raw} 0"),
        format!("audit {SOCKET} 16 {raw} 9"),
        format!("vsock {SOCKET} 40 {stream}"),
        format!("alg {SOCKET} 38 5"),
        format!("packet {SOCKET} 17 {raw}"),
        format!("pair 53 40 {stream}"),
        format!("new-user {CLONE} {}", 0x1000_0000 | 17),
        format!("new-net {CLONE} {}", 0x4000_0000 | 17),
        format!("inject {IOCTL} 0 {}", 0x5412),
        format!("inject-wide {IOCTL} 0 {}", (1u64 << 32) | 0x5412),
        format!("which {PERSONALITY} {}", 0xffff_ffff_u32),
        format!("no-randomness {PERSONALITY} {}", 0x0004_0000),
    ];
    let expected = [
        "unix 0",
        "inet 0",
        "inet6 0",
        "routing 0",
        "audit 1",
        "vsock 1",
        "alg 1",
        "packet 1",
        "pair 1",
        "new-user 1",
        "new-net 1",
        "inject 1",
        "inject-wide 1",
        "which 0",
        "no-randomness 1",
    ];
    assert_eq!(errors(&asked).await, expected);
}
