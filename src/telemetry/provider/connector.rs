//! Connects to the collector over TLS, and remembers why such a connection ended: a collector that does not want our certificate says so
//! after its handshake, when gRPC only sees that the connection is closed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use writ_schemas::errors::Code;

use super::tls::H2;
use crate::config::telemetry::Endpoint;
use crate::error::{Failure, Result};

/// Why the last connection ended, if it was not closed politely.
#[derive(Clone, Debug, Default)]
pub(super) struct Reason(Arc<Mutex<Option<String>>>);

impl Reason {
    pub(super) fn known(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request was answered: whatever ended a connection before, it does not any more.
    pub(super) fn forget(&self) {
        self.set(None);
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

/// Connects.
#[derive(Clone)]
pub(super) struct Connector {
    place: Arc<(String, u16)>,
    name: ServerName<'static>,
    tls: TlsConnector,
    reason: Reason,
}

impl Connector {
    /// To this place, under its name.
    ///
    /// # Errors
    /// `ERR_CONFIG` if no certificate could have that name.
    pub(super) fn new(to: &Endpoint, config: Arc<ClientConfig>, reason: Reason) -> Result<Connector> {
        let (host, port) = to.place();
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|e| Failure::new(Code::Config, format!("telemetry.endpoint: {host}: {e}")))?;
        Ok(Connector { place: Arc::new((host.to_owned(), port)), name, tls: TlsConnector::from(config), reason })
    }

    async fn connect(self) -> io::Result<TokioIo<Watched>> {
        let (host, port) = &*self.place;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(self.name, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(io::Error::other("it does not speak HTTP/2"));
        }
        Ok(TokioIo::new(Watched { stream, reason: self.reason }))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Watched>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Watched>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// A connection whose end is remembered.
pub(super) struct Watched {
    stream: TlsStream<TcpStream>,
    reason: Reason,
}

impl Watched {
    fn stream(&mut self) -> Pin<&mut TlsStream<TcpStream>> {
        Pin::new(&mut self.stream)
    }

    /// What cannot be written any more may have been answered before: the answer is read first, which what closed the connection wakes.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: io::Result<T>) -> Poll<io::Result<T>> {
        let Err(error) = written else { return Poll::Ready(written) };
        let mut byte = [0];
        match ready!(self.stream().poll_read(cx, &mut ReadBuf::new(&mut byte))) {
            Ok(()) => self.reason.set(Some(error.to_string())),
            Err(answer) => self.reason.set(Some(answer.to_string())),
        }
        Poll::Ready(Err(error))
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(self.stream().poll_read(cx, into));
        Poll::Ready(read.inspect_err(|error| self.reason.set(Some(error.to_string()))))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.stream().poll_write(cx, bytes));
        self.written(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(self.stream().poll_flush(cx));
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
