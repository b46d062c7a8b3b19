//! Thousands of requests that are malformed, ambiguous, or carry another request inside, through the real gateway
//! to origins with different parsers. Each origin sees exactly what the access log says, and nothing that a strict
//! reading of the same bytes does not have; or the gateway has refused it.
//!
//! `HOSTILE_CASE=123,456` sends these cases alone and tells all about them; `HOSTILE_ORIGIN=node` sends to one
//! origin; `HOSTILE_SEED=7` makes other mutations, `HOSTILE_MUTATIONS=5000` more of them. With `-- --nocapture`
//! there is a table.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]
#![allow(unreachable_pub, reason = "modules of a test file have no outside")]

mod beside;
mod client;
mod corpus;
mod http2;
mod judge;
mod process;
mod random;
mod run;
mod strict;
#[path = "../support/mod.rs"]
mod support;
mod world;

use corpus::{Case, Mutations};
use world::{ORIGINS, Origin};

const MUTATIONS: Mutations = Mutations {
    seed: 4,
    number: 1000,
};

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

/// The cases that are asked for.
fn only() -> Option<Vec<usize>> {
    let list = variable("HOSTILE_CASE")?;
    let numbers = list.split(',').map(|number| number.trim().parse().unwrap());
    Some(numbers.collect())
}

#[test]
fn the_same_seed_makes_the_same_corpus_and_hosts_change_nothing_else() {
    let [own, python] = [ORIGINS[0].host, ORIGINS[1].host];
    let cases = corpus::corpus(own, MUTATIONS);
    assert!(cases.len() >= 2_000, "{}", cases.len());
    let again = corpus::corpus(own, MUTATIONS);
    assert!(
        cases
            .iter()
            .map(Case::bytes)
            .eq(again.iter().map(Case::bytes))
    );
    let other = corpus::corpus(python, MUTATIONS);
    let length = |case: &Case| case.bytes().len();
    assert!(cases.iter().map(length).eq(other.iter().map(length)));
    let seed = MUTATIONS.seed + 1;
    let seeded = corpus::corpus(own, Mutations { seed, ..MUTATIONS });
    assert!(
        !cases
            .iter()
            .map(Case::bytes)
            .eq(seeded.iter().map(Case::bytes))
    );
}

#[test]
fn origins_see_what_the_access_log_says_or_the_gateway_refused_it() {
    let number = |name: &str| variable(name).map(|text| text.parse::<u64>().unwrap());
    let mutations = Mutations {
        seed: number("HOSTILE_SEED").unwrap_or(MUTATIONS.seed),
        number: number("HOSTILE_MUTATIONS").map_or(MUTATIONS.number, |number| number as usize),
    };
    run::run(&origins(), mutations, only().as_deref());
}

#[test]
fn origins_see_of_http2_what_the_access_log_says_or_the_gateway_refused_it() {
    let seed = variable("HOSTILE_SEED").map(|text| text.parse().unwrap());
    http2::run(
        &origins(),
        seed.unwrap_or(MUTATIONS.seed),
        only().as_deref(),
    );
}
