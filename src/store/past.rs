//! Saved snapshots, marks, and rolling back to them.

use crate::backing::Backing;
use crate::catalogue::check_name;
use crate::engine::Need;
use crate::error::{Error, Result};
use crate::format::frame::FrameBuilder;
use crate::format::item::Kind;
use crate::format::manifest::{Body, Snapshot, SnapshotKind};
use crate::heap::Effect;
use crate::id::Seq;
use crate::recovery::Point;
use crate::reserve::Release;
use crate::stats::{Mark, SnapshotInfo};
use crate::store::Store;
use crate::store::guard::{Guard, Guarded};
use crate::txn::make_sure;
use crate::{recovery, snapshot};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

impl Store {
    /// Saves a snapshot now. Writers continue meanwhile.
    pub fn save_snapshot(&self) -> Result<SnapshotInfo> {
        let saved = snapshot::save(self.engine(), SnapshotKind::Automatic, "")?;
        let mut info = snapshot_info(&saved.snapshot);
        (info.pages_written, info.bytes_written) = (saved.pages, saved.bytes);
        Ok(info)
    }

    /// Saves a snapshot and keeps it, and the space it refers to, until it is dropped.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("things.tenure");
    /// use tenure::{Options, Point, Store};
    /// let store = Store::open(&path)?;
    /// let notes = store.record_set("notes")?;
    /// let id = store.write(|tx| tx.insert(&notes, "old"))?;
    /// store.save_named_snapshot("before the change")?;
    /// store.write(|tx| tx.update(id, "new"))?;
    ///
    /// // Opens that state read-only, beside the store.
    /// let before = Options::new().open_at(&path, &Point::Name("before the change".to_owned()))?;
    /// assert_eq!(before.get(id)?.as_slice(), Some(&b"old"[..]));
    ///
    /// // Rolls back to it. Later changes are gone; their IDs and commit numbers are never used again.
    /// let store = store.roll_back_to(&Point::Name("before the change".to_owned()))?;
    /// assert_eq!(store.get(id)?.as_slice(), Some(&b"old"[..]));
    /// store.drop_snapshot("before the change")?;
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `BadName` if a snapshot of this name exists, and those of [`save_snapshot`](Self::save_snapshot).
    pub fn save_named_snapshot(&self, name: &str) -> Result<SnapshotInfo> {
        check_name("snapshot", name)?;
        self.engine().check_writable()?;
        let saved = snapshot::save(self.engine(), SnapshotKind::Named, name)?;
        let mut info = snapshot_info(&saved.snapshot);
        (info.pages_written, info.bytes_written) = (saved.pages, saved.bytes);
        Ok(info)
    }

    /// Drops a named snapshot. Space that only this snapshot kept is reclaimed now or by the next collection.
    ///
    /// # Errors
    /// `PointGone` if no snapshot has this name.
    pub fn drop_snapshot(&self, name: &str) -> Result<()> {
        let engine = self.engine();
        engine.check_writable()?;
        let named = engine.manifest.with_kept(|kept| {
            let named = kept.named(name).filter(|_| name != snapshot::OF_A_COPY);
            named.map(|snapshot| (snapshot.number, snapshot.segments.clone()))
        });
        let Some((number, listed)) = named else {
            let why = "there is no such snapshot".to_owned();
            return Err(Error::PointGone { point: format!("snapshot {name:?}"), why });
        };
        engine.with_reserve(Release::Least, || engine.manifest.append(|_| Body::Drop(number)))?;
        snapshot::drop_unneeded_pages(engine, &listed);
        let result = self.inner.collector.sweep(engine);
        if engine.reserve.is_short() && engine.check_writable().is_ok() {
            engine.keep_reserve();
        }
        result
    }

