//! `logs --access`: the requests that the gateway served.

use owo_colors::{OwoColorize, Style};
use ward_types::access::AccessLine;
use ward_types::text::shown;
use ward_types::time::Timestamp;
use ward_types::view::StatusView;

use super::status::moment_as;
use super::{Context, Trouble, logs};
use crate::args::Logs;
use crate::printer::Status;

pub(super) async fn access(context: &Context, asked: &Logs) -> Result<Status, Trouble> {
    let mut path = format!("/v1/access?{}", logs::query(asked));
    if let Some(env) = &asked.env.env {
        let env = crate::env::find(context, Some(env)).await?;
        path.push_str(&format!("&env={env}"));
    }
    let status: StatusView = context.client.get("/v1/status").await?;
    let mut arguments = status.server.arguments.iter();
    if arguments.any(|word| word == "--access-log=off") {
        context.printer.say(
            "No access log is kept since the platform was started or upgraded with --access-log=off; `ward upgrade \
             --access-log=on` begins to keep it.",
        );
    }
    let mut lines = context.client.get_lines(&path).await?;
    let mut any = false;
    while let Some(line) = lines.next::<AccessLine>().await? {
        any = true;
        match context.printer.is_json() {
            true => context.printer.json(&line),
            false => context.printer.parts(&parts(&line)),
        }
    }
    if !any {
        context.printer.say("no requests match");
    }
    Ok(Status::Success)
}

/// A request in one line: when, what came of it, what was asked, how long it took, who answered, who asked, and
/// what was wrong.
fn parts(line: &AccessLine) -> Vec<String> {
    let status = match line.status {
        Some(status) => status.to_string(),
        None => "---".to_owned(),
    };
    let status = status.style(style(line));
    let method = match line.method.as_str() {
        "" => "-",
        method => method,
    };
    let mut parts = vec![
        time(&line.time).dimmed().to_string(),
        status.to_string(),
        shown(&format!("{method} {}{}", line.host, target(line))),
        duration(line.total_us),
        answerer(line).cyan().to_string(),
        shown(&asker(line)).dimmed().to_string(),
    ];
    if line.retries > 0 {
        parts.push(format!("tried {} times", line.retries + 1));
    }
    if let Some(fault) = &line.fault {
        let why = line.reason.as_deref().unwrap_or("");
        parts.push(
            shown(&format!("{fault}: {why}"))
                .style(style(line))
                .to_string(),
        );
    }
    parts
}

fn target(line: &AccessLine) -> String {
    match &line.query {
        Some(query) => format!("{}?{query}", line.path),
        None => line.path.clone(),
    }
}

fn answerer(line: &AccessLine) -> String {
    match (&line.instance, &line.service, &line.env) {
        (Some(instance), _, Some(env)) => format!("{instance} of {env}"),
        (None, Some(service), Some(env)) => format!("{service} of {env}"),
        _ => "-".to_owned(),
    }
}

fn asker(line: &AccessLine) -> String {
    match (&line.client, &line.from) {
        (Some(client), _) => client.clone(),
        (None, Some(from)) => format!("link of {from}"),
        (None, None) => line.entry.clone(),
    }
}

fn style(line: &AccessLine) -> Style {
    match (line.status, line.fault.as_deref()) {
        (_, Some("upstream" | "ward")) | (Some(500..), _) => Style::new().red(),
        (None | Some(400..), _) => Style::new().yellow(),
        _ => Style::new().green(),
    }
}

/// To the millisecond, in the machine's own time zone.
fn time(text: &str) -> String {
    let Ok(at) = text.parse::<jiff::Timestamp>() else {
        return shown(text);
    };
    let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
    moment_as(Timestamp(millis), "%Y-%m-%d %H:%M:%S%.3f")
}

/// `0.31 ms`, `3.1 ms`, `310 ms`, `3.10 s`.
pub(super) fn duration(micros: u64) -> String {
    match micros {
        0..1_000 => format!("0.{:02} ms", micros / 10),
        1_000..100_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        100_000..1_000_000 => format!("{} ms", micros / 1000),
        _ => format!(
            "{}.{:02} s",
            micros / 1_000_000,
            micros % 1_000_000 / 10_000
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::id::{EnvId, InstanceId};

    fn written(line: &AccessLine) -> String {
        anstream::adapter::strip_str(&parts(line).join("  ")).to_string()
    }

    #[test]
    fn a_request_is_one_readable_line() {
        let line = AccessLine {
            time: "2026-11-21T14:00:00.123456Z".to_owned(),
            method: "GET".to_owned(),
            host: "shop.localhost".to_owned(),
            path: "/returns/7".to_owned(),
            status: Some(502),
            env: EnvId::parse("shop/dev").ok(),
            instance: InstanceId::parse("web-r1-2").ok(),
            client: Some("127.0.0.1".to_owned()),
            total_us: 3_140,
            retries: 2,
            fault: Some("upstream".to_owned()),
            reason: Some("The application broke off before it answered.".to_owned()),
            ..AccessLine::default()
        };
        let written = written(&line);
        let wanted = "  502  GET shop.localhost/returns/7  3.1 ms  web-r1-2 of shop/dev  127.0.0.1  tried 3 \
                      times  upstream: The application broke off before it answered.";
        assert!(written.contains(":00.123"), "{written}");
        assert!(written.ends_with(wanted), "{written}");
    }

    #[test]
    fn what_a_client_sent_obeys_nothing() {
        let line = AccessLine {
            path: "/\u{1b}[2J\n\u{202e}x".to_owned(),
            entry: "http".to_owned(),
            ..AccessLine::default()
        };
        let written = written(&line);
        assert!(written.contains(r"/\u{1b}[2J\u{a}\u{202e}x"), "{written}");
        assert!(
            written.contains("---") && !written.contains('\n'),
            "{written}"
        );
    }

    #[test]
    fn durations_have_three_digits() {
        for (micros, text) in [
            (7, "0.00 ms"),
            (310, "0.31 ms"),
            (3_140, "3.1 ms"),
            (310_000, "310 ms"),
            (3_105_000, "3.10 s"),
        ] {
            assert_eq!(duration(micros), text);
        }
    }
}
