//! Whether what the access log says, what the origin saw, what the client was answered and what a strict reading has are
//! one and the same.

use serde_json::Value;

use super::client::{Outcome, Sent};
use super::corpus::Case;
use super::strict::{Reading, read};
use crate::judge::{Part, Verdict, Witness, judge_line, seen, text};
use crate::strict::Request;

/// Judges one case by its lines in the access log and by what its origin saw.
pub fn judge(case: &Case, sent: &Sent, lines: &[Value], witness: &Witness) -> (Reading, Verdict) {
    let (reading, mut verdict) = (read(case), Verdict::default());
    let canary = canary(case);
    // A connection that breaks the rules of the protocol has a line, which names no request.
    let (lines, broken): (Vec<&Value>, Vec<&Value>) = lines
        .iter()
        .partition(|line| !text(line, "method").is_empty());
    verdict.refused = !broken.is_empty();
    let is_canary = |line: &&Value| text(line, "path").starts_with("/canary/");
    let (behind, own): (Vec<&Value>, Vec<&Value>) = lines.iter().copied().partition(is_canary);
    verdict.check(behind.len() <= 1 && own.len() <= 1, || {
        format!("{} requests", lines.len())
    });
    for line in behind {
        judge_line(&mut verdict, line, &canary, Part::Whole, witness);
    }
    if own.is_empty() {
        verdict.refused = true;
        let nothing = !matches!(&sent.case, Outcome::Answered(body) if !body.is_empty());
        verdict.check(nothing, || {
            format!("an answer that nobody logged: {:?}", sent.case)
        });
    }
    for line in own {
        if let (Outcome::Answered(body), Some(200)) = (&sent.case, line["status"].as_u64())
            && case.method() != b"HEAD"
        {
            verdict.check(body.starts_with(text(line, "id")), || {
                format!("the answer to another request: {body}")
            });
        }
        match &reading {
            Reading::Whole(request) => {
                judge_line(&mut verdict, line, request, Part::Whole, witness)
            }
            Reading::Begun(request, _) => {
                judge_line(&mut verdict, line, request, Part::Begun, witness);
            }
            Reading::Bad(why) => {
                verdict.refused = true;
                let asked = line.get("instance").is_some() || !seen(witness, line).is_empty();
                verdict.check(!asked, || {
                    format!("an instance got what is none ({why}): {line}")
                });
            }
        }
    }
    verdict.check(!sent.hangs, || "nothing is answered".to_owned());
    let ends = |outcome: &Outcome, target: &[u8]| match outcome {
        Outcome::Answered(body) => body.ends_with(&*String::from_utf8_lossy(target)),
        _ => false,
    };
    let passed = ends(&sent.canary, &canary.target);
    // Who breaks the rules of the protocol may lose the connection, but gets nobody else's answer.
    let lost =
        !matches!(sent.canary, Outcome::Answered(_)) && sent.gone.is_some_and(|code| code != 0);
    verdict.check(passed || lost, || {
        format!("the request behind it is not answered: {:?}", sent.canary)
    });
    if case.good {
        verdict.check(passed && verdict.passed == 2, || {
            "nothing is wrong with it, and it did not pass".to_owned()
        });
        let answered = case.method() == b"HEAD" || ends(&sent.case, case.target());
        verdict.check(answered, || format!("another answer: {:?}", sent.case));
        verdict.check(matches!(reading, Reading::Whole(_)), || {
            "the strict reading has none".to_owned()
        });
    }
    (reading, verdict)
}

fn canary(case: &Case) -> Request {
    let fields = case.canary();
    let value = |name: &[u8]| {
        let found = fields.iter().find(|field| field.0 == name);
        found.map(|field| field.1.clone()).unwrap_or_default()
    };
    Request {
        method: value(b":method"),
        target: value(b":path"),
        ..Request::default()
    }
}
