//! Whether what the access log says, what the origin saw, what the client was answered and what a strict parser
//! reads are one and the same.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::{Ended, Sent};
use crate::corpus::Case;
use crate::strict::{End, LF_IN_TRAILER, Request};
use crate::world::Seen;

/// As much of a path is in the access log.
const LONGEST_PATH: usize = 8192;
const LONGEST_METHOD: usize = 32;

/// What became of a case.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Requests that an instance answered.
    pub passed: usize,
    /// Whether the gateway refused something of it.
    pub refused: bool,
    /// Requests that the origin itself refused.
    pub refused_by_origin: Vec<Named>,
    /// Those that the gateway began to send to an instance and broke off.
    pub broken: Vec<Named>,
    /// Whatever does not fit.
    pub faults: Vec<String>,
    /// Whatever does not fit either, and for what reason is known (see [`known`]).
    pub known: Option<&'static str>,
}

/// A request by the gateway's name, and by method and target.
#[derive(Debug)]
pub struct Named {
    pub id: String,
    pub line: String,
}

/// What an origin saw, by the gateway's name of the request.
pub type Witness = BTreeMap<String, Vec<Seen>>;

/// Judges one case by its lines in the access log and by what its origin saw.
pub fn judge(case: &Case, sent: &Sent, lines: &[Value], witness: &Witness) -> Verdict {
    let mut verdict = Verdict::default();
    let reading = &sent.reading;
    for (at, line) in lines.iter().enumerate() {
        let is_last = at + 1 == lines.len();
        if text(line, "method").is_empty() {
            verdict.refused = true;
            verdict.check(is_last, || {
                "a request after one that could not be read".to_owned()
            });
            continue;
        }
        let whole = reading.requests.get(at);
        let begun = (at == reading.requests.len()).then_some(reading.begun.as_ref());
        match (whole, begun) {
            (Some(request), _) => judge_line(&mut verdict, line, request, Part::Whole, witness),
            (None, Some(Some(request))) => {
                judge_line(&mut verdict, line, request, Part::Begun, witness);
                verdict.check(is_last, || {
                    format!("a request after one that ends so: {:?}", reading.end)
                });
            }
            (None, Some(None)) if matches!(reading.end, End::Bad(_)) => {
                verdict.refused = true;
                let asked = line.get("instance").is_some() || !seen(witness, line).is_empty();
                verdict.check(!asked, || {
                    format!("an instance got what is none: {:?}: {line}", reading.end)
                });
                verdict.check(is_last, || {
                    format!("a request after what is none: {:?}", reading.end)
                });
            }
            _ => verdict.fault(format!(
                "there is no such request ({:?}): {line}",
                reading.end
            )),
        }
    }
    judge_answers(&mut verdict, sent, lines);
    if case.good {
        let all = verdict.passed == reading.requests.len();
        verdict.check(all, || {
            "nothing is wrong with it, and not all of it passed".to_owned()
        });
    }
    if !verdict.faults.is_empty() {
        verdict.known = known(sent);
    }
    verdict
}

/// A fault of hyper, by which nothing is smuggled to an origin: its server takes what stands behind a bare LF after
/// the last chunk for trailers. The gateway believes nothing more on such a connection, and closes it.
fn known(sent: &Sent) -> Option<&'static str> {
    let bare = sent.reading.end == End::Bad(LF_IN_TRAILER) && sent.ended == Ended::Closed;
    bare.then_some("a bare LF in a trailer")
}

fn name_of(line: &Value, request: &Request) -> Named {
    let [method, target] =
        [&request.method, &request.target].map(|part| String::from_utf8_lossy(part));
    Named {
        id: text(line, "id").to_owned(),
        line: format!("{method} {target} "),
    }
}

/// How much of a request there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    Begun,
}

/// Judges what became of a request.
pub fn judge_line(
    verdict: &mut Verdict,
    line: &Value,
    request: &Request,
    part: Part,
    witness: &Witness,
) {
    let (method, path) = (
        logged(&request.method, LONGEST_METHOD),
        split(&request.target),
    );
    let is_same = text(line, "method") == method
        && text(line, "path") == logged(path.0, LONGEST_PATH)
        && line["query"].as_str().unwrap_or_default() == logged(path.1, LONGEST_PATH);
    verdict.check(is_same || request.flaw.is_some(), || {
        format!("the log has another request: {line}")
    });
    let all = seen(witness, line);
    if line.get("instance").is_none() {
        verdict.refused = true;
        return verdict.check(all.is_empty(), || {
            format!("refused, and seen all the same: {line}")
        });
    }
    if let Some(flaw) = request.flaw {
        verdict.fault(format!("an instance got it though {flaw}: {line}"));
    }
    let tries = 1 + line["retries"].as_u64().unwrap_or(0) as usize;
    verdict.check(all.len() <= tries, || {
        format!("seen {} times: {line}", all.len())
    });
    let answered = line.get("head_us").is_some();
    for seen in &all {
        compare(verdict, line, request, part, seen);
    }
    if !answered || part == Part::Begun {
        verdict.broken.push(name_of(line, request));
        return;
    }
    verdict.passed += 1;
    let whole = all.iter().any(|seen| seen.whole);
    let refused = line["status"].as_u64().is_some_and(|status| status >= 400);
    if refused && !whole {
        return verdict.refused_by_origin.push(name_of(line, request));
    }
    verdict.check(whole, || {
        format!("an answer to a request that the origin never saw: {line}")
    });
    let bytes = line["bytes_in"].as_u64() == Some(request.body.len() as u64);
    verdict.check(bytes, || format!("the log has another length: {line}"));
}

