//! The files of TLS: read, and proven before anything is sent with them.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, RootCertStore};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use zeroize::Zeroizing;

use writ_schemas::errors::Code;

use crate::clock::Clock;
use crate::config::telemetry::{NamedFile, TlsFiles};
use crate::error::{Failure, Result};

/// The longest file, in bytes: all authorities of a system are 220 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What tells one state of the files from another.
pub(super) type Stamps = Vec<Option<(i64, i64, u64, u64)>>;

/// The files as they are now.
pub(super) fn stamps(files: &TlsFiles) -> Stamps {
    let stamp = |file: &NamedFile| {
        let there = std::fs::metadata(&file.path).ok()?;
        Some((there.mtime(), there.mtime_nsec(), there.ino(), there.len()))
    };
    let identity = files.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
    files.ca.iter().chain(identity).map(stamp).collect()
}

/// Reads them: what they say is well-formed, valid now, and belongs together. That the collector trusts it shows only when it is asked.
///
/// # Errors
/// `ERR_CONFIG` with the file.
pub(super) fn read(files: &TlsFiles) -> Result<ClientTlsConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientTlsConfig::new();
    config = match &files.ca {
        Some(file) => {
            let text = contents(file)?;
            for certificate in certificates(file, &text)? {
                require_valid(file, &certificate, &provider)?;
            }
            config.ca_certificate(Certificate::from_pem(text.as_slice()))
        }
        None => config.with_native_roots(),
    };
    if let Some((certificate, key)) = &files.identity {
        let (chain, private) = (contents(certificate)?, contents(key)?);
        let parsed = certificates(certificate, &chain)?;
        for of_chain in &parsed {
            require_valid(certificate, of_chain, &provider)?;
        }
        let parsed_key = PrivateKeyDer::from_pem_slice(&private);
        let parsed_key = parsed_key.map_err(|_| refuse(key, "it holds no private key in PEM without a passphrase"))?;
        CertifiedKey::from_der(parsed, parsed_key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                refuse(key, format!("the key does not belong to the certificate in {}", certificate.path.display()))
            }
            other => refuse(key, other),
        })?;
        config = config.identity(Identity::from_pem(chain.as_slice(), private.as_slice()));
    }
    Ok(config)
}

fn refuse(file: &NamedFile, why: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Config, format!("{}: {}: {why}", file.by, file.path.display()))
}

fn contents(file: &NamedFile) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let opened = std::fs::File::open(&file.path).map_err(|e| refuse(file, e))?;
    let length = opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| refuse(file, e))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(refuse(file, format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn certificates(file: &NamedFile, text: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(refuse(file, "it holds no certificate in PEM")),
        Err(error) => Err(refuse(file, format!("it is no PEM: {error}"))),
    }
}

/// Whether a certificate can be read and is in its time. The verifier of clients says so of any certificate before it looks for who
/// issued it: what it says after that is the collector's to say.
fn require_valid(
    file: &NamedFile,
    certificate: &CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
) -> Result<()> {
    let mut itself = RootCertStore::empty();
    itself.add(certificate.clone()).map_err(|e| refuse(file, e))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(itself), Arc::clone(provider));
    let verifier = verifier.build().map_err(|e| refuse(file, e))?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_micros(Clock::Wall.now().0));
    match verifier.verify_client_cert(certificate, &[], now) {
        Err(rustls::Error::InvalidCertificate(
            why @ (CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }),
        )) => Err(refuse(file, why)),
        _ => Ok(()),
    }
}
