//! What clients feel while others attack: their p99 beside an attack against that of a moment before, and how much
//! memory the gateway needs more.
//!
//! Attackers and clients ask one service, from this machine. The attackers have the processor time that nobody else wants,
//! as if they had a machine of their own; what gateway, kernel and instance spend on them counts. They are slowhttptest's
//! four modes with a thousand connections; over HTTP/2 without TLS connections that send what floods a server, as much as
//! is let in, and come again when they are cut; and connections that say nothing, thousands at once, or evenly as many as
//! come again when they are cut.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::clients::{Answer, Way};
use super::pace;
use super::proxies::{HOST, HOST_OF_ALL, Proxies, Proxy, program};
use crate::error::{Error, doing};
use crate::process::elsewhere;
use crate::report::{Bar, Row, informs};
use crate::sample::Sample;
use crate::tiny::Killed;

/// Requests a second of those who mean no harm: few enough that what they feel is not their own doing.
const RATE: f64 = 500.0;
const ALONE_FOR: Duration = Duration::from_secs(5);
/// The attack has begun before it is measured what the others feel.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);
const BESIDE_FOR: Duration = Duration::from_secs(10);
/// What the kernel has for closed connections comes back, and the gateway forgets.
const AFTER: Duration = Duration::from_secs(2);
/// How many connections attack slowly, and how many more of them each second.
const SLOW: &str = "1000";
const SLOW_RATE: &str = "250";
/// How many connections flood.
const FLOODERS: usize = 4;
/// So many frames each time, and so long between.
const BURST: u32 = 250;
const PAUSE: Duration = Duration::from_millis(5);
/// Connections that take nothing of what they ask for, and streams on each.
const HOARDERS: usize = 40;
const STREAMS: u32 = 100;
/// Connections that say nothing.
const SILENT: u64 = 5_000;
/// So many new ones a second, evenly. A gateway cuts who says nothing after ten seconds; so this is what a million are to one
/// that has places for ten thousand (as where 20,000 descriptors may be open), and leaves some free.
const NEW_PER_SECOND: u32 = 900;
/// For longer than the gateway lets them.
const FORSAKEN: Duration = Duration::from_secs(12);

/// One attack, and what it is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) bar: Bar,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// slowhttptest, with these arguments and this path.
    Slow(&'static [&'static str], &'static str),
    Flood(Flood),
    /// HTTP/2 with windows that are wide open, and nobody who reads.
    Hoard,
    Silent(Stay),
    /// Connections that say nothing come evenly, and stay for as long as the gateway lets them.
    Pressure,
}

/// How long connections that say nothing stay.
#[derive(Debug, Clone, Copy)]
enum Stay {
    /// For as long as the gateway lets them.
    All,
    /// A second, counted from when the first was made; then all of them are closed at once, and come again: it is the coming
    /// and going that costs others something.
    Second,
}

/// What is sent over and over on a connection of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    /// Requests that are taken back at once.
    Resets,
    Continuations,
    Pings,
    Settings,
    EmptyData,
    /// Header sections that are small and become large.
    HeaderBombs,
}

const fn attack(name: &'static str, row: &'static str, kind: Kind) -> Attack {
    Attack {
        name,
        bar: Bar {
            name: row,
            unit: "ratio",
            most: 3.0,
        },
        kind,
    }
}

