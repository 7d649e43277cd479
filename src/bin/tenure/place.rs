//! Where a store is: a directory, or with the feature `remote` a bucket that a URL names.
//!
//! Owns: telling them apart, and refusing what cannot be done in a bucket. Never: prints a URL that was not accepted: it may have a secret.

use std::path::Path;
use std::sync::Arc;

use tenure::backing::Backing;

use crate::failure::{Exit, Failure, Outcome};

/// The URL that a place is, if it is one.
pub fn url(place: &Path) -> Option<&str> {
    let text = place.to_str()?;
    let (scheme, _) = text.split_once("://")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(allowed);
    is_scheme.then_some(text)
}

/// The scheme of a URL, which has no secret.
fn shown(url: &str) -> String {
    format!("{}://…", url.split("://").next().unwrap_or_default())
}

/// Fails if this is a bucket: a command would write to it.
pub fn local(place: &Path) -> Outcome {
    let Some(url) = url(place) else { return Ok(()) };
    let message = format!("{} is a bucket, and this command needs a directory", shown(url));
    let help = "copy the bucket into a directory with `tenure remote open`, or take it over with `tenure remote takeover`, and name that";
    Err(Failure::new(Exit::Usage, message, help))
}

/// The newest state of the bucket, if the place is one.
#[cfg(feature = "remote")]
pub fn bucket(place: &Path) -> Outcome<Option<Arc<dyn Backing>>> {
    let Some(url) = url(place) else { return Ok(None) };
    Ok(Some(Arc::new(tenure::remote::Bucket::existing(url)?.view(None)?)))
}

#[cfg(not(feature = "remote"))]
pub fn bucket(place: &Path) -> Outcome<Option<Arc<dyn Backing>>> {
    let Some(url) = url(place) else { return Ok(None) };
    let message = format!("{} is a bucket, which this program cannot read", shown(url));
    Err(Failure::new(Exit::Usage, message, "use a program that was built with the feature `remote`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        for text in ["s3://bucket/things", "file:///things", "memory:///", "a+b-c.1://x"] {
            assert_eq!(url(Path::new(text)), Some(text));
        }
        for text in ["things.tenure", "/a/b", "s3:/bucket", "://x", "1s://x", "a b://x", "./a://x"] {
            assert_eq!(url(Path::new(text)), None, "{text}");
        }
    }

    #[test]
    fn a_refusal_shows_no_secret() {
        let refused = format!("{:?}", local(Path::new("s3://key:secret@bucket/x")).unwrap_err());
        assert!(refused.contains("s3://…") && !refused.contains("secret"), "{refused}");
        assert!(local(Path::new("things.tenure")).is_ok());
    }
}
