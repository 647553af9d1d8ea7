//! The one encoding of a view's values: `bincode` 2. Views are disposable, so a changed value is a new
//! [`Projection::VERSION`](crate::projection::Projection::VERSION) and a rebuild, never a migration.

use bincode::{Decode, Encode};
use writ_schemas::errors::Code;
use writ_schemas::strict::Refusal;

use crate::store::{Store, StoreError};

/// The largest value, in memory: a node with its parents has a few kilobytes.
const VALUE_BYTES_MAX: usize = 1 << 20;

const ENCODING: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<VALUE_BYTES_MAX>,
> = bincode::config::standard().with_limit::<VALUE_BYTES_MAX>();

/// Why a view did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds something that its projection did not write.
    #[error("a view holds a key or value that its projection does not write")]
    Value,
    /// The log, to which the view points, did not answer.
    #[error(transparent)]
    Log(#[from] Refusal),
}

impl ReadError {
    /// The registered code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            ReadError::Store(error) => error.code(),
            ReadError::Value => Code::ViewDamaged,
            ReadError::Log(refusal) => refusal.code,
        }
    }
}

/// The bytes of a value; `None` if it is larger than a value may be.
pub(crate) fn to_bytes<T: Encode>(value: &T) -> Option<Vec<u8>> {
    bincode::encode_to_vec(value, ENCODING).ok().filter(|bytes| bytes.len() <= VALUE_BYTES_MAX)
}

/// The value of these bytes, all of them.
pub(crate) fn from_bytes<T: Decode<()>>(bytes: &[u8]) -> Result<T, ReadError> {
    match bincode::decode_from_slice(bytes, ENCODING) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok(_) | Err(_) => Err(ReadError::Value),
    }
}

/// The value of a key.
pub(crate) fn read<T: Decode<()>>(store: &dyn Store, key: &[u8]) -> Result<Option<T>, ReadError> {
    store.get(key)?.map(|bytes| from_bytes(&bytes)).transpose()
}
