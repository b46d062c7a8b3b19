//! Shows the gateway's access log.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use ward_gateway::access::Follow;
use ward_store::Log as _;
use ward_types::access::AccessLine;
use ward_types::id::{EnvId, Name, ReleaseId};

use crate::actor::{Refusal, causes};
use crate::clock::now;
use crate::control::Control;
use crate::logs::{LogQuery, had};

/// How often a log that is followed is looked at.
const AGAIN: Duration = Duration::from_millis(100);
/// So many lines more than were asked for are looked at, to put them in order.
const MARGIN: usize = 1000;
/// Lines are written in the order in which answers ended, up to this long before or after each other: two
/// gateways and their threads have buffers of their own.
const OUT_OF_ORDER: i64 = 10_000_000;

impl Control {
    /// Sends the lines, oldest first; with `follow` until the receiver goes away. Without an environment all of
    /// them, and what led nowhere.
    ///
    /// # Errors
    /// When the environment or the service does not exist, or the log cannot be read.
    pub async fn access(
        &self,
        query: LogQuery,
        lines: mpsc::Sender<AccessLine>,
    ) -> Result<(), Refusal> {
        if let Some(env) = &query.env {
            self.environment(Some(env))?;
        }
        if let Some(component) = &query.component {
            self.had_somewhere(query.env.as_ref(), component)?;
        }
        let (home, asked) = (self.0.home.clone(), query.clone());
        let reading = tokio::task::spawn_blocking(move || newest(&home, &asked));
        let doing = "the access log cannot be read";
        let read = reading
            .await
            .map_err(|error| Refusal::failed(doing, &error))?;
        let (found, follow) = read.map_err(|error| Refusal::failed(doing, &error))?;
        tokio::spawn(async move {
            for line in found {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
            if query.follow {
                send_more(&query, follow, lines).await;
            }
        });
        Ok(())
    }

    /// Whether the environment, or any where none is named, has or had such a service.
    fn had_somewhere(&self, env: Option<&EnvId>, component: &Name) -> Result<(), Refusal> {
        let state = self.store().state();
        let all = state.environments.values().map(Arc::as_ref);
        match env {
            Some(env) => had(state.environment(env), &format!("{env} never"), component),
            None => had(all, "no environment ever", component),
        }
    }
}

/// What is there already, and where to go on.
fn newest(home: &Path, query: &LogQuery) -> io::Result<(Vec<AccessLine>, Follow)> {
    let micros = |millis: u64| i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX);
    let since = query
        .since
        .map(|millis| micros(now().0).saturating_sub(micros(millis)));
    let late = |line: &AccessLine| since.is_none_or(|since| ended(line) >= since);
    let wanted = query.tail.unwrap_or(usize::MAX);
    let (mut found, follow) = ward_gateway::access::tail(
        home,
        wanted.saturating_add(MARGIN),
        |line| fits(query, line) && late(line),
        |line| since.is_some_and(|since| ended(line) < since.saturating_sub(OUT_OF_ORDER)),
    )?;
    found.sort_by_key(ended);
    found.drain(..found.len().saturating_sub(wanted));
    Ok((found, follow))
}

/// Sends what comes until the receiver goes away.
async fn send_more(query: &LogQuery, mut follow: Follow, lines: mpsc::Sender<AccessLine>) {
    loop {
        let reading = tokio::task::spawn_blocking(move || (follow.more(), follow)).await;
        let Ok((more, again)) = reading else { return };
        follow = again;
        let more = more.unwrap_or_else(|error| {
            tracing::warn!(error = causes(&error), "the access log cannot be read");
            Vec::new()
        });
        for line in more.into_iter().filter(|line| fits(query, line)) {
            if lines.send(line).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = lines.closed() => return,
        }
    }
}

fn fits(query: &LogQuery, line: &AccessLine) -> bool {
    let release = query.release.map(ReleaseId);
    (query.env.is_none() || query.env == line.env)
        && (query.component.is_none() || query.component == line.service)
        && (release.is_none() || release == line.release)
}

/// When its answer had ended, in microseconds since the epoch; never for a time that is none.
fn ended(line: &AccessLine) -> i64 {
    let began = line.time.parse::<jiff::Timestamp>();
    began.map_or(i64::MAX, |began| {
        began
            .as_microsecond()
            .saturating_add(i64::try_from(line.total_us).unwrap_or(i64::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::id::{EnvId, Name};

    fn line(env: Option<&str>, service: Option<&str>) -> AccessLine {
        AccessLine {
            time: "2026-11-21T14:00:00.000001Z".to_owned(),
            env: env.map(|env| EnvId::parse(env).expect("an environment")),
            service: service.map(|name| Name::parse(name).expect("a name")),
            total_us: 5,
            ..AccessLine::default()
        }
    }

    fn query(env: Option<&str>, component: Option<&str>) -> LogQuery {
        LogQuery {
            env: env.map(|env| EnvId::parse(env).expect("an environment")),
            component: component.map(|name| Name::parse(name).expect("a name")),
            release: None,
            since: None,
            tail: None,
            follow: false,
        }
    }

    #[test]
    fn lines_are_those_that_were_asked_for() {
        let own = line(Some("shop/dev"), Some("web"));
        let nowhere = line(None, None);
        assert!(fits(&query(None, None), &nowhere) && fits(&query(None, None), &own));
        assert!(fits(&query(Some("shop/dev"), Some("web")), &own));
        assert!(!fits(&query(Some("shop/dev"), None), &nowhere));
        assert!(!fits(&query(Some("shop/test"), None), &own));
        assert!(!fits(&query(None, Some("api")), &own));
        let released = LogQuery {
            release: Some(2),
            ..query(None, None)
        };
        assert!(!fits(&released, &own));
        assert_eq!(ended(&own), 1_795_269_600_000_006);
    }
}
