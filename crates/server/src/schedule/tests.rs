//! When jobs are due, and what that becomes.

use ward_types::id::{ReleaseId, RunId};

use super::*;

fn berlin(cron: &str) -> Schedule {
    Schedule {
        cron: cron.to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
    }
}

fn at(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().unwrap();
    Timestamp(u64::try_from(moment.as_millisecond()).unwrap())
}

#[test]
fn an_hour_that_is_left_out_is_made_up_for_once() {
    // On 29 March 2026 it was 3 o'clock after 2 o'clock.
    let daily = berlin("30 2 * * *");
    let first = next(&daily, at("2026-03-28T12:00:00Z")).unwrap();
    assert_eq!(
        first,
        at("2026-03-29T01:00:00Z"),
        "at 3:00, the first moment after"
    );
    let second = next(&daily, first).unwrap();
    assert_eq!(second, at("2026-03-30T00:30:00Z"));
    let monthly = berlin("0 2 29 * *");
    let due = next(&monthly, at("2026-03-01T00:00:00Z")).unwrap();
    assert_eq!(due, at("2026-03-29T01:00:00Z"));
}

#[test]
fn an_hour_that_comes_twice_counts_once() {
    // On 25 October 2026 it is 2 o'clock twice.
    let daily = berlin("30 2 * * *");
    let first = next(&daily, at("2026-10-24T12:00:00Z")).unwrap();
    assert_eq!(first, at("2026-10-25T00:30:00Z"));
    assert_eq!(next(&daily, first).unwrap(), at("2026-10-26T01:30:00Z"));
    // What is due each quarter of an hour is due in both.
    let often = berlin("*/15 * * * *");
    let due = next(&often, at("2026-10-25T00:45:00Z")).unwrap();
    assert_eq!(due, at("2026-10-25T01:00:00Z"));
}

#[test]
fn of_what_was_missed_the_last_one_is_found() {
    let (from, to) = (at("2024-01-01T00:00:00Z"), at("2026-10-25T00:07:00Z"));
    let last = |cron| last_between(&berlin(cron), from, to).unwrap();
    assert_eq!(last("* * * * *"), Some(to));
    assert_eq!(last("30 2 * * *"), Some(at("2026-10-24T00:30:00Z")));
    assert_eq!(last("0 2 1 1 *"), Some(at("2026-01-01T01:00:00Z")));
    assert_eq!(last("0 2 29 2 *"), Some(at("2024-02-29T01:00:00Z")));
    let none = last_between(&berlin("0 2 1 1 *"), at("2026-01-02T00:00:00Z"), to);
    assert_eq!(none.unwrap(), None);
}

#[test]
fn a_zone_that_is_not_there_is_an_error() {
    let schedule = Schedule {
        cron: "0 2 * * *".to_owned(),
        time_zone: "Europe/Atlantis".to_owned(),
    };
    let error = next(&schedule, Timestamp(0)).unwrap_err();
    assert_eq!(error.to_string(), "there is no time zone Europe/Atlantis");
}

const HOUR: Millis = Millis::secs(3600);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Due at each full hour.
fn hourly(overlap: Overlap, missed: Missed) -> JobSpec {
    JobSpec {
        service: name("web"),
        command: vec!["true".to_owned()],
        schedule: Some(berlin("0 * * * *")),
        overlap,
        retries: 0,
        deadline: HOUR,
        missed,
        copies: false,
    }
}

const RECORDED: &str = "2026-11-02T08:30:00Z";
const DUE: &str = "2026-11-02T12:00:00Z";

/// An environment whose release was recorded hours ago, with one job that was never acted on.
fn environment(job: JobSpec) -> Environment {
    let release = format!(
        r#"{{"id":1,"build":{{"version":"1.0.1","images":{{}}}},"recorded":{},"by":"somebody",
        "spec":{{"id":"shop/dev","version":"1.0","databases":{{}},"keep_warm":0,"services":{{}}}}}}"#,
        at(RECORDED).0
    );
    let mut release: Release = serde_json::from_str(&release).unwrap();
    release.spec.jobs.insert(name("report"), job);
    let mut env = Environment::new(release.spec.id.clone());
    env.goal = Goal::Up;
    env.current = Some(release.id);
    env.releases.insert(release.id, release);
    env
}

