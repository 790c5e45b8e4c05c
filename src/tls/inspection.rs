//! What is wrong with this end's own certificate, before a peer refuses it.

use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::failure::{CertificateFault, End};
use super::provider;

/// Returns what a peer that trusts the CA will find wrong with the certificate at the head of `chain`, which `owner` shows.
///
/// The verification that a peer runs is asked. It cannot tell that an intermediate certificate is missing after the last
/// one, because the CA above that need not be in the file, nor that no client asks for the certificate's name.
pub(super) fn faults(chain: &[CertificateDer<'_>], owner: End) -> Vec<CertificateFault> {
    use webpki::Error::{CertExpired, CertNotValidYet, InvalidSignatureForPublicKey, UnknownIssuer};
    let Some((own, issuers)) = chain.split_first() else { return Vec::new() };
    let own = match EndEntityCert::try_from(own) {
        Ok(own) => own,
        Err(error) => return vec![(&error).into()],
    };
    let (mut faults, mut now) = (Vec::new(), UnixTime::now());
    // The time is looked at first, and hides the rest.
    if let Err(error @ (CertExpired { not_after: then, .. } | CertNotValidYet { not_before: then, .. })) =
        verify(&own, &[], &[], owner, now)
    {
        faults.push((&error).into());
        now = then;
    }
    // Without any CA, the best that can be said is that its issuer is not known.
    match verify(&own, &[], &[], owner, now) {
        Ok(()) | Err(UnknownIssuer) => {}
        Err(error) => {
            faults.push((&error).into());
            return faults;
        }
    }
    if owner == End::Server && has_no_name(&own) {
        faults.push(CertificateFault::NoName);
    }
    for (at, issuer) in issuers.iter().enumerate() {
        if let Err(error) = check_issuer(&own, &issuers[..at], issuer, owner, now) {
            faults.push(match error {
                UnknownIssuer | InvalidSignatureForPublicKey => CertificateFault::ChainOrder,
                error => (&error).into(),
            });
            break;
        }
    }
    faults
}

/// Checks that `issuer` is a CA, and that it is above `own` and those `between`.
fn check_issuer(
    own: &EndEntityCert<'_>,
    between: &[CertificateDer<'_>],
    issuer: &CertificateDer<'_>,
    owner: End,
    now: UnixTime,
) -> Result<(), webpki::Error> {
    use webpki::Error::{CaUsedAsEndEntity, EndEntityUsedAsCa, UnknownIssuer};
    // It is taken for the trusted CA, of which neither the time nor the extensions are looked at.
    let anchor = anchor_from_trusted_cert(issuer)?;
    verify(own, &[anchor], between, owner, now)?;
    match EndEntityCert::try_from(issuer).map(|issuer| verify(&issuer, &[], &[], owner, now)) {
        // A root of version 1, which only an anchor may be.
        Err(_) | Ok(Err(CaUsedAsEndEntity)) => Ok(()),
        Ok(Ok(()) | Err(UnknownIssuer)) => Err(EndEntityUsedAsCa),
        Ok(error) => error,
    }
}

fn verify(
    own: &EndEntityCert<'_>,
    anchors: &[TrustAnchor<'_>],
    intermediates: &[CertificateDer<'_>],
    owner: End,
    now: UnixTime,
) -> Result<(), webpki::Error> {
    let usage = match owner {
        End::Server => KeyUsage::server_auth(),
        End::Client => KeyUsage::client_auth(),
    };
    let algorithms = provider().signature_verification_algorithms.all;
    own.verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None).map(drop)
}

/// True if and only if it has no subject alternative name. For any name that it is not for, the verification tells those
/// that it is for.
fn has_no_name(certificate: &EndEntityCert<'_>) -> bool {
    let Ok(any) = ServerName::try_from("localhost") else { return false };
    match certificate.verify_is_valid_for_subject_name(&any) {
        Err(webpki::Error::CertNotValidForName(context)) => context.presented.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
