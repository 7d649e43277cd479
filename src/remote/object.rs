//! The bytes of objects: epochs, log objects, seals and bases.
//!
//! Owns: encoding and decoding, and the checksum of an object. Never: does I/O, or trusts a number before it is checked.

use crate::error::{Error, Result};
use crate::id::{to_u64, to_usize};

const MAGIC: &[u8; 8] = b"TENURE-R";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 42;
const CHECKSUM_BYTES: usize = 4;

const CREATE: u8 = 1;
const RANGE: u8 = 2;
const DELETE: u8 = 3;

const INLINE: u8 = 0;
const DATA: u8 = 1;

/// Tells one opening for writing from all others.
pub type Nonce = [u8; 16];

/// A state of the bucket: what it is after the log object `number` of an epoch. The number 0 is the state at which the epoch began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPoint {
    /// The epoch.
    pub epoch: u64,
    /// The number of the log object in it.
    pub number: u64,
}

impl std::fmt::Display for LogPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

impl std::str::FromStr for LogPoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text
            .split_once('-')
            .and_then(|(epoch, number)| Some(Self { epoch: epoch.parse().ok()?, number: number.parse().ok()? }));
        let why = "write it as EPOCH-NUMBER, for example 3-120".to_owned();
        parsed.ok_or_else(|| Error::PointGone { point: format!("{text:?}"), why })
    }
}

/// Where the bytes of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a log object.
    Inline { at: LogPoint, offset: u64 },
    /// In a data object that this log object was the first to name.
    Data { at: LogPoint },
}

impl Place {
    pub(super) fn at(&self) -> LogPoint {
        match self {
            Self::Inline { at, .. } | Self::Data { at } => *at,
        }
    }
}

/// A range of the bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) begin: u64,
    pub(super) bytes: u64,
    pub(super) checksum: u32,
    pub(super) place: Place,
}

impl Piece {
    pub(super) fn end(&self) -> u64 {
        self.begin.saturating_add(self.bytes)
    }
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Create {
        name: String,
    },
    /// A range that begins a file has the file's head, so that reading that needs no request.
    Range {
        name: String,
        piece: Piece,
        head: Head,
    },
    Delete {
        name: String,
    },
}

/// The first bytes of a file, [`HEAD_BYTES`] or fewer.
pub(super) type Head = Vec<u8>;

/// As long as the headers of a store's files.
pub(super) const HEAD_BYTES: usize = 128;

/// A file of a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BaseFile {
    pub(super) name: String,
    pub(super) head: Head,
    pub(super) pieces: Vec<Piece>,
}

/// What an object contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// A new writer.
    Epoch { previous_last: u64 },
    /// What happened.
    Events { millis: u64, events: Vec<Event> },
    /// The end of an epoch.
    Seal { is_own: bool },
    /// All files.
    Base { millis: u64, files: Vec<BaseFile> },
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) nonce: Nonce,
    pub(super) at: LogPoint,
    pub(super) body: Body,
}

/// Where the inline bytes of a log object with these events begin.
pub(super) fn inline_begin(events: &[Event]) -> u64 {
    let bytes_of = |event: &Event| match event {
        Event::Create { name } | Event::Delete { name } => 2 + name.len(),
        Event::Range { name, piece, head } => {
            let place = match piece.place {
                Place::Inline { .. } => 9,
                Place::Data { .. } if piece.begin == 0 => 2 + head.len(),
                Place::Data { .. } => 1,
            };
            2 + name.len() + 20 + place
        }
    };
    to_u64(HEADER_BYTES + 12 + events.iter().map(bytes_of).sum::<usize>())
}

