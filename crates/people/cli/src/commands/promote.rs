//! `promote`: the build of one environment, released in another.

use ward_types::id::{EnvId, Name};
use ward_types::view::PromoteRequest;

use super::deploy::follow;
use super::{Context, Trouble};
use crate::args::Promote;
use crate::printer::Status;

pub(crate) async fn promote(context: &Context, asked: Promote) -> Result<Status, Trouble> {
    let from = crate::env::named(context, Some(&asked.from)).await?;
    let to = beside(&from, &asked.to)?;
    context.printer.about(&to);
    let request = PromoteRequest {
        to,
        from,
        release: asked.release,
        why: asked.why.text,
        others: asked.pace.others(),
        until: asked.pace.until(),
    };
    let lines = context.client.post_lines("/v1/promote", &request).await?;
    follow(context, lines).await
}

/// The environment that is named in full, or that of the same stack: it need not be there yet.
fn beside(env: &EnvId, asked: &str) -> Result<EnvId, Trouble> {
    let usage = |error: ward_types::id::InvalidId| Trouble::usage(error.to_string());
    match asked.contains('/') {
        true => EnvId::parse(asked).map_err(usage),
        false => {
            let name = Name::parse(asked).map_err(usage)?;
            Ok(EnvId::new(&env.stack(), &name))
        }
    }
}
