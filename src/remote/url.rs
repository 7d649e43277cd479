//! URLs of buckets.
//!
//! Owns: which object store a URL names. Never: takes a secret from a URL, or shows one.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use crate::error::{Error, Result};
use crate::remote::bucket::Bucket;
use crate::remote::home::Home;

/// Few, because the uploader repeats what fails.
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

fn refused(url: &str, why: impl Into<String>) -> Error {
    Error::NotAStore { path: url.to_owned(), why: why.into() }
}

/// What of a URL is certainly no secret.
fn hidden(url: &str) -> String {
    let is_scheme = |scheme: &&str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    match url.split_once("://").map(|(scheme, _)| scheme).filter(is_scheme) {
        Some(scheme) => format!("{scheme}://…"),
        None => "the URL".to_owned(),
    }
}

impl Bucket {
    /// The bucket that a URL names: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, `file:///DIRECTORY`,
    /// which is made if it is not there, or `memory:///PREFIX`, which is a new one each time.
    ///
    /// Credentials, regions and endpoints come from the environment, in the variables of each provider (`AWS_ACCESS_KEY_ID`,
    /// `AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_KEY`, …), or from the provider's own chain.
    ///
    /// # Errors
    /// `NotAStore` if it is not such a URL, or what it needs is missing from the environment; `Io` if its directory cannot be opened.
    pub fn at(url: &str) -> Result<Self> {
        Self::of(url, true)
    }

    /// Like [`at`](Self::at), for those who only read: a directory is not made.
    ///
    /// # Errors
    /// As `at`, and `NotAStore` if there is no such directory.
    pub fn existing(url: &str) -> Result<Self> {
        Self::of(url, false)
    }

    fn of(url: &str, makes_directory: bool) -> Result<Self> {
        // What may be a secret is not shown, and becomes no one's name.
        let hidden = hidden(url);
        let parsed = Url::parse(url).map_err(|error| refused(&hidden, format!("it is not a URL: {error}")))?;
        let has_user = !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some();
        if has_user || parsed.scheme() != "file" && url.contains('@') {
            return Err(refused(
                &hidden,
                "a URL must not have credentials; set them in the environment, and write an @ of the prefix as %40",
            ));
        }
        // A key that is followed by a secret looks like the name of a bucket with a port.
        if !parsed.scheme().starts_with("http") && parsed.port().is_some() {
            return Err(refused(&hidden, "a bucket has no port; set the endpoint in the environment"));
        }
        if parsed.fragment().is_some() {
            return Err(refused(&hidden, "a # would end the prefix; write %23"));
        }
        let unknown = |_| refused(&hidden, "it names no object store: use s3, gs, az, file or memory");
        let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(unknown)?;
        let is_missing = || matches!(directory_of(&parsed).try_exists(), Ok(false));
        if scheme == ObjectStoreScheme::Local && !makes_directory && is_missing() {
            return Err(refused(url, "there is no such directory"));
        }
        let store = store_of(&scheme, &parsed).map_err(|error| refused(url, error.to_string()))?;
        if scheme != ObjectStoreScheme::Local {
            return Self::shown(store, prefix, url.to_owned(), None);
        }
        let directory = directory_of(&parsed);
        let home =
            Home::open(&directory).map_err(|source| Error::io("open", directory.display().to_string(), source))?;
        Self::shown(store, "".into(), url.to_owned(), Some(home))
    }
}

fn directory_of(url: &Url) -> PathBuf {
    url.to_file_path().unwrap_or_else(|()| FilePath::new(url.path()).to_owned())
}

fn store_of(scheme: &ObjectStoreScheme, url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    Ok(match scheme {
        ObjectStoreScheme::Memory => Arc::new(InMemory::new()),
        ObjectStoreScheme::Local => {
            let directory = directory_of(url);
            let unusable = |source| object_store::Error::Generic { store: "file", source: Box::new(source) };
            std::fs::create_dir_all(&directory).map_err(unusable)?;
            Arc::new(LocalFileSystem::new_with_prefix(directory)?.with_fsync(true))
        }
        ObjectStoreScheme::AmazonS3 => {
            Arc::new(AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retry).build()?)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            Arc::new(GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).with_retry(retry).build()?)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            Arc::new(MicrosoftAzureBuilder::from_env().with_url(url.as_str()).with_retry(retry).build()?)
        }
        other => {
            let source = format!("{other:?} is not supported: use s3, gs, az, file or memory").into();
            return Err(object_store::Error::Generic { store: "URL", source });
        }
    })
}