/// Encodes an object; `inline` follows the events.
pub(super) fn encode(object: &Object, inline: &[&[u8]]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let kind = match object.body {
        Body::Epoch { .. } => 1,
        Body::Events { .. } => 2,
        Body::Seal { .. } => 3,
        Body::Base { .. } => 4,
    };
    out.extend_from_slice(&[VERSION, kind]);
    out.extend_from_slice(&object.nonce);
    put_u64(&mut out, object.at.epoch);
    put_u64(&mut out, object.at.number);
    match &object.body {
        Body::Epoch { previous_last } => put_u64(&mut out, *previous_last),
        Body::Seal { is_own } => out.push(u8::from(*is_own)),
        Body::Events { millis, events } => {
            put_u64(&mut out, *millis);
            put_count(&mut out, events.len());
            for event in events {
                put_event(&mut out, event);
            }
            for bytes in inline {
                out.extend_from_slice(bytes);
            }
        }
        Body::Base { millis, files } => {
            put_u64(&mut out, *millis);
            put_count(&mut out, files.len());
            for BaseFile { name, head, pieces } in files {
                put_name(&mut out, name);
                put_head(&mut out, head);
                put_count(&mut out, pieces.len());
                for piece in pieces {
                    put_base_piece(&mut out, piece);
                }
            }
        }
    }
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name.as_bytes());
}

fn put_head(out: &mut Vec<u8>, head: &[u8]) {
    out.push(u8::try_from(head.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(head);
}

fn put_piece(out: &mut Vec<u8>, piece: &Piece) {
    put_u64(out, piece.begin);
    put_u64(out, piece.bytes);
    out.extend_from_slice(&piece.checksum.to_le_bytes());
}

/// The piece of a file that begins where the one before it ends.
fn put_base_piece(out: &mut Vec<u8>, piece: &Piece) {
    put_var(out, piece.bytes);
    out.extend_from_slice(&piece.checksum.to_le_bytes());
    out.push(if matches!(piece.place, Place::Inline { .. }) { INLINE } else { DATA });
    put_var(out, piece.place.at().epoch);
    put_var(out, piece.place.at().number);
    if let Place::Inline { offset, .. } = piece.place {
        put_var(out, offset);
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_var(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_u8(value) | 0x80);
        value >>= 7;
    }
    out.push(low_u8(value));
}

fn low_u8(value: u64) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

fn put_event(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Create { name } => {
            out.push(CREATE);
            put_name(out, name);
        }
        Event::Delete { name } => {
            out.push(DELETE);
            put_name(out, name);
        }
        Event::Range { name, piece, head } => {
            out.push(RANGE);
            put_name(out, name);
            put_piece(out, piece);
            match piece.place {
                Place::Inline { offset, .. } => {
                    out.push(INLINE);
                    put_u64(out, offset);
                }
                Place::Data { .. } => {
                    out.push(DATA);
                    if piece.begin == 0 {
                        put_head(out, head);
                    }
                }
            }
        }
    }
}

/// Decodes and checks an object. `name` is for errors.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Object> {
    let damaged =
        |offset, what: &str, got: &dyn std::fmt::Display| Error::corrupt(name, offset, "an object", what, got);
    let content = bytes.len().checked_sub(CHECKSUM_BYTES).filter(|content| *content >= HEADER_BYTES);
    let Some(content) = content else {
        return Err(damaged(0, "a header and a checksum", &format_args!("{} bytes", bytes.len())));
    };
    let (content, checksum) = bytes.split_at(content);
    if !content.starts_with(MAGIC) {
        return Err(damaged(0, "the magic of an object", &"other bytes"));
    }
    let computed = crc32fast::hash(content);
    if checksum != computed.to_le_bytes() {
        let wanted = format!("checksum {computed:08x}");
        return Err(damaged(to_u64(content.len()), &wanted, &"another one"));
    }
    let mut reader = Reader { name, bytes: content, at: MAGIC.len() };
    let version = reader.u8()?;
    if version != VERSION {
        return Err(Error::Unsupported {
            file: name.to_owned(),
            what: "the version of a remote object",
            got: version.to_string(),
            supported: VERSION.to_string(),
        });
    }
    let kind = reader.u8()?;
    let mut nonce = Nonce::default();
    nonce.copy_from_slice(reader.take(16)?);
    let at = LogPoint { epoch: reader.u64()?, number: reader.u64()? };
    let body = match kind {
        1 => Body::Epoch { previous_last: reader.u64()? },
        2 => reader.events(at)?,
        3 => Body::Seal { is_own: reader.u8()? == 1 },
        4 => reader.base()?,
        other => return Err(damaged(9, "a kind from 1 to 4", &other)),
    };
    Ok(Object { nonce, at, body })
}

