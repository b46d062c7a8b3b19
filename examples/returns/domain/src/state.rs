//! The states of a return and the ways between them.
//!
//! draft → submitted → received → verified → credited, and from received or verified also → destroyed.
//! This table is the only place that says so; the database keeps what happened, never what may happen.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Where a return stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The pharmacy is still listing items.
    Draft,
    /// On its way to the receiving desk.
    Submitted,
    /// Arrived at the receiving desk.
    Received,
    /// Counted and accepted; waits for its credit.
    Verified,
    /// Credited to the pharmacy. Final.
    Credited,
    /// Destroyed without credit. Final.
    Destroyed,
}

/// Who changed a return.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// The pharmacy that sends the medicines.
    Pharmacy,
    /// The people who receive and check them.
    ReceivingDesk,
    /// The worker, by itself.
    Worker,
}

/// A step that a person or the worker may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Draft to submitted, by the pharmacy.
    Submit,
    /// Submitted to received, by the desk.
    Receive,
    /// Received to verified, by the desk.
    Verify,
    /// Verified to credited, by the worker.
    Credit,
    /// Received or verified to destroyed, by the desk.
    Destroy,
}

impl State {
    /// All states, in the order of a return's life.
    pub const ALL: [Self; 6] = [
        Self::Draft,
        Self::Submitted,
        Self::Received,
        Self::Verified,
        Self::Credited,
        Self::Destroyed,
    ];

    /// The name in the database, the API and addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Submitted => "submitted",
            Self::Received => "received",
            Self::Verified => "verified",
            Self::Credited => "credited",
            Self::Destroyed => "destroyed",
        }
    }

    /// The name as a person reads it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Draft => "Draft",
            Self::Submitted => "Submitted",
            Self::Received => "Received",
            Self::Verified => "Verified",
            Self::Credited => "Credited",
            Self::Destroyed => "Destroyed",
        }
    }

    /// Whether nothing can happen to the return any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Credited | Self::Destroyed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no state.
#[derive(Debug, thiserror::Error)]
#[error(
    "“{0}” is not a state; the states are draft, submitted, received, verified, credited, destroyed"
)]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

impl Actor {
    /// The name in the database and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pharmacy => "pharmacy",
            Self::ReceivingDesk => "receiving-desk",
            Self::Worker => "worker",
        }
    }
}

impl Step {
    /// The name in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Receive => "receive",
            Self::Verify => "verify",
            Self::Credit => "credit",
            Self::Destroy => "destroy",
        }
    }

    /// The steps that people may ask for; credit belongs to the worker alone.
    pub fn of_people(name: &str) -> Option<Self> {
        [Self::Submit, Self::Receive, Self::Verify, Self::Destroy]
            .into_iter()
            .find(|s| s.name() == name)
    }

    /// Who takes it.
    pub fn actor(self) -> Actor {
        match self {
            Self::Submit => Actor::Pharmacy,
            Self::Receive | Self::Verify | Self::Destroy => Actor::ReceivingDesk,
            Self::Credit => Actor::Worker,
        }
    }

    /// The state that follows, or nothing where the step is not allowed.
    pub fn from(self, state: State) -> Option<State> {
        match (self, state) {
            (Self::Submit, State::Draft) => Some(State::Submitted),
            (Self::Receive, State::Submitted) => Some(State::Received),
            (Self::Verify, State::Received) => Some(State::Verified),
            (Self::Credit, State::Verified) => Some(State::Credited),
            (Self::Destroy, State::Received | State::Verified) => Some(State::Destroyed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 5] = [
        Step::Submit,
        Step::Receive,
        Step::Verify,
        Step::Credit,
        Step::Destroy,
    ];

    #[test]
    fn exactly_six_moves_are_allowed() {
        let mut moves = Vec::new();
        for state in State::ALL {
            for step in STEPS {
                if let Some(next) = step.from(state) {
                    moves.push(format!("{state} → {next}"));
                }
            }
        }
        assert_eq!(
            moves,
            [
                "draft → submitted",
                "submitted → received",
                "received → verified",
                "received → destroyed",
                "verified → credited",
                "verified → destroyed",
            ]
        );
    }

    #[test]
    fn final_states_are_those_without_a_way_out() {
        for state in State::ALL {
            let stuck = STEPS.into_iter().all(|step| step.from(state).is_none());
            assert_eq!(state.is_final(), stuck, "{state}");
        }
    }

    #[test]
    fn people_cannot_credit() {
        assert_eq!(Step::of_people("credit"), None);
        assert_eq!(Step::of_people("verify"), Some(Step::Verify));
    }

    #[test]
    fn names_are_read_back() {
        for state in State::ALL {
            assert_eq!(state.name().parse::<State>().unwrap(), state);
        }
        assert!("Draft".parse::<State>().is_err());
    }
}
