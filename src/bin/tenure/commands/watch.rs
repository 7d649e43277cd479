//! `tenure watch`: the states of a store that another program writes, as they come.
//!
//! Owns: when it ends. Never: writes to the store, or takes its lock.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tenure::{Follower, Options, Seq};

use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, note};
use crate::units;

/// How long one wait for the next commit lasts.
const WAIT: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  tenure watch things.tenure --until 1
  tenure watch things.tenure --for 1s --json";

/// Follow a store that another program writes, and print each new state
///
/// Each line is the state of a commit: its number, the time at which it was seen, and the number of records. Commits that come together
/// are one line. Beside a store, a bucket can be named by its URL. Without --until and --for it runs until it is interrupted.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The store
    store: PathBuf,
    /// End once this commit is there
    #[arg(long, value_name = "SEQ")]
    until: Option<u64>,
    /// End after this time: then it is a failure if the commit of --until is not there
    #[arg(long = "for", value_name = "TIME", value_parser = units::parse_time)]
    within: Option<Duration>,
    /// How often to look, at least every 10ms
    #[arg(long, value_name = "TIME", value_parser = units::parse_time)]
    interval: Option<Duration>,
}

/// Watches.
pub fn run(context: &Context, args: &Args) -> Outcome {
    let mut out = Output::stdout()?;
    let began = SystemTime::now();
    let follower = Options::new().follow_interval(args.interval).follow(&args.store)?;
    let mut shown = None;
    let mut problem = None;
    loop {
        let view = follower.view();
        if shown != Some(view.seq()) {
            shown = Some(view.seq());
            drop(view);
            print(context, &mut out, &follower)?;
        }
        if args.until.is_some_and(|until| shown.is_some_and(|seq| seq.0 >= until)) {
            return out.finish();
        }
        let left = args.within.map(|within| within.saturating_sub(began.elapsed().unwrap_or_default()));
        if left.is_some_and(|left| left.is_zero()) {
            out.finish()?;
            return match args.until {
                None => Ok(()),
                Some(until) => Err(late(until)),
            };
        }
        let next = shown.unwrap_or_default().next();
        follower.wait_for(next, left.unwrap_or(WAIT).min(WAIT))?;
        let error = follower.progress().error;
        if error != problem {
            problem = error;
            if let Some(problem) = &problem {
                note(&format!("note: {problem}; trying again"));
            }
        }
    }
}

fn late(until: u64) -> Failure {
    let message = format!("commit {until} did not come in time");
    Failure::new(Exit::Failed, message, "see whether the writer is at work, or wait longer with --for")
}

fn print(context: &Context, out: &mut Output, follower: &Follower) -> Outcome {
    let stats = follower.stats();
    let Seq(seq) = stats.last_seq;
    let time = units::moment(SystemTime::now());
    if context.json {
        out.json(
            &json!({ "seq": seq, "time": time, "records": stats.records, "reloads": follower.progress().reloads }),
        )?;
    } else {
        out.line(&format!("{time}  commit {seq}: {}", units::counted(stats.records, "record")))?;
    }
    out.flush()
}
