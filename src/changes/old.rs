//! Old values: the versions that a commit replaced or deleted, read from where they were.
//!
//! Owns: checking that what is there is that version. Never: takes anything else for it.

use std::borrow::Cow;

use crate::changes::commit::{Change, ChangeKind, Commit};
use crate::changes::rows::row_of;
use crate::changes::segments::item_at;
use crate::changes::value::ChangeValue;
use crate::error::Result;
use crate::format::item::Kind;
use crate::format::value::{Head, decode_ids};
use crate::id::{RecordId, to_u64};

/// What was found of a version.
enum Old<T> {
    Found(T),
    /// Its bytes are not there any more.
    Gone,
    /// The commit does not say where it was.
    Unrecorded,
}

impl Change<'_> {
    /// The value that the record had before the commit, if the store was open with
    /// [`Options::old_values`](crate::Options::old_values) when it was made: [`ChangeValue::Unrecorded`] otherwise, and
    /// [`ChangeValue::Gone`] once the bytes were reclaimed. What a [consumer](crate::Store::add_consumer) has not acknowledged is not
    /// reclaimed.
    ///
    /// ```
    /// use tenure::{ChangeValue, Options};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("things.tenure");
    /// let store = Options::new().old_values(true).open(&path)?;
    /// let people = store.record_set("people")?;
    /// let ada = store.write(|tx| tx.insert(&people, "Ada"))?;
    /// let audit = store.add_consumer("audit", store.last_seq())?;
    /// store.write(|tx| tx.update(ada, "Ada King"))?;
    /// for commit in audit.changes()? {
    ///     let commit = commit?;
    ///     for change in commit.changes() {
    ///         let change = change?;
    ///         assert_eq!(change.old_value()?.bytes(), Some(&b"Ada"[..]));
    ///         assert_eq!(change.value()?.bytes(), Some(&b"Ada King"[..]));
    ///     }
    /// }
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of reading it.
    pub fn old_value(&self) -> Result<ChangeValue<'static>> {
        let Some(id) = self.id().filter(|_| matches!(self.kind(), ChangeKind::Update | ChangeKind::Delete)) else {
            return Ok(ChangeValue::Nothing);
        };
        Ok(match self.commit().old(id)? {
            Old::Found(bytes) => ChangeValue::Bytes(Cow::Owned(bytes)),
            Old::Gone => ChangeValue::Gone,
            Old::Unrecorded => ChangeValue::Unrecorded,
        })
    }
}

impl Commit {
    fn old(&self, id: RecordId) -> Result<Old<Vec<u8>>> {
        let (kind, payload) = match self.old_item(id)? {
            Old::Found(found) => found,
            Old::Gone => return Ok(Old::Gone),
            Old::Unrecorded => return Ok(Old::Unrecorded),
        };
        if kind != Kind::Head as u8 {
            return Ok(Old::Found(payload));
        }
        Ok(self.old_large(&payload)?.map_or(Old::Gone, Old::Found))
    }

    /// A value in parts, which the commit has freed.
    fn old_large(&self, head: &[u8]) -> Result<Option<Vec<u8>>> {
        let Ok(head) = Head::decode(head) else { return Ok(None) };
        let rows = self.rows().iter().map(|rows| rows.count).sum();
        if head.chunks() > rows {
            return Ok(None);
        }
        let part = |id| -> Result<Option<Vec<u8>>> {
            let Old::Found((kind, payload)) = self.old_item(id)? else { return Ok(None) };
            Ok((kind == Kind::Chunk as u8).then_some(payload))
        };
        let mut level = head.ids.clone();
        for _ in 0..head.depth {
            let mut below = Vec::new();
            for id in level {
                let ids = part(id)?.and_then(|list| decode_ids(&list).ok());
                let Some(ids) = ids.filter(|ids| to_u64(below.len() + ids.len()) <= rows) else { return Ok(None) };
                below.extend(ids);
            }
            level = below;
        }
        let mut value = Vec::new();
        for id in level {
            let Some(part) = part(id)? else { return Ok(None) };
            value.extend_from_slice(&part);
        }
        Ok((to_u64(value.len()) == head.total_bytes).then_some(value))
    }

    /// Kind and payload of the version of a record that the commit replaced.
    fn old_item(&self, id: RecordId) -> Result<Old<(u8, Vec<u8>)>> {
        let Some(row) = row_of(self.rows(), self.segment(), id.slot())? else { return Ok(Old::Unrecorded) };
        let Some(segment) = self.segments().get(row.segment, row.offset)? else { return Ok(Old::Gone) };
        // The file of a segment has one item at an offset, for good; its check depends on both.
        let item = item_at(&segment, row.offset, id, |item| (item.kind, item.payload.to_vec()))?;
        Ok(item.map_or(Old::Gone, Old::Found))
    }
}
