use std::collections::BTreeMap;

use ward_types::pipeline::{Outcome, Position};
use ward_types::release::Build;
use ward_types::source::{Commit, Place, Provenance, Tree};
use ward_types::time::Timestamp;

use super::*;
use crate::pipeline::tests::run;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn id(digit: u8) -> CommitId {
    CommitId::parse(&char::from(digit).to_string().repeat(40)).unwrap()
}

fn commit(digit: u8) -> Commit {
    Commit {
        id: id(digit),
        author: "Anna <anna@example.com>".into(),
        committed: Timestamp(1),
        subject: "a change".into(),
    }
}

fn seen(digit: u8, standing: Standing) -> Seen {
    Seen {
        commit: commit(digit),
        reference: "refs/heads/main".into(),
        at: Timestamp(1),
        by: "source:app".into(),
        with: None,
        standing,
    }
}

fn source(commits: Vec<Seen>) -> Source {
    Source {
        name: name("app"),
        place: Place::Hosted,
        follows: Follows::Branch("main".into()),
        folder: String::new(),
        then: Then::Pipeline(name("delivery")),
        poll: None,
        webhook: false,
        each: false,
        login: None,
        added: Timestamp(0),
        by: "anna".into(),
        commits,
    }
}

fn built(number: u64) -> Standing {
    Standing::Built {
        version: format!("1.0.{number}"),
    }
}

fn make(state: &mut State, number: u64, digit: u8) {
    let provenance = Provenance {
        repository: "/repo".into(),
        commit: commit(digit),
        tree: Tree::AsCommitted,
        source: Some(name("app")),
    };
    let kept = KeptBuild {
        checks: Default::default(),
        stack: name("shop"),
        env: name("dev"),
        build: Build {
            version: format!("1.0.{number}"),
            images: BTreeMap::new(),
            stack_file: None,
            provenance: Some(Box::new(provenance)),
        },
        made: Timestamp(2),
        by: "source:app".into(),
    };
    let builds = state.builds.entry(name("shop")).or_default();
    builds.kept.insert(number, kept);
}

#[test]
fn each_commit_is_built_in_its_turn_and_released_when_the_pipeline_is_free() {
    let mut state = State::default();
    let waits = || Standing::Waiting;
    let both = source(vec![seen(b'a', waits()), seen(b'b', waits())]);
    assert_eq!(next(&state, &both), Next::Build(id(b'a')));
    make(&mut state, 1, b'a');
    let one = source(vec![seen(b'a', built(1)), seen(b'b', waits())]);
    assert_eq!(next(&state, &one), Next::Release(id(b'a')));
    let busy = run(Position::Approving { stage: 0 });
    state.pipelines.insert(busy.id, busy);
    assert_eq!(next(&state, &one), Next::Build(id(b'b')));
    make(&mut state, 2, b'b');
    let two = source(vec![seen(b'a', built(1)), seen(b'b', built(2))]);
    let passed = Standing::Passed {
        version: Some("1.0.1".into()),
        by: id(b'b'),
    };
    assert_eq!(next(&state, &two), Next::Move(id(b'a'), passed.clone()));
    let left = source(vec![seen(b'a', passed), seen(b'b', built(2))]);
    assert_eq!(next(&state, &left), Next::Wait);
    let outcome = Outcome::Succeeded;
    let over = run(Position::Ended { outcome });
    state.pipelines.insert(over.id, over);
    assert_eq!(next(&state, &left), Next::Release(id(b'b')));
}

#[test]
fn what_failed_is_not_tried_again_and_what_is_only_kept_is_not_released() {
    let mut state = State::default();
    let message = "no".to_owned();
    let failed = source(vec![seen(b'a', Standing::Failed { message })]);
    assert_eq!(next(&state, &failed), Next::Wait);
    make(&mut state, 1, b'a');
    let mut kept = source(vec![seen(b'a', built(1))]);
    kept.then = Then::Keep;
    assert_eq!(next(&state, &kept), Next::Wait);
    let lost = source(vec![seen(b'b', built(9))]);
    assert!(matches!(
        next(&state, &lost),
        Next::Move(_, Standing::Failed { .. })
    ));
}

fn sighting(digit: u8, tip: bool) -> Sighting {
    Sighting {
        reference: "refs/heads/main".into(),
        commit: id(digit),
        tip,
        with: None,
    }
}

