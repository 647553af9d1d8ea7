//! Under which names and addresses a listener answers, and what every answer says to browsers.
//!
//! A page that a browser on this machine shows may have its own name lead to an address of this machine (DNS rebinding), and so ask as if
//! it were of the same origin. The name stands in the request all the same, so a listener answers only to what it was bound to, and
//! to what was configured.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use writ_schemas::errors::Code;

use crate::error::{Failure, Result};

/// Names and addresses under which a listener answers.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// None: under any. No browser reaches the ledger's socket.
    known: Option<Arc<BTreeSet<String>>>,
    /// Bound to every address of the machine: it answers under each that is a number. No name leads a browser there.
    all_addresses: bool,
}

impl Hosts {
    /// Under whatever it is asked.
    #[must_use]
    pub fn any() -> Hosts {
        Hosts { known: None, all_addresses: true }
    }

    /// Under the address that was bound, as it was written (`HOST:PORT`) and as it is, and under `names`. `localhost` is the name of
    /// loopback.
    ///
    /// # Errors
    /// `ERR_CONFIG` if one of the names is none, or has a port.
    pub fn of(written: &str, bound: SocketAddr, names: &[String]) -> Result<Hosts> {
        let ip = bound.ip().to_canonical();
        let mut known = BTreeSet::from([ip.to_string()]);
        known.extend(host(written));
        if ip.is_loopback() || ip.is_unspecified() {
            known.insert("localhost".to_owned());
        }
        for name in names {
            let bare = match name.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(ip) => Some(ip.to_canonical().to_string()),
                Err(_) => host(name).filter(|host| *host == name.to_ascii_lowercase()),
            };
            known.insert(bare.ok_or_else(|| Failure::new(Code::Config, format!("{name:?} is no name of a host")))?);
        }
        Ok(Hosts { known: Some(Arc::new(known)), all_addresses: ip.is_unspecified() })
    }

    /// Whether a request may be answered here.
    ///
    /// # Errors
    /// `ERR_USAGE` if it does not name one host; `ERR_MISDIRECTED` if it names another.
    fn check(&self, request: &Request) -> Result<()> {
        let Some(known) = &self.known else { return Ok(()) };
        let mut named = request.headers().get_all(HOST).iter();
        let header = match (named.next(), named.next()) {
            (Some(one), None) => one.to_str().ok(),
            _ => None,
        };
        let header = header.ok_or_else(|| Failure::new(Code::Usage, "a request names one Host"))?;
        // The request's own target goes before the header (RFC 9112, 3.2.2).
        let asked = request.uri().authority().map_or(header, Authority::as_str);
        let Some(host) = host(asked) else {
            return Err(Failure::new(Code::Usage, format!("Host: {asked:?} names no host")));
        };
        if known.contains(&host) || (self.all_addresses && host.parse::<IpAddr>().is_ok()) {
            return Ok(());
        }
        Err(Failure::new(Code::Misdirected, format!("nothing is answered here as {host:?}")))
    }
}

/// The host of `HOST` or `HOST:PORT`: an address in its one form, without brackets; a name in small letters.
fn host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Some(host.parse().map_or(host, |ip: IpAddr| ip.to_canonical().to_string())).filter(|host| !host.is_empty())
}

/// Answers only what is meant for this listener, and tells browsers to take nothing for what it is not, and to keep nothing of what is not
/// said to be public.
pub(super) async fn guarded(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let mut response = match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    /// What a listener says to these headers and this target.
    fn said(hosts: &Hosts, target: &str, headers: &[&str]) -> Option<Code> {
        let request = headers.iter().fold(Request::get(target), |request, value| request.header(HOST, *value));
        hosts.check(&request.body(Body::empty()).expect("a request")).err().map(|failure| failure.code)
    }

    fn hosts(written: &str, bound: &str, names: &[&str]) -> Hosts {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Hosts::of(written, bound.parse().expect("an address"), &names).expect("names")
    }

    #[test]
    fn only_what_was_bound_or_configured_is_answered() {
        let (no, none) = (Some(Code::Misdirected), Some(Code::Usage));
        let here = hosts("127.0.0.1:0", "127.0.0.1:8080", &[]);
        let six = hosts("[::1]:8080", "[::1]:8080", &[]);
        let all = hosts("0.0.0.0:8080", "0.0.0.0:8080", &["Ledger.example", "2001:DB8::1"]);
        let named = hosts("ledger.internal:8080", "192.0.2.7:8080", &["[2001:db8::2]"]);
        let rows = [
            (&here, "127.0.0.1", None),
            (&here, "127.0.0.1:8080", None),
            (&here, "localhost:9000", None), // through a tunnel
            (&here, "LocalHost", None),
            (&here, "[::ffff:127.0.0.1]:8080", None),
            (&here, "evil.example", no),
            (&here, "evil.example:8080", no),
            (&here, "127.0.0.1.evil.example", no),
            (&here, "localhost.evil.example", no),
            (&here, "127.0.0.2", no),
            (&here, "[::1]:8080", no),
            (&here, "", none),
            (&here, ":8080", none),
            (&here, "a b", none),
            (&here, "localhost@evil.example", none),
            (&here, "evil.example@localhost", none),
            (&six, "[::1]:8080", None),
            (&six, "[0:0:0:0:0:0:0:1]", None),
            (&six, "localhost", None),
            (&six, "127.0.0.1", no),
            (&all, "198.51.100.1:8080", None),
            (&all, "[2001:db8::9]", None),
            (&all, "localhost", None),
            (&all, "ledger.example:443", None),
            (&all, "evil.example", no),
            (&named, "ledger.internal", None),
            (&named, "192.0.2.7", None),
            (&named, "[2001:db8::2]", None),
            (&named, "localhost", no),
            (&named, "127.0.0.1", no),
        ];
        for (hosts, header, expected) in rows {
            assert_eq!(said(hosts, "/v1/usage", &[header]), expected, "{header:?} {hosts:?}");
        }
        assert_eq!(said(&here, "/v1/usage", &[]), none);
        assert_eq!(said(&here, "/v1/usage", &["localhost", "localhost"]), none);
        assert_eq!(said(&here, "http://evil.example/v1/usage", &["localhost"]), no);
        assert_eq!(said(&here, "http://localhost/v1/usage", &["evil.example"]), None);
        assert_eq!(said(&Hosts::any(), "/v1/usage", &[]), None);
        for name in ["", "a:80", "a b", "http://a", "a/b", "a@b"] {
            let refused = Hosts::of("127.0.0.1:0", "127.0.0.1:80".parse().expect("an address"), &[name.to_owned()]);
            assert_eq!(refused.map(|_| ()).map_err(|failure| failure.code), Err(Code::Config), "{name}");
        }
    }
}
