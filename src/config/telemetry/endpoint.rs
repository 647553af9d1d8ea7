//! Where the collector is: `http://HOST:PORT` or `https://HOST:PORT`.

use std::fmt;

use axum::http::Uri;

use super::{Said, refuse};
use crate::error::Result;

/// What an endpoint is to be.
const TO_BE: &str = "is to be http://HOST:PORT or https://HOST:PORT";

/// The collector's place: a scheme, a host, a port. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    tls: bool,
}

impl Endpoint {
    /// As the OTLP exporter's specification says, one without a scheme is taken where `insecure` says which is meant.
    pub(super) fn parse(said: Said<String>, insecure: Option<Said<bool>>) -> Result<Endpoint> {
        let Said { value: text, by } = said;
        // It is not quoted: a password may stand in it.
        let (scheme, rest) = match (text.split_once("://"), &insecure) {
            (Some((scheme, rest)), _) => (scheme.to_ascii_lowercase(), rest),
            (None, Some(insecure)) => ((if insecure.value { "http" } else { "https" }).to_owned(), text.as_str()),
            (None, None) => return Err(refuse(by, TO_BE)),
        };
        let tls = match scheme.as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(refuse(by, TO_BE)),
        };
        if let Some(insecure) = insecure
            && insecure.value == tls
        {
            let why = format!("{} contradicts {by}, which begins with {scheme}", insecure.value);
            return Err(refuse(insecure.by, why));
        }
        let uri: Uri = format!("{scheme}://{rest}").parse().map_err(|e| refuse(by, format!("{TO_BE}: {e}")))?;
        let Some(authority) = uri.authority().filter(|it| !it.host().is_empty()) else {
            return Err(refuse(by, TO_BE));
        };
        if authority.as_str().contains('@') {
            return Err(refuse(by, "a name and password do not belong here: `headers` sends what signs in"));
        }
        let port = authority.as_str().strip_prefix(authority.host()).and_then(|port| port.strip_prefix(':'));
        if port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port == 0) || port.parse::<u16>().is_err()) {
            return Err(refuse(by, format!("{TO_BE}: the port is 1 to 65535")));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(refuse(by, format!("{TO_BE}: gRPC takes no path, and no query")));
        }
        Ok(Endpoint { uri, tls })
    }

    /// The whole.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The same without TLS, for whoever makes that himself.
    #[must_use]
    pub fn plain(&self) -> String {
        let authority = self.uri.authority().map(ToString::to_string).unwrap_or_default();
        format!("http://{authority}")
    }

    /// The host, as a name or an address without brackets, and the port.
    #[must_use]
    pub fn place(&self) -> (&str, u16) {
        let host = self.uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (host, self.uri.port_u16().unwrap_or(if self.tls { 443 } else { 80 }))
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri.to_string().trim_end_matches('/'))
    }
}
