//! The files of TLS: read, and proven before anything is sent with them.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use writ_schemas::errors::Code;

use crate::clock::Clock;
use crate::config::telemetry::{NamedFile, TlsFiles};
use crate::error::{Failure, Result};

/// The longest file, in bytes: all authorities of a system are 220 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// HTTP/2, as TLS has it.
pub(super) const H2: &[u8] = b"h2";

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
pub(super) fn read(files: &TlsFiles) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let refuse_all = |e: rustls::Error| Failure::new(Code::Config, format!("telemetry.endpoint: {e}"));
    let roots = roots(files.ca.as_ref(), &provider)?;
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = versions.map_err(refuse_all)?.with_root_certificates(roots);
    let mut config = match &files.identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, &contents(certificate)?)?;
            for of_chain in &chain {
                require_valid(certificate, of_chain, &provider)?;
            }
            let private = PrivateKeyDer::from_pem_slice(&contents(key)?);
            let private = private.map_err(|_| refuse(key, "it holds no private key in PEM without a passphrase"))?;
            CertifiedKey::from_der(chain.clone(), private.clone_key(), &provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    refuse(key, format!("the key does not belong to the certificate in {}", certificate.path.display()))
                }
                other => refuse(key, other),
            })?;
            config.with_client_auth_cert(chain, private).map_err(|e| refuse(certificate, e))?
        }
    };
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(Arc::new(config))
}

/// Whom we trust.
fn roots(file: Option<&NamedFile>, provider: &Arc<CryptoProvider>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        for certificate in certificates(file, &contents(file)?)? {
            require_valid(file, &certificate, provider)?;
            roots.add(certificate).map_err(|e| refuse(file, e))?;
        }
        return Ok(roots);
    }
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        let why = system.errors.first().map(|e| format!(": {e}")).unwrap_or_default();
        return Err(Failure::new(
            Code::Config,
            format!(
                "telemetry.endpoint: the system names no authority to trust{why}: telemetry.ca_file is to name one"
            ),
        ));
    }
    Ok(roots)
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
