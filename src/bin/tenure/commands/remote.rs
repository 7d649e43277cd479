//! `tenure remote`: a store and its bucket.
//!
//! Invariants: 1. No secret is an argument, and none is printed. 2. Only `takeover` fences another writer, or begins in a directory
//! that has no store: a wrong name must not shut out the right one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;
use tenure::backing::{Backing, Files};
use tenure::remote::{Bucket, LogPoint, Remote, RemoteOptions};
use tenure::{Error, Options, Store};

use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Output;
use crate::{place, units};

const EXAMPLES: &str = "\
Examples:
  tenure remote init things.tenure s3://bucket/things
  tenure remote status s3://bucket/things
  tenure remote open s3://bucket/things elsewhere.tenure
  tenure remote open s3://bucket/things earlier.tenure --at 1-1
  tenure remote gc things.tenure s3://bucket/things
  tenure remote takeover s3://bucket/things there.tenure

Credentials, regions and endpoints come from the environment, in the variables of each provider, or from the provider's own chain.";

const INIT: &str = "\
Examples:
  tenure remote init things.tenure s3://bucket/things";

const STATUS: &str = "\
Examples:
  tenure remote status s3://bucket/things
  tenure remote status s3://bucket/things --json | jq -r .newest";

const OPEN: &str = "\
Examples:
  tenure remote open s3://bucket/things elsewhere.tenure
  tenure remote open s3://bucket/things earlier.tenure --at 1-1";

const TAKEOVER: &str = "\
Examples:
  tenure remote takeover s3://bucket/things there.tenure";

const GC: &str = "\
Examples:
  tenure remote gc things.tenure s3://bucket/things";

/// Keep a store in a bucket of an object store
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Init(Init),
    Status(Status),
    Open(Open),
    Takeover(Takeover),
    Gc(Gc),
}

/// Upload a store to an empty bucket, or to its own what that lacks
#[derive(Debug, clap::Args)]
#[command(after_help = INIT)]
struct Init {
    /// The store
    store: PathBuf,
    /// The bucket
    url: String,
}

/// Delete objects that only states older than the retention need
///
/// The retention is 24 hours. The store is opened for writing, so that its bucket first gets what it lacks.
#[derive(Debug, clap::Args)]
#[command(after_help = GC)]
struct Gc {
    /// The store
    store: PathBuf,
    /// The bucket
    url: String,
}

/// Show what a bucket holds
///
/// The state is written EPOCH-NUMBER, as `open --at` takes it.
#[derive(Debug, clap::Args)]
#[command(after_help = STATUS)]
struct Status {
    /// The bucket
    url: String,
}

/// Copy a state of a bucket into a new directory
///
/// The copy is a store of its own. A writer may be at work in the bucket, which does not change.
#[derive(Debug, clap::Args)]
#[command(after_help = OPEN)]
struct Open {
    /// The bucket
    url: String,
    /// The new directory
    store: PathBuf,
    /// The state, as `status` shows it. Default: the newest
    #[arg(long, value_name = "EPOCH-NUMBER")]
    at: Option<LogPoint>,
}

/// Take a bucket over from its writer, into a new directory
///
/// The old writer, if it lives, stops with an error at its next upload.
#[derive(Debug, clap::Args)]
#[command(after_help = TAKEOVER)]
struct Takeover {
    /// The bucket
    url: String,
    /// The new directory
    store: PathBuf,
}

/// Runs the subcommand.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let store = match &args.what {
        What::Init(args) => Some(&args.store),
        What::Gc(args) => Some(&args.store),
        What::Open(args) => Some(&args.store),
        What::Takeover(args) => Some(&args.store),
        What::Status(_) => None,
    };
    // A URL in its place may have a secret.
    store.map_or(Ok(()), |store| place::local(store))?;
    match &args.what {
        What::Init(args) => init(context, args),
        What::Status(args) => status(context, &args.url),
        What::Open(args) => open(context, args),
        What::Takeover(args) => take_over(context, args),
        What::Gc(args) => gc(context, args),
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    |source| Error::Io { action: "open", file: path.display().to_string(), source }
}

