//! Key indexes in the log and the manifest: index definitions, and the changes of a commit.
//!
//! ```text
//! changes of one index in a commit:   index u32, change*
//! a change:                           (key length u16, top bit: put), key, ID u64
//! ```
//! Keys are written in full, so that replay does not need the extractor.

use byteorder::{ByteOrder, LittleEndian};

use crate::format::descriptor::PageRef;
use crate::format::{Cursor, Malformed, put_text, put_u32, put_u64};
use crate::id::{IndexNumber, RecordId, SegmentSeq, SetNumber, low_u16, to_u64};
use crate::key::KEY_BYTES_MAX;

/// Bytes of a change, not counting its key.
pub const CHANGE_HEADER_BYTES: usize = 10;

const PUT: u16 = 0x8000;
/// Flags of a definition. Optional fields follow its texts in this order.
const UNIQUE: u8 = 1;
const TYPED: u8 = 2;
const SUCCESSOR: u8 = 4;

/// An index definition: everything except its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDefinition {
    /// Its number, never reused within the store.
    pub number: IndexNumber,
    /// The set that it indexes.
    pub set: SetNumber,
    /// Whether a key has at most one record.
    pub unique: bool,
    /// Its name within the set.
    pub name: String,
    /// The name of its extractor.
    pub extractor: String,
    /// The extractor's version: an index built by another version is rebuilt.
    pub version: u32,
    /// The extractor itself, as a line of text; empty for code.
    pub spec: String,
    /// The type of the keys, as text; empty if not declared.
    pub key_type: String,
    /// The index that it replaces once it is complete. Until then it is not read, and no opening finds it.
    pub replaces: Option<IndexNumber>,
}

impl IndexDefinition {
    /// Whether an index of the other definition has the same entries: built by the same extractor, for the same set.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        let of = |definition: &Self| (definition.set, definition.unique, definition.version);
        of(self) == of(other) && self.extractor == other.extractor && self.spec == other.spec
    }

    /// Writes the definition.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.number.0);
        put_u32(out, self.set.0);
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let typed = flag(!self.key_type.is_empty(), TYPED);
        out.push(flag(self.unique, UNIQUE) | typed | flag(self.replaces.is_some(), SUCCESSOR));
        put_u32(out, self.version);
        put_text(out, &self.name);
        put_text(out, &self.extractor);
        put_text(out, &self.spec);
        if !self.key_type.is_empty() {
            put_text(out, &self.key_type);
        }
        if let Some(replaces) = self.replaces {
            put_u32(out, replaces.0);
        }
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let (number, set) = (IndexNumber(cursor.u32()?), SetNumber(cursor.u32()?));
        let flags = cursor.u8()?;
        if flags & !(UNIQUE | TYPED | SUCCESSOR) != 0 {
            return Err(Malformed::unsupported("flags of an index", "0 to 7", flags));
        }
        let version = cursor.u32()?;
        let (name, extractor, spec) = (cursor.text()?, cursor.text()?, cursor.text()?);
        let key_type = if flags & TYPED == 0 { String::new() } else { cursor.text()? };
        let replaces = if flags & SUCCESSOR == 0 { None } else { Some(IndexNumber(cursor.u32()?)) };
        let unique = flags & UNIQUE != 0;
        Ok(Self { number, set, unique, name, extractor, version, spec, key_type, replaces })
    }

    /// Reads a definition that fills the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes, "definition of an index");
        let definition = Self::read(&mut cursor)?;
        if cursor.is_empty() {
            Ok(definition)
        } else {
            Err(Malformed::new("definition of an index", "the end", format!("{} more bytes", cursor.remaining())))
        }
    }
}

/// An index as a snapshot lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRow {
    /// What it is.
    pub definition: IndexDefinition,
    /// Whether all of its entries exist; an index that was being built is built again.
    pub ready: bool,
    /// The root node; not written if there are no entries.
    pub root: PageRef,
    /// Its entries.
    pub entries: u64,
}

impl IndexRow {
    /// Writes the row.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.definition.encode(out);
        out.push(u8::from(self.ready));
        put_u64(out, self.root.segment.0);
        for field in [self.root.offset_granules, self.root.bytes, self.root.check] {
            put_u32(out, field);
        }
        put_u64(out, self.entries);
    }

    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let definition = IndexDefinition::read(cursor)?;
        let ready = match cursor.u8()? {
            0 => false,
            1 => true,
            other => return Err(Malformed::unsupported("state of an index", "0 or 1", other)),
        };
        let root = PageRef {
            segment: SegmentSeq(cursor.u64()?),
            offset_granules: cursor.u32()?,
            bytes: cursor.u32()?,
            check: cursor.u32()?,
        };
        Ok(Self { definition, ready, root, entries: cursor.u64()? })
    }
}

