//! The independent checker: reads a plan before it is carried out and refuses one that breaks a promise.
//!
//! It shares no decision with the planner, only the types. It asks "does this do harm?", never "is this
//! what I would have done?", so that a wrong planner is caught and a different planner is not. It knows
//! no moment and no memory: what it cannot judge from the environment, the observation and the plan, it
//! leaves to the planner's own tests.

mod course;
mod data;
mod drills;
mod ending;
mod facts;
mod filling;
mod lifetime;
mod moving;
mod objection;
mod retiring;
mod returning;
mod routing;
mod schema;
mod sleeping;
mod snapshots;
mod starting;
mod stopping;

pub use objection::Objection;

use ward_types::release::Environment;

use crate::action::Plan;
use crate::observed::Observed;
use facts::Case;

/// Everything that speaks against a plan; empty: it may be carried out.
#[must_use]
pub fn check(env: &Environment, observed: &Observed, plan: &Plan) -> Vec<Objection> {
    let case = Case {
        env,
        observed,
        plan,
    };
    let mut objections = Vec::new();
    stopping::examine(&case, &mut objections);
    routing::examine(&case, &mut objections);
    starting::examine(&case, &mut objections);
    moving::examine(&case, &mut objections);
    data::examine(&case, &mut objections);
    ending::examine(&case, &mut objections);
    retiring::examine(&case, &mut objections);
    returning::examine(&case, &mut objections);
    filling::examine(&case, &mut objections);
    snapshots::examine(&case, &mut objections);
    lifetime::examine(&case, &mut objections);
    schema::examine(&case, &mut objections);
    sleeping::examine(&case, &mut objections);
    objections
}
