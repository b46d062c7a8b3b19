//! The registry over HTTP: the OCI distribution specification, version 1.1.
//!
//! HTTP/1.1 without TLS, meant for a loopback address. Repositories' names have slashes in them, so
//! requests are not routed by patterns: [`route::parse`] reads a path from its end.

mod answer;
mod blobs;
mod manifests;
mod route;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use crate::http::answer::Failure;
use crate::http::route::Route;
use crate::needs::Needs;
use crate::registry::Registry;

/// How long a client may take to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long requests under way may take to end after a shutdown began.
const LAST_REQUESTS: Duration = Duration::from_secs(10);
/// How long accepting is left alone after it failed (no file descriptors, most often).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Answer = Result<Response<Body>, Failure>;

/// Serves the registry until `shutdown` is ready; then takes no more connections, and lets requests
/// under way end for ten seconds. What an upload has received by then is kept. `needs` is asked before a manifest goes.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    needs: Arc<dyn Needs>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let router = router(registry, needs);
    let connections = GracefulShutdown::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(connection(stream, router.clone(), connections.watcher()));
            }
            Err(error) => {
                tracing::warn!(%error, "the registry cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(LAST_REQUESTS, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests to the registry were cut off at shutdown");
    }
    tasks.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection to the registry stays without TCP_NODELAY");
    }
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, "a connection to the registry ended early");
    }
}

/// The service by itself, for a server of one's own.
pub fn router(registry: Registry, needs: Arc<dyn Needs>) -> Router {
    let served = Served { registry, needs };
    Router::new().fallback(dispatch).with_state(served)
}

/// What is served, and who is asked.
#[derive(Clone)]
struct Served {
    registry: Registry,
    needs: Arc<dyn Needs>,
}

async fn dispatch(State(served): State<Served>, request: Request<Body>) -> Response<Body> {
    let method = request.method().clone();
    let answered = match route::parse(request.uri().path()) {
        Ok(route) => answer(&served, route, request).await,
        Err(failure) => Err(failure),
    };
    let mut response = answered.unwrap_or_else(|failure| failure.into_response(&method));
    response.headers_mut().insert(
        "docker-distribution-api-version",
        HeaderValue::from_static("registry/2.0"),
    );
    response
}

async fn answer(served: &Served, route: Route, request: Request<Body>) -> Answer {
    let (head, body) = request.into_parts();
    let Served { registry, needs } = served;
    match (route, head.method.clone()) {
        (Route::Base, Method::GET | Method::HEAD) => {
            answer::json(StatusCode::OK, &serde_json::json!({}))
        }
        (Route::Blob(name, digest), Method::GET) => blobs::get(registry, name, digest, &head).await,
        (Route::Blob(name, digest), Method::HEAD) => blobs::head(registry, name, digest).await,
        (Route::Blob(name, digest), Method::DELETE) => blobs::delete(registry, name, digest).await,
        (Route::Uploads(name), Method::POST) => uploads::begin(registry, name, &head, body).await,
        (Route::Upload(name, id), Method::GET | Method::HEAD) => {
            uploads::status(registry, name, id).await
        }
        (Route::Upload(name, id), Method::PATCH) => {
            uploads::append(registry, name, id, &head, body).await
        }
        (Route::Upload(name, id), Method::PUT) => {
            uploads::finish(registry, name, id, &head, body).await
        }
        (Route::Upload(name, id), Method::DELETE) => uploads::cancel(registry, name, id).await,
        (Route::Manifest(name, reference), Method::GET) => {
            manifests::get(registry, name, reference, &head).await
        }
        (Route::Manifest(name, reference), Method::HEAD) => {
            manifests::head(registry, name, reference).await
        }
        (Route::Manifest(name, reference), Method::PUT) => {
            manifests::put(registry, name, reference, &head, body).await
        }
        (Route::Manifest(name, reference), Method::DELETE) => {
            manifests::delete(registry, needs, name, reference).await
        }
        (Route::Tags(name), Method::GET | Method::HEAD) => {
            manifests::tags(registry, name, &head).await
        }
        (Route::Referrers(name, digest), Method::GET | Method::HEAD) => {
            manifests::referrers(registry, name, digest, &head).await
        }
        (route, method) => Err(Failure::method(&method, route.methods())),
    }
}