fn compare(verdict: &mut Verdict, line: &Value, request: &Request, part: Part, seen: &Seen) {
    let mut same = |what: &str, is_so: bool| {
        verdict.check(is_so, || {
            format!(
                "the origin saw another {what}: {}\nlogged: {line}",
                seen.line
            )
        });
    };
    same("method", seen.method == request.method);
    same("target", seen.target == request.target);
    match part {
        Part::Whole if seen.whole => same("body", seen.body == request.body),
        Part::Whole => same("body", request.body.starts_with(&seen.body)),
        Part::Begun => {
            same("end", !seen.whole);
            same("body", request.body.starts_with(&seen.body));
        }
    }
    let hosts: Vec<_> = named(seen, "host").collect();
    same("host", hosts == [text(line, "host").as_bytes()]);
    let framing = named(seen, "content-length").count() + named(seen, "transfer-encoding").count();
    same("framing", framing <= 1);
    let said: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| !is_listed(request, name))
        .collect();
    same(
        "set of headers",
        passed_on(said) == passed_on(&seen.headers),
    );
}

fn named<'a>(seen: &'a Seen, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let of = move |field: &&(Vec<u8>, Vec<u8>)| field.0.eq_ignore_ascii_case(name.as_bytes());
    seen.headers.iter().filter(of).map(|field| &field.1[..])
}

/// Headers that the gateway, or a proxy that stands before an origin, takes out, sets or writes anew.
const OWN: [&str; 22] = [
    "host",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "http2-settings",
    "expect",
    "proxy-authorization",
    "proxy-authenticate",
    "x-request-id",
    "x-real-ip",
    "forwarded",
    "x-conn",
    "x-parsed",
    "proxy",
    "x-http-method-override",
    "traceparent",
    "tracestate",
];

fn is_listed(request: &Request, name: &[u8]) -> bool {
    request.lists("connection", &String::from_utf8_lossy(name))
}

/// What a client says to the application, in lower case and by name; values of one name keep their order.
fn passed_on<'a>(
    headers: impl IntoIterator<Item = &'a (Vec<u8>, Vec<u8>)>,
) -> Vec<(String, &'a [u8])> {
    // Many applications see no difference between `-` and `_`.
    let own = |name: &str| {
        let name = &*name.replace('_', "-");
        OWN.contains(&name) || name.starts_with("x-forwarded-") || name.starts_with("ward-")
    };
    let headers = headers.into_iter();
    let lower = headers.map(|(name, value)| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        (name, value.as_slice())
    });
    let mut fields: Vec<_> = lower.filter(|(name, _)| !own(name)).collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

/// Each answer is the next one in the log, and to the request that the origin answered.
fn judge_answers(verdict: &mut Verdict, sent: &Sent, lines: &[Value]) {
    let logged: Vec<_> = lines
        .iter()
        .filter(|line| line.get("status").is_some())
        .collect();
    for (at, answer) in sent.answers.iter().enumerate() {
        let line = logged.get(at);
        let is_same = line.is_some_and(|line| {
            line["status"].as_u64() == Some(answer.status.into()) && text(line, "id") == answer.id
        });
        verdict.check(is_same, || {
            format!("answer {at} is not the log's: {answer:?}, {line:?}")
        });
        let of_origin = answer.seen.as_ref().is_none_or(|seen| *seen == answer.id);
        verdict.check(of_origin, || {
            format!("answer {at} belongs to another request: {answer:?}")
        });
        let missing = answer.status == 200 && answer.seen.is_none();
        verdict.check(!missing, || format!("answer {at} is nobody's: {answer:?}"));
    }
    let all = sent.answers.len() == logged.len() || sent.ended == Ended::Reset;
    verdict.check(all, || {
        format!("{} answers for {} lines", sent.answers.len(), logged.len())
    });
    let garbage = sent.garbage.is_empty() || sent.ended == Ended::Reset;
    verdict.check(garbage, || {
        format!("more than answers: {}", sent.garbage.escape_ascii())
    });
    verdict.check(sent.ended != Ended::Hangs, || {
        "the gateway does not end the connection".to_owned()
    });
}

impl Verdict {
    pub fn check(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.faults.push(otherwise());
        }
    }

    fn fault(&mut self, what: String) {
        self.faults.push(what);
    }
}

/// What the origin saw of the request of a line.
pub fn seen<'a>(witness: &'a Witness, line: &Value) -> Vec<&'a Seen> {
    let found = witness.get(text(line, "id"));
    found.into_iter().flatten().collect()
}

pub fn text<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or_default()
}

/// Path and query.
fn split(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, b""),
    }
}

/// As the access log writes bytes: what is no UTF-8 in digits, what is too long cut off.
fn logged(bytes: &[u8], most: usize) -> String {
    let mut out = String::new();
    for chunk in bytes[..most.min(bytes.len())].utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if bytes.len() > most {
        out.push('…');
    }
    out
}