/// One change of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Whether the entry is added or removed. Either has no effect if it is already so.
    pub put: bool,
    /// The key.
    pub key: &'a [u8],
    /// The record.
    pub id: RecordId,
}

impl Change<'_> {
    /// Its encoded size.
    pub fn bytes(&self) -> usize {
        CHANGE_HEADER_BYTES + self.key.len()
    }

    /// Writes the change. Keys are checked before; anything longer than the limit is truncated.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let len = self.key.len().min(KEY_BYTES_MAX);
        let mut bytes = [0; 2];
        LittleEndian::write_u16(&mut bytes, low_u16(to_u64(len)) | if self.put { PUT } else { 0 });
        out.extend_from_slice(&bytes);
        out.extend_from_slice(self.key.get(..len).unwrap_or_default());
        put_u64(out, self.id.as_u64());
    }
}

/// The index that a payload changes, and the changes, each checked when it is reached.
pub fn changes(payload: &[u8]) -> Result<(IndexNumber, Changes<'_>), Malformed> {
    let mut cursor = Cursor::new(payload, "changes of an index");
    let number = IndexNumber(cursor.u32()?);
    Ok((number, Changes { cursor }))
}

/// Walks over the changes of one payload.
#[derive(Debug)]
pub struct Changes<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Changes<'a> {
    /// The next change, if it is complete and valid; otherwise `read` returns the problem.
    #[inline]
    fn read_plain(&mut self) -> Option<Change<'a>> {
        let (head, rest) = self.cursor.rest.split_first_chunk()?;
        let head = u16::from_le_bytes(*head);
        let len = usize::from(head & !PUT);
        let (key, rest) = rest.split_at_checked(len).filter(|_| len <= KEY_BYTES_MAX)?;
        let (id, rest) = rest.split_first_chunk()?;
        let id = RecordId::from_u64(u64::from_le_bytes(*id))?;
        self.cursor.rest = rest;
        Some(Change { put: head & PUT != 0, key, id })
    }

    #[cold]
    fn read(&mut self) -> Result<Change<'a>, Malformed> {
        let head = self.cursor.u16()?;
        let len = usize::from(head & !PUT);
        if len > KEY_BYTES_MAX {
            return Err(Malformed::new("key of an index", format!("{KEY_BYTES_MAX} bytes at most"), len));
        }
        let key = self.cursor.take(len)?;
        let raw = self.cursor.u64()?;
        let id = RecordId::from_u64(raw).ok_or_else(|| Malformed::new("changes of an index", "a record ID", raw))?;
        Ok(Change { put: head & PUT != 0, key, id })
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.is_empty() {
            return None;
        }
        if let Some(change) = self.read_plain() {
            return Some(Ok(change));
        }
        let change = self.read();
        if change.is_err() {
            self.cursor = Cursor::new(&[], "changes of an index");
        }
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_and_what_is_malformed_ends_them() {
        let id = RecordId::from_parts(5, 2).expect("an ID");
        let all = [Change { put: true, key: b"a", id }, Change { put: false, key: &[7; KEY_BYTES_MAX], id }];
        let mut bytes = vec![9, 0, 0, 0];
        for change in &all {
            change.encode(&mut bytes);
        }
        assert_eq!(bytes.len(), 4 + all.iter().map(Change::bytes).sum::<usize>());
        let (number, read) = changes(&bytes).expect("a number");
        assert_eq!(number, IndexNumber(9));
        assert_eq!(read.collect::<Result<Vec<_>, _>>().expect("whole"), all);
        for end in 5..bytes.len() {
            let (_, read) = changes(&bytes[..end]).expect("a number");
            let read: Vec<_> = read.collect();
            assert!(read.len() <= 2 && (end == 15 || read.iter().any(Result::is_err)), "cut at {end}");
        }
    }

    #[test]
    fn definitions_and_rows_come_back() {
        let definition = IndexDefinition {
            number: IndexNumber(3),
            set: SetNumber(16),
            unique: true,
            name: "by name".to_owned(),
            extractor: "name".to_owned(),
            version: 7,
            spec: String::new(),
            key_type: "integer".to_owned(),
            replaces: Some(IndexNumber(2)),
        };
        let mut bytes = Vec::new();
        definition.encode(&mut bytes);
        assert_eq!(IndexDefinition::decode(&bytes).expect("whole"), definition);
        bytes.push(0);
        assert!(IndexDefinition::decode(&bytes).is_err());
        let row = IndexRow { definition, ready: true, root: PageRef::default(), entries: 5 };
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        let mut cursor = Cursor::new(&bytes, "row");
        assert_eq!(IndexRow::read(&mut cursor).expect("whole"), row);
        assert!(cursor.is_empty());
    }
}
