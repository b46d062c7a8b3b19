//! What a service still does when ten times as much is asked of it as it can do.
//!
//! The instance works on a few requests at once, each as long as the last, and lets any number wait in a line. What
//! counts is an answer with 2xx within a second: whoever asked has gone by then. What the service can take is what as
//! many clients as it works for at once get from it, one request after the other.

use std::time::Duration;

use super::clients::{self, Answer, Speaks, Way};
use super::pace;
use super::proxies::{AT_ONCE, NARROW, Proxies};
use crate::error::Error;
use crate::report::{Floor, Row, informs, say};

const WAY: Way = Way {
    name: "overload",
    host: NARROW,
    path: "/busy/20",
    speaks: Speaks::Http1,
};
const ALONE_FOR: Duration = Duration::from_secs(5);
const OFFERED_FOR: Duration = Duration::from_secs(15);
/// The time in which the gateway finds out what the service can take.
const FINDS_WITHIN: f64 = 5.0;
/// An answer that takes longer is none.
const PATIENCE: f64 = 1.0;
/// So many that all that is asked can wait for as long as the gateway lets it wait.
const CLIENTS: u32 = 1200;

pub(super) fn measure(proxies: &Proxies, floor: Floor) -> Result<Vec<Row>, Error> {
    let ward = &proxies.all[0];
    let most = clients::closed_loop(ward, WAY, AT_ONCE, ALONE_FOR)?;
    let seconds = OFFERED_FOR.as_secs_f64();
    let [once, tenfold] = [1.0, 10.0].map(|times| {
        let clients = if times > 1.0 { CLIENTS } else { CLIENTS / 10 };
        pace::run(ward.http, WAY, (most * times, clients), OFFERED_FOR)
    });
    let (once, tenfold) = (once?, tenfold?);
    let [at_once, later_once] = [0.0, FINDS_WITHIN].map(|from| goodput(&once, from, seconds));
    let [at_ten, later_ten] = [0.0, FINDS_WITHIN].map(|from| goodput(&tenfold, from, seconds));
    let named = |what: &str| format!("gateway: {}: {what}", WAY.name);
    let rows = vec![
        floor.row(later_ten / later_once),
        informs(named("goodput at 1 time"), later_once, "requests/s"),
        informs(named("goodput at 10 times"), later_ten, "requests/s"),
        informs(
            named("the same from the first second on, against 1 time"),
            at_ten / at_once,
            "ratio",
        ),
        informs(
            named("asked at 10 times"),
            tenfold.len() as f64 / seconds,
            "requests/s",
        ),
        informs(named("what the service can take"), most, "requests/s"),
    ];
    for row in &rows {
        say(&format!(
            "  {}: {}",
            row.name,
            row.value.unwrap_or(f64::NAN)
        ));
    }
    Ok(rows)
}

/// Good answers a second to what was asked from some second on, until there was no more time to answer.
fn goodput(answers: &[Answer], from: f64, until: f64) -> f64 {
    let until = until - PATIENCE;
    let good = |answer: &&Answer| {
        let counts = answer.at >= from && answer.at < until;
        counts && answer.is_good && answer.took <= PATIENCE
    };
    answers.iter().filter(good).count() as f64 / (until - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_or_refused_is_no_good_answer() {
        let answer = |at, took, is_good| Answer { at, took, is_good };
        let answers = [
            answer(0.5, 0.1, true),
            answer(1.5, 1.1, true),
            answer(2.0, 0.1, false),
            answer(2.5, 0.9, true),
            answer(3.5, 0.1, true),
        ];
        assert!((goodput(&answers, 0.0, 4.0) - 2.0 / 3.0).abs() < 1e-9);
        assert!((goodput(&answers, 1.0, 4.0) - 0.5).abs() < 1e-9);
    }
}
