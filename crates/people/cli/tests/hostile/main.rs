//! Thousands of requests that are malformed, ambiguous, or carry another request inside, through the real gateway
//! to origins with different parsers. Each origin sees exactly what the access log says, and nothing that a strict
//! reading of the same bytes does not have; or the gateway has refused it.
//!
//! `HOSTILE_CASE=123,456` sends these cases alone and tells all about them; `HOSTILE_ORIGIN=node` sends to one
//! origin; `HOSTILE_SEED=7` makes other mutations. With `-- --nocapture` there is a table.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]
#![allow(unreachable_pub, reason = "modules of a test file have no outside")]

mod client;
mod corpus;
mod judge;
mod random;
mod run;
mod strict;
#[path = "../support/mod.rs"]
mod support;
mod world;

use world::{ORIGINS, Origin};

const SEED: u64 = 4;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// The origins whose programs are there; Ward's own and Python always are.
fn origins() -> Vec<Origin> {
    let one = variable("HOSTILE_ORIGIN");
    let wanted = |origin: &&Origin| one.as_ref().is_none_or(|one| one == origin.name);
    let all = ORIGINS.iter().filter(wanted).copied();
    let (there, missing): (Vec<_>, Vec<_>) = all.partition(Origin::is_there);
    for origin in missing {
        println!(
            "{} is not installed; `cargo xtask test` does that",
            origin.name
        );
    }
    there
}

#[test]
fn the_same_seed_makes_the_same_corpus_and_hosts_change_nothing_else() {
    let [one, other] = [ORIGINS[0].host, ORIGINS[1].host].map(|host| corpus::corpus(host, SEED));
    assert!(one.len() >= 2_000, "{}", one.len());
    assert_eq!(one.len(), other.len());
    let again = corpus::corpus(ORIGINS[0].host, SEED);
    for ((one, again), other) in one.iter().zip(again).zip(other) {
        assert_eq!(one.bytes(), again.bytes());
        assert_eq!(one.bytes().len(), other.bytes().len(), "{}", one.id);
    }
    let seeded = corpus::corpus(ORIGINS[0].host, SEED + 1);
    assert!(one_differs(
        &one_bytes(&corpus::corpus(ORIGINS[0].host, SEED)),
        &one_bytes(&seeded)
    ));
}

fn one_bytes(cases: &[corpus::Case]) -> Vec<Vec<u8>> {
    cases.iter().map(corpus::Case::bytes).collect()
}

fn one_differs(one: &[Vec<u8>], other: &[Vec<u8>]) -> bool {
    one.iter().zip(other).any(|(one, other)| one != other)
}

#[test]
fn origins_see_what_the_access_log_says_or_the_gateway_refused_it() {
    let seed = variable("HOSTILE_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let only = variable("HOSTILE_CASE").map(|list| {
        let numbers = list.split(',').map(|number| number.trim().parse().unwrap());
        numbers.collect::<Vec<usize>>()
    });
    run::run(&origins(), seed, only.as_deref());
}
