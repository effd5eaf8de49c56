//! Certificate and key of the TLS listener: from PEM files to what rustls serves with.

use std::sync::Arc;

use labwatch_link::settings::read_private;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Reads the certificate chain, server's certificate first.
///
/// # Errors
/// In words, with the file's name.
pub(crate) fn read_chain(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let said = |error| format!("{file}: {error}");
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(said)?.collect();
    match chain.map_err(said)? {
        chain if chain.is_empty() => Err(format!("{file}: holds no certificate in PEM")),
        chain => Ok(chain),
    }
}

/// Reads the private key, which others must not be able to read or change.
///
/// # Errors
/// In words, with the file's name.
pub(crate) fn read_key(file: &str) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read_private(file)?;
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("{file}: {error}"))
}

/// What a TLS listener needs: TLS 1.2 and 1.3, no client certificates.
///
/// # Errors
/// When the key does not belong to the certificate.
pub(crate) fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map(Arc::new)
}