    /// Rolls the store back to a past state: a saved snapshot, or a mark or commit for which the log since a saved
    /// snapshot is still kept. Everything committed since is gone. Commit numbers and IDs assigned since are never
    /// reused with another meaning: the state becomes that of a new commit, and slots continue with higher reuse
    /// counts.
    ///
    /// Closes this handle and its clones; existing views stay valid. The new handle takes over the registered
    /// extractors for the indexes it still has. A crash during the rollback leaves the store in one state or the other.
    ///
    /// # Errors
    /// `PointGone` if that state cannot be reached. Nothing has changed then, but this handle and its clones are closed: open the
    /// store again.
    pub fn roll_back_to(self, point: &Point) -> Result<Self> {
        self.engine().check_writable()?;
        let held = self.inner.guard.as_ref().ok_or(Error::ReadOnly)?;
        let (backing, mut options) = (Arc::clone(held.backing()), self.inner.options.clone());
        options.lineage = Some(self.engine().lineage);
        let given = self.engine().given_extractors();
        self.inner.close()?;
        let guard = Guard::take(&backing)?;
        let guarded: Arc<dyn Backing> = Arc::new(Guarded(Arc::clone(&guard)));
        recovery::roll_back(&guarded, &options.settings(), point)?;
        guard.release();
        let store = Self::start(&backing, &options)?;
        store.engine().take_extractors(given);
        Ok(store)
    }

    /// The saved snapshots, oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        Ok(self.engine().manifest.with_kept(|kept| {
            let ours = kept.snapshots().filter(|snapshot| snapshot.name != snapshot::OF_A_COPY);
            ours.map(snapshot_info).collect()
        }))
    }

    /// Names the current state: a light snapshot that costs a few bytes of log. Reusing a name moves the mark.
    pub fn mark(&self, name: &str) -> Result<Seq> {
        check_name("mark", name)?;
        let mut frame = FrameBuilder::new();
        frame.control(Kind::Mark, name.as_bytes());
        let engine = self.engine();
        let seq = engine.commit_frame(
            &mut frame,
            &mut vec![Effect::Mark(name.to_owned())],
            Need::Ordinary,
            &mut || Ok(()),
        )?;
        make_sure(engine, seq, self.inner.options.durability)?;
        Ok(seq)
    }

    /// Drops a mark. Space that only this mark kept is reclaimed now or by the next collection. Durable on return.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// store.mark("before the import")?;
    /// store.drop_mark("before the import")?;
    /// assert!(store.marks().is_empty());
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `PointGone` if no mark has this name.
    pub fn drop_mark(&self, name: &str) -> Result<()> {
        let engine = self.engine();
        engine.check_writable()?;
        let mut frame = FrameBuilder::new();
        let mut is_there = || {
            let why = "there is no such mark".to_owned();
            let gone = || Error::PointGone { point: format!("mark {name:?}"), why };
            if engine.heap.catalogue().has_mark(name) { Ok(()) } else { Err(gone()) }
        };
        // Checked before the name is written: it may have any length.
        is_there()?;
        frame.control(Kind::DropMark, name.as_bytes());
        let mut effects = vec![Effect::DropMark(name.to_owned())];
        let seq = engine.commit_frame(&mut frame, &mut effects, Need::MakesRoom, &mut is_there)?;
        engine.make_durable(seq)?;
        self.inner.collector.sweep(engine)
    }

    /// The named marks.
    pub fn marks(&self) -> Vec<Mark> {
        let state = self.engine().heap.pin();
        state.catalogue.marks().map(|(name, seq)| Mark { name: name.to_owned(), seq }).collect()
    }
}

pub(super) fn snapshot_info(snapshot: &Snapshot) -> SnapshotInfo {
    SnapshotInfo {
        number: snapshot.number,
        name: Some(snapshot.name.clone()).filter(|name| !name.is_empty()),
        kind: snapshot.kind,
        seq: snapshot.seq,
        time: UNIX_EPOCH + Duration::from_micros(snapshot.time_micros),
        pages_written: 0,
        bytes_written: 0,
    }
}
