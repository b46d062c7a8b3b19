//! Websockets over HTTP/2 (RFC 8441): a CONNECT that names a protocol, asked of the instance as an HTTP/1.1 upgrade.
//!
//! The client's stream becomes the websocket. What RFC 6455 has for the switch itself, and HTTP/2 has not, is made and
//! checked here: the key, the answer to it, and the status. All other header fields (origin, cookies, subprotocols,
//! extensions) go through as they do over HTTP/1.1. No other protocol is taken, and CONNECT without one never.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use hyper::ext::Protocol;

use crate::balance::Lots;
use crate::failure::Failure;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Refuses whatever else CONNECT can ask for.
pub(crate) fn check(parts: &Parts) -> Result<(), Failure> {
    match parts.extensions.get::<Protocol>() {
        _ if parts.method != Method::CONNECT || is_asked(parts) => Ok(()),
        Some(_) => Err(Failure::PROTOCOL),
        None => Err(Failure::METHOD),
    }
}

/// Whether a request asks for a websocket so.
pub(crate) fn is_asked(parts: &Parts) -> bool {
    let named = parts.extensions.get::<Protocol>();
    let websocket = named.is_some_and(|named| named.as_ref().eq_ignore_ascii_case(b"websocket"));
    parts.method == Method::CONNECT && websocket
}

/// What the gateway says to the instance in the client's place.
pub(crate) struct Knock {
    key: HeaderValue,
    accept: HeaderValue,
}

impl Knock {
    /// With a key that was not used before (RFC 6455 section 4.1: 16 bytes at random).
    pub(crate) fn new(lots: &Lots) -> Self {
        let number = u128::from(lots.next()) << 64 | u128::from(lots.next());
        Self::with(number.to_be_bytes())
    }

    fn with(nonce: [u8; 16]) -> Self {
        let key = STANDARD.encode(nonce);
        let seen = [key.as_bytes(), GUID].concat();
        let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &seen));
        let value = |text| HeaderValue::try_from(text).expect("base64 may stand in a header");
        Self {
            key: value(key),
            accept: value(accept),
        }
    }

    /// The protocol that the instance is asked for.
    pub(crate) fn protocol() -> HeaderValue {
        WEBSOCKET
    }

    /// Asks so. A key that the client made up means nothing in HTTP/2.
    pub(crate) fn say(&self, headers: &mut HeaderMap) {
        headers.remove(SEC_WEBSOCKET_ACCEPT);
        headers.insert(SEC_WEBSOCKET_KEY, self.key.clone());
    }

    /// Whether these are the header fields of a 101 that answers it (RFC 6455 section 4.1).
    pub(crate) fn is_answered(&self, headers: &HeaderMap) -> bool {
        let mut accepts = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
        let accepted = accepts.next() == Some(&self.accept) && accepts.next().is_none();
        let upgrade = headers.get(UPGRADE).map(HeaderValue::as_bytes);
        accepted && upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
    }

    /// Takes out what has no meaning in HTTP/2 (RFC 8441 section 5).
    pub(crate) fn translate(headers: &mut HeaderMap) {
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        let knock = Knock::with(*b"the sample nonce");
        assert_eq!(knock.key, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(knock.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let answered = |fields: &[(&'static str, &'static str)]| {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            knock.is_answered(&fields.collect::<HeaderMap>())
        };
        let right = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(answered(&[("upgrade", "WebSocket"), right]));
        assert!(!answered(&[right]));
        assert!(!answered(&[("upgrade", "other"), right]));
        assert!(!answered(&[("upgrade", "websocket")]));
        assert!(!answered(&[
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo")
        ]));
        assert_ne!(Knock::new(&Lots::new()).key, knock.key);
    }

    #[test]
    fn of_all_connects_only_one_for_a_websocket_is_taken() {
        let asked = |method, protocol: Option<&'static str>| {
            let mut request = Request::builder().method(method).uri("http://a/");
            if let Some(protocol) = protocol {
                request = request.extension(Protocol::from_static(protocol));
            }
            let parts = request.body(()).unwrap().into_parts().0;
            check(&parts).map(|()| is_asked(&parts))
        };
        assert_eq!(asked("GET", None), Ok(false));
        assert_eq!(asked("CONNECT", Some("websocket")), Ok(true));
        assert_eq!(
            asked("CONNECT", Some("connect-udp")),
            Err(Failure::PROTOCOL)
        );
        assert_eq!(asked("CONNECT", None), Err(Failure::METHOD));
    }
}
