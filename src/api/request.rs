//! What of a request says where it goes and how its body is to be read. Whatever is wrong with it is a problem document.

use axum::extract::{FromRequestParts, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use writ_schemas::errors::Code;

use crate::error::{Failure, Result};

/// The parameters of a path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|it| Path(it.0)).map_err(|e| Failure::new(Code::Usage, e.body_text()))
    }
}

/// The parameters of a query.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|it| Query(it.0)).map_err(|e| Failure::new(Code::Usage, e.body_text()))
    }
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A document: `application/json`, or nothing was said.
    One,
    /// A document a line: `application/x-ndjson`.
    Lines,
}

impl Content {
    /// What a request says of its body. Type and subtype ignore case, parameters may follow (RFC 9110, 8.3.1).
    ///
    /// # Errors
    /// `ERR_CONTENT_TYPE` for what is neither, or is encoded.
    pub(super) fn of(request: &Request) -> Result<Content> {
        let refuse = |what: &HeaderName, found: &str| {
            Err(Failure::new(
                Code::ContentType,
                format!("{what}: {found}; application/json or application/x-ndjson, not encoded"),
            ))
        };
        let header = |name: &HeaderName| {
            let value = request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            value.unwrap_or_default().to_ascii_lowercase()
        };
        let encoding = header(&CONTENT_ENCODING);
        if !matches!(encoding.trim(), "" | "identity") {
            return refuse(&CONTENT_ENCODING, &encoding);
        }
        let kind = header(&CONTENT_TYPE);
        match kind.split(';').next().unwrap_or_default().trim() {
            "" | "application/json" => Ok(Content::One),
            "application/x-ndjson" => Ok(Content::Lines),
            _ => refuse(&CONTENT_TYPE, &kind),
        }
    }
}
