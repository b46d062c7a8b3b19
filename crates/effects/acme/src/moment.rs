//! When a certificate is renewed: at a moment within the window that its authority suggests (RFC 9773 section 4.2),
//! else when two thirds of its time are over. Which moment is drawn from the certificate itself, so that all that were
//! issued together do not come back together, and a restart changes nothing.

use std::path::Path;
use std::time::Duration;

use instant_acme::CertificateIdentifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ward_types::time::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::Acme;

/// How long the authority may take to say when.
const SAYS_WITHIN: Duration = Duration::from_secs(30);

/// What is there of a host's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// From when it is good.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    lot: u64,
}

/// When one should be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// There is none.
    Missing,
    /// At that moment, which may be over.
    At(Timestamp),
}

impl Acme {
    /// When a certificate for `host` should be asked for.
    pub async fn due(&self, host: &str) -> Due {
        let Some(own) = certificate(&self.file(host)) else {
            return Due::Missing;
        };
        let Some(present) = Present::of(&own) else {
            return Due::Missing;
        };
        let asked = tokio::time::timeout(SAYS_WITHIN, self.window(&own)).await;
        Due::At(present.moment(asked.ok().flatten()))
    }

    async fn window(&self, own: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
        let id = CertificateIdentifier::try_from(own).ok()?;
        let account = self.account().await.ok()?;
        let (said, _) = account.renewal_info(&id).await.ok()?;
        let millis = |seconds: i64| Timestamp(u64::try_from(seconds).unwrap_or(0) * 1000);
        let window = said.suggested_window;
        Some((
            millis(window.start.unix_timestamp()),
            millis(window.end.unix_timestamp()),
        ))
    }
}

impl Present {
    fn of(own: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(own).ok()?;
        let millis = |seconds: i64| Timestamp(u64::try_from(seconds).unwrap_or(0) * 1000);
        let lot = parsed.raw_serial().iter().rev().take(6);
        Some(Self {
            from: millis(parsed.validity().not_before.timestamp()),
            until: millis(parsed.validity().not_after.timestamp()),
            lot: lot.fold(0, |lot, byte| (lot << 8) | u64::from(*byte)),
        })
    }

    /// When it is renewed, given the window that the authority suggests.
    #[must_use]
    pub fn moment(&self, window: Option<(Timestamp, Timestamp)>) -> Timestamp {
        let life = self.until.since(self.from).0;
        match window {
            Some((start, end)) if start < end => Timestamp(start.0 + self.lot % end.since(start).0),
            // Within a twentieth of its life behind two thirds of it.
            _ => Timestamp(self.from.0 + life / 3 * 2 + self.lot % (life / 20).max(1)),
        }
    }
}

/// The host's own certificate in a file.
pub(crate) fn certificate(path: &Path) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_file(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600_000;

    fn present(lot: u64) -> Present {
        Present {
            from: Timestamp(1000 * DAY),
            until: Timestamp(1090 * DAY),
            lot,
        }
    }

    #[test]
    fn it_is_renewed_a_month_ahead_where_the_authority_says_nothing() {
        for lot in [0, 1, 7 * DAY, u64::from(u32::MAX) << 16] {
            let moment = present(lot).moment(None).0;
            assert!(
                (1060 * DAY..1065 * DAY).contains(&moment),
                "{lot}: {moment}"
            );
        }
        assert_eq!(present(9).moment(None), present(9).moment(None));
        assert_ne!(present(9).moment(None), present(10).moment(None));
    }

    #[test]
    fn it_is_renewed_within_the_window_that_the_authority_suggests() {
        let (start, end) = (Timestamp(1010 * DAY), Timestamp(1012 * DAY));
        for lot in [0, 5, 3 * DAY, u64::from(u32::MAX) << 16] {
            let moment = present(lot).moment(Some((start, end)));
            assert!(start <= moment && moment < end, "{lot}");
        }
        // One that has been revoked: the window is over.
        let past = (Timestamp(1), Timestamp(2));
        assert_eq!(present(7).moment(Some(past)), Timestamp(1));
        // Nonsense is no window.
        assert_eq!(
            present(7).moment(Some((end, start))),
            present(7).moment(None)
        );
    }

    #[test]
    fn a_file_that_is_not_there_holds_no_certificate() {
        assert!(certificate(Path::new("/nowhere/at/all")).is_none());
    }
}