/// A run of the job that has not ended.
fn goes_on(env: &mut Environment) {
    let release = env.current.unwrap();
    let id = env.runs.last.next();
    let (job, spec) = (name("report"), hourly(Overlap::Skip, Missed::Run));
    let actor = Actor::ward();
    let run = runs::of_job((id, &job, &spec), release, None, &actor, at(RECORDED));
    env.runs.last = id;
    env.runs.open.insert(id, run);
}

/// What one moment becomes.
#[derive(Debug, PartialEq)]
enum Becomes {
    /// A run of this number.
    Run(RunId),
    /// It is left out, because of this.
    LeftOut(String),
}

/// The moments that are due with what they become.
fn becomes(env: &Environment, now: Timestamp) -> Vec<(Timestamp, Becomes)> {
    let events = due(env, now).into_iter();
    let one = events.map(|event| match event {
        Event::RunQueued { run, .. } => (run.due.unwrap(), Becomes::Run(run.id)),
        Event::RunLeftOut { due, because, .. } => (due, Becomes::LeftOut(because)),
        other => panic!("{other:?}"),
    });
    one.collect()
}

/// Every overlap rule, with and without a run that goes on, at once and hours later, by either rule for what was missed.
#[test]
fn what_is_due_becomes_a_run_or_is_left_out_with_a_reason() {
    use Overlap::{Allow, Queue, Skip};
    const RUN: Missed = Missed::Run;
    const SKIP: Missed = Missed::Skip;
    let away = "it was missed: the environment or the server was down";
    let busy = "run1 goes on";
    // Rule for overlaps, whether a run goes on, rule for what was missed, whether it is late, and what becomes of it.
    let table: [(Overlap, bool, Missed, bool, Option<&str>); 24] = [
        (Skip, false, RUN, false, None),
        (Skip, false, RUN, true, None),
        (Skip, false, SKIP, false, None),
        (Skip, false, SKIP, true, Some(away)),
        (Skip, true, RUN, false, Some(busy)),
        (Skip, true, RUN, true, Some(busy)),
        (Skip, true, SKIP, false, Some(busy)),
        (Skip, true, SKIP, true, Some(away)),
        (Queue, false, RUN, false, None),
        (Queue, false, RUN, true, None),
        (Queue, false, SKIP, false, None),
        (Queue, false, SKIP, true, Some(away)),
        (Queue, true, RUN, false, None),
        (Queue, true, RUN, true, None),
        (Queue, true, SKIP, false, None),
        (Queue, true, SKIP, true, Some(away)),
        (Allow, false, RUN, false, None),
        (Allow, false, RUN, true, None),
        (Allow, false, SKIP, false, None),
        (Allow, false, SKIP, true, Some(away)),
        (Allow, true, RUN, false, None),
        (Allow, true, RUN, true, None),
        (Allow, true, SKIP, false, None),
        (Allow, true, SKIP, true, Some(away)),
    ];
    for (overlap, busy, missed, late, left_out) in table {
        let mut env = environment(hourly(overlap, missed));
        if busy {
            goes_on(&mut env);
        }
        let behind = if late {
            Millis::secs(61)
        } else {
            Millis::secs(60)
        };
        let expected = match left_out {
            Some(because) => Becomes::LeftOut(because.to_owned()),
            None => Becomes::Run(env.runs.last.next()),
        };
        // Of all that passed since the release was recorded the last one counts, once.
        assert_eq!(
            becomes(&env, at(DUE) + behind),
            [(at(DUE), expected)],
            "{overlap:?}, {busy}, {missed:?}, {late}"
        );
    }
}

#[test]
fn what_was_acted_on_or_is_not_to_be_up_is_not_due() {
    let late = at(DUE) + Millis::secs(61);
    let mut env = environment(hourly(Overlap::Skip, Missed::Run));
    assert_eq!(becomes(&env, at("2026-11-02T08:59:59Z")), []);
    assert_eq!(becomes(&env, late).len(), 1);
    env.runs.due.insert(name("report"), at(DUE));
    assert_eq!(becomes(&env, late), [], "it was acted on");
    assert_eq!(next_due(&env, &name("report")), Some(at(DUE) + HOUR));
    env.runs.due.clear();
    env.goal = Goal::Down;
    assert_eq!(becomes(&env, late), [], "it is down");
    assert_eq!(next_due(&env, &name("report")), None);
    env.goal = Goal::Up;
    let release = env.releases.values_mut().next().unwrap();
    release.spec.jobs.values_mut().next().unwrap().schedule = None;
    assert_eq!(becomes(&env, late), [], "it has no schedule");
}