/// A directory, which is created if it is not there.
fn new_files(path: &Path) -> Result<Files, Error> {
    match Files::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Files::create(path).map_err(failed(path)),
        other => other.map_err(failed(path)),
    }
}

/// The directory of a store.
fn files_of_a_store(path: &Path) -> Result<Files, Error> {
    let none = |why: &str| Error::NotAStore { path: path.display().to_string(), why: why.to_owned() };
    let files = match Files::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none("there is no such directory")),
        other => other.map_err(failed(path))?,
    };
    let names = files.list().map_err(failed(path))?;
    if names.iter().any(|name| name.starts_with("manifest-")) { Ok(files) } else { Err(none("it contains no store")) }
}

fn shipped(files: Files, bucket: Bucket, options: RemoteOptions) -> Result<(Arc<Remote>, Store), Error> {
    let remote = Arc::new(Remote::new(Arc::new(files), bucket, options));
    let options = Options::new().create(false).background(false);
    let store = options.open_backing(Arc::clone(&remote) as Arc<dyn Backing>)?;
    Ok((remote, store))
}

fn is_empty(url: &str) -> Error {
    Error::NotAStore { path: url.to_owned(), why: "the bucket is empty".to_owned() }
}

/// Waits until the bucket has everything, closes, and shows what it holds.
fn finish(context: &Context, store: Store, url: &str) -> Outcome {
    store.wait_remote(store.last_seq())?;
    store.close()?;
    status(context, url)
}

fn init(context: &Context, args: &Init) -> Outcome {
    let (_, store) = shipped(files_of_a_store(&args.store)?, Bucket::at(&args.url)?, RemoteOptions::new())?;
    finish(context, store, &args.url)
}

fn take_over(context: &Context, args: &Takeover) -> Outcome {
    let bucket = Bucket::existing(&args.url)?;
    // One whose first upload was interrupted has an epoch, and no files.
    if bucket.status()?.is_none_or(|status| status.files == 0) {
        return Err(is_empty(&args.url).into());
    }
    let (_, store) = shipped(new_files(&args.store)?, bucket, RemoteOptions::new().take_over(true))?;
    finish(context, store, &args.url)
}

fn status(context: &Context, url: &str) -> Outcome {
    let mut out = Output::stdout()?;
    let status = Bucket::existing(url)?.status()?.ok_or_else(|| is_empty(url))?;
    if context.json {
        out.json(&json!({
            "newest": status.newest.to_string(),
            "sealed": status.is_sealed,
            "base": status.base.map(|base| base.to_string()),
            "files": status.files,
            "bytes": status.bytes,
        }))?;
    } else {
        let writer = if status.is_sealed { "no writer" } else { "a writer may be at work" };
        let size = format!("{}, {}", units::counted(status.files, "file"), units::bytes(status.bytes));
        out.line(&format!("state {}: {size}; {writer}", status.newest))?;
    }
    out.finish()
}

fn open(context: &Context, args: &Open) -> Outcome {
    let mut out = Output::stdout()?;
    let bucket = Bucket::existing(&args.url)?;
    let is_new = !args.store.exists();
    let copied = bucket.restore(args.at, &new_files(&args.store)?);
    if copied.is_err() && is_new {
        // Only if nothing was copied: otherwise it is not empty, and stays.
        drop(std::fs::remove_dir(&args.store));
    }
    let point = copied?;
    if context.json {
        out.json(&json!({ "state": point.to_string(), "store": args.store.display().to_string() }))?;
    } else {
        out.line(&format!("state {point} copied to {}", args.store.display()))?;
    }
    out.finish()
}

fn gc(context: &Context, args: &Gc) -> Outcome {
    let mut out = Output::stdout()?;
    let bucket = Bucket::at(&args.url)?;
    let (remote, store) = shipped(files_of_a_store(&args.store)?, bucket, RemoteOptions::new().prune_every(None))?;
    let pruned = remote.prune()?;
    store.close()?;
    if context.json {
        out.json(&json!({ "objects": pruned.objects, "bytes": pruned.bytes }))?;
    } else {
        out.line(&format!("{}, {} deleted", units::counted(pruned.objects, "object"), units::bytes(pruned.bytes)))?;
    }
    out.finish()
}
