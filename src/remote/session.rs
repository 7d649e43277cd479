//! One opening for writing: an epoch, its journal and its uploader.
//!
//! Owns: the order of taking over. Never: lets the store see the local directory before its epoch has begun, nor any other opening
//! before all files are fetched: until then it has a file `unfinished`.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;
use std::{io, thread};

use parking_lot::Mutex;

use crate::backing::{Backing, UNFINISHED, mark_finished, mark_unfinished};
use crate::error::{Error, Result};
use crate::planted;
use crate::planted::Fault;
use crate::remote::bucket::Bucket;
use crate::remote::journal::Journal;
use crate::remote::loading::{Deletes, Loaded};
use crate::remote::local::{Behind, Difference, Local, Mark};
use crate::remote::merging::Allowance;
use crate::remote::object::{LogPoint, Nonce};
use crate::remote::options::RemoteOptions;
use crate::remote::shipped_file::ShippedFile;
use crate::remote::uploader::Uploader;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) journal: Arc<Journal>,
    pub(super) epoch: u64,
    pub(super) nonce: Nonce,
    /// Files that may have bytes that were not synced.
    pub(super) files: Mutex<Vec<Weak<ShippedFile>>>,
    /// Files that the bucket has and the directory lacks. Whether they were deleted or lost, recovery finds out.
    pub(super) gone: Mutex<Vec<Arc<str>>>,
    uploader: Mutex<Option<JoinHandle<()>>>,
    options: RemoteOptions,
    process: u32,
}

/// How the local directory relates to the bucket's newest epoch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinship {
    /// It has all that the bucket has.
    Holds,
    /// Its files are to be fetched.
    Lacks,
}

/// Compares the local directory with the newest epoch.
fn kinship(bucket: &Bucket, local: &Local<'_>, newest: u64, options: &RemoteOptions) -> Result<Kinship> {
    let (marks, is_empty) = (local.marks()?, local.shipped()?.iter().all(|name| name == UNFINISHED));
    let fenced = |by: String| Error::Fenced { location: bucket.to_string(), by };
    if newest == 0 {
        return match marks.iter().max_by_key(|mark| mark.epoch) {
            // Noted, but its epoch never began.
            Some(mark) if mark.epoch > 1 => {
                Err(fenced(format!("the local directory belongs to its epoch {}, but it has none", mark.epoch)))
            }
            _ => Ok(Kinship::Holds),
        };
    }
    let (shared, at) = (bucket.clone(), newest);
    let (writer, _) = bucket.run(async move { shared.epoch(at).await })?;
    let own = marks.iter().find(|mark| mark.epoch == newest && mark.nonce == writer.nonce);
    if own.is_some_and(|mark| mark.is_complete) && !is_empty {
        return Ok(Kinship::Holds);
    }
    // Files that an interrupted opening fetched have an incomplete mark, and nobody has written to them.
    let is_fetched = marks.iter().all(|mark| !mark.is_complete) && !marks.is_empty();
    if own.is_none() && !is_empty && !is_fetched {
        let theirs = marks.iter().map(|mark| mark.epoch).max();
        let theirs = theirs.map_or("to none of its epochs".to_owned(), |epoch| format!("to epoch {epoch}"));
        return Err(fenced(format!("its newest epoch is {newest}, and the local directory belongs {theirs}")));
    }
    let shared = bucket.clone();
    let (last, is_sealed) = bucket.run(async move { shared.end_of(newest).await })?;
    // An opening that did not fetch all files has put nothing. If there is more, this is a copy, or has lost its files.
    let was_fetching = own.is_some() && last == 0;
    if !options.take_over && !is_sealed && !was_fetching {
        return Err(Error::Locked { path: bucket.to_string() });
    }
    Ok(Kinship::Lacks)
}

/// Ends the newest epoch, if it has not ended. Returns the last number of its log, and the state there.
///
/// `is_own` says that its writer was this directory's, or is that of which the directory is a copy. Then nothing is put that would fence it
/// before the directory is known to have all that the bucket has.
fn end_epoch(bucket: &Bucket, local: &Local<'_>, newest: u64, nonce: Nonce, is_own: bool) -> Result<(u64, Loaded)> {
    if newest == 0 {
        return Ok((0, Loaded::default()));
    }
    let load = |number| {
        let (shared, until) = (bucket.clone(), LogPoint { epoch: newest, number });
        bucket.run(async move { shared.load(until, Deletes::Apply).await })
    };
    if !is_own {
        let shared = bucket.clone();
        let last = bucket.run(async move { shared.seal_epoch(newest, nonce).await })?;
        return Ok((last, load(last)?));
    }
    loop {
        let shared = bucket.clone();
        let (last, is_sealed) = bucket.run(async move { shared.end_of(newest).await })?;
        let loaded = load(last)?;
        // An opening that was killed while it fetched the end of the log, or the newest manifest, has put nothing.
        let was_fetching = last == 0;
        if !is_sealed
            && !was_fetching
            && let Some(behind) = local.behind(&loaded.table)?
        {
            return Err(is_copy(bucket, &behind));
        }
        let (shared, at) = (bucket.clone(), LogPoint { epoch: newest, number: last + 1 });
        // If there are events now, they may be late ones of a process that died, or a writer's that is at work.
        if is_sealed || bucket.run(async move { shared.seal_at(at, nonce).await })? {
            return Ok((last, loaded));
        }
    }
}

