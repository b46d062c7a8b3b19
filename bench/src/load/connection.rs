//! One HTTP/1.1 connection to the gateway.

use std::net::SocketAddr;

use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connects. The connection lives until the sender is dropped or the other side closes.
pub(super) async fn open<B>(address: SocketAddr) -> Result<SendRequest<B>, String>
where
    B: http_body::Body<Data: Send, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("connecting: {error}"))?;
    stream
        .set_nodelay(true)
        .map_err(|error| format!("connecting: {error}"))?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("connecting: {error}"))?;
    // What ends it badly is seen by the request that is under way on it.
    tokio::spawn(connection);
    Ok(sender)
}