#[test]
fn of_two_pushes_at_once_both_are_seen_whichever_is_heard_of_first() {
    let none = source(Vec::new());
    let both = [sighting(b'a', false), sighting(b'b', true)];
    let standings = |new: Vec<(Sighting, Standing)>| {
        let of = |(s, standing): (Sighting, Standing)| (s.commit, standing);
        new.into_iter().map(of).collect::<Vec<_>>()
    };
    let waiting = Standing::Waiting;
    let in_order = vec![(id(b'a'), waiting.clone()), (id(b'b'), waiting.clone())];
    assert_eq!(standings(sighted(&none, &both, false)), in_order);
    let newer = source(vec![seen(b'b', waiting)]);
    let late = Standing::Passed {
        version: None,
        by: id(b'b'),
    };
    assert_eq!(
        standings(sighted(&newer, &both, false)),
        vec![(id(b'a'), late)]
    );
    let known = source(vec![
        seen(b'a', Standing::Waiting),
        seen(b'b', Standing::Waiting),
    ]);
    assert!(sighted(&known, &both, false).is_empty());
    // Back to a commit that was built: it is not built again.
    assert!(sighted(&known, &[sighting(b'a', true)], false).is_empty());
}

#[test]
fn tags_that_were_there_before_are_not_built() {
    let mut tags = source(Vec::new());
    tags.follows = Follows::Tags("v*".into());
    let tag = |digit, reference: &str| Sighting {
        reference: reference.into(),
        commit: id(digit),
        tip: true,
        with: None,
    };
    let found = [
        tag(b'a', "refs/tags/v1"),
        tag(b'a', "refs/tags/v1.0"),
        tag(b'b', "refs/tags/x"),
    ];
    let new = sighted(&tags, &found, true);
    assert_eq!(new, vec![(found[0].clone(), Standing::There)]);
    let later = sighted(&tags, &found, false);
    assert_eq!(later, vec![(found[0].clone(), Standing::Waiting)]);
}

#[test]
fn old_builds_go_but_for_those_that_have_still_to_be_released() {
    let mut state = State::default();
    for number in 1..=KEPT_BUILDS as u64 + 3 {
        make(&mut state, number, b'0' + (number % 10) as u8);
    }
    make(&mut state, 2, b'f');
    let waits = source(vec![seen(b'f', built(2))]);
    assert_eq!(surplus(&state, &name("shop")), ["1.0.3", "1.0.2", "1.0.1"]);
    state.sources.insert(waits.name.clone(), waits);
    assert_eq!(surplus(&state, &name("shop")), ["1.0.3", "1.0.1"]);
    assert!(surplus(&state, &name("other")).is_empty());
}

#[test]
fn what_came_behind_a_newer_one_is_built_in_its_turn_and_kept_and_never_released() {
    let behind = |digit, standing| Seen {
        with: Some(id(b'c')),
        ..seen(digit, standing)
    };
    let waits = Standing::Waiting;
    let mut state = State::default();
    let all = source(vec![
        behind(b'a', waits.clone()),
        behind(b'b', waits.clone()),
        seen(b'c', waits.clone()),
    ]);
    assert_eq!(next(&state, &all), Next::Build(id(b'a')));
    make(&mut state, 1, b'a');
    let mut first = source(vec![
        behind(b'a', built(1)),
        behind(b'b', waits.clone()),
        seen(b'c', waits.clone()),
    ]);
    let passed = Standing::Passed {
        version: Some("1.0.1".into()),
        by: id(b'c'),
    };
    assert_eq!(next(&state, &first), Next::Move(id(b'a'), passed.clone()));
    first.then = Then::Keep;
    assert_eq!(next(&state, &first), Next::Build(id(b'b')), "it is kept");
    make(&mut state, 3, b'c');
    let last = source(vec![behind(b'a', passed), seen(b'c', built(3))]);
    assert_eq!(next(&state, &last), Next::Release(id(b'c')));
    // They wait until they are built, whatever is behind them.
    let new = [
        Sighting {
            with: Some(id(b'b')),
            ..sighting(b'a', false)
        },
        sighting(b'b', true),
    ];
    let standings: Vec<Standing> = sighted(&source(Vec::new()), &new, false)
        .into_iter()
        .map(|(_, standing)| standing)
        .collect();
    assert_eq!(standings, [waits.clone(), waits]);
}
