//! A canary that takes a tenth of 200 requests a second, and begins to fail: from its first bad answer until
//! no request goes to it any more.
//!
//! Nobody asks it anything after the last instance of its release has left the gateway's table, which is when
//! its weight is zero; that is seen by `ward status`, whose own time is counted in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Measured;
use crate::clerk;
use crate::error::Error;
use crate::load::{KeepAlive, Target};
use crate::report::{Bar, informs, say};
use crate::sample::Sample;
use crate::ward::Ward;
use crate::workshop::Workshop;

const ZERO: Bar = Bar {
    name: "canary: first bad answer at 10 % of 200 requests/s to zero weight, slowest",
    unit: "s",
    most: 2.0,
};
pub(super) const BARS: &[Bar] = &[ZERO];

const CANARIES: u32 = 5;
const PERIOD: Duration = Duration::from_millis(5);
/// How long a canary may take from its start to zero weight, all in all.
const PATIENCE: Duration = Duration::from_secs(60);
/// The canary is asked for a while and answers well.
const FAILS_AFTER: &str = "4";

pub(super) async fn measure(workshop: &Workshop) -> Measured {
    let folder = workshop.folder("clerk")?;
    clerk::make(&folder)?;
    let ward = workshop.of(&folder);
    ward.up().await?;
    let target = Target::of(&ward, clerk::HOST).await?;
    let (mut zero, mut last, mut bad) = (Sample::default(), Sample::default(), Sample::default());
    for number in 1..=CANARIES {
        let mark = number.to_string();
        let variables = [("MARK", mark.as_str()), ("FAILS_AFTER", FAILS_AFTER)];
        let strategy =
            "deploy = { strategy = \"canary\", steps = [{ weight = 10, hold = \"until_told\" }] }";
        clerk::write(&folder, &variables, strategy)?;
        let one = fail(&ward, &target).await?;
        say(&format!(
            "  canary {number}: {} bad answers, zero weight after {:.2} s",
            one.bad, one.zero
        ));
        zero.add(one.zero);
        last.add(one.last);
        bad.add(f64::from(one.bad));
    }
    ward.stop().await?;
    let rows = vec![
        ZERO.row(zero.max()),
        informs("canary: to zero weight, median", zero.median(), "s"),
        informs("canary: to its last bad answer, median", last.median(), "s"),
        informs("canary: bad answers, median", bad.median(), "requests"),
    ];
    let note = format!(
        "{CANARIES} canaries of an application in Python, which fail every request from a moment on; 200 requests \
         a second, open loop."
    );
    Ok((rows, vec![note]))
}

/// What came of one canary, in seconds from its first bad answer.
struct Canary {
    zero: f64,
    last: f64,
    bad: u32,
}

/// The first and the last bad answer, and how many there were.
#[derive(Default)]
struct Bad {
    first: Option<Instant>,
    last: Option<Instant>,
    number: u32,
}

impl Bad {
    fn note(&mut self) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.number += 1;
    }
}

async fn fail(ward: &Ward, target: &Target) -> Result<Canary, Error> {
    let bad: Arc<Mutex<Bad>> = Arc::default();
    let asking = tokio::spawn(ask(KeepAlive::new(target, "/"), Arc::clone(&bad)));
    let (_, _) = ward.run(&["deploy", "--no-wait"]).await?;
    let zero = zero_weight(ward, &bad).await;
    // What was under way when the weight became zero is answered within moments.
    tokio::time::sleep(Duration::from_millis(500)).await;
    asking.abort();
    let zero = zero?;
    let bad = bad.lock().unwrap_or_else(PoisonError::into_inner);
    let (Some(first), Some(last)) = (bad.first, bad.last) else {
        return Err(Error::Unexpected("no answer was bad".to_owned()));
    };
    let after = |moment: Instant| moment.saturating_duration_since(first).as_secs_f64();
    Ok(Canary {
        zero: after(zero.max(last)),
        last: after(last),
        bad: bad.number,
    })
}

/// Asks on schedule until aborted.
async fn ask(client: KeepAlive, bad: Arc<Mutex<Bad>>) {
    let client = Arc::new(client);
    let mut tick = tokio::time::interval(PERIOD);
    loop {
        tick.tick().await;
        let (client, bad) = (Arc::clone(&client), Arc::clone(&bad));
        tokio::spawn(async move {
            if client.get().await.is_err() {
                bad.lock().unwrap_or_else(PoisonError::into_inner).note();
            }
        });
    }
}

/// The moment from which no instance of another release than the one that served is in rotation.
async fn zero_weight(ward: &Ward, bad: &Mutex<Bad>) -> Result<Instant, Error> {
    let deadline = Instant::now() + PATIENCE;
    let is_bad = || bad.lock().unwrap_or_else(PoisonError::into_inner).number > 0;
    while Instant::now() < deadline {
        let seen_bad = is_bad();
        let env = ward.environment().await?;
        let instances = env.components.iter().flat_map(|c| &c.instances);
        let mut routed = instances.filter(|instance| instance.in_rotation);
        let only_old = routed.all(|instance| Some(instance.release) == env.current);
        if seen_bad && only_old {
            return Ok(Instant::now());
        }
    }
    let why = "the canary was not taken back within a minute";
    Err(Error::Unexpected(why.to_owned()))
}
