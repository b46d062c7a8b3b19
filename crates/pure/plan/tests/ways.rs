//! What the rules say of how a build came to an environment.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;

use ward_plan::policy::{As, Built, Wanted, Way, by_another, violations};
use ward_types::event::State;
use ward_types::id::{DeploymentId, Digest, EnvId, Name, PipelineRunId, ReleaseId};
use ward_types::pipeline::{
    Approval, By, Gate, Outcome, Pipeline, Position, Run, Stage, Vote, Word,
};
use ward_types::policy::{Level, Policy, Rule, Violation};
use ward_types::release::{Build, Environment, Release};
use ward_types::spec::EnvSpec;
use ward_types::time::{Millis, Timestamp};

const FILE: &str = "a stack file";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn prod() -> EnvId {
    EnvId::parse("shop/prod").unwrap()
}

fn images(number: u8) -> BTreeMap<Name, Digest> {
    [(name("web"), Digest::from_sha256(&[number; 32]))].into()
}

fn build(number: u8) -> Build {
    Build {
        version: format!("1.0.{number}"),
        images: images(number),
        stack_file: Some(FILE.to_owned()),
        provenance: None,
    }
}

fn asked(people: &[&str]) -> Gate {
    let approval = Approval {
        role: name("qa-lead"),
        people: people.iter().map(|&who| who.to_owned()).collect(),
        by: By::Anybody,
    };
    Gate {
        approve: Some(approval),
        ..Gate::default()
    }
}

fn pipeline(stages: &[(&str, Gate)]) -> Pipeline {
    let stage = |(env, gate): &(&str, Gate)| Stage {
        env: name(env),
        gate: gate.clone(),
    };
    Pipeline {
        stages: stages.iter().map(stage).collect(),
    }
}

/// dev, qa with an approval, prod.
fn delivery() -> Pipeline {
    pipeline(&[
        ("dev", Gate::default()),
        ("qa", asked(&["anna", "bob"])),
        ("prod", Gate::default()),
    ])
}

fn run(id: u64, position: Position) -> Run {
    Run {
        id: PipelineRunId(id),
        stack: name("shop"),
        pipeline: name("delivery"),
        stages: delivery().stages,
        author: "uid:1(anna)".into(),
        began: Timestamp(0),
        why: String::new(),
        checks: Default::default(),
        dir: "/src".into(),
        build: build(1),
        position,
        since: Timestamp(0),
        reached: Vec::new(),
        votes: Vec::new(),
    }
}

fn succeeded() -> Position {
    let outcome = Outcome::Succeeded;
    Position::Ended { outcome }
}

fn failed(stage: usize) -> Position {
    let outcome = Outcome::Failed {
        stage,
        message: "no".into(),
        output: Vec::new(),
    };
    Position::Ended { outcome }
}

fn vote(stage: usize, by: &str) -> Vote {
    Vote {
        stage,
        by: by.into(),
        word: Word::Approve,
        why: String::new(),
        refused: None,
        at: None,
    }
}

fn state(runs: impl IntoIterator<Item = Run>) -> State {
    State {
        pipelines: runs.into_iter().map(|run| (run.id, run)).collect(),
        ..State::default()
    }
}

fn spec(policy: Policy) -> EnvSpec {
    let text =
        r#"{"id": "shop/prod", "version": "1.0", "keep_warm": 0, "services": {}, "databases": {}}"#;
    let mut spec: EnvSpec = serde_json::from_str(text).unwrap();
    spec.policy = policy;
    spec
}

fn strict() -> Policy {
    Policy {
        pipeline: Level::Deny,
        second_person: Level::Deny,
        ..Policy::default()
    }
}

fn found(state: &State, built: Built<'_>) -> Vec<Violation> {
    let pipelines = BTreeMap::from([(name("delivery"), delivery())]);
    let way = Way::of(state, (&prod(), As::Declared), built, &pipelines);
    judged(&spec(strict()), None, Some(&way))
}

fn judged(spec: &EnvSpec, served: Option<&Policy>, way: Option<&Way>) -> Vec<Violation> {
    let wanted = Wanted {
        spec,
        changes: &[],
        served,
        region: None,
        lost: &[],
        registry: "127.0.0.1:5050",
        way,
        today: &|_| None,
    };
    violations(&wanted, &Policy::default())
}

/// The rules that the build `number` breaks.
fn rules(state: &State, number: u8) -> Vec<Rule> {
    let images = images(number);
    let built = Built {
        images: Some(&images),
        stack_file: Some(FILE),
    };
    found(state, built).iter().map(|one| one.rule).collect()
}

const BOTH: [Rule; 2] = [Rule::Pipeline, Rule::SecondPerson];

