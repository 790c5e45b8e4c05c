//! Checks this end's own certificate when it is loaded, before a peer rejects it.

use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::failure::causes::webpki_fault;
use super::failure::{CertificateFault, End};
use super::provider::provider;

/// Returns the faults that a peer that trusts the CA will find in `chain`, whose first certificate `owner` presents.
///
/// Runs the peer's own verification. It cannot detect an intermediate certificate that is missing at the end of the chain,
/// because the next CA need not be in the file, nor a name that no client connects to.
pub(super) fn faults(chain: &[CertificateDer<'_>], owner: End) -> Vec<CertificateFault> {
    use webpki::Error::{CertExpired, CertNotValidYet, InvalidSignatureForPublicKey, UnknownIssuer};
    let Some((own, issuers)) = chain.split_first() else { return Vec::new() };
    let own = match EndEntityCert::try_from(own) {
        Ok(own) => own,
        Err(error) => return vec![webpki_fault(&error)],
    };
    let (mut faults, mut now) = (Vec::new(), UnixTime::now());
    // webpki checks the time first, and reports nothing else then.
    if let Err(error @ (CertExpired { not_after: then, .. } | CertNotValidYet { not_before: then, .. })) =
        verify(&own, &[], &[], owner, now)
    {
        faults.push(webpki_fault(&error));
        now = then;
    }
    // Without any CA, a good certificate has an unknown issuer.
    match verify(&own, &[], &[], owner, now) {
        Ok(()) | Err(UnknownIssuer) => {}
        Err(error) => {
            faults.push(webpki_fault(&error));
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
                error => webpki_fault(&error),
            });
            break;
        }
    }
    faults
}

/// Checks that `issuer` is a CA, and that the chain from `own` over `between` leads to it.
fn check_issuer(
    own: &EndEntityCert<'_>,
    between: &[CertificateDer<'_>],
    issuer: &CertificateDer<'_>,
    owner: End,
    now: UnixTime,
) -> Result<(), webpki::Error> {
    use webpki::Error::{CaUsedAsEndEntity, EndEntityUsedAsCa, UnknownIssuer};
    // As the trust anchor: webpki checks neither the time nor the extensions of an anchor.
    let anchor = anchor_from_trusted_cert(issuer)?;
    verify(own, &[anchor], between, owner, now)?;
    match EndEntityCert::try_from(issuer).map(|issuer| verify(&issuer, &[], &[], owner, now)) {
        // A root of X.509 version 1, which is allowed only as an anchor.
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

/// True if and only if `certificate` has no subject alternative name. webpki lists the names of a certificate when asked for
/// one that it does not have.
fn has_no_name(certificate: &EndEntityCert<'_>) -> bool {
    let Ok(any) = ServerName::try_from("localhost") else { return false };
    match certificate.verify_is_valid_for_subject_name(&any) {
        Err(webpki::Error::CertNotValidForName(context)) => context.presented.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
