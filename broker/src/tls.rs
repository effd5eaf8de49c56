//! Certificate and key of the TLS listener: from PEM files to what rustls serves with.

use std::{fs, os::unix::fs::MetadataExt as _, sync::Arc};

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

/// Reads the private key, which the world must not be able to read.
///
/// # Errors
/// In words, with the file's name.
pub(crate) fn read_key(file: &str) -> Result<PrivateKeyDer<'static>, String> {
    let meta = fs::metadata(file).map_err(|error| format!("{file}: {error}"))?;
    if meta.mode() & 0o007 != 0 {
        let mode = meta.mode() & 0o7777;
        return Err(format!(
            "{file}: everybody may read it (mode {mode:04o}); chmod 640 it"
        ));
    }
    PrivateKeyDer::from_pem_file(file).map_err(|error| format!("{file}: {error}"))
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
