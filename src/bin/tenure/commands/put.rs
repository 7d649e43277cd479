//! `tenure put`: a new record.
//!
//! Owns: where the value of a record comes from; `update` uses the same code. Never: reads a whole file or stdin into
//! memory; they are streamed.

use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::path::PathBuf;

use serde_json::json;
use tenure::Durability;

use crate::context::{Context, check_set_name};
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::{ending, process};

const EXAMPLES: &str = "\
Examples:
  tenure put things.tenure --set notes 'remember the milk'
  tenure put things.tenure --set photos --file photo.jpg
  curl -s https://example.org/ | tenure put things.tenure --set pages -";

/// Store a new record and print its ID
///
/// The store and the set are created if they do not exist. A file or stdin may be of any size.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "tenure put [OPTIONS] --set <NAME> <STORE> <VALUE|--file <FILE>>")]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The set to store the record in
    #[arg(long, value_name = "NAME")]
    set: String,
    #[command(flatten)]
    value: ValueArgs,
}

/// The source of a value.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct ValueArgs {
    /// The value; - is stdin
    value: Option<String>,
    /// The file with the value
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// An opened source.
pub enum Given {
    Bytes(Vec<u8>),
    Stream(Box<dyn Read>),
}

impl ValueArgs {
    /// Opens the file, so that a missing file is found before the store is touched.
    pub fn open(&self) -> Outcome<Given> {
        match (&self.file, self.value.as_deref()) {
            (Some(path), _) => {
                let name = path.display().to_string();
                let cannot = |error| Failure::input("open", &name, &error);
                let file = OpenOptions::new().read(true).open(path).map_err(cannot)?;
                if file.metadata().map_err(cannot)?.is_dir() {
                    return Err(cannot(io::Error::from(io::ErrorKind::IsADirectory)));
                }
                Ok(Given::Stream(Box::new(file)))
            }
            (None, Some("-")) => Ok(Given::Stream(Box::new(process::stdin()?))),
            (None, value) => Ok(Given::Bytes(value.unwrap_or_default().as_bytes().to_vec())),
        }
    }
}

/// Puts.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut out = Output::stdout()?;
    check_set_name(&args.set)?;
    let value = args.value.open()?;
    let store = context.open_or_create(&args.store, Durability::Sync)?;
    let set = store.record_set(&args.set)?;
    let mut transaction = store.begin()?;
    let id = match value {
        Given::Bytes(bytes) => transaction.insert(&set, bytes)?,
        Given::Stream(mut reader) => transaction.insert_staged(&set, &store.stage(&mut reader)?)?,
    };
    let seq = ending::committed(transaction.commit_with(Durability::Sync), || {
        format!("run `tenure get {} {id}`: it prints the record if it is stored", args.store.display())
    })?;
    ending::finish(store, &format!("record {id} is stored"), || {
        if context.json {
            out.json(&json!({ "id": id.to_string(), "seq": seq.0 }))?;
        } else {
            out.line(&id.to_string())?;
        }
        out.finish()
    })
}
