//! What an authority asks by ACME while a certificate is being had: by a request without TLS (http-01, RFC 8555
//! section 8.3), or in a handshake for the protocol `acme-tls/1` (tls-alpn-01, RFC 8737). Answered before anything that
//! a host's routes say, and only while there is something to answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use ward_types::table::Challenge;

use crate::routes::canonical;
use crate::tls;

/// The protocol of RFC 8737.
const ACME_TLS: &[u8] = b"acme-tls/1";
/// Where RFC 8555 asks.
const PLACE: &str = "/.well-known/acme-challenge/";

/// What is asked now.
#[derive(Default)]
pub(crate) struct Challenges {
    asked: AtomicBool,
    all: ArcSwap<Vec<Asked>>,
}

struct Asked {
    challenge: Challenge,
    handshake: Arc<ServerConfig>,
}

impl Challenges {
    /// Whether anything is.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Answers these from now on.
    ///
    /// # Errors
    /// When no certificate for one of them can be made, in a sentence.
    pub(crate) fn set(&self, challenges: Vec<Challenge>) -> Result<(), String> {
        let asked = |challenge: Challenge| {
            let handshake = handshake(&challenge);
            let handshake = handshake
                .map_err(|why| format!("no handshake for {} can be made: {why}", challenge.host))?;
            Ok::<_, String>(Asked {
                challenge,
                handshake: Arc::new(handshake),
            })
        };
        let all = challenges
            .into_iter()
            .map(asked)
            .collect::<Result<Vec<_>, _>>()?;
        let some = !all.is_empty();
        self.all.store(Arc::new(all));
        self.asked.store(some, Ordering::Release);
        Ok(())
    }

    /// The answer to a request without TLS.
    pub(crate) fn answer(&self, host: &str, path: &str) -> Option<Response<Bytes>> {
        let token = path.strip_prefix(PLACE)?;
        let all = self.all.load();
        let mut asked = all.iter().map(|asked| &asked.challenge);
        let found = asked.find(|asked| asked.token == token && canonical(&asked.host) == host)?;
        let mut answer = Response::new(Bytes::from(found.answer.clone()));
        let kind = HeaderValue::from_static("application/octet-stream");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        Some(answer)
    }

    /// The answer to a handshake, if it is one of these.
    pub(crate) fn handshake(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut wanted = hello.alpn()?;
        let host = canonical(hello.server_name()?);
        wanted.any(|protocol| protocol == ACME_TLS).then_some(())?;
        let all = self.all.load();
        let mut asked = all.iter();
        let found = asked.find(|asked| canonical(&asked.challenge.host) == host)?;
        Some(Arc::clone(&found.handshake))
    }
}

/// A certificate that nobody signed, for the host, with the digest of the answer in it (RFC 8737 section 3).
fn handshake(challenge: &Challenge) -> Result<ServerConfig, String> {
    let digest = sha256(challenge.answer.as_bytes());
    let mut params =
        CertificateParams::new(vec![challenge.host.clone()]).map_err(|error| error.to_string())?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let certificate = params
        .self_signed(&key)
        .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = aws_lc_rs::sign::any_ecdsa_type(&key).map_err(|error| error.to_string())?;
    // Not checked against each other: the extension is critical, and the library knows it as little as it should.
    let own = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], key));
    let mut config = tls::configuration()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(own));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(config)
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_answered_and_nothing_else() {
        let challenges = Challenges::default();
        assert!(!challenges.is_asked());
        let asked = Challenge {
            host: "Shop.example.org".to_owned(),
            token: "abc".to_owned(),
            answer: "abc.def".to_owned(),
        };
        challenges.set(vec![asked]).unwrap();
        assert!(challenges.is_asked());
        let answer = |host, path| challenges.answer(host, path);
        let right = answer("shop.example.org", "/.well-known/acme-challenge/abc").unwrap();
        assert_eq!(right.body(), "abc.def");
        for (host, path) in [
            ("other.example.org", "/.well-known/acme-challenge/abc"),
            ("shop.example.org", "/.well-known/acme-challenge/abcd"),
            ("shop.example.org", "/.well-known/acme-challenge/"),
            ("shop.example.org", "/abc"),
        ] {
            assert!(answer(host, path).is_none(), "{host}{path}");
        }
        challenges.set(Vec::new()).unwrap();
        assert!(!challenges.is_asked());
        assert!(
            challenges
                .answer("shop.example.org", "/.well-known/acme-challenge/abc")
                .is_none()
        );
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        let asked = Challenge {
            host: "b\u{fc}cher".to_owned(),
            token: String::new(),
            answer: String::new(),
        };
        let error = Challenges::default().set(vec![asked]).unwrap_err();
        assert!(error.contains("no handshake for b\u{fc}cher"), "{error}");
    }
}
