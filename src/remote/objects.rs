//! Objects of a bucket that holds something else than a shipped store: put, read, listed and deleted one at a time.
//!
//! Owns: repeating what fails. Never: knows what the objects are for.

use std::time::Duration;

use object_store::PutPayload;

use crate::error::Result;
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
        self.run(async move { bucket.is_bare().await })
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
                    bucket.replace(&path, payload.clone()).await
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
        self.run(async move { bucket.get_most(&path, most).await })
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
        self.run(async move { bucket.delete(&path).await })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::remote::object::LogPoint;

    /// Where the directory of a bucket was, there is none, or another one, which has an object of the same name.
    #[expect(clippy::disallowed_methods, reason = "the test is about a directory that is moved")]
    fn moved(with_another: bool) {
        let dir = tempfile::tempdir().expect("a directory");
        let [home, away] = ["bucket", "away"].map(|name| dir.path().join(name));
        let bucket = Bucket::at(&format!("file://{}", home.display())).expect("a bucket");
        assert!(bucket.put_object("a/1", b"ours", true).expect("puts"));
        fs::rename(&home, &away).expect("moves");
        if with_another {
            fs::create_dir_all(home.join("a")).expect("makes another");
            fs::write(home.join("a/1"), b"theirs").expect("writes");
        }
        let logs = bucket.clone();
        let answers = [
            ("get", bucket.get_object("a/1", 100).map(drop)),
            ("get none", bucket.get_object("a/2", 100).map(drop)),
            ("list", bucket.list_objects("a").map(drop)),
            ("holds nothing", bucket.holds_nothing().map(drop)),
            ("replace", bucket.put_object("a/1", b"new", true).map(drop)),
            ("put", bucket.put_object("a/2", b"new", false).map(drop)),
            ("delete", bucket.delete_object("a/1")),
            ("find", bucket.run(async move { logs.find_logs(vec![LogPoint { epoch: 1, number: 1 }]).await.map(drop) })),
        ];
        for (what, answer) in answers {
            let error = answer.expect_err(what).to_string();
            assert!(error.contains("directory of the bucket"), "{what}: {error}");
        }
        if with_another {
            let theirs: Vec<_> = fs::read_dir(home.join("a")).expect("lists").collect();
            assert_eq!((theirs.len(), &*fs::read(home.join("a/1")).expect("reads")), (1, &b"theirs"[..]));
            fs::remove_dir_all(&home).expect("removes");
        }
        assert!(!home.exists(), "nothing is made there");
        fs::rename(&away, &home).expect("moves back");
        assert_eq!(bucket.get_object("a/1", 100).expect("reads").as_deref(), Some(&b"ours"[..]));
        assert_eq!(bucket.list_objects("a").expect("lists").len(), 1);
    }

    #[test]
    fn without_its_directory_a_bucket_answers_nothing() {
        moved(false);
    }

    #[test]
    fn another_directory_in_its_place_is_neither_believed_nor_changed() {
        moved(true);
    }
}
