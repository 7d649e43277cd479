//! Records as readers see them: bytes in place, or a reader over chunks.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;
use std::{fmt, io};

use crate::error::{Error, Result};
use crate::format::value::{Head, IDS_PER_LIST, decode_ids};
use crate::heap::{Answer, Found, Place, State};
use crate::id::{RecordId, Seq, to_u64, to_usize};
use crate::pins::Held;

/// What keeps the bytes of a record readable.
enum Hold<'v> {
    /// Also the bytes of a record that is not a head, where they are memory-mapped.
    View(&'v Arc<State>, Option<&'v [u8]>),
    Shared(Arc<State>),
    Moment(Held<'v, State>),
}

impl Hold<'_> {
    #[inline]
    fn state(&self) -> &State {
        match self {
            Self::View(state, _) => state,
            Self::Shared(state) => state,
            Self::Moment(state) => state,
        }
    }
}

/// A record: its bytes in place, its ID, and the commit that wrote it.
///
/// Nothing is copied: the record borrows its bytes from the log for as long as it is held.
///
/// ```
/// let store = tenure::Store::in_memory()?;
/// let notes = store.record_set("notes")?;
/// let id = store.write(|tx| tx.insert(&notes, "hello"))?;
/// let record = store.get(id)?;
/// assert_eq!(record.as_slice(), Some(&b"hello"[..]));
/// assert_eq!((record.id(), record.len()), (id, 5));
/// # Ok::<(), tenure::Error>(())
/// ```
pub struct Record<'v> {
    hold: Hold<'v>,
    found: Found,
    head: Option<Arc<Head>>,
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.found.id)
            .field("seq", &self.found.seq)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The result of a lookup. An ID never refers to another record.
#[derive(Debug)]
pub enum Lookup<'v> {
    /// The record.
    Live(Record<'v>),
    /// The record was deleted.
    Deleted,
    /// The ID was never assigned.
    NeverAllocated,
}

impl<'v> Record<'v> {
    fn new(hold: Hold<'v>, found: Found) -> Result<Self> {
        let head = if found.is_head {
            let decoded = Head::decode(hold.state().payload(&found.place));
            Some(Arc::new(decoded.map_err(|malformed| malformed.at("record", 0))?))
        } else {
            None
        };
        Ok(Self { hold, found, head })
    }

    /// A record in a state that outlives it.
    pub(crate) fn in_view(state: &'v Arc<State>, found: Found) -> Result<Self> {
        Record::new(Hold::View(state, None), found)
    }

    /// A record that is not a head, with its bytes.
    #[inline]
    pub(crate) fn plain(state: &'v Arc<State>, found: Found, bytes: &'v [u8]) -> Self {
        Self { hold: Hold::View(state, Some(bytes)), found, head: None }
    }

    /// A record that is not a head, in the newest state.
    #[inline]
    pub(crate) fn plain_for_a_moment(state: Held<'v, State>, found: Found) -> Self {
        Self { hold: Hold::Moment(state), found, head: None }
    }

    /// A record of the newest state, for short use.
    pub(crate) fn moment(state: Held<'v, State>, found: Found) -> Result<Self> {
        Record::new(Hold::Moment(state), found)
    }

    /// A record that keeps its state alive.
    pub(crate) fn shared(state: Arc<State>, found: Found) -> Result<Record<'static>> {
        Record::new(Hold::Shared(state), found)
    }

    /// The record's ID.
    pub fn id(&self) -> RecordId {
        self.found.id
    }

    /// The commit that wrote this version.
    pub fn seq(&self) -> Seq {
        self.found.seq
    }

    /// Size of the value in bytes.
    pub fn len(&self) -> u64 {
        match (&self.head, &self.found.place) {
            (Some(head), _) => head.total_bytes,
            (None, Place::Mapped(_, _, len)) => to_u64(*len),
            (None, Place::Copied(bytes)) => to_u64(bytes.len()),
        }
    }

    /// Whether the value is empty. An empty value is not an absent one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value in place; `None` if it is large and stored in chunks (above 65,504 bytes).
    #[inline]
    pub fn as_slice(&self) -> Option<&[u8]> {
        if let Hold::View(_, Some(bytes)) = self.hold {
            return Some(bytes);
        }
        if self.head.is_some() { None } else { Some(self.hold.state().payload(&self.found.place)) }
    }

    /// The value: in place, or assembled from its chunks.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match self.as_slice() {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => self.to_vec().map(Cow::Owned),
        }
    }

    /// A copy of the value.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        if let Some(bytes) = self.as_slice() {
            return Ok(bytes.to_vec());
        }
        // A stored length is trusted only as far as the chunks confirm it.
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes).map_err(from_io)?;
        Ok(bytes)
    }

    /// Reads the value from its beginning, one chunk in memory at a time.
    pub fn reader(&self) -> RecordReader<'_> {
        RecordReader { record: Source::Borrowed(self), position: 0, chunk: None, list: None }
    }

    /// Like [`reader`](Self::reader), but the reader owns the record: it can move to another thread and outlive the
    /// view.
    ///
    /// ```
    /// use std::io::Read;
    /// let store = tenure::Store::in_memory()?;
    /// let files = store.record_set("files")?;
    /// let id = store.write(|tx| tx.insert(&files, vec![7; 200_000]))?;
    /// let mut reader = store.view().get(id)?.into_reader();
    /// store.write(|tx| tx.delete(id))?;
    /// let read = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    /// assert_eq!(read.join().unwrap().unwrap(), 200_000);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn into_reader(self) -> RecordReader<'static> {
        RecordReader { record: Source::Owned(Box::new(self.into_owned())), position: 0, chunk: None, list: None }
    }

    /// Detaches the record from its view; it keeps its bytes readable by itself.
    #[must_use]
    pub fn into_owned(self) -> Record<'static> {
        let hold = match self.hold {
            Hold::View(state, _) => Hold::Shared(Arc::clone(state)),
            Hold::Shared(state) => Hold::Shared(state),
            Hold::Moment(state) => Hold::Shared(state.keep().unwrap_or_else(|| Arc::new(state.for_payloads()))),
        };
        Record { hold, found: self.found, head: self.head }
    }

    /// The payload of a chunk.
    fn chunk(&self, id: RecordId) -> Result<Found> {
        match self.hold.state().lookup(id)? {
            Answer::Live(found) => Ok(found),
            _ => Err(Error::corrupt("record", 0, format!("chunk {id} of record {}", self.id()), "a chunk", "none")),
        }
    }
}

