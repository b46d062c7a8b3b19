//! Where webhooks come in: one route, on an address of its own, and off unless somebody gives one.
//!
//! It is the only thing of the control plane that strangers can reach. So it knows one request, reads so many bytes and
//! waits so long, answers the same to every wrong proof, and what it takes leads to a look at a repository and to nothing
//! else.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use ward_server::{Control, Proof};
use ward_types::secret::Secret;

/// The largest webhook, in bytes: a push of very many commits.
const LARGEST: usize = 8 << 20;
/// How many connections are answered at once.
const AT_ONCE: usize = 64;
/// How long a connection may last.
const WITHIN: Duration = Duration::from_secs(30);
/// How long its head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Takes webhooks until `shutdown` becomes true.
pub async fn serve(listener: TcpListener, control: Control, mut shutdown: watch::Receiver<bool>) {
    let router = Router::new()
        .route("/hooks/{source}", post(hooked))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(control);
    let seats = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let seat = tokio::select! {
            seat = seats.clone().acquire_owned() => seat,
            _ = shutdown.wait_for(|down| *down) => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|down| *down) => return,
        };
        let (Ok(seat), Ok((stream, _))) = (seat, accepted) else {
            // Out of descriptors, for example: not again at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever is slower is cut off.
            let _ = tokio::time::timeout(WITHIN, connection).await;
            drop(seat);
        });
    }
}

async fn hooked(
    State(control): State<Control>,
    Path(source): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let signature = text("x-hub-signature-256").map(Proof::Signature);
    let token = || text("x-gitlab-token").map(|token| Proof::Token(Secret::new(token)));
    let proof = signature.or_else(token);
    match control.hooked(&source, proof.as_ref(), &body).await {
        Ok(()) => (StatusCode::ACCEPTED, "the repository is looked at\n"),
        Err(_) => (
            StatusCode::FORBIDDEN,
            "there is no source of that name, or this is not signed with its secret\n",
        ),
    }
}
