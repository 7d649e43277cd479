//! Tokens: the position of a walk over an index, as text that a client can keep.
//!
//! Owns: the text, and checking it when it comes back. Never: holds a view: the walk continues in whatever state is
//! current then. Invariant: text that is not a token of this index is an error, and never starts a walk elsewhere.
//!
//! ```text
//! a token, two hexadecimal digits a byte:   version u8, index u32, ID u64, key, checksum u32
//! ```

use std::fmt;
use std::str::FromStr;

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{Error, Result};
use crate::format::index::IndexDefinition;
use crate::format::node::KeyEntry;
use crate::format::{checksum, put_u32, put_u64};
use crate::id::RecordId;
use crate::key::{KEY_BYTES_MAX, Key};
use crate::key_index::Position;
use crate::txn::entry::IndexEntry;

/// The first byte of a token.
const VERSION: u8 = 1;
/// Bytes before the key, and after it.
const HEADER_BYTES: usize = 13;
const CHECKSUM_BYTES: usize = 4;
/// Maximum length of the text.
const TEXT_BYTES_MAX: usize = 2 * (HEADER_BYTES + KEY_BYTES_MAX + CHECKSUM_BYTES);
/// Size of the number at the start of a definition. A rebuilt index has another number and the same keys.
const NUMBER_BYTES: usize = 4;

/// The position of a walk over an index: after one entry, identified by its key and ID.
///
/// A token prints as letters and digits and parses again, so that a client can keep it between two pages. It is checked
/// when it comes back: changed or truncated text, or a token of another store, another index or another definition of
/// this index, is [`Error::BadToken`]. The token contains the key and is not secret. It is not signed, but all that a
/// forged token can choose is the position, within the bounds of the range, at which the walk continues.
///
/// The walk continues after the entry in the current state, whether or not the entry still exists.
///
/// ```
/// use tenure::{ResumeToken, Store};
/// use tenure::extract::Extractor;
///
/// let store = Store::in_memory()?;
/// let people = store.record_set("people")?;
/// let cities = Extractor::new("city", 1, |record, keys| keys.push(String::from_utf8_lossy(record).as_ref()));
/// let by_city = store.index(&people, "city", cities)?;
/// store.write(|tx| tx.insert_many(&people, &["Rome"; 5]))?;
///
/// // A page of three, and the text that goes to the client.
/// let view = store.view();
/// let mut rome = by_city.find(&view, "Rome")?;
/// let page: Vec<_> = rome.by_ref().take(3).collect::<Result<_, _>>()?;
/// let text = page.last().map(|entry| by_city.token(entry)).map(|token| token.to_string());
///
/// // The client asks for the next page.
/// let token: ResumeToken = text.unwrap_or_default().parse()?;
/// let view = store.view();
/// let mut rome = by_city.find(&view, "Rome")?;
/// rome.resume(&token)?;
/// assert_eq!(rome.left(), 2);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ResumeToken {
    index: u32,
    key: Key,
    id: RecordId,
}

impl ResumeToken {
    /// The position after an entry of an index.
    pub(super) fn new(store: [u8; 16], index: &IndexDefinition, entry: &IndexEntry) -> Self {
        Self { index: identity(store, index), key: entry.key.clone(), id: entry.id }
    }

    /// Refuses a token of another index.
    pub(super) fn check(&self, store: [u8; 16], index: &IndexDefinition) -> Result<()> {
        let why = "it belongs to another index, or to another definition of this one";
        if self.index == identity(store, index) { Ok(()) } else { Err(Error::BadToken { why }) }
    }

    /// The position after the entry, or before it.
    pub(super) fn position(&self, behind: bool) -> Position<'_> {
        Position { entry: KeyEntry { key: self.key.as_bytes(), id: self.id.as_u64() }, behind }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        put_u32(&mut bytes, self.index);
        put_u64(&mut bytes, self.id.as_u64());
        bytes.extend_from_slice(self.key.as_bytes());
        let check = checksum(VERSION.into(), &bytes);
        put_u32(&mut bytes, check);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let cut = "it is cut off";
        if *bytes.first().ok_or(cut)? != VERSION {
            return Err("it was made by another version of Tenure");
        }
        let (body, check) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(cut)?;
        let (header, key) = body.split_first_chunk::<HEADER_BYTES>().ok_or(cut)?;
        if LittleEndian::read_u32(check) != checksum(VERSION.into(), body) {
            return Err("it was truncated or changed");
        }
        let index = header.get(1..5).map(LittleEndian::read_u32).ok_or(cut)?;
        let id = header.get(5..).map(LittleEndian::read_u64).and_then(RecordId::from_u64);
        let key = Key::from_bytes(key).map_err(|_too_long| "its key is too long")?;
        Ok(Self { index, key, id: id.ok_or("it names no record")? })
    }
}

/// Tells an index from others, and from earlier ones of the same name.
fn identity(store: [u8; 16], index: &IndexDefinition) -> u32 {
    let mut definition = Vec::new();
    index.encode(&mut definition);
    checksum(checksum(0, &store), definition.get(NUMBER_BYTES..).unwrap_or_default())
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.encode().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResumeToken(after {}, {})", self.key, self.id)
    }
}

impl FromStr for ResumeToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |why| Error::BadToken { why };
        if text.len() > TEXT_BYTES_MAX || !text.len().is_multiple_of(2) {
            return Err(refused("it is truncated, or too long"));
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        Self::decode(&bytes.ok_or_else(|| refused("it contains characters other than hexadecimal digits"))?)
            .map_err(refused)
    }
}
