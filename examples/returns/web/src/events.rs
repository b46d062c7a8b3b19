//! `GET /events`: changes of state as server-sent events (HTML standard, section 9.2).
//!
//! Events: `state` (a change, with its id), `heartbeat` each second, `resync` when changes may have been
//! missed and the page should load anew. A client that comes back with `Last-Event-ID` first gets what it
//! missed. When the service ends, so does the stream, and the client comes back to another instance.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use jiff::Timestamp;
use returns_domain::changes::{self, Announced, News};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::serve::App;

struct Feed {
    waiting: VecDeque<Event>,
    news: broadcast::Receiver<News>,
    heartbeat: Interval,
    ending: watch::Receiver<bool>,
}

/// The stream.
pub(crate) async fn events(
    State(app): State<App>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // Subscribed before the missed changes are read, so that none falls in between.
    let news = app.listener.subscribe();
    let mut waiting = VecDeque::from([Event::default().retry(Duration::from_secs(1))]);
    waiting.extend(replay(&app, &headers).await);
    let mut heartbeat = interval(Duration::from_secs(1));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let feed = Feed {
        waiting,
        news,
        heartbeat,
        ending: app.ending.clone(),
    };
    Sse::new(unfold(feed, |mut feed| async {
        let event = feed.next().await?;
        Some((Ok(event), feed))
    }))
}

impl Feed {
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(event);
        }
        tokio::select! {
            biased;
            // An error means that the service is gone already.
            _ = self.ending.wait_for(|ending| *ending) => None,
            news = self.news.recv() => match news {
                Ok(News::Changed(change)) => Some(state(&change)),
                Ok(News::Resumed) | Err(RecvError::Lagged(_)) => Some(resync()),
                Err(RecvError::Closed) => None,
            },
            _ = self.heartbeat.tick() => Some(heartbeat()),
        }
    }
}

async fn replay(app: &App, headers: &HeaderMap) -> Vec<Event> {
    let last = headers
        .get(HeaderName::from_static("last-event-id"))
        .and_then(|v| v.to_str().ok()?.parse().ok());
    let (Some(last), Some(session)) = (last, app.listener.session()) else {
        return Vec::new();
    };
    match changes::missed(&session, last).await {
        Ok(missed) => missed.iter().map(state).collect(),
        Err(_) => vec![resync()],
    }
}

fn state(change: &Announced) -> Event {
    let mut data = json!(change);
    data["number"] = json!(returns_domain::returns::number(change.return_id));
    Event::default()
        .event("state")
        .id(change.id.to_string())
        .data(data.to_string())
}

fn resync() -> Event {
    Event::default().event("resync").data("{}")
}

fn heartbeat() -> Event {
    Event::default()
        .event("heartbeat")
        .data(json!({ "at": Timestamp::now() }).to_string())
}
