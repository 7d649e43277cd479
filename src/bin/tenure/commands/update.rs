//! `tenure update`: a new value for a record.
//!
//! Owns: only its arguments; `put` finds the value.

use std::path::PathBuf;

use serde_json::json;
use tenure::{Durability, Error, RecordId, Seq};

use crate::commands::put::{Given, ValueArgs};
use crate::context::Context;
use crate::ending;
use crate::failure::Outcome;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  tenure update things.tenure 0.1 'remember the bread'
  tenure update things.tenure 7.1 --file photo.jpg
  tenure update things.tenure 0.1 --if-seq 42 'only if unchanged'";

/// Update a record and print its new version
///
/// The record keeps its ID and its set.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "tenure update [OPTIONS] <STORE> <ID> <VALUE|--file <FILE>>")]
pub struct Args {
    /// The store
    store: PathBuf,
    /// The record
    id: RecordId,
    #[command(flatten)]
    value: ValueArgs,
    /// Update only if the record has this version
    #[arg(long, value_name = "SEQ")]
    if_seq: Option<u64>,
}

/// Updates.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut out = Output::stdout()?;
    let value = args.value.open()?;
    let store = context.open_to_write(&args.store)?;
    let (id, expected) = (args.id, args.if_seq.map(Seq));
    let mut transaction = store.begin()?;
    match (value, expected) {
        (Given::Bytes(bytes), None) => transaction.update(id, bytes)?,
        (Given::Bytes(bytes), Some(expected)) => transaction.update_if(id, expected, bytes)?,
        (Given::Stream(mut reader), expected) => {
            // The transaction has read the version, so a commit in between would be a conflict.
            let got = transaction.get(id)?.seq();
            if let Some(expected) = expected.filter(|&expected| expected != got) {
                return Err(Error::VersionMismatch { id, expected, got }.into());
            }
            transaction.update_staged(id, &store.stage(&mut reader)?)?;
        }
    }
    let seq = ending::committed(transaction.commit_with(Durability::Sync), || {
        format!("run `tenure get {} {id}`: it prints the new value if it is stored", args.store.display())
    })?;
    ending::finish(store, &format!("version {seq} of record {id} is stored"), || {
        if context.json {
            out.json(&json!({ "id": id.to_string(), "seq": seq.0 }))?;
        } else {
            out.line(&format!("updated {id}, version {seq}"))?;
        }
        out.finish()
    })
}
