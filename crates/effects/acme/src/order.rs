//! One order: from the wish for a certificate to its file.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, KeyPair};
use ward_types::secret::Secret;
use ward_types::table::Challenge;

use crate::moment::certificate;
use crate::{Acme, AcmeError, write};

/// How long the authority may take to look, and to sign.
const WITHIN: Duration = Duration::from_secs(90);

/// How the authority is shown that a host is served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By an answer over plain HTTP, at port 80 of the host (RFC 8555 section 8.3).
    Http,
    /// By a certificate in a TLS handshake, at port 443 of the host (RFC 8737).
    TlsAlpn,
}

impl Way {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Http => Self::TlsAlpn,
            Self::TlsAlpn => Self::Http,
        }
    }

    fn kind(self) -> ChallengeType {
        match self {
            Self::Http => ChallengeType::Http01,
            Self::TlsAlpn => ChallengeType::TlsAlpn01,
        }
    }
}

/// Who answers what the authority asks: the gateway.
pub trait Answers: Sync {
    /// Answers these from now on, and nothing else.
    ///
    /// # Errors
    /// Why not, in a sentence.
    fn answer(&self, challenges: Vec<Challenge>)
    -> impl Future<Output = Result<(), String>> + Send;
}

impl Acme {
    /// Has a certificate for `host` issued and puts it in its file. The gateway answers the authority
    /// meanwhile.
    ///
    /// # Errors
    /// [`AcmeError`]; what was in the file is still there then.
    pub async fn issue(
        &self,
        host: &str,
        way: Way,
        gateway: &impl Answers,
    ) -> Result<(), AcmeError> {
        let account = self.account().await?;
        let mut order = self.ordered(&account, host).await?;
        let proven = self.proven(&mut order, (host, way), gateway).await;
        // Whatever came of it, there is nothing to answer any more.
        let _ = gateway.answer(Vec::new()).await;
        proven?;
        let made = KeyPair::generate().and_then(|key| {
            let params = CertificateParams::new(vec![host.to_owned()])?;
            let request = params.serialize_request(&key)?;
            Ok((key, request))
        });
        let (key, request) = made.map_err(|source| AcmeError::Key {
            host: host.to_owned(),
            source,
        })?;
        let asked = order.finalize_csr(request.der()).await;
        asked.map_err(self.failed("cannot ask for the certificate"))?;
        let chain = order.poll_certificate(&patience()).await;
        let chain = chain.map_err(self.failed("cannot have the certificate"))?;
        let text = Secret::new(format!("{}{chain}", key.serialize_pem()));
        write(&self.file(host), text.expose())
    }

    /// An order, which says what it replaces where the authority wants to know (RFC 9773 section 5).
    async fn ordered(&self, account: &Account, host: &str) -> Result<Order, AcmeError> {
        let wanted = [Identifier::Dns(host.to_owned())];
        let failed = self.failed("cannot order a certificate");
        let before = certificate(&self.file(host));
        let before = before.and_then(|own| CertificateIdentifier::try_from(&own).ok());
        if let Some(before) = before {
            let order = NewOrder::new(&wanted).replaces(before);
            match account.new_order(&order).await {
                Ok(order) => return Ok(order),
                // It knows no such thing, or has forgotten that certificate: then it is an order like any other.
                Err(error) => tracing::debug!(%error, host, "nothing is replaced"),
            }
        }
        account
            .new_order(&NewOrder::new(&wanted))
            .await
            .map_err(failed)
    }

    async fn proven(
        &self,
        order: &mut Order,
        (host, way): (&str, Way),
        gateway: &impl Answers,
    ) -> Result<(), AcmeError> {
        let failed = self.failed("cannot show whose the host is");
        let mut all = order.authorizations();
        while let Some(authorization) = all.next().await {
            let mut authorization = authorization.map_err(&failed)?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let unproven = || AcmeError::Unproven {
                host: host.to_owned(),
                why: format!("it offers no {way:?}"),
            };
            let mut challenge = authorization.challenge(way.kind()).ok_or_else(unproven)?;
            let answer = Challenge {
                host: host.to_owned(),
                token: challenge.token.clone(),
                answer: challenge.key_authorization().as_str().to_owned(),
            };
            gateway
                .answer(vec![answer])
                .await
                .map_err(AcmeError::Gateway)?;
            let ready = challenge.set_ready().await;
            ready.map_err(|error| disbelieved(host, error).unwrap_or_else(&failed))?;
        }
        let status = order.poll_ready(&patience()).await;
        match status {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
            Ok(_) | Err(instant_acme::Error::Timeout(_)) => Err(AcmeError::Unproven {
                host: host.to_owned(),
                why: what_it_says(order).await,
            }),
            Err(error) => Err(disbelieved(host, error).unwrap_or_else(failed)),
        }
    }
}

/// What it means when the authority looked and did not find what it should (RFC 8555 section 6.7); the error itself where it
/// is about something else.
fn disbelieved(host: &str, error: instant_acme::Error) -> Result<AcmeError, instant_acme::Error> {
    const LOOKED: [&str; 6] = [
        "caa",
        "connection",
        "dns",
        "incorrectResponse",
        "tls",
        "unauthorized",
    ];
    let instant_acme::Error::Api(problem) = error else {
        return Err(error);
    };
    let kind = problem
        .r#type
        .as_deref()
        .and_then(|kind| kind.rsplit(':').next());
    match kind.is_some_and(|kind| LOOKED.contains(&kind)) {
        true => Ok(AcmeError::Unproven {
            host: host.to_owned(),
            why: problem.to_string(),
        }),
        false => Err(instant_acme::Error::Api(problem)),
    }
}

/// What the authority says of the challenges that it looked at.
async fn what_it_says(order: &mut Order) -> String {
    let mut all = order.authorizations();
    while let Some(Ok(mut authorization)) = all.next().await {
        let _ = authorization.refresh().await;
        let problem = authorization
            .challenges
            .iter()
            .find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            return problem.to_string();
        }
    }
    "it did not say why in time".to_owned()
}

fn patience() -> RetryPolicy {
    RetryPolicy::new().timeout(WITHIN)
}