#[test]
fn what_went_around_the_gates_is_refused_with_the_way_through_them() {
    let images = images(1);
    let built = Built {
        images: Some(&images),
        stack_file: Some(FILE),
    };
    let found = found(&State::default(), built);
    let said: Vec<[&str; 3]> = found
        .iter()
        .map(|one| [&*one.path, &*one.message, &*one.way_out])
        .collect();
    assert_eq!(
        said,
        [
            [
                "policy.pipeline",
                "shop/prod would get a build that has not passed the gates before it",
                "`ward pipeline run delivery`"
            ],
            [
                "policy.second_person",
                "nobody has approved what shop/prod would get",
                "`ward pipeline run delivery`, and the word of another person in it"
            ],
        ]
    );
    // Where no pipeline leads there the way out is to declare one; the first stage has no gate before it.
    let alone = BTreeMap::from([(name("quick"), pipeline(&[("prod", Gate::default())]))]);
    let way = Way::of(&State::default(), (&prod(), As::Declared), built, &alone);
    let found = judged(&spec(strict()), None, Some(&way));
    assert!(
        found[0].way_out.contains("a stage before prod"),
        "{found:?}"
    );
    // Who knows of no runs says nothing.
    assert_eq!(judged(&spec(strict()), None, None), []);
    // The very change that takes the rule away is held against it.
    let loose = spec(Policy::default());
    assert_eq!(judged(&loose, Some(&strict()), Some(&way)).len(), 2);
    assert_eq!(judged(&loose, None, Some(&way)), []);
}

#[test]
fn a_run_brings_it_past_the_gates_and_another_than_its_author_approves() {
    let coming = |votes: &[Vote]| {
        let mut run = run(1, Position::Deploying { stage: 2 });
        run.votes = votes.to_vec();
        rules(&state([run]), 1)
    };
    assert_eq!(coming(&[]), [Rule::SecondPerson], "nobody was asked");
    assert_eq!(coming(&[vote(1, "uid:1(anna)")]), [Rule::SecondPerson]);
    assert_eq!(coming(&[vote(1, "uid:1")]), [Rule::SecondPerson]);
    assert_eq!(coming(&[vote(1, "uid:2(bob)")]), []);
    assert_eq!(
        coming(&[vote(2, "uid:2(bob)")]),
        [Rule::SecondPerson],
        "behind it"
    );
    let refused = Vote {
        refused: Some("no role".into()),
        ..vote(1, "uid:3")
    };
    let rejected = Vote {
        word: Word::Reject,
        ..vote(1, "uid:2(bob)")
    };
    assert_eq!(coming(&[refused, rejected]), [Rule::SecondPerson]);
    let by = |position| {
        let mut run = run(1, position);
        run.votes = vec![vote(1, "uid:2")];
        rules(&state([run]), 1)
    };
    assert_eq!(by(succeeded()), []);
    assert_eq!(by(Position::Approving { stage: 2 }), []);
    for early in [Position::Approving { stage: 1 }, failed(1), failed(2)] {
        assert_eq!(by(early.clone()), BOTH, "{early:?}");
    }
}

#[test]
fn the_newest_run_of_the_very_build_decides() {
    let passed = |id| {
        let mut run = run(id, succeeded());
        run.votes = vec![vote(1, "uid:2")];
        run
    };
    assert_eq!(rules(&state([passed(1)]), 1), []);
    assert_eq!(rules(&state([passed(1)]), 2), BOTH, "other images");
    assert_eq!(rules(&state([passed(1), run(2, failed(0))]), 1), BOTH);
    assert_eq!(rules(&state([run(1, failed(0)), passed(2)]), 1), []);
    // One that does not lead there says nothing of it, and neither does one that begins there.
    for stages in [
        pipeline(&[("dev", Gate::default())]),
        pipeline(&[("prod", Gate::default())]),
    ] {
        let mut other = run(2, failed(0));
        other.stages = stages.stages;
        assert_eq!(rules(&state([passed(1), other.clone()]), 1), []);
        other.position = succeeded();
        assert_eq!(rules(&state([other]), 1), BOTH);
    }
    let mut elsewhere = passed(1);
    elsewhere.stack = name("other");
    assert_eq!(rules(&state([elsewhere]), 1), BOTH);
    // Another stack file with the same images is another build.
    let images = images(1);
    let edited = Built {
        images: Some(&images),
        stack_file: Some("an edited one"),
    };
    assert_eq!(found(&state([passed(1)]), edited).len(), 2);
    // Before it is made it may be one that has passed; with another stack file it cannot be.
    let unmade = |text| Built {
        images: None,
        stack_file: Some(text),
    };
    let both = state([passed(1), run(2, failed(0))]);
    assert_eq!(found(&both, unmade(FILE)), []);
    assert_eq!(found(&both, unmade("an edited one")).len(), 2);
}

