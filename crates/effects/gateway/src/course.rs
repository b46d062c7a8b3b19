//! How one request fares: which attempts failed, and whether another may be made.
//!
//! What no instance can have seen may be tried as often as there are instances. What one may have seen is
//! sent again only when it can do no harm, three times in all, and paid for from the service's budget.
//! What Ward itself cut, because its instance had to stop, is sent again once: a request that outlasts
//! one drain is likely to outlast the next, and must not go from release to release.

use ward_types::balance::Balance;

use crate::failure::Failure;

/// How often one request may be sent, in all.
const SENDS: u32 = 1 + Balance::MOST_RETRIES;
/// How often it may be cut.
const CUTS: u32 = 2;

/// An attempt that brought no response.
pub(crate) enum Broken {
    /// There is no connection. Nothing was sent.
    Unreachable,
    /// The client takes so little that nothing more was asked for it. Nothing was sent.
    Stuck,
    /// The instance may have seen the request.
    Perhaps(Failure),
    /// Another attempt would not help.
    Final(Failure),
}

/// The attempts of one request so far.
#[derive(Default)]
pub(crate) struct Course {
    /// Instances that are not asked again, by serial.
    pub(crate) tried: Vec<u64>,
    /// Whether a second instance was asked beside a first one.
    pub(crate) hedged: bool,
    /// Until when it waits for an instance, in milliseconds; known once it has begun to.
    pub(crate) waits_until: Option<u64>,
    sent: u32,
    cut: u32,
    lost: Option<Failure>,
    ask_again: bool,
}

impl Course {
    /// Whether an instance may have seen the request.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent > 0
    }

    /// What an instance that may have seen it made of it last.
    pub(crate) fn lost(&self) -> Option<Failure> {
        self.lost
    }

    /// An attempt on the instance `serial` failed. `may_repeat` is asked whether a request that an instance
    /// may have seen so many times may be sent again.
    ///
    /// # Errors
    /// The failure, when there is no further attempt.
    pub(crate) fn failed(
        &mut self,
        serial: u64,
        broken: Broken,
        may_repeat: impl FnOnce(u32) -> bool,
    ) -> Result<(), Failure> {
        self.tried.push(serial);
        self.ask_again = false;
        match broken {
            Broken::Final(failure) => Err(failure),
            Broken::Unreachable | Broken::Stuck => Ok(()),
            Broken::Perhaps(failure) => {
                self.sent += 1;
                self.cut += u32::from(failure == Failure::CUT);
                self.lost = Some(failure);
                self.ask_again = true;
                let over = self.sent >= SENDS || self.cut >= CUTS;
                match !over && may_repeat(self.sent) {
                    true => Ok(()),
                    false => Err(failure),
                }
            }
        }
    }

    /// Each instance has failed once: whether one of them answered, if badly, and may be asked again.
    pub(crate) fn asks_again(&mut self) -> bool {
        let again = std::mem::take(&mut self.ask_again);
        if again {
            self.tried.clear();
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sends(failures: &[Failure]) -> usize {
        let mut course = Course::default();
        let mut again =
            |failure: Failure| course.failed(1, Broken::Perhaps(failure), |_| true).is_ok();
        let end = failures.iter().position(|failure| !again(*failure));
        end.unwrap() + 1
    }

    #[test]
    fn three_times_in_all_and_once_more_after_a_cut() {
        assert_eq!(sends(&[Failure::LOST; 9]), 3);
        assert_eq!(sends(&[Failure::CUT; 9]), 2);
        assert_eq!(sends(&[Failure::LOST, Failure::CUT, Failure::CUT]), 3);
        assert_eq!(sends(&[Failure::CUT, Failure::LOST, Failure::LOST]), 3);
    }

    #[test]
    fn what_must_not_be_repeated_is_not_and_what_was_not_sent_is() {
        let mut course = Course::default();
        for serial in 0..9 {
            let unreachable = course.failed(serial, Broken::Unreachable, |_| false);
            assert!(unreachable.is_ok());
        }
        assert!(!course.is_sent() && !course.asks_again());
        let lost = course.failed(1, Broken::Perhaps(Failure::LOST), |_| false);
        assert_eq!(lost, Err(Failure::LOST));
        assert!(course.asks_again() && course.tried.is_empty());
        assert!(!course.asks_again());
    }
}
