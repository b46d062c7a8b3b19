//! What the tests stand on: a PostgreSQL of their own, the real programs, a small HTTP client.
//!
//! Nothing here is mocked and nothing outlives its owner: dropping a [`Postgres`] or [`Program`] ends its
//! processes, and the kernel ends them when the test itself is killed (`setpriv --pdeathsig`).

pub mod http;
pub mod postgres;
pub mod program;

pub use http::{Answer, Client};
pub use postgres::Postgres;
pub use program::Program;

use std::time::{Duration, Instant};

/// How long anything in a test may take before it counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the answer is there, or panics with `what` when [`PATIENCE`] ends.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
