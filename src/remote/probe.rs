//! A test of the server: whether it keeps the promise on which everything else stands.

use object_store::PutPayload;

use crate::error::{Error, Result};
use crate::remote::bucket::{Bucket, Found, Outcome};
use crate::remote::object::Nonce;

/// How often an unclear outcome is tried again.
const ATTEMPTS: u32 = 5;

impl Bucket {
    /// Fails unless the second of two conditional puts of one name does.
    pub(super) async fn probe(&self, nonce: Nonce) -> Result<()> {
        let name = self.names.probe(&uuid::Uuid::from_bytes(nonce).simple().to_string());
        let (first, second) = ([&nonce[..], b"1"].concat(), [&nonce[..], b"2"].concat());
        let mut refused = None;
        for (bytes, is_first) in [(&first, true), (&second, false)] {
            let mut attempts = 0;
            loop {
                let is_own = |found: &[u8]| found == &bytes[..];
                match self.put(&name, PutPayload::from(bytes.clone()), is_own).await {
                    Outcome::Stored if is_first => break,
                    Outcome::Stored => {
                        refused = Some("a second put of the same name succeeded".to_owned());
                        break;
                    }
                    Outcome::Taken(_) if !is_first => break,
                    Outcome::Taken(_) => {
                        refused = Some("it returns bytes that nobody wrote".to_owned());
                        break;
                    }
                    Outcome::Unknown(error) if attempts + 1 == ATTEMPTS => return Err(error),
                    Outcome::Unknown(_) => attempts += 1,
                }
            }
        }
        if refused.is_none() {
            match self.get(&name).await? {
                Found::Bytes(bytes) if bytes == first => {}
                _ => refused = Some("an object that was stored reads differently".to_owned()),
            }
        }
        // What remains of a probe harms nobody.
        drop(self.delete(&name).await);
        match refused {
            None => Ok(()),
            Some(why) => Err(Error::Unsupported {
                file: self.to_string(),
                what: "an object store that does not refuse to overwrite:",
                got: why,
                supported: "those that honour the condition that there is no object of the name".to_owned(),
            }),
        }
    }
}
