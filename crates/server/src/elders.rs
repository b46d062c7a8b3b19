//! Decision: what is under way in gateways that were replaced counts, also while one of them is slow to say what it is.
//!
//! An instance is drained when nothing is left on it anywhere, and whoever stops one that is not ends requests. A
//! gateway that leaves answers from memory, so one that is late has not got the processor. For a while it is held to
//! what it said last, and where it has said nothing yet nothing is known of the whole. Then it is not waited for
//! any longer: it may hang, and every deployment would hang with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ward_gateway::control::{Control, ControlError};
use ward_types::table::GatewayObserved;

use crate::control::lock;

/// Within what one answers that has the processor.
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// For how long one that does not answer is believed to be as it was.
const TRUSTED_FOR: Duration = Duration::from_secs(30);

/// The gateways that were replaced and finish what they have begun.
#[derive(Default)]
pub(crate) struct Elders(Mutex<BTreeMap<PathBuf, Elder>>);

/// What one of them said last.
struct Elder {
    word: Option<GatewayObserved>,
    /// When it said it, or was first seen.
    at: Instant,
}

/// What came of asking one.
enum Answer {
    Said(GatewayObserved),
    Late,
    Gone,
}

/// Nothing is known of one that has something under way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown;

impl Elders {
    /// Adds what is under way in them to what the gateway said.
    ///
    /// # Errors
    /// When one of them has said nothing yet.
    pub(crate) async fn add_to(
        &self,
        observed: &mut GatewayObserved,
        leaving: Vec<Control>,
    ) -> Result<(), Unknown> {
        let there: Vec<PathBuf> = leaving.iter().map(|one| one.path().to_owned()).collect();
        lock(&self.0).retain(|path, _| there.contains(path));
        for (control, path) in leaving.into_iter().zip(there) {
            let answer = ask(&control).await;
            if matches!(answer, Answer::Gone) {
                control.forget();
            }
            let word = self.word(path, answer, Instant::now())?;
            if let Some(word) = word.filter(|word| word.pid != observed.pid) {
                add_traffic(observed, word);
            }
        }
        Ok(())
    }

    /// What counts of one.
    fn word(
        &self,
        path: PathBuf,
        answer: Answer,
        now: Instant,
    ) -> Result<Option<GatewayObserved>, Unknown> {
        let mut all = lock(&self.0);
        match answer {
            Answer::Said(word) => {
                let said = Some(word.clone());
                all.insert(
                    path,
                    Elder {
                        word: said,
                        at: now,
                    },
                );
                Ok(Some(word))
            }
            Answer::Gone => {
                all.remove(&path);
                Ok(None)
            }
            Answer::Late => {
                let elder = all.entry(path).or_insert(Elder {
                    word: None,
                    at: now,
                });
                if now.saturating_duration_since(elder.at) > TRUSTED_FOR {
                    tracing::warn!("a gateway that leaves does not answer, and is not waited for");
                    return Ok(None);
                }
                elder.word.clone().map(Some).ok_or(Unknown)
            }
        }
    }
}

async fn ask(control: &Control) -> Answer {
    match tokio::time::timeout(ANSWERS_WITHIN, control.observe()).await {
        Ok(Ok(seen)) => Answer::Said(seen),
        Ok(Err(ControlError::Absent { .. })) => Answer::Gone,
        Ok(Err(_)) | Err(_) => Answer::Late,
    }
}

/// Adds what another gateway has under way.
fn add_traffic(observed: &mut GatewayObserved, other: GatewayObserved) {
    observed.calls.extend(other.calls);
    for (env, instances) in other.traffic {
        let own = observed.traffic.entry(env).or_default();
        for (id, more) in instances {
            let traffic = own.entry(id).or_default();
            traffic.requests += more.requests;
            traffic.upgraded += more.upgraded;
            traffic.answered += more.answered;
            traffic.failed += more.failed;
            traffic.probes += more.probes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::id::{EnvId, InstanceId};
    use ward_types::table::Traffic;

    fn busy() -> GatewayObserved {
        let traffic = Traffic {
            requests: 3,
            ..Traffic::default()
        };
        let instance = InstanceId::parse("web-r1-1").unwrap();
        let env = EnvId::parse("shop/dev").unwrap();
        GatewayObserved {
            pid: 7,
            traffic: [(env, [(instance, traffic)].into())].into(),
            ..GatewayObserved::default()
        }
    }

    #[test]
    fn one_that_is_late_is_held_to_its_word_for_a_while() {
        let (elders, began) = (Elders::default(), Instant::now());
        let path = || PathBuf::from("leaving-7.sock");
        let word =
            |answer, seconds| elders.word(path(), answer, began + Duration::from_secs(seconds));
        assert_eq!(
            word(Answer::Late, 0),
            Err(Unknown),
            "it may have anything under way"
        );
        assert_eq!(word(Answer::Said(busy()), 1), Ok(Some(busy())));
        assert_eq!(word(Answer::Late, 31), Ok(Some(busy())));
        assert_eq!(word(Answer::Late, 32), Ok(None), "it may hang");
        assert_eq!(word(Answer::Said(busy()), 33), Ok(Some(busy())));
        assert_eq!(word(Answer::Gone, 34), Ok(None));
        assert_eq!(word(Answer::Late, 35), Err(Unknown));
        assert_eq!(word(Answer::Late, 66), Ok(None));
    }

    #[test]
    fn what_is_under_way_in_both_is_added() {
        let mut observed = busy();
        add_traffic(&mut observed, busy());
        let of_env = observed.traffic.values().next().unwrap();
        assert_eq!(of_env.values().next().unwrap().requests, 6);
    }
}