pub(super) const ATTACKS: [Attack; 14] = [
    attack(
        "attack: slow headers",
        "gateway: p99 beside slowhttptest's slow headers, against p99 alone",
        Kind::Slow(&["-H", "-i", "3", "-x", "24"], "/bytes/1000"),
    ),
    attack(
        "attack: slow bodies",
        "gateway: p99 beside slowhttptest's slow bodies, against p99 alone",
        Kind::Slow(&["-B", "-i", "3", "-s", "8192", "-x", "24"], "/upload"),
    ),
    attack(
        "attack: ranges",
        "gateway: p99 beside slowhttptest's ranges, against p99 alone",
        Kind::Slow(&["-R", "-a", "10", "-b", "3000"], "/bytes/1000"),
    ),
    attack(
        "attack: slow reading",
        "gateway: p99 beside slowhttptest's slow reading, against p99 alone",
        Kind::Slow(
            &[
                "-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3",
            ],
            "/bytes/100000",
        ),
    ),
    attack(
        "attack: HTTP/2 rapid reset",
        "gateway: p99 beside HTTP/2 rapid resets, against p99 alone",
        Kind::Flood(Flood::Resets),
    ),
    attack(
        "attack: HTTP/2 CONTINUATION",
        "gateway: p99 beside a flood of CONTINUATION, against p99 alone",
        Kind::Flood(Flood::Continuations),
    ),
    attack(
        "attack: HTTP/2 PING",
        "gateway: p99 beside a flood of PING, against p99 alone",
        Kind::Flood(Flood::Pings),
    ),
    attack(
        "attack: HTTP/2 SETTINGS",
        "gateway: p99 beside a flood of SETTINGS, against p99 alone",
        Kind::Flood(Flood::Settings),
    ),
    attack(
        "attack: HTTP/2 empty DATA",
        "gateway: p99 beside a flood of empty DATA, against p99 alone",
        Kind::Flood(Flood::EmptyData),
    ),
    attack(
        "attack: HPACK bombs",
        "gateway: p99 beside HPACK bombs, against p99 alone",
        Kind::Flood(Flood::HeaderBombs),
    ),
    attack(
        "attack: HTTP/2 answers that nobody takes",
        "gateway: p99 beside HTTP/2 clients that take nothing, against p99 alone",
        Kind::Hoard,
    ),
    attack(
        "attack: silent connections",
        "gateway: p99 beside thousands of silent connections, against p99 alone",
        Kind::Silent(Stay::All),
    ),
    attack(
        "attack: new silent connections",
        "gateway: p99 beside 900 new silent connections a second, against p99 alone",
        Kind::Pressure,
    ),
    attack(
        "attack: silent connections that come and go",
        "gateway: p99 beside thousands of silent connections that come and go, against p99 alone",
        Kind::Silent(Stay::Second),
    ),
];

/// What the gateway may need more while it is attacked.
pub(super) const MEMORY: Bar = Bar {
    name: "gateway: memory, the most that it needs more beside an attack",
    unit: "MB",
    most: 512.0,
};

pub(super) fn measure(attack: Attack, proxies: &Proxies, way: Way) -> Result<Vec<Row>, Error> {
    let (ward, peers) = (&proxies.all[0], &proxies.all[1..]);
    let (felt, more) = feel(attack, ward, way)?;
    let mut rows = rows(attack, [&felt[0], &felt[1]], more);
    // Over HTTP/2 without TLS only Ward is asked.
    let comparable = matches!(
        attack.kind,
        Kind::Slow(..) | Kind::Silent(_) | Kind::Pressure
    );
    for peer in peers.iter().filter(|peer| comparable && peer.has_bars) {
        let ([alone, beside], _) = feel(attack, peer, way)?;
        let row = |what: &str, answers: &[Answer]| {
            let name = format!("gateway: {}: p99 {what}, {}", attack.name, peer.name);
            informs(name, tail(answers), "µs")
        };
        for row in [row("alone", &alone), row("beside it", &beside)] {
            row.say();
            rows.push(row);
        }
    }
    Ok(rows)
}

/// What others feel alone and beside an attack on a proxy, and how many bytes of memory it needs more meanwhile.
fn feel(attack: Attack, proxy: &Proxy, way: Way) -> Result<([Vec<Answer>; 2], u64), Error> {
    let alone = pace::run(proxy.http, way, (RATE, 64), ALONE_FOR)?;
    let before = proxy.memory()?;
    let running = begin(attack, proxy.http)?;
    std::thread::sleep(BEGINS_WITHIN);
    let beside = pace::run(proxy.http, way, (RATE, 64), BESIDE_FOR)?;
    let during = proxy.memory()?;
    drop(running);
    std::thread::sleep(AFTER);
    Ok(([alone, beside], during.saturating_sub(before)))
}

/// The p99 in microseconds.
fn tail(answers: &[Answer]) -> Option<f64> {
    let mut sample = Sample::default();
    sample.extend(answers.iter().map(|answer| answer.took * 1e6));
    sample.quantile(0.99)
}

fn rows(attack: Attack, [alone, beside]: [&[Answer]; 2], more: u64) -> Vec<Row> {
    let failed = beside.iter().filter(|answer| !answer.is_good).count();
    let ratio = tail(beside)
        .zip(tail(alone))
        .map(|(one, other)| one / other);
    // Who is refused fast is not served.
    let ratio = ratio.filter(|_| failed == 0);
    let named = |what: &str| format!("gateway: {}: {what}", attack.name);
    let rows = vec![
        attack.bar.row(ratio),
        informs(named("p99 alone"), tail(alone), "µs"),
        informs(named("p99 beside it"), tail(beside), "µs"),
        informs(named("requests of others that failed"), failed as f64, ""),
        informs(named(MEMORY_MORE), more as f64 / 1e6, "MB"),
    ];
    rows.iter().for_each(Row::say);
    rows
}

