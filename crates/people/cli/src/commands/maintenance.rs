//! `maintenance`: clients get a page, or answers again.

use ward_types::maintenance::Maintenance;
use ward_types::view::{MaintenanceAnswer, MaintenanceRequest, MaintenanceView};

use super::status::moment;
use super::{Context, Trouble};
use crate::args;
use crate::printer::Status;

pub(crate) async fn maintenance(
    context: &Context,
    asked: args::Maintenance,
) -> Result<Status, Trouble> {
    let (of, begin) = match asked {
        args::Maintenance::On {
            of,
            message,
            allow,
            retry_after,
        } => {
            let maintenance = Maintenance {
                message,
                allow,
                retry_after,
            };
            (of, Some(maintenance))
        }
        args::Maintenance::Off { of } => (of, None),
    };
    let request = MaintenanceRequest {
        env: Some(crate::env::find(context, of.env.env.as_deref()).await?),
        service: of.service,
        begin,
        why: of.why.text,
    };
    let path = "/v1/maintenance";
    let answer: MaintenanceAnswer = context.client.post(path, &request).await?;
    if context.printer.is_json() {
        context.printer.json(&answer);
        return Ok(Status::Success);
    }
    if answer.maintenance.is_empty() {
        let line = format!("{} is not in maintenance any more", answer.env);
        context.printer.data(&line);
    }
    for one in &answer.maintenance {
        let line = format!("{}: {}", answer.env, sentence(one));
        context.printer.data(&line);
    }
    if !answer.in_force {
        let message = "the gateway does not do so yet";
        let hint = "it is in the log and follows by itself; `ward status` says what Ward waits for";
        context.printer.warning(message, hint);
    }
    Ok(Status::Success)
}

/// What is in maintenance, since when and by whom.
pub(crate) fn sentence(one: &MaintenanceView) -> String {
    let of = match &one.service {
        Some(service) => format!("{service} is in maintenance"),
        None => "in maintenance".to_owned(),
    };
    let maintenance = &one.maintenance;
    let allow: Vec<String> = maintenance.allow.iter().map(ToString::to_string).collect();
    let allow = match allow.is_empty() {
        true => String::new(),
        false => format!("; open to {}", allow.join(", ")),
    };
    let (by, since) = (&one.by, moment(one.since));
    format!(
        "{of} since {since} by {by}: “{}”{allow}",
        maintenance.message
    )
}