/// The error of a reader: that of the store, or of a source.
pub(crate) fn from_io(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(source) => Error::Source { source },
    }
}

/// Reads a value of any size. Seeking does not read the bytes in between.
///
/// ```
/// use std::io::{Read, Seek, SeekFrom};
/// let store = tenure::Store::in_memory()?;
/// let files = store.record_set("files")?;
/// let id = store.write(|tx| tx.insert(&files, vec![7; 200_000]))?;
/// let record = store.get(id)?;
/// let mut reader = record.reader();
/// reader.seek(SeekFrom::Start(199_998)).unwrap();
/// let mut rest = Vec::new();
/// reader.read_to_end(&mut rest).unwrap();
/// assert_eq!(rest, [7, 7]);
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug)]
pub struct RecordReader<'r> {
    record: Source<'r>,
    position: u64,
    chunk: Option<(u64, Found)>,
    list: Option<(u64, Vec<RecordId>)>,
}

/// The record being read.
#[derive(Debug)]
enum Source<'r> {
    Borrowed(&'r Record<'r>),
    Owned(Box<Record<'static>>),
}

impl Source<'_> {
    fn get(&self) -> &Record<'_> {
        match self {
            Self::Borrowed(record) => record,
            Self::Owned(record) => record,
        }
    }
}

impl RecordReader<'_> {
    /// The ID of the data chunk with this number.
    fn chunk_id(&mut self, head: &Head, index: u64) -> Result<RecordId> {
        let per_list = to_u64(IDS_PER_LIST);
        let missing = || Error::corrupt("record", 0, format!("chunk {index}"), "an ID in its list", "none");
        if head.depth == 0 {
            return head.ids.get(to_usize(index)).copied().ok_or_else(missing);
        }
        let list_number = index / per_list;
        if self.list.as_ref().is_none_or(|(number, _)| *number != list_number) {
            let mut ids = head.ids.clone();
            let mut level = head.depth;
            let mut number = list_number;
            while level > 0 {
                let span = per_list.pow(u32::from(level) - 1);
                let id = ids.get(to_usize(number / span)).copied().ok_or_else(missing)?;
                let found = self.record.get().chunk(id)?;
                let payload = self.record.get().hold.state().payload(&found.place);
                ids = decode_ids(payload).map_err(|malformed| malformed.at("list of chunks", 0))?;
                number %= span;
                level -= 1;
            }
            self.list = Some((list_number, ids));
        }
        let ids = self.list.as_ref().map(|(_, ids)| ids.as_slice()).unwrap_or_default();
        ids.get(to_usize(index % per_list)).copied().ok_or_else(missing)
    }

    fn read_chunked(&mut self, head: &Head, buffer: &mut [u8]) -> Result<usize> {
        if self.position >= head.total_bytes || buffer.is_empty() {
            return Ok(0);
        }
        let chunk_bytes = u64::from(head.chunk_bytes);
        let (index, within) = (self.position / chunk_bytes, to_usize(self.position % chunk_bytes));
        if self.chunk.as_ref().is_none_or(|(held, _)| *held != index) {
            let id = self.chunk_id(head, index)?;
            self.chunk = Some((index, self.record.get().chunk(id)?));
        }
        let Some((_, found)) = &self.chunk else { return Ok(0) };
        let payload = self.record.get().hold.state().payload(&found.place);
        let expected = chunk_bytes.min(head.total_bytes - index * chunk_bytes);
        if to_u64(payload.len()) != expected {
            let what = format!("chunk {index} of record {}", self.record.get().id());
            return Err(Error::corrupt("record", 0, what, format!("{expected} bytes"), payload.len()));
        }
        let rest = payload.get(within..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        self.position += to_u64(len);
        Ok(len)
    }
}

impl Read for RecordReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(head) = self.record.get().head.clone() {
            return self.read_chunked(&head, buffer).map_err(io::Error::other);
        }
        let payload = self.record.get().as_slice().unwrap_or_default();
        let mut rest = payload.get(to_usize(self.position)..).unwrap_or_default();
        let len = rest.read(buffer)?;
        self.position += to_u64(len);
        Ok(len)
    }
}

impl io::Seek for RecordReader<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let target = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::End(offset) => self.record.get().len().checked_add_signed(offset),
            io::SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        let before_start = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the beginning");
        self.position = target.ok_or_else(before_start)?;
        Ok(self.position)
    }
}