struct Reader<'b> {
    name: &'b str,
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn damaged(&self, what: &str, got: impl std::fmt::Display) -> Error {
        Error::corrupt(self.name, to_u64(self.at), "an object", what, got)
    }

    fn take(&mut self, bytes: usize) -> Result<&'b [u8]> {
        let end = self.at.saturating_add(bytes);
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.damaged("more bytes", "the end"))?;
        self.at = end;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn u32(&mut self) -> Result<u32> {
        let mut value = [0; 4];
        value.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(value))
    }

    fn u64(&mut self) -> Result<u64> {
        let mut value = [0; 8];
        value.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(value))
    }

    /// A number of things that take at least `each` bytes.
    fn count(&mut self, each: usize) -> Result<usize> {
        let count = to_usize(self.u32()?.into());
        let left = self.bytes.len().saturating_sub(self.at);
        if count > left / each {
            return Err(self.damaged("a number of entries that fit", count));
        }
        Ok(count)
    }

    fn name(&mut self) -> Result<String> {
        let bytes = self.u8()?;
        let name = std::str::from_utf8(self.take(bytes.into())?).ok().map(str::to_owned);
        let name = name.filter(|name| crate::backing::check_name(name).is_ok());
        name.ok_or_else(|| self.damaged("a file name", "other bytes"))
    }

    fn head(&mut self) -> Result<Head> {
        let bytes = usize::from(self.u8()?);
        if bytes > HEAD_BYTES {
            return Err(self.damaged("the head of a file", bytes));
        }
        Ok(self.take(bytes)?.to_vec())
    }

    fn piece(&mut self, place: impl FnOnce(&mut Self) -> Result<Place>) -> Result<Piece> {
        let (begin, bytes, checksum) = (self.u64()?, self.u64()?, self.u32()?);
        begin.checked_add(bytes).ok_or_else(|| self.damaged("a range within a file", begin))?;
        Ok(Piece { begin, bytes, checksum, place: place(self)? })
    }

    fn events(&mut self, at: LogPoint) -> Result<Body> {
        let millis = self.u64()?;
        let count = self.count(3)?;
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            let tag = self.u8()?;
            let name = self.name()?;
            events.push(match tag {
                CREATE => Event::Create { name },
                DELETE => Event::Delete { name },
                RANGE => {
                    let place = |reader: &mut Self| match reader.u8()? {
                        INLINE => Ok(Place::Inline { at, offset: reader.u64()? }),
                        DATA => Ok(Place::Data { at }),
                        other => Err(reader.damaged("a place", other)),
                    };
                    let piece = self.piece(place)?;
                    let has_head = piece.begin == 0 && matches!(piece.place, Place::Data { .. });
                    let head = if has_head { self.head()? } else { Head::new() };
                    Event::Range { name, piece, head }
                }
                other => return Err(self.damaged("an event", other)),
            });
        }
        for event in &mut events {
            if let Event::Range { piece, head, .. } = event
                && let Place::Inline { offset, .. } = piece.place
            {
                let reach = offset.saturating_add(piece.bytes);
                let inline = self.bytes.get(to_usize(offset)..to_usize(reach));
                let inline = inline.ok_or_else(|| self.damaged("inline bytes within the object", offset))?;
                if piece.begin == 0 {
                    *head = inline.get(..HEAD_BYTES).unwrap_or(inline).to_vec();
                }
            }
        }
        Ok(Body::Events { millis, events })
    }

    fn base(&mut self) -> Result<Body> {
        let millis = self.u64()?;
        let count = self.count(7)?;
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let (name, head) = (self.name()?, self.head()?);
            let count = self.count(8)?;
            let (mut pieces, mut begin) = (Vec::with_capacity(count), 0);
            for _ in 0..count {
                let piece = self.base_piece(begin)?;
                begin = piece.end();
                pieces.push(piece);
            }
            files.push(BaseFile { name, head, pieces });
        }
        Ok(Body::Base { millis, files })
    }

    fn base_piece(&mut self, begin: u64) -> Result<Piece> {
        let (bytes, checksum) = (self.var()?, self.u32()?);
        begin.checked_add(bytes).ok_or_else(|| self.damaged("a range within a file", begin))?;
        let tag = self.u8()?;
        let at = LogPoint { epoch: self.var()?, number: self.var()? };
        let place = match tag {
            INLINE => {
                let offset = self.var()?;
                offset.checked_add(bytes).ok_or_else(|| self.damaged("a range within an object", offset))?;
                Place::Inline { at, offset }
            }
            DATA => Place::Data { at },
            other => return Err(self.damaged("a place", other)),
        };
        Ok(Piece { begin, bytes, checksum, place })
    }

    fn var(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number of 64 bits", "a longer one"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Vec<(Object, Vec<u8>)> {
        let at = LogPoint { epoch: 3, number: 9 };
        let name = "log-000000000001.seg".to_owned();
        let inline = b"abcdef".to_vec();
        let mut events = vec![
            Event::Create { name: name.clone() },
            Event::Range {
                name: name.clone(),
                piece: Piece { begin: 0, bytes: 6, checksum: 7, place: Place::Inline { at, offset: 0 } },
                head: inline.clone(),
            },
            Event::Range {
                name: name.clone(),
                piece: Piece { begin: 6, bytes: 1 << 23, checksum: 8, place: Place::Data { at } },
                head: Head::new(),
            },
            Event::Range {
                name: "log-000000000002.seg".to_owned(),
                piece: Piece { begin: 0, bytes: 1 << 23, checksum: 9, place: Place::Data { at } },
                head: vec![5; HEAD_BYTES],
            },
            Event::Delete { name: name.clone() },
        ];
        let begin = inline_begin(&events);
        if let Some(Event::Range { piece, .. }) = events.get_mut(1) {
            piece.place = Place::Inline { at, offset: begin };
        }
        let pieces = [
            Piece { begin: 0, bytes: 300, checksum: 1, place: Place::Inline { at, offset: 1 << 20 } },
            Piece { begin: 300, bytes: u64::MAX - 300, checksum: 2, place: Place::Data { at } },
        ];
        let empty = "manifest-000000000001.man".to_owned();
        let files = vec![
            BaseFile { name, head: vec![9; 100], pieces: pieces.to_vec() },
            BaseFile { name: empty, head: Head::new(), pieces: Vec::new() },
        ];
        let of = |body| Object { nonce: [4; 16], at, body };
        vec![
            (of(Body::Epoch { previous_last: 77 }), Vec::new()),
            (of(Body::Seal { is_own: true }), Vec::new()),
            (of(Body::Events { millis: 12, events }), inline),
            (of(Body::Base { millis: 13, files }), Vec::new()),
        ]
    }

    #[test]
    fn objects_decode_as_they_were() {
        for (object, inline) in objects() {
            let bytes = encode(&object, &[&inline]);
            assert_eq!(decode("x", &bytes).expect("decodes"), object);
            if let Body::Events { events, .. } = &object.body {
                let begin = to_usize(inline_begin(events));
                assert_eq!(bytes.get(begin..begin + inline.len()), Some(&inline[..]));
            }
        }
    }

    #[test]
    fn every_changed_or_missing_byte_is_found() {
        for (object, inline) in objects() {
            let bytes = encode(&object, &[&inline]);
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 0x10;
                assert!(decode("x", &changed).is_err(), "byte {at} of {object:?}");
                assert!(decode("x", &bytes[..at]).is_err(), "cut at {at}: {object:?}");
            }
        }
    }

    #[test]
    fn numbers_with_a_valid_checksum_allocate_nothing_that_is_not_there() {
        for (object, inline) in objects() {
            let bytes = encode(&object, &[&inline]);
            for at in HEADER_BYTES..bytes.len() - CHECKSUM_BYTES {
                let mut changed = bytes[..bytes.len() - CHECKSUM_BYTES].to_vec();
                changed[at] = 0xff;
                let checksum = crc32fast::hash(&changed);
                changed.extend_from_slice(&checksum.to_le_bytes());
                let Ok(Object { body: Body::Base { files, .. }, .. }) = decode("x", &changed) else { continue };
                for piece in files.iter().flat_map(|file| &file.pieces) {
                    let offset = if let Place::Inline { offset, .. } = piece.place { offset } else { piece.begin };
                    assert!(offset.checked_add(piece.bytes).is_some(), "byte {at}: {piece:?}");
                }
            }
        }
    }
}
