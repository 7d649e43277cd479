//! Reading the bytes of files from a bucket.
//!
//! Owns: checking each piece against its checksum; writing all files of a state into a local backing. Never: changes the bucket.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;

use crate::backing::{Backing, BackingFile};
use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::remote::bucket::Bucket;
use crate::remote::loading::PARALLEL;
use crate::remote::object::{Piece, Place};
use crate::remote::table::Table;

/// Pieces that are held in memory at a time.
const GROUP_PIECES: usize = 1024;
/// Their bytes.
const GROUP_BYTES: u64 = 64 << 20;

impl Bucket {
    /// The bytes of a piece of a file, checked.
    pub(super) async fn piece(&self, file: &str, piece: &Piece) -> Result<Vec<u8>> {
        if piece.bytes == 0 {
            return Ok(Vec::new());
        }
        let (name, begin) = match piece.place {
            Place::Inline { at, offset } => (self.names.log(at), offset),
            Place::Data { at } => (self.names.data(file, at, piece.begin), 0),
        };
        let end = begin.saturating_add(piece.bytes);
        let bytes = match self.range(&name, begin..end).await? {
            Ok(bytes) => bytes,
            Err(error) => return Err(self.unread(file, &name, end, error).await),
        };
        let computed = crc32fast::hash(&bytes);
        if to_u64(bytes.len()) != piece.bytes || computed != piece.checksum {
            let what = format!("bytes {} to {} of {file}", piece.begin, piece.end());
            let expected = format!("{} bytes with checksum {:08x}", piece.bytes, piece.checksum);
            let got = format!("{} with {computed:08x}", bytes.len());
            return Err(Error::corrupt(name.as_ref(), begin, what, expected, got));
        }
        Ok(bytes)
    }

    /// Why a part of a file could not be read, which ends here in the object.
    pub(super) async fn unread(&self, file: &str, object: &Path, end: u64, error: object_store::Error) -> Error {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return Error::PointGone {
                point: format!("a state of {self}"),
                why: format!("{object} is gone, which has a part of {file}"),
            };
        }
        // Servers answer alike that they are away and that there is no such range.
        match self.look_for(object).await {
            Ok(Some(found)) if found.size < end => Error::corrupt(
                object.as_ref(),
                found.size,
                format!("a part of {file}"),
                format!("{end} bytes"),
                found.size,
            ),
            _ => self.error("read", object, error),
        }
    }

    /// Writes all files of a table into a backing that has none of them. Several pieces are read at a time.
    pub(super) fn fetch(&self, table: &Table, into: &dyn Backing) -> Result<()> {
        let failed = |name: &str| {
            let place = format!("{name} in {}", into.location());
            move |source| Error::io("write", place, source)
        };
        let mut files = BTreeMap::new();
        for (name, _) in table.iter() {
            files.insert(name.to_owned(), into.create(name).map_err(failed(name))?);
        }
        let mut waiting: Vec<(String, Piece)> = Vec::new();
        let mut bytes = 0;
        let pieces = table.iter().flat_map(|(name, pieces)| pieces.iter().map(move |piece| (name, *piece)));
        for (name, piece) in pieces {
            waiting.push((name.to_owned(), piece));
            bytes = piece.bytes.saturating_add(bytes);
            if waiting.len() >= GROUP_PIECES || bytes >= GROUP_BYTES {
                self.fetch_some(std::mem::take(&mut waiting), &files, failed)?;
                bytes = 0;
            }
        }
        self.fetch_some(waiting, &files, failed)?;
        files.iter().try_for_each(|(name, file)| file.sync().map_err(failed(name)))
    }

    fn fetch_some<E: FnOnce(io::Error) -> Error>(
        &self,
        pieces: Vec<(String, Piece)>,
        files: &BTreeMap<String, Arc<dyn BackingFile>>,
        failed: impl Fn(&str) -> E,
    ) -> Result<()> {
        let bucket = self.clone();
        let read = async move {
            let read = pieces.into_iter().map(|(name, piece)| {
                let bucket = bucket.clone();
                async move { Ok::<_, Error>((bucket.piece(&name, &piece).await?, name)) }
            });
            futures_util::stream::iter(read).buffered(PARALLEL).try_collect::<Vec<_>>().await
        };
        for (bytes, name) in self.run(read)? {
            if let Some(file) = files.get(&name) {
                file.append(&bytes).map_err(failed(&name))?;
            }
        }
        Ok(())
    }
}
