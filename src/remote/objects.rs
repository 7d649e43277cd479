//! Objects of a bucket that holds something else than a shipped store: put, read, listed and deleted one at a time.
//!
//! Owns: repeating what fails. Never: knows what the objects are for.

use std::time::Duration;

use futures_util::StreamExt;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::error::{Error, Result};
use crate::remote::bucket::{Bucket, Outcome};

/// How often a put with an unknown outcome is tried.
const ATTEMPTS: u32 = 6;
/// The pause behind the first attempt; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(20);

/// An object in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// Its name in the folder.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) bytes: u64,
    /// When it was stored, by the server's clock, in microseconds since 1970.
    pub(crate) micros: u64,
}

impl Bucket {
    /// Whether there is no object in it.
    pub(crate) fn holds_nothing(&self) -> Result<bool> {
        let bucket = self.clone();
        self.run(async move {
            let prefix = (!bucket.names.0.as_ref().is_empty()).then_some(&bucket.names.0);
            match bucket.store.list(prefix).next().await {
                None => Ok(true),
                Some(Ok(_)) => Ok(false),
                Some(Err(error)) => Err(bucket.error("list", &bucket.names.0, error)),
            }
        })
    }

    /// Fails unless the server refuses to overwrite an object.
    pub(crate) fn check_creates(&self) -> Result<()> {
        let bucket = self.clone();
        self.run(async move { bucket.probe(uuid::Uuid::new_v4().into_bytes()).await })
    }

    /// Puts an object; false if there is another one of this name, and it may not be replaced.
    pub(crate) fn put_object(&self, name: &str, bytes: &[u8], replaces: bool) -> Result<bool> {
        let (bucket, path, payload) = (self.clone(), self.names.below(name), PutPayload::from(bytes.to_vec()));
        self.run(async move {
            let mut pause = PAUSE;
            let mut attempt = 1;
            loop {
                let outcome = if replaces {
                    let options = PutOptions { mode: PutMode::Overwrite, ..PutOptions::default() };
                    match bucket.store.put_opts(&path, payload.clone(), options).await {
                        Ok(_) => Outcome::Stored,
                        Err(error) => Outcome::Unknown(bucket.error("put", &path, error)),
                    }
                } else {
                    bucket.put(&path, payload.clone(), |found| payload.iter().flatten().eq(found)).await
                };
                match outcome {
                    Outcome::Stored => return Ok(true),
                    Outcome::Taken(_) => return Ok(false),
                    Outcome::Unknown(error) if attempt == ATTEMPTS => return Err(error),
                    Outcome::Unknown(_) => tokio::time::sleep(pause).await,
                }
                (attempt, pause) = (attempt + 1, pause * 2);
            }
        })
    }

    /// The bytes of an object, if there is one; of one with more than `most` bytes, one more than these.
    pub(crate) fn get_object(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let (bucket, path) = (self.clone(), self.names.below(name));
        self.run(async move {
            let read = async {
                let found = bucket.store.get(&path).await?;
                if found.meta.size <= most {
                    return found.bytes().await;
                }
                bucket.store.get_range(&path, 0..most.saturating_add(1)).await
            };
            match read.await {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(bucket.error("read", &path, error)),
            }
        })
    }

    /// The objects of a folder, in any order.
    pub(crate) fn list_objects(&self, folder: &str) -> Result<Vec<Listed>> {
        let (bucket, path) = (self.clone(), self.names.below(folder));
        self.run(async move {
            let listed = bucket.list(&path, None).await?.into_iter().map(|meta| Listed {
                name: meta.location.filename().unwrap_or_default().to_owned(),
                bytes: meta.size,
                micros: u64::try_from(meta.last_modified.timestamp_micros()).unwrap_or_default(),
            });
            Ok(listed.collect())
        })
    }

    /// Deletes an object, which may be gone already.
    pub(crate) fn delete_object(&self, name: &str) -> Result<()> {
        let (bucket, path) = (self.clone(), self.names.below(name));
        self.run(async move {
            match bucket.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(Error::io("delete", format!("{path} in {bucket}"), std::io::Error::other(error))),
            }
        })
    }
}