#[test]
fn what_serves_or_has_served_there_is_not_asked() {
    let release = |id: u64, number| Release {
        id: ReleaseId(id),
        build: build(number),
        spec: spec(Policy::default()),
        config: ward_types::configuration::Configured::default(),
        secrets: BTreeMap::new(),
        recorded: Timestamp(0),
        by: String::new(),
        named: None,
        promoted: None,
    };
    let mut env = Environment::new(prod());
    env.releases = [release(1, 1), release(2, 2), release(3, 3)]
        .map(|release| (release.id, release))
        .into();
    env.current = Some(ReleaseId(2));
    for (to, verdict) in [(1, "succeeded"), (3, "failed_old_serving")] {
        let text = format!(
            r#"{{"id":{to},"reason":"deploy","from":null,"to":{to},"requested":1,"started":1,"phase_since":1,"by":"anna",
            "phase":{{"state":"finished","verdict":"{verdict}","failure":null,"at":2}}}}"#
        );
        let deployment = serde_json::from_str(&text).unwrap();
        env.deployments.insert(DeploymentId(to), deployment);
    }
    let mut state = State::default();
    state.environments.insert(prod(), env.into());
    assert_eq!(rules(&state, 1), [], "it has served");
    assert_eq!(rules(&state, 2), [], "it serves");
    assert_eq!(rules(&state, 3), BOTH, "it never served");
}

/// What comes there as a copy passes no gate, and what is declared later has to.
#[test]
fn what_served_as_a_copy_counts_for_the_copy_alone() {
    let release = |id: u64, named| Release {
        id: ReleaseId(id),
        build: build(u8::try_from(id).unwrap()),
        spec: spec(Policy::default()),
        config: ward_types::configuration::Configured::default(),
        secrets: BTreeMap::new(),
        recorded: Timestamp(0),
        by: String::new(),
        promoted: None,
        named: Some(named),
    };
    let mut env = Environment::new(prod());
    env.life.origin = Some(ward_types::life::Origin {
        from: name("dev"),
        hosts: ward_types::copy::HostPattern::parse("{service}.{env}.localhost").unwrap(),
        sleep: None,
        above: None,
    });
    env.releases = [release(1, false), release(2, true)]
        .map(|release| (release.id, release))
        .into();
    let broken = |serves: u64, number: u8, r#as| {
        let mut env = env.clone();
        env.current = Some(ReleaseId(serves));
        let mut state = State::default();
        state.environments.insert(prod(), env.into());
        let images = images(number);
        let built = Built {
            images: Some(&images),
            stack_file: Some(FILE),
        };
        let way = Way::of(&state, (&prod(), r#as), built, &BTreeMap::new());
        judged(&spec(strict()), None, Some(&way)).len()
    };
    assert_eq!(broken(1, 1, As::Copy), 0, "other values for a copy");
    assert_eq!(broken(1, 1, As::Declared), 2);
    assert_eq!(broken(2, 2, As::Declared), 0, "it serves as declared");
    assert_eq!(broken(2, 2, As::Copy), 0);
    let as_of = |release: &Release| As::of(Some(&env), release);
    assert_eq!(
        [as_of(&release(3, false)), as_of(&release(3, true))],
        [As::Copy, As::Declared]
    );
    assert_eq!(As::of(None, &release(1, false)), As::Declared);
}

#[test]
fn approvals_before_such_a_stage_are_by_another_and_there_is_one() {
    let by = |pipeline: &Pipeline| -> Vec<Option<By>> {
        let stages = pipeline.stages.iter();
        stages
            .map(|stage| stage.gate.approve.as_ref().map(|a| a.by))
            .collect()
    };
    let asks = |envs: &'static [&str]| move |env: &Name| envs.contains(&env.as_str());
    let mut all = delivery();
    by_another(&mut all, asks(&[])).unwrap();
    assert_eq!(by(&all), [None, Some(By::Anybody), None]);
    by_another(&mut all, asks(&["prod"])).unwrap();
    assert_eq!(by(&all), [None, Some(By::Another), None]);
    assert_eq!(by_another(&mut all, asks(&["qa", "prod"])), Err(name("qa")));
    assert_eq!(by_another(&mut all, asks(&["dev"])), Err(name("dev")));
    let mut soaked = delivery();
    soaked.stages[1].gate = Gate {
        soak: Millis::secs(1),
        ..Gate::default()
    };
    assert_eq!(by_another(&mut soaked, asks(&["prod"])), Err(name("prod")));
    // What is behind the last such stage stays as it is.
    let mut two = pipeline(&[
        ("dev", asked(&["anna"])),
        ("qa", asked(&["anna"])),
        ("prod", asked(&["anna"])),
    ]);
    by_another(&mut two, asks(&["qa"])).unwrap();
    let (another, anybody) = (Some(By::Another), Some(By::Anybody));
    assert_eq!(by(&two), [another, anybody, anybody]);
}
