//! `logs`: the output of instances, also of those that are gone.

use owo_colors::OwoColorize;
use ward_types::unit::format_duration;
use ward_types::view::LogLine;

use super::status::moment;
use super::{Context, Trouble, access};
use crate::args::Logs;
use crate::printer::Status;

pub(crate) async fn logs(context: &Context, logs: Logs) -> Result<Status, Trouble> {
    if logs.access {
        return access::access(context, &logs).await;
    }
    let env = crate::env::find(context, logs.env.env.as_deref()).await?;
    let path = format!("/v1/logs?env={env}&{}", query(&logs));
    let mut lines = context.client.get_lines(&path).await?;
    let mut any = false;
    while let Some(line) = lines.next::<LogLine>().await? {
        any = true;
        if context.printer.is_json() {
            context.printer.json(&line);
        } else {
            let head = format!("{} {}", moment(line.at).dimmed(), line.instance.cyan());
            context.printer.data(&format!("{head} {}", line.text));
        }
    }
    if !any {
        context.printer.say(&context.printer.meant(&nothing(&logs)));
    }
    Ok(Status::Success)
}

/// Why nothing is shown, as far as that can be told.
fn nothing(logs: &Logs) -> String {
    match (logs.release, logs.since) {
        (_, Some(since)) => {
            let since = format_duration(since);
            format!("no lines match: nothing that was asked for was written in the last {since}")
        }
        (Some(release), None) => format!(
            "nothing is kept of what {release} wrote: it wrote nothing, or started no instance; \
             `ward deployment show` says how far a deployment came"
        ),
        (None, None) => "nothing is kept of what was written here".to_owned(),
    }
}

/// Which lines, of whatever environment.
pub(super) fn query(logs: &Logs) -> String {
    let mut path = format!("tail={}&follow={}", logs.tail, logs.follow);
    if let Some(component) = &logs.component {
        path.push_str(&format!("&component={component}"));
    }
    if let Some(release) = logs.release {
        path.push_str(&format!("&release={}", release.0));
    }
    if let Some(since) = logs.since {
        path.push_str(&format!("&since={}", since.0));
    }
    path
}
