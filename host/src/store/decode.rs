//! Reads stored values, whichever encoding wrote them.
//!
//! Invariant: an object's first byte tells the encodings apart: JSON text begins with `{`, which no
//! MessagePack map does.

use serde_json::Value;

use super::error::{StoreError, undecodable};

/// Reads a value.
pub(super) fn value(key: &str, bytes: &[u8]) -> Result<Value, StoreError> {
    let read = if bytes.first() == Some(&b'{') {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    } else {
        rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
    };
    read.map_err(|words| undecodable(key, words))
}
