//! The worker: once, however many there are and however they end.

use testbed::{Postgres, Program, until};

const RETURNS: i64 = 60;

/// Verified returns with three items each, straight into the database.
fn fill(postgres: &Postgres, returns: i64) {
    postgres.ask(&format!(
        "with r as (insert into product_return (pharmacy, state)
                    select 'Branch ' || n, 'verified' from generate_series(1, {returns}) n returning id)
         insert into item (return_id, ndc, lot, expiry, quantity, reason)
         select id, ndc, 'L1', current_date + 100, 2, 'unused'
         from r cross join (values ('00093310901'), ('00071015723'), ('68180048101')) c (ndc)"
    ));
}

fn started() -> Postgres {
    let postgres = Postgres::start();
    Program::run(
        "returns-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    postgres
}

fn all_credited(postgres: &Postgres, returns: i64) {
    until("all are credited", || {
        let credited = postgres.ask("select count(*) from product_return where state = 'credited'");
        (credited == returns.to_string()).then_some(())
    });
}

/// Each return credited by exactly one line of history, with exactly its own amount.
fn credited_once(postgres: &Postgres, returns: i64) {
    let lines = postgres.ask(
        "select count(*), count(distinct return_id) from state_change where to_state = 'credited'",
    );
    assert_eq!(lines, format!("{returns}|{returns}"));
    // 85 % of 2 × $11.85, 2 × $588.90 and 2 × $4.80: 2015 + 100113 + 816 cents.
    let amounts =
        postgres.ask("select distinct note from state_change where to_state = 'credited'");
    assert_eq!(amounts, "Credited $1,029.44");
    assert_eq!(
        postgres.ask("select count(*) from item where valuation <> 'priced'"),
        "0"
    );
}

#[test]
fn two_workers_at_once_credit_each_return_once() {
    let postgres = started();
    let workers = [
        Program::start("returns-worker", &[], &[("DATABASE_URL", &postgres.url())]),
        Program::start("returns-worker", &[], &[("DATABASE_URL", &postgres.url())]),
    ];
    for worker in &workers {
        worker.line("database connected");
    }
    fill(&postgres, RETURNS);
    all_credited(&postgres, RETURNS);
    credited_once(&postgres, RETURNS);
    let logged = |worker: &Program| {
        worker
            .output()
            .iter()
            .filter(|line| line.contains("INFO credited"))
            .count() as i64
    };
    until("both have written their log", || {
        (workers.iter().map(logged).sum::<i64>() == RETURNS).then_some(())
    });
}

#[test]
fn workers_that_are_killed_lose_nothing_and_repeat_nothing() {
    let postgres = started();
    fill(&postgres, RETURNS);
    for killed_after in [1, 3, 5] {
        let mut worker =
            Program::start("returns-worker", &[], &[("DATABASE_URL", &postgres.url())]);
        until("it has begun", || {
            (worker
                .output()
                .iter()
                .filter(|l| l.contains("INFO credited"))
                .count()
                >= killed_after)
                .then_some(())
        });
        worker.kill();
    }
    let _worker = Program::start("returns-worker", &[], &[("DATABASE_URL", &postgres.url())]);
    all_credited(&postgres, RETURNS);
    credited_once(&postgres, RETURNS);
}

#[test]
fn it_ends_in_order_between_transactions() {
    let postgres = started();
    fill(&postgres, RETURNS);
    let mut worker = Program::start("returns-worker", &[], &[("DATABASE_URL", &postgres.url())]);
    worker.line("INFO credited");
    worker.terminate();
    assert_eq!(worker.ended().code(), Some(0), "{:?}", worker.output());
    let logged = worker
        .output()
        .iter()
        .filter(|line| line.contains("INFO credited"))
        .count();
    let credited = postgres.ask("select count(*) from product_return where state = 'credited'");
    assert_eq!(
        credited,
        logged.to_string(),
        "the last transaction was finished and told"
    );
    assert_eq!(
        worker
            .output()
            .last()
            .map(|line| line.ends_with("INFO ended")),
        Some(true)
    );
}

#[test]
fn it_comes_back_when_the_database_was_away() {
    let mut postgres = started();
    let mut worker = Program::start("returns-worker", &[], &[("DATABASE_URL", &postgres.url())]);
    worker.line("database connected");
    fill(&postgres, 2);
    all_credited(&postgres, 2);
    postgres.stop();
    worker.line("WARN");
    postgres.resume();
    fill(&postgres, 3);
    all_credited(&postgres, 5);
    assert!(worker.runs());
    postgres.stop();
    worker.terminate();
    assert_eq!(
        worker.ended().code(),
        Some(0),
        "it ends in order without a database too"
    );
}

#[test]
fn it_starts_before_the_schema_is_there() {
    let postgres = Postgres::start();
    let worker = Program::start("returns-worker", &[], &[("DATABASE_URL", &postgres.url())]);
    worker.line("pass failed");
    Program::run(
        "returns-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    fill(&postgres, 1);
    all_credited(&postgres, 1);
}

#[test]
fn without_an_address_it_says_so() {
    let mut worker = Program::start("returns-worker", &[], &[]);
    assert_eq!(worker.ended().code(), Some(1));
    assert!(
        worker
            .output()
            .join("\n")
            .contains("DATABASE_URL is not set")
    );
}