/// An environment with too many runs gets no more by itself.
#[test]
fn where_too_many_runs_are_open_it_is_left_out() {
    let mut env = environment(hourly(Overlap::Allow, Missed::Run));
    (0..runs::OPEN).for_each(|_| goes_on(&mut env));
    let because = format!("{} runs have not ended", runs::OPEN);
    assert_eq!(
        becomes(&env, at(DUE)),
        [(at(DUE), Becomes::LeftOut(because))]
    );
}

const CAME: &str = "2026-11-02T12:20:00Z";

/// Another release with that job came to serve, from the one that served before, long after the moment that was due.
fn comes(env: &mut Environment, job: JobSpec) {
    let before = env.current.unwrap();
    let mut release = env.releases[&before].clone();
    release.id = before.next();
    release.recorded = at("2026-11-02T12:10:00Z");
    release.spec.jobs = [(name("report"), job)].into();
    came(env, before, release.id);
    env.releases.insert(release.id, release);
}

/// What was deployed serves from [`CAME`] on.
fn came(env: &mut Environment, from: ReleaseId, to: ReleaseId) {
    let id = env.next_deployment();
    let came = at(CAME).0;
    let deployment = format!(
        r#"{{"id":{},"reason":"deploy","from":{},"to":{},"requested":1,"started":1,"phase_since":1,"by":"anna",
        "phase":{{"state":"finished","verdict":"succeeded","failure":null,"at":{came}}}}}"#,
        id.0, from.0, to.0
    );
    env.deployments
        .insert(id, serde_json::from_str(&deployment).unwrap());
    env.current = Some(to);
}

/// The moment passes while the environment is down, and it comes back with another release.
#[test]
fn a_new_release_drops_no_moment_that_the_one_before_owes() {
    let late = at(CAME) + Millis::secs(5);
    let owed = |missed| {
        let mut env = environment(hourly(Overlap::Skip, missed));
        env.runs
            .due
            .insert(name("report"), at("2026-11-02T11:00:00Z"));
        comes(&mut env, hourly(Overlap::Skip, missed));
        env
    };
    let mut env = owed(Missed::Run);
    let run = Becomes::Run(env.runs.last.next());
    assert_eq!(becomes(&env, late), [(at(DUE), run)]);
    // However many came since, and whichever came back.
    comes(&mut env, hourly(Overlap::Skip, Missed::Run));
    let (first, last) = (ReleaseId(1), env.current.unwrap());
    came(&mut env, last, first);
    let run = Becomes::Run(env.runs.last.next());
    assert_eq!(becomes(&env, late), [(at(DUE), run)]);
    let skipped = becomes(&owed(Missed::Skip), late);
    assert!(
        matches!(&skipped[..], [(due, Becomes::LeftOut(_))] if *due == at(DUE)),
        "{skipped:?}"
    );
}

/// What is due by a schedule of its own a release owes from when it was made.
#[test]
fn another_schedule_owes_nothing_of_before_its_release() {
    let late = at(CAME) + Millis::secs(5);
    let mut other = hourly(Overlap::Skip, Missed::Run);
    other.schedule = Some(berlin("5 * * * *"));
    let mut env = environment(hourly(Overlap::Skip, Missed::Run));
    comes(&mut env, other.clone());
    assert_eq!(becomes(&env, late), []);
    // What the one before did not have it owes from when it came to serve.
    other.schedule = Some(berlin("15 * * * *"));
    let mut env = environment(hourly(Overlap::Skip, Missed::Run));
    comes(&mut env, other.clone());
    let run = Becomes::Run(env.runs.last.next());
    let due = at("2026-11-02T12:15:00Z");
    assert_eq!(becomes(&env, late), [(due, run)]);
    let mut env = environment(hourly(Overlap::Skip, Missed::Run));
    env.releases
        .values_mut()
        .for_each(|one| one.spec.jobs.clear());
    comes(&mut env, other);
    assert_eq!(becomes(&env, late), []);
}
