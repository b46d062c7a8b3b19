//! Sends the whole corpus to all origins at once, with a request beside each case that must get its own answer,
//! and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::beside::Beside;
use crate::client::{Sent, send};
use crate::corpus::{Case, Mutations, corpus};
use crate::judge::{Named, Verdict, Witness, judge};
use crate::process::Process;
use crate::support::{Ward, poll};
use crate::world::{Origin, Seen, access_file, access_log, seen, up};

/// Cases under way at once. Most of them wait: for a piece that comes a moment later, or for the gateway to decide.
const CLIENTS: usize = 16;
/// What HTTP/2 begins with (RFC 9113 section 3.4). The gateway asks with it whether an instance speaks that, on a
/// connection that carries nothing of a client's; a parser of HTTP/1.1 reads no request there.
const PREFACE: &str = "PRI * HTTP/2.0";
/// Whoever finds more faults sees the first of them.
const SHOWN: usize = 25;

/// One origin's part of the run.
struct Part {
    origin: Origin,
    cases: Vec<Case>,
    sent: Vec<Mutex<Option<Result<Sent, String>>>>,
}

pub fn run(origins: &[Origin], mutations: Mutations, only: Option<&[usize]>) {
    let began = Instant::now();
    let ward = up(origins);
    let gateway: SocketAddr = ward.http().parse().unwrap();
    let parts: Vec<Part> = origins
        .iter()
        .map(|origin| part(*origin, mutations, only))
        .collect();
    println!("up after {:.1?}", began.elapsed());
    let before = Process::of(ward.gateway_pid());
    let beside = send_all(&parts, gateway);
    println!("sent after {:.1?}", began.elapsed());
    let witnesses: Vec<Vec<Seen>> = std::thread::scope(|scope| {
        let all = parts.iter();
        let asked = all.map(|part| scope.spawn(|| seen(&part.origin, gateway)));
        let asked: Vec<_> = asked.collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let log = whole_log(&ward, &parts);
    let after = Process::of(ward.gateway_pid());
    println!("told after {:.1?}", began.elapsed());
    let mut faults = beside;
    println!("origin    sent  refused  passed  by origin  known  differing  connections  longest");
    for (number, (part, witness)) in parts.iter().zip(witnesses).enumerate() {
        faults.extend(examine(part, number, witness, &log, only.is_some()));
    }
    println!(
        "gateway before {before:?}, after {after:?}, all after {:.1?}",
        began.elapsed()
    );
    if only.is_none() && !before.survives_as(&after) {
        faults.push(Fault {
            case: None,
            origin: "all",
            text: format!("the gateway was {before:?} and is {after:?}"),
        });
    }
    let differing = show(&faults);
    assert!(faults.is_empty(), "{differing} cases differ");
}

/// What does not fit, of one case or of none in particular.
struct Fault {
    case: Option<usize>,
    origin: &'static str,
    text: String,
}

impl Fault {
    fn of(part: &Part, case: Option<usize>, text: String) -> Self {
        let origin = part.origin.name;
        Self { case, origin, text }
    }
}

/// Prints faults, those of one case once; how many there are then.
fn show(faults: &[Fault]) -> usize {
    let mut cases: BTreeMap<usize, Vec<&Fault>> = BTreeMap::new();
    let (of_cases, others): (Vec<&Fault>, Vec<&Fault>) =
        faults.iter().partition(|fault| fault.case.is_some());
    for fault in of_cases {
        cases
            .entry(fault.case.unwrap_or_default())
            .or_default()
            .push(fault);
    }
    for fault in others.iter().take(SHOWN) {
        println!("{}: {}\n", fault.origin, fault.text);
    }
    for (case, faults) in cases.iter().take(SHOWN) {
        let origins: Vec<&str> = faults.iter().map(|fault| fault.origin).collect();
        println!(
            "case {case}, with {}: {}\n",
            origins.join(", "),
            faults[0].text
        );
    }
    others.len() + cases.len()
}

fn part(origin: Origin, mutations: Mutations, only: Option<&[usize]>) -> Part {
    let mut cases = corpus(origin.host, mutations);
    if let Some(only) = only {
        cases.retain(|case| only.contains(&case.id));
    }
    let sent = cases.iter().map(|_| Mutex::default()).collect();
    Part {
        origin,
        cases,
        sent,
    }
}

/// Which client sends this case.
fn address(origin: usize, case: usize) -> Ipv4Addr {
    let [high, low] = [case / 200, case % 200].map(|part| u8::try_from(part + 1).unwrap());
    Ipv4Addr::new(127, u8::try_from(origin + 16).unwrap(), high, low)
}

/// Sends all; what went wrong with the requests beside them.
fn send_all(parts: &[Part], gateway: SocketAddr) -> Vec<Fault> {
    let next = AtomicUsize::new(0);
    let total: usize = parts.iter().map(|part| part.cases.len()).sum();
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (next, faults) = (&next, &faults);
            scope.spawn(move || {
                let mut beside: Vec<Beside> = (0..parts.len())
                    .map(|origin| Beside::new(origin, client, gateway))
                    .collect();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return;
                    }
                    let (origin, at) = (number % parts.len(), number / parts.len());
                    let part = &parts[origin];
                    let case = &part.cases[at];
                    let from = address(origin, case.id);
                    let sent = send(case, part.origin.host, from, gateway);
                    *part.sent[at].lock().unwrap() = Some(sent.map_err(|error| error.to_string()));
                    if let Err(text) = beside[origin].ask(part.origin.host, case.id) {
                        let text = format!("beside it: {text}");
                        let fault = Fault::of(part, Some(case.id), text);
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    faults.into_inner().unwrap()
}

pub type Log = BTreeMap<String, Vec<Value>>;

/// The access log once it has a line for each answer, and does not grow any more.
fn whole_log(ward: &Ward, parts: &[Part]) -> Log {
    let answered = |log: &Log| {
        let all = parts.iter().enumerate();
        all.flat_map(|(number, part)| {
            part.cases
                .iter()
                .zip(&part.sent)
                .map(move |both| (number, both))
        })
        .all(|(number, (case, sent))| {
            let sent = sent.lock().unwrap();
            let answers = sent.as_ref().and_then(|sent| sent.as_ref().ok());
            let lines = log.get(&address(number, case.id).to_string());
            answers.is_none_or(|sent| sent.answers.len() <= lines.map_or(0, Vec::len))
        })
    };
    let mut log = Log::new();
    poll(Duration::from_secs(60), || {
        grown(ward);
        log = access_log(ward);
        answered(&log)
    });
    log
}

/// Waits until the access log does not grow any more.
pub fn grown(ward: &Ward) {
    let (mut length, mut same) = (0, 0);
    poll(Duration::from_secs(30), || {
        let now = std::fs::metadata(access_file(ward)).map_or(0, |file| file.len());
        same = if now == length { same + 1 } else { 0 };
        length = now;
        // For longer than the gateway keeps a line back.
        same >= 30
    });
}

/// What an origin saw: its requests that the log has, what it refused, and what nobody asked, each connection's length.
pub struct Testimony {
    pub witness: Witness,
    pub refused: Vec<Seen>,
    pub smuggled: Vec<String>,
    connections: BTreeMap<String, usize>,
}

impl Testimony {
    /// Without the gateway's own questions.
    pub fn new(all: Vec<Seen>, log: &Log) -> Self {
        let mut own = Self {
            witness: Witness::new(),
            refused: Vec::new(),
            smuggled: Vec::new(),
            connections: BTreeMap::new(),
        };
        let known: BTreeSet<&str> = log
            .values()
            .flatten()
            .filter_map(|line| line["id"].as_str())
            .collect();
        let calls: BTreeSet<String> = all
            .iter()
            .filter(|seen| seen.method == b"PRI" && seen.headers.is_empty())
            .map(|seen| seen.connection.clone())
            .collect();
        for seen in all {
            // The preface in two lines, as a parser of HTTP/1.1 may read it.
            let words = [&b"PRI"[..], b"SM"];
            let preface = words.contains(&seen.method.as_slice()) && seen.headers.is_empty();
            let asked = preface || seen.refused.is_some();
            if asked && calls.contains(&seen.connection) {
                continue;
            }
            *own.connections.entry(seen.connection.clone()).or_default() += 1;
            let id = seen.id();
            match seen.refused {
                Some(_) => own.refused.push(seen),
                None if known.contains(id.as_str()) => {
                    own.witness.entry(id).or_default().push(seen);
                }
                None => own.smuggled.push(seen.line),
            }
        }
        own
    }
}

/// Of so many cases one may be excused.
const EXCUSED_OF: usize = 200;

/// Compares for one origin, and says what differs.
fn examine(part: &Part, number: usize, all: Vec<Seen>, log: &Log, tells: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    let testimony = Testimony::new(all, log);
    let smuggled = testimony.smuggled.iter();
    let smuggled = smuggled.map(|line| Fault::of(part, None, format!("smuggled: {line}")));
    faults.extend(smuggled);
    let Testimony {
        witness,
        refused,
        connections,
        ..
    } = testimony;
    let (mut differing, mut excused, mut kept_out, mut passed) = (0, 0, 0, 0);
    let (mut by_origin, mut broken) = (Vec::new(), Vec::new());
    for (case, sent) in part.cases.iter().zip(&part.sent) {
        let sent = sent.lock().unwrap();
        let sent = match sent.as_ref().expect("all were sent") {
            Ok(sent) => sent,
            Err(error) => {
                faults.push(Fault::of(part, Some(case.id), error.clone()));
                continue;
            }
        };
        let lines = log.get(&address(number, case.id).to_string());
        let lines = lines.map(Vec::as_slice).unwrap_or_default();
        let verdict = judge(case, sent, lines, &witness);
        kept_out += usize::from(verdict.refused);
        passed += usize::from(verdict.passed > 0);
        let told = || tell(part, case, sent, lines, &witness, &verdict);
        if verdict.known.is_some() {
            excused += 1;
        } else if !verdict.faults.is_empty() {
            differing += 1;
            faults.push(Fault::of(part, Some(case.id), told()));
        }
        if tells {
            println!("{}\n", told());
        }
        by_origin.extend(verdict.refused_by_origin);
        broken.extend(verdict.broken);
    }
    let unexplained = unexplained(&refused, &by_origin, &broken);
    faults.extend(unexplained.map(|text| Fault::of(part, None, text)));
    let longest = connections.values().max().copied().unwrap_or(0);
    println!(
        "{:8} {:5} {kept_out:8} {passed:7} {:10} {excused:6} {differing:10} {:12} {longest:8}",
        part.origin.name,
        part.cases.len(),
        by_origin.len(),
        connections.len(),
    );
    if !tells && (longest < 20 || passed < 200 || kept_out < 200) {
        let text = "that proves nothing".to_owned();
        faults.push(Fault::of(part, None, text));
    }
    if !tells && excused * EXCUSED_OF > part.cases.len() {
        let text = format!("{excused} cases are excused as what is known, which are too many");
        faults.push(Fault::of(part, None, text));
    }
    faults
}

/// What an origin refused must be a request that the log has too: one that it answered with an error, or one that
/// the gateway broke off because its client had. Some say no more of it than that it was malformed.
pub fn unexplained(refused: &[Seen], by_origin: &[Named], broken: &[Named]) -> Option<String> {
    let mut left: Vec<&Named> = by_origin.iter().chain(broken).collect();
    let mut nameless = 0;
    let mut smuggled = Vec::new();
    for seen in refused {
        let why = seen.refused.as_deref().unwrap_or_default();
        let of = |named: &&Named| why.contains(&named.id) || why.contains(&named.line);
        match left.iter().position(of) {
            Some(at) => drop(left.swap_remove(at)),
            None if why.contains(PREFACE) || why.contains("H2_UPGRADE") => nameless += 1,
            None if why.contains(" HTTP/1") => smuggled.push(why),
            None => nameless += 1,
        }
    }
    let explained = smuggled.is_empty() && nameless <= left.len();
    (!explained).then(|| {
        let left: Vec<&str> = left.iter().map(|named| named.line.as_str()).collect();
        format!("it refused {nameless} and {smuggled:#?}, the log has {left:#?}")
    })
}

fn tell(
    part: &Part,
    case: &Case,
    sent: &Sent,
    lines: &[Value],
    witness: &Witness,
    verdict: &Verdict,
) -> String {
    let mut text = format!("{}, case {} ({})", part.origin.name, case.id, case.family);
    for fault in &verdict.faults {
        text.push_str(&format!("\n  FAULT {fault}"));
    }
    let bytes = sent.bytes.escape_ascii().to_string();
    let cut = bytes.len().min(3000);
    text.push_str(&format!(
        "\n  sent in {} parts: {}",
        case.parts.len(),
        &bytes[..cut]
    ));
    for request in &sent.reading.requests {
        let [method, target, body] = [&request.method, &request.target, &request.body]
            .map(|bytes| bytes[..bytes.len().min(200)].escape_ascii().to_string());
        text.push_str(&format!("\n  read: {method} {target} {body:?}"));
    }
    text.push_str(&format!("\n  read: {:?}", sent.reading.end));
    for answer in &sent.answers {
        text.push_str(&format!("\n  answer: {answer:?}"));
    }
    text.push_str(&format!("\n  ended: {:?}", sent.ended));
    for line in lines {
        text.push_str(&format!("\n  log: {line}"));
        for seen in witness
            .get(line["id"].as_str().unwrap_or_default())
            .into_iter()
            .flatten()
        {
            text.push_str(&format!("\n  seen: {}", seen.line));
        }
    }
    text
}
