//! Schema: what takes something away from earlier releases is recorded before it starts, and nothing goes back to
//! what does not run any more.

use ward_types::id::{DeploymentId, Name};
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Phase, Reason};
use ward_types::spec::Schema;

use super::Objection;
use super::facts::Case;
use crate::action::Action;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    for action in &case.plan.actions {
        objections.extend(match action {
            Action::Start {
                id,
                component,
                role: Role::ReleaseCommand,
                ..
            } if !may_start(case, component) => {
                Some(Objection::UnrecordedSchema { id: id.clone() })
            }
            Action::ChangeSchema {
                deployment,
                service,
                schema,
            } if !changes(case, *deployment, service, *schema) => Some(Objection::FalseSchema {
                service: service.clone(),
            }),
            Action::Move {
                deployment,
                phase: Phase::Preparing,
            } if is_barred(case, *deployment) => Some(Objection::SchemaCannotTake {
                deployment: *deployment,
            }),
            _ => None,
        });
    }
}

fn declared(case: &Case, deployment: &Deployment, service: &Name) -> Option<Schema> {
    let service = case.declared(deployment.to, service)?;
    Some(service.release.as_ref()?.schema)
}

fn is_recorded(case: &Case, deployment: DeploymentId, service: &Name) -> bool {
    let mut changes = case.env.schema.iter();
    changes.any(|change| change.deployment == deployment && change.service == *service)
}

fn may_start(case: &Case, service: &Name) -> bool {
    let Some(active) = case.active() else {
        return true; // Out of turn, which is another objection.
    };
    let harmless = matches!(
        declared(case, active, service),
        None | Some(Schema::None | Schema::Expand)
    );
    harmless || is_recorded(case, active.id, service)
}

fn changes(case: &Case, id: DeploymentId, service: &Name, schema: Schema) -> bool {
    let active = case
        .active()
        .filter(|d| d.id == id && d.phase == Phase::Preparing);
    let declares = active.is_some_and(|d| declared(case, d, service) == Some(schema));
    let takes_away = matches!(schema, Schema::Contract | Schema::Irreversible);
    case.is_up() && declares && takes_away && !is_recorded(case, id, service)
}

/// Written out anew: an older release than any command leaves a schema for, which does not serve.
pub(super) fn is_barred(case: &Case, id: DeploymentId) -> bool {
    case.env.deployments.get(&id).is_some_and(|d| {
        let goes_back = matches!(
            d.reason,
            Reason::Rollback | Reason::Rollforward | Reason::Up
        );
        let oldest = case.env.schema.iter().map(|change| change.oldest).max();
        let older = oldest.is_some_and(|oldest| d.to < oldest);
        let serves = case.env.current == Some(d.to);
        goes_back && older && !serves && d.despite_schema.is_none()
    })
}
