//! The same over HTTP/2: requests that are malformed, ambiguous, or would be several once they are written as HTTP/1.1,
//! which is what every origin here reads. What no field of HTTP/2 may have, a header of HTTP/1.1 would end with.

mod client;
mod corpus;
mod frames;
mod judge;
mod strict;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::judge::{Named, Verdict, Witness};
use crate::process::Process;
use crate::run::{Log, Testimony, grown, unexplained};
use crate::support::{Ward, poll};
use crate::world::{Origin, access_log, seen, up};

use client::{Outcome, Sent};
use corpus::{Case, corpus};

/// Cases under way at once.
const CLIENTS: usize = 8;
/// Whoever finds more faults sees the first of them.
const SHOWN: usize = 25;
/// Of so many cases each origin must get some, and the gateway must refuse as many.
const LEAST: usize = 100;

struct Part {
    origin: Origin,
    cases: Vec<Case>,
    sent: Vec<Mutex<Option<Sent>>>,
}

/// Sends all cases to all origins, and compares.
pub fn run(origins: &[Origin], seed: u64, only: Option<&[usize]>) {
    let ward = up(origins);
    let gateway: SocketAddr = ward.http().parse().unwrap();
    let parts: Vec<Part> = origins
        .iter()
        .map(|origin| {
            let mut cases = corpus(origin.host, seed);
            cases.retain(|case| only.is_none_or(|only| only.contains(&case.id)));
            let sent = cases.iter().map(|_| Mutex::default()).collect();
            Part {
                origin: *origin,
                cases,
                sent,
            }
        })
        .collect();
    let before = Process::of(ward.gateway_pid());
    send_all(&parts, gateway);
    let witnesses: Vec<_> = parts
        .iter()
        .map(|part| seen(&part.origin, gateway))
        .collect();
    let log = whole_log(&ward, &parts);
    let after = Process::of(ward.gateway_pid());
    let mut faults = Vec::new();
    println!("origin    sent  refused  passed  by origin");
    for (number, (part, all)) in parts.iter().zip(witnesses).enumerate() {
        let name = part.origin.name;
        let testimony = Testimony::new(all, &log);
        let smuggled = testimony.smuggled.iter();
        faults.extend(smuggled.map(|line| format!("{name}: smuggled: {line}")));
        let found = examine(part, number, &testimony.witness, &log, only.is_some());
        let unexplained = unexplained(&testimony.refused, &found.by_origin, &found.broken);
        faults.extend(unexplained.map(|text| format!("{name}: {text}")));
        faults.extend(found.faults);
    }
    println!("gateway before {before:?}, after {after:?}");
    assert!(only.is_some() || before.survives_as(&after), "{after:?}");
    for fault in faults.iter().take(SHOWN) {
        println!("{fault}\n");
    }
    assert!(faults.is_empty(), "{} faults", faults.len());
}

/// Which client sends this case.
fn address(origin: usize, case: usize) -> Ipv4Addr {
    let [high, low] = [case / 200, case % 200].map(|part| u8::try_from(part + 1).unwrap());
    Ipv4Addr::new(127, u8::try_from(origin + 32).unwrap(), high, low)
}

fn send_all(parts: &[Part], gateway: SocketAddr) {
    let next = AtomicUsize::new(0);
    let total: usize = parts.iter().map(|part| part.cases.len()).sum();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return;
                    }
                    let (origin, at) = (number % parts.len(), number / parts.len());
                    let case = &parts[origin].cases[at];
                    let sent = client::send(case, address(origin, case.id), gateway);
                    *parts[origin].sent[at].lock().unwrap() = Some(sent.unwrap());
                }
            });
        }
    });
}

/// The access log, once it has a line for each request that was answered behind a case.
fn whole_log(ward: &Ward, parts: &[Part]) -> Log {
    let mut log = Log::new();
    poll(Duration::from_secs(60), || {
        grown(ward);
        log = access_log(ward);
        parts.iter().enumerate().all(|(number, part)| {
            part.cases.iter().zip(&part.sent).all(|(case, sent)| {
                let sent = sent.lock().unwrap();
                let answered = sent.iter().flat_map(|sent| [&sent.case, &sent.canary]);
                let answered = answered.filter(|one| matches!(one, Outcome::Answered(_)));
                let lines = log.get(&address(number, case.id).to_string());
                answered.count() <= lines.map_or(0, Vec::len)
            })
        })
    });
    log
}

#[derive(Default)]
struct Found {
    faults: Vec<String>,
    by_origin: Vec<Named>,
    broken: Vec<Named>,
}

fn examine(part: &Part, number: usize, witness: &Witness, log: &Log, tells: bool) -> Found {
    let (mut found, mut kept_out, mut passed) = (Found::default(), 0, 0);
    for (case, sent) in part.cases.iter().zip(&part.sent) {
        let sent = sent.lock().unwrap();
        let sent = sent.as_ref().expect("all were sent");
        let lines = log.get(&address(number, case.id).to_string());
        let lines = lines.map(Vec::as_slice).unwrap_or_default();
        let (reading, verdict) = judge::judge(case, sent, lines, witness);
        kept_out += usize::from(verdict.refused);
        passed += usize::from(verdict.passed > 1);
        if tells || !verdict.faults.is_empty() {
            let told = tell(part, case, sent, lines, witness, &verdict);
            let told = format!("{told}\n  read: {reading:?}");
            match verdict.faults.is_empty() {
                true => println!("{told}\n"),
                false => found.faults.push(told),
            }
        }
        found.by_origin.extend(verdict.refused_by_origin);
        found.broken.extend(verdict.broken);
    }
    println!(
        "{:8} {:5} {kept_out:8} {passed:7} {:10}",
        part.origin.name,
        part.cases.len(),
        found.by_origin.len(),
    );
    if !tells && (passed < LEAST || kept_out < LEAST) {
        let text = format!("{}: that proves nothing", part.origin.name);
        found.faults.push(text);
    }
    found
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
    let short = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
    for (name, value) in case.fields.iter().chain(&case.trailers) {
        text.push_str(&format!("\n  field: {}: {}", short(name), short(value)));
    }
    for data in &case.data {
        text.push_str(&format!("\n  data: {}", short(data)));
    }
    text.push_str(&format!("\n  {sent:?}"));
    for line in lines {
        text.push_str(&format!("\n  log: {line}"));
        let id = line["id"].as_str().unwrap_or_default();
        for seen in witness.get(id).into_iter().flatten() {
            text.push_str(&format!("\n  seen: {}", seen.line));
        }
    }
    text
}

#[test]
fn the_same_seed_makes_the_same_cases() {
    let made = |seed| corpus("owned.localhost", seed);
    assert!(made(4).len() >= 500, "{}", made(4).len());
    let fields = |cases: Vec<Case>| -> BTreeMap<usize, _> {
        let each = cases.into_iter();
        each.map(|case| (case.id, (case.fields, case.data)))
            .collect()
    };
    assert_eq!(fields(made(4)), fields(made(4)));
    assert_ne!(fields(made(4)), fields(made(5)));
}
