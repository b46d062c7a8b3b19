//! The sandbox against the real kernel: every denied call, programs beside an instance, health checks, what is left
//! when something dies, and specifications that cannot work.

#![expect(clippy::unwrap_used, reason = "a test may")]

#[allow(dead_code, reason = "another test file uses the rest")]
mod real;
mod walls {
    mod calls;
    mod checkups;
    mod deaths;
    mod exec;
    mod health;
    mod ports;
    mod refusals;
}
#[allow(dead_code, reason = "another test file uses the rest")]
mod world;

/// All of it once more as an ordinary user, when the tests run as root.
#[test]
fn all_of_this_holds_for_an_ordinary_user() {
    real::repeat_as_an_ordinary_user("all_of_this_holds_for_an_ordinary_user");
}
