//! A channel to the collector, made anew when the files of TLS change.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tonic::Request;
use tonic::metadata::{Ascii, AsciiMetadataKey, AsciiMetadataValue, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tracing::warn;

use writ_schemas::errors::Code;

use super::connector::{Connector, Reason};
use super::tls::{self, Stamps};
use crate::clock::Stopwatch;
use crate::config::telemetry::{self as settings, Header, TlsFiles};
use crate::error::{Failure, Result};
use crate::secret;

/// How long making a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How often a connection in use is asked whether it is still there, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_PATIENCE: Duration = Duration::from_secs(5);

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(2);

/// The way to the collector.
pub(super) struct Connection {
    to: settings::Endpoint,
    endpoint: Endpoint,
    reason: Reason,
    /// Nothing where it is asked without TLS.
    files: Option<TlsFiles>,
    headers: Vec<(AsciiMetadataKey, AsciiMetadataValue)>,
    current: Mutex<Current>,
}

struct Current {
    channel: Channel,
    looked: Stopwatch,
    /// The files that the channel was made of.
    made_of: Stamps,
    /// Others, seen when they were looked at last.
    seen: Option<Stamps>,
    /// Others that are of no use, which was said.
    refused: Option<Stamps>,
}

/// The collector, for one request.
pub(super) struct Collector {
    /// Where it is.
    pub(super) channel: Channel,
    /// Why its connection ended, if that is known.
    pub(super) reason: Reason,
    headers: Vec<(AsciiMetadataKey, AsciiMetadataValue)>,
}

impl Collector {
    /// A request with what is to be sent along.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in &self.headers {
            request.metadata_mut().insert(name.clone(), value.clone());
        }
        request
    }
}

impl Connection {
    /// Reads the files and the secrets. Nobody is asked yet. It needs a runtime.
    ///
    /// # Errors
    /// `ERR_CONFIG` with the file, `ERR_SECRET` with the place.
    pub(super) fn open(
        to: &settings::Endpoint,
        files: &TlsFiles,
        headers: &BTreeMap<String, Header>,
    ) -> Result<Connection> {
        let refuse = |why: &dyn std::fmt::Display| Failure::new(Code::Config, format!("telemetry.endpoint: {why}"));
        // The connector makes TLS of it: gRPC itself is told the plain address, and what it is really called.
        let endpoint = Endpoint::from_shared(to.plain()).map_err(|e| refuse(&e))?.origin(to.uri().clone());
        let endpoint = endpoint.connect_timeout(CONNECT_PATIENCE);
        let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE_PATIENCE);
        let endpoint = endpoint.user_agent(concat!("writ/", env!("CARGO_PKG_VERSION"))).map_err(|e| refuse(&e))?;
        let files = to.is_tls().then(|| files.clone());
        let made_of = files.as_ref().map(tls::stamps).unwrap_or_default();
        let reason = Reason::default();
        let channel = channel(&endpoint, to, files.as_ref(), &reason)?;
        let current = Current { channel, looked: Stopwatch::start(), made_of, seen: None, refused: None };
        let headers = headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_>>()?;
        Ok(Connection { to: to.clone(), endpoint, reason, files, headers, current: Mutex::new(current) })
    }

    /// The collector, by the files as they are now.
    pub(super) fn collector(&self) -> Collector {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = &self.files
            && current.looked.elapsed() >= LOOK
        {
            self.look(files, &mut current);
        }
        Collector { channel: current.channel.clone(), reason: self.reason.clone(), headers: self.headers.clone() }
    }

    /// Looks at the files, and makes a channel of new ones. Whoever replaces several writes one after the other, so that what does not fit
    /// counts only once it stays as it is.
    fn look(&self, files: &TlsFiles, current: &mut Current) {
        current.looked = Stopwatch::start();
        let stamps = tls::stamps(files);
        let known = |seen: &Option<Stamps>| seen.as_ref() == Some(&stamps);
        if stamps == current.made_of || known(&current.refused) {
            return;
        }
        let settled = known(&current.seen);
        match channel(&self.endpoint, &self.to, Some(files), &self.reason) {
            Ok(channel) => {
                warn!("the collector is asked with the new files of TLS");
                (current.channel, current.made_of) = (channel, stamps);
                (current.seen, current.refused) = (None, None);
            }
            Err(failure) if settled => {
                warn!("{failure}; the collector is asked with the files of TLS as they were");
                (current.seen, current.refused) = (None, Some(stamps));
            }
            Err(_) => current.seen = Some(stamps),
        }
    }
}

fn channel(endpoint: &Endpoint, to: &settings::Endpoint, files: Option<&TlsFiles>, reason: &Reason) -> Result<Channel> {
    let Some(files) = files else { return Ok(endpoint.connect_lazy()) };
    let connector = Connector::new(to, tls::read(files)?, reason.clone())?;
    Ok(endpoint.connect_with_connector_lazy(connector))
}

fn header(name: &str, value: &Header) -> Result<(AsciiMetadataKey, MetadataValue<Ascii>)> {
    let held = match value {
        Header::At(place) => secret::read(place)?,
        Header::Held(value) => value.clone(),
    };
    let refuse = |why: &str| Failure::new(Code::Config, format!("telemetry.headers.{name}: {why}"));
    let key = name.parse().map_err(|_| refuse("this is no name of a header"))?;
    let mut value: MetadataValue<Ascii> = settings::is_sendable(&held)
        .then(|| held.parse().ok())
        .flatten()
        .ok_or_else(|| refuse("the secret is no text of visible ASCII"))?;
    value.set_sensitive(true); // no library logs it, and it is not kept to compress the next one
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{BTreeMap, Connection};
    use crate::config::Telemetry;
    use crate::telemetry::Settings;
    use crate::threads;

    #[test]
    fn files_that_stay_broken_are_refused_once_and_others_are_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = (folder.path().join("client.pem"), folder.path().join("client.key"));
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/telemetry/tls");
        let read = |name| std::fs::read(here.join(name)).expect("a file");
        // Another file in its place, whatever the clock of the file system shows.
        let put = |at: &Path, contents: &[u8]| {
            std::fs::write(folder.path().join("new"), contents).expect("writes");
            std::fs::rename(folder.path().join("new"), at).expect("renames");
        };
        put(&certificate, &read("client.pem"));
        put(&key, &read("client.key"));
        let table = Telemetry {
            endpoint: Some("https://127.0.0.1:1".to_owned()),
            ca_file: Some(here.join("ca.pem")),
            certificate_file: Some(certificate.clone()),
            key_file: Some(key.clone()),
            ..Telemetry::default()
        };
        let settings = Settings::without_variables(Some(&table)).expect("is fine");
        let runtime = threads::runtime_with(|| ()).expect("a runtime");
        let _entered = runtime.enter();
        let to = settings.endpoint.expect("it is there");
        let connection = Connection::open(&to, &settings.tls, &BTreeMap::new()).expect("opens");
        let mut current = connection.current.lock().expect("not poisoned");
        let as_it_was = current.made_of.clone();
        put(&key, b"garbage");
        for (seen, refused) in [(true, false), (false, true), (false, true)] {
            connection.look(&settings.tls, &mut current);
            assert_eq!((current.seen.is_some(), current.refused.is_some()), (seen, refused));
            assert_eq!(current.made_of, as_it_was, "the channel stays");
        }
        put(&key, &read("client.key"));
        connection.look(&settings.tls, &mut current);
        assert_eq!((&current.seen, &current.refused), (&None, &None));
        assert_ne!(current.made_of, as_it_was, "it is one of the new files");
    }
}