fn is_copy(bucket: &Bucket, Behind { name, begin, end }: &Behind) -> Error {
    let by = format!(
        "it has bytes {begin} to {end} of {name}, and the local directory does not: that is an older copy of the writer's directory, or \
         has lost data. Nothing was changed, and the writer may be at work. To replace it, open an empty directory with `take_over` \
         (`tenure remote takeover`); to have a copy, `tenure remote open`"
    );
    Error::Fenced { location: bucket.to_string(), by }
}

impl Session {
    /// Takes over the bucket, and makes the local backing hold what it does. The local lock is held.
    pub(super) fn begin(bucket: &Bucket, backing: &Arc<dyn Backing>, options: &RemoteOptions) -> Result<Arc<Self>> {
        let nonce: Nonce = uuid::Uuid::new_v4().into_bytes();
        let local = Local(backing);
        let failed = |source| Error::io("look at", backing.location(), source);
        let shared = bucket.clone();
        let newest = bucket.run(async move {
            shared.probe(nonce).await?;
            shared.newest_epoch().await
        })?;
        let kinship = kinship(bucket, &local, newest, options)?;
        let (last, mut loaded) =
            end_epoch(bucket, &local, newest, nonce, kinship == Kinship::Holds && !options.take_over)?;
        if kinship == Kinship::Holds {
            // Before the directory is noted as the bucket's: an older copy that is refused then must not shut out the right one.
            local.check_holds(&loaded.table)?;
        }
        let epoch = newest + 1;
        let (name, mark) = local.note(Mark { epoch, nonce, is_complete: kinship == Kinship::Holds })?;
        // Its own mark comes first: it says who fetches. What a load has not completed has a mark of its own.
        let is_load = loaded.table.file(UNFINISHED).is_some();
        if kinship == Kinship::Lacks && !is_load && !local.is_fetching().map_err(failed)? {
            mark_unfinished(&**backing)?;
        }
        let shared = bucket.clone();
        bucket.run(async move { shared.begin_epoch(epoch, nonce, last).await })?;
        if kinship == Kinship::Lacks {
            local.empty(is_load)?;
            bucket.fetch(&loaded.table, &**backing)?;
            let completed = mark.append(&[1]).and_then(|()| mark.sync());
            completed.map_err(|source| Error::io("write", backing.location(), source))?;
        }
        if !is_load && local.is_fetching().map_err(failed)? {
            mark_finished(&**backing)?;
        }
        local.forget_others(&name)?;
        let ends = local.lost_ends(&loaded.table)?;
        bucket.fetch(&loaded.table.only(&ends), &**backing)?;
        local.check_newest(&loaded.table)?;
        let journal = Arc::new(Journal::new(options.pace(), planted::is(Fault::ManifestOvertakes)));
        let Difference { events, gone } = local.difference(&loaded.table)?;
        journal.note_difference(events);
        loaded.forget_what_was_read();
        let uploader = Uploader {
            bucket: bucket.clone(),
            journal: Arc::clone(&journal),
            options: options.clone(),
            nonce,
            at: LogPoint { epoch, number: 0 },
            loaded,
            local: Arc::clone(backing),
            allowance: Allowance::default(),
            pruned: None,
        };
        let named = thread::Builder::new().name("tenure-uploader".to_owned());
        let thread = named.spawn(move || uploader.run());
        let thread = thread.map_err(|source| Error::io("start a thread for", bucket.to_string(), source))?;
        Ok(Arc::new(Self {
            journal,
            epoch,
            nonce,
            files: Mutex::default(),
            gone: Mutex::new(gone),
            uploader: Mutex::new(Some(thread)),
            options: options.clone(),
            process: std::process::id(),
        }))
    }

    pub(super) fn wait(&self, noted: u64) -> io::Result<()> {
        self.journal.wait(noted, self.options.commit_wait.map(|wait| Instant::now() + wait))
    }

    /// Uploads what is left and ends the epoch, as far as the time allows.
    pub(super) fn close(&self) {
        // A forked process has no uploader, and must not end its parent's epoch.
        if std::process::id() != self.process {
            return;
        }
        let files = std::mem::take(&mut *self.files.lock());
        for file in files.iter().filter_map(Weak::upgrade) {
            file.settle();
        }
        self.journal.close(Instant::now() + self.options.close_wait);
        if let Some(thread) = self.uploader.lock().take() {
            drop(thread.join());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}