const MEMORY_MORE: &str = "memory, more than before";

/// The most memory that any attack of these rows took; `None` where there was none.
pub(super) fn memory(rows: &[Row]) -> Option<Row> {
    let more = rows.iter().filter(|row| row.name.ends_with(MEMORY_MORE));
    let most = more.filter_map(|row| row.value).reduce(f64::max)?;
    Some(MEMORY.row(most))
}

/// What begins an attack, which ends when it is killed.
fn begin(attack: Attack, address: SocketAddr) -> Result<Killed, Error> {
    let mut command = match attack.kind {
        Kind::Slow(arguments, path) => slowly(arguments, address, path)?,
        Kind::Flood(_) | Kind::Hoard | Kind::Silent(_) | Kind::Pressure => {
            let own = doing("find this program", std::env::current_exe())?;
            let mut own = elsewhere(&own);
            own.arg("--attack")
                .arg(format!("{}@{address}", attack.name));
            own
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let running = doing("begin an attack", command.stderr(Stdio::null()).spawn())?;
    Ok(Killed(running))
}

/// What a process does that was begun so.
pub(crate) fn run(told: &str) -> Result<(), Error> {
    let known = || {
        let (name, address) = told.rsplit_once('@')?;
        let attack = ATTACKS.iter().find(|attack| attack.name == name)?;
        Some((attack.kind, address.parse().ok()?))
    };
    let wrong = || Error::Unexpected(format!("there is no attack \"{told}\" (--attack)"));
    let (kind, address): (Kind, SocketAddr) = known().ok_or_else(wrong)?;
    super::allow_connections();
    match kind {
        Kind::Slow(..) => return Err(wrong()),
        Kind::Flood(flood) => std::thread::scope(|scope| {
            for _ in 0..FLOODERS {
                scope.spawn(move || flood.keep_on(address));
            }
        }),
        Kind::Hoard => in_crowds((HOARDERS, BESIDE_FOR), || hoard(address)),
        Kind::Pressure => press(address),
        Kind::Silent(stay) => {
            let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            let count = SILENT.min(most.unwrap_or(u64::MAX) / 4);
            let stay = match stay {
                Stay::All => BEGINS_WITHIN + 2 * BESIDE_FOR,
                Stay::Second => Duration::from_secs(1),
            };
            in_crowds((count as usize, stay), || TcpStream::connect(address));
        }
    }
    Ok(())
}

fn slowly(arguments: &[&str], address: SocketAddr, path: &str) -> Result<Command, Error> {
    let slow = program("slowhttptest", "slowhttptest", &["/usr/bin/slowhttptest"])?;
    let mut slow = elsewhere(Path::new(slow.get_program()));
    let seconds = BEGINS_WITHIN + BESIDE_FOR + Duration::from_secs(30);
    slow.args(arguments)
        .args(["-c", SLOW, "-r", SLOW_RATE, "-l"]);
    slow.arg(seconds.as_secs().to_string());
    let url = format!("http://{HOST_OF_ALL}:{}{path}", address.port());
    slow.arg("-u").arg(url);
    Ok(slow)
}

/// So many connections as fast as they can be had; and others after a while.
fn in_crowds<T>((count, stay): (usize, Duration), connect: impl Fn() -> std::io::Result<T>) {
    loop {
        let (mut crowd, began) = (Vec::new(), Instant::now());
        while crowd.len() < count {
            match connect() {
                Ok(connection) => crowd.push(connection),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
        std::thread::sleep(stay.saturating_sub(began.elapsed()));
    }
}

/// One connection after the other, each at its moment.
fn press(address: SocketAddr) {
    let (mut held, began) = (VecDeque::new(), Instant::now());
    for number in 0_u32.. {
        let due = began + Duration::from_secs(1) * number / NEW_PER_SECOND;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if let Ok(connection) = TcpStream::connect(address) {
            held.push_back((due, connection));
        }
        while held
            .front()
            .is_some_and(|(since, _)| due - *since > FORSAKEN)
        {
            held.pop_front();
        }
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames (RFC 9113 section 6), and the flags that end a stream and a header section.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A request without anything that is kept (RFC 7541 section 6.2.2). `method` is an index of the static table.
fn request(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![method, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, HOST.len() as u8]);
    block.extend(HOST.as_bytes());
    block
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// Asks on each stream for what it does not take.
fn hoard(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    let mut bytes = PREFACE.to_vec();
    // INITIAL_WINDOW_SIZE, and that of the connection.
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    bytes.extend(frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]));
    for number in 0..STREAMS {
        let block = request(GET, "/bytes/1000000");
        bytes.extend(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            1 + 2 * number,
            &block,
        ));
    }
    stream.write_all(&bytes)?;
    Ok(stream)
}

impl Flood {
    /// What a connection begins with, behind the preface and the settings.
    fn beginning(self) -> Vec<u8> {
        match self {
            Self::Continuations => frame(HEADERS, END_STREAM, 1, &request(GET, "/bytes/1000")),
            Self::EmptyData => frame(HEADERS, END_HEADERS, 1, &request(POST, "/upload")),
            _ => Vec::new(),
        }
    }

    /// What is sent next, of which this is the `number`th.
    fn next(self, number: u32) -> Vec<u8> {
        let stream = 1 + 2 * number;
        match self {
            Self::Resets => {
                let flags = END_STREAM | END_HEADERS;
                let asks = frame(HEADERS, flags, stream, &request(GET, "/bytes/1000"));
                [asks, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
            }
            Self::Continuations => frame(CONTINUATION, 0, 1, b""),
            Self::Pings => frame(PING, 0, 0, b"12345678"),
            Self::Settings => frame(SETTINGS, 0, 0, b""),
            Self::EmptyData => frame(DATA, 0, 1, b""),
            Self::HeaderBombs => {
                let mut block = request(GET, "/bytes/1000");
                // A field that is kept, and then named over and over.
                block.extend(b"\x40\x01x\x7f\xa1\x1e");
                block.extend([b'a'; 4000]);
                block.extend([0xbe; 8000]);
                frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
            }
        }
    }

    /// One connection after the other, each until it is cut.
    fn keep_on(self, address: SocketAddr) {
        loop {
            if self.once(address).is_err() {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn once(self, address: SocketAddr) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let beginning = [PREFACE, &frame(SETTINGS, 0, 0, b""), &self.beginning()].concat();
        stream.write_all(&beginning)?;
        stream.set_nonblocking(true)?;
        let (mut number, mut answers) = (0, vec![0; 64 * 1024]);
        loop {
            let burst = match self {
                Self::HeaderBombs => BURST / 50,
                _ => BURST,
            };
            let burst: Vec<u8> = (number..number + burst)
                .flat_map(|at| self.next(at))
                .collect();
            let mut sent = 0;
            while sent < burst.len() {
                match stream.write(&burst[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(PAUSE);
                    }
                    Err(error) => return Err(error),
                }
                loop {
                    match stream.read(&mut answers) {
                        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
            }
            number += BURST;
            std::thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_is_not_served() {
        let answer = |took, is_good| Answer {
            at: 0.0,
            took,
            is_good,
        };
        let alone = vec![answer(0.001, true); 100];
        let (beside, mut refused) = (vec![answer(0.002, true); 100], alone.clone());
        refused.push(answer(0.000_1, false));
        let judged = |beside: &[Answer]| {
            let rows = rows(ATTACKS[0], [&alone, beside], 3_000_000);
            (
                rows[0].value,
                rows[0].holds,
                memory(&rows).and_then(|row| row.value),
            )
        };
        assert_eq!(judged(&beside), (Some(2.0), Some(true), Some(3.0)));
        assert_eq!(judged(&refused), (None, Some(false), Some(3.0)));
    }

    #[test]
    fn frames_are_as_http2_has_them() {
        assert_eq!(
            frame(PING, 0, 0, b"12345678")[..9],
            [0, 0, 8, 6, 0, 0, 0, 0, 0]
        );
        let bomb = Flood::HeaderBombs.next(1);
        assert_eq!(bomb[3..9], [1, 5, 0, 0, 0, 3]);
        // 127 and 3873 in seven bits each (RFC 7541 section 5.1): 4000.
        assert_eq!(127 + 0x21 + (0x1e << 7), 4000);
    }
}
