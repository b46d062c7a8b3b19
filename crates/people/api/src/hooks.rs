//! Where webhooks come in: one route, on an address of its own, and off unless somebody gives one.
//!
//! It is the only thing of the control plane that strangers can reach. So it knows one request, reads so many bytes,
//! keeps none of them, and waits so long; who holds connections open gives way to who comes ([`places`]); it answers the
//! same to every wrong proof, and what it takes leads to a look at a repository and to nothing else.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use ward_gateway::Origin;
use ward_server::{Control, Proof};
use ward_types::secret::Secret;

use crate::places::Places;

/// The largest webhook, in bytes: a push of very many commits.
const LARGEST: u64 = 8 << 20;
/// How many connections there are at once.
const AT_ONCE: usize = 128;
/// Of those, of one address (of IPv6, of one /64).
const OF_ONE: usize = 32;
/// How long a head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a body may take behind it.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may last, its answer included.
const WITHIN: Duration = Duration::from_secs(20);
/// What is still read of a body that nobody needs, so that its sender is there to hear the answer; and for how long.
const REST: u64 = 64 << 10;
const REST_WITHIN: Duration = Duration::from_secs(1);

type Answer = (StatusCode, &'static str);

const TAKEN: Answer = (StatusCode::ACCEPTED, "the repository is looked at\n");
const REFUSED: Answer = (
    StatusCode::FORBIDDEN,
    "there is no source of that name, or this is not signed with its secret\n",
);
const TOO_LARGE: Answer = (
    StatusCode::PAYLOAD_TOO_LARGE,
    "a webhook has at most 8 MiB; the repository is looked at when its time comes\n",
);
const LATE: Answer = (
    StatusCode::REQUEST_TIMEOUT,
    "the body of a webhook has 10 s; the repository is looked at when its time comes\n",
);
const CUT: Answer = (StatusCode::BAD_REQUEST, "the body is cut\n");
const NOT_HERE: Answer = (
    StatusCode::NOT_FOUND,
    "webhooks are sent to /hooks/NAME; `ward source show NAME` says where\n",
);
const NOT_SO: Answer = (
    StatusCode::METHOD_NOT_ALLOWED,
    "webhooks are sent with POST\n",
);

/// Takes webhooks until `shutdown` becomes true.
pub async fn serve(listener: TcpListener, control: Control, mut shutdown: watch::Receiver<bool>) {
    let router = Router::new()
        .route("/hooks/{source}", post(hooked))
        .fallback(async || NOT_HERE)
        .method_not_allowed_fallback(async || NOT_SO)
        .with_state(control);
    let mut places = Places::new(AT_ONCE, OF_ONE);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|down| *down) => return,
            Some(over) = connections.join_next_with_id() => {
                places.leave(over.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, for example: not again at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let origin = Origin::of(peer.ip());
        places.make_room(origin);
        let service = TowerToHyperService::new(router.clone());
        let connection = async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever is slower is cut off.
            let _ = tokio::time::timeout(WITHIN, connection).await;
        };
        places.take(origin, connections.spawn(connection));
    }
}

async fn hooked(
    State(control): State<Control>,
    source: Result<Path<String>, PathRejection>,
    request: Request,
) -> Answer {
    let (head, mut body) = request.into_parts();
    if body.size_hint().lower() > LARGEST {
        return without(&mut body, TOO_LARGE).await;
    }
    let hook = match (source, proof(&head.headers)) {
        (Ok(Path(name)), Some(proof)) => control.hook(&name, proof).await,
        (Ok(Path(name)), None) => Err(control.no_proof(&name)),
        (Err(_), _) => return without(&mut body, REFUSED).await,
    };
    let Ok(mut hook) = hook else {
        return without(&mut body, REFUSED).await;
    };
    let reading = read(&mut body, LARGEST, |part| hook.read(part));
    match tokio::time::timeout(BODY_WITHIN, reading).await {
        Ok(Ok(())) => match control.hooked(hook) {
            Ok(()) => TAKEN,
            Err(_) => REFUSED,
        },
        Ok(Err(Unread::TooLarge)) => without(&mut body, TOO_LARGE).await,
        Ok(Err(Unread::Cut)) => CUT,
        Err(_) => LATE,
    }
}

fn proof(headers: &HeaderMap) -> Option<Proof> {
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let signature = text("x-hub-signature-256").map(Proof::Signature);
    let token = || text("x-gitlab-token").map(|token| Proof::Token(Secret::new(token)));
    signature.or_else(token)
}

/// Why a body was not read to its end.
enum Unread {
    TooLarge,
    Cut,
}

async fn read(body: &mut Body, most: u64, mut take: impl FnMut(&[u8])) -> Result<(), Unread> {
    let mut left = most;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unread::Cut)?;
        let Some(part) = frame.data_ref() else {
            continue;
        };
        left = left
            .checked_sub(part.len() as u64)
            .ok_or(Unread::TooLarge)?;
        take(part);
    }
    Ok(())
}

/// An answer that no body changes.
async fn without(body: &mut Body, answer: Answer) -> Answer {
    let _ = tokio::time::timeout(REST_WITHIN, read(body, REST, |_| {})).await;
    answer
}
