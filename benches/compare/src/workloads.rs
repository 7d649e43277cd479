//! The workloads: what they are called, how they are measured, what is asked of Tenure.
//!
//! Owns: the table of names and bars. Never: runs anything.

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Operations a second: more is better.
    Rate,
    /// Less is better, and so are all below.
    Millis,
    Mebibytes,
    Micros,
    Bytes,
    /// Bytes for each byte of a user.
    Factor,
}

impl Unit {
    pub fn is_more_better(self) -> bool {
        self == Self::Rate
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Rate => "a second",
            Self::Millis => "ms",
            Self::Mebibytes => "MiB",
            Self::Micros => "µs",
            Self::Bytes => "bytes",
            Self::Factor => "bytes a user byte",
        }
    }
}

/// What is asked of Tenure: `must` it has to reach, `aim` it should.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    None,
    /// A ratio to the best other engine, above 1 where Tenure is better.
    Ratio {
        must: f64,
        aim: f64,
    },
    /// A figure, whatever others have.
    AtMost {
        must: f64,
        aim: f64,
    },
}

/// A part of the work that has a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Phase {
    /// A load without indexes.
    Plain,
    /// A load with both indexes, then questions. Leaves the store for the next three.
    Reads,
    OpenClosed,
    /// Commits that are only in the log. Waits to be killed.
    Tail,
    OpenKilled,
    Writes,
    Space,
    /// A load with both indexes. Leaves the store for the next one.
    Stored,
    /// Questions and updates with memory for a quarter of the data.
    Cold,
    /// The hardware, without any engine.
    Hardware,
    /// A few commits for a trace of system calls.
    Syncs,
}

pub struct Workload {
    pub name: &'static str,
    pub title: &'static str,
    pub phase: Phase,
    pub unit: Unit,
    pub bar: Bar,
}

const fn rate(name: &'static str, title: &'static str, phase: Phase, bar: Bar) -> Workload {
    Workload { name, title, phase, unit: Unit::Rate, bar }
}

const fn ratio(must: f64, aim: f64) -> Bar {
    Bar::Ratio { must, aim }
}

use Phase::{Cold, OpenClosed, OpenKilled, Plain, Reads, Space, Writes};

/// All of them, in the order of the report.
pub const ALL: &[Workload] = &[
    rate("load", "load, no index, batches of 1,000", Plain, ratio(1.1, 1.4)),
    rate("load-indexed", "load with both indexes, batches of 1,000", Reads, ratio(2.5, 3.5)),
    rate("get-view", "get uniform, a view for 100 gets", Reads, ratio(2.0, 2.5)),
    rate("get", "get uniform, one-shot", Reads, ratio(2.2, 3.0)),
    rate("get-2", "get uniform, one-shot, 2 threads", Reads, Bar::None),
    rate("get-zipf", "get Zipfian, one-shot", Reads, Bar::None),
    rate("get-zipf-2", "get Zipfian, one-shot, 2 threads", Reads, ratio(1.8, 2.2)),
    rate("key", "unique key → record, a view for 100", Reads, ratio(1.25, 1.6)),
    rate("range", "range of 100 on the other index, with records", Reads, ratio(2.5, 3.4)),
    rate("walk", "walk over references, records", Reads, ratio(1.45, 1.9)),
    rate("scan", "full scan, records", Reads, ratio(1.1, 1.6)),
    rate("update", "update of payload, batches of 100", Writes, ratio(2.5, 4.0)),
    rate("update-key", "update with a key change, batches of 100", Writes, ratio(2.0, 4.0)),
    rate("ycsb-a", "YCSB A (half updates), 2 threads", Writes, ratio(1.8, 2.5)),
    rate("ycsb-b", "YCSB B (5 % updates), 2 threads", Writes, ratio(2.5, 5.0)),
    rate("ycsb-a-view", "YCSB A, 2 threads, a view for each read", Writes, ratio(1.5, 2.5)),
    rate("ycsb-b-view", "YCSB B, 2 threads, a view for each read", Writes, ratio(2.0, 4.0)),
    rate("ycsb-f", "YCSB F (half read and changed in one transaction), 2 threads", Writes, ratio(1.5, 2.5)),
    rate("delete", "deletes with both indexes, batches of 1,000", Writes, ratio(2.0, 4.0)),
    rate("commit-1", "durable commit of one update, 1 thread", Writes, ratio(1.0, 1.2)),
    rate("commit-8", "durable commits of one update, 8 threads", Writes, ratio(1.0, 1.3)),
    Workload {
        name: "write-amplification",
        title: "bytes written, uniform payload updates, steady state",
        phase: Space,
        unit: Unit::Factor,
        bar: Bar::AtMost { must: 2.3, aim: 1.9 },
    },
    Workload {
        name: "space-amplification",
        title: "space after these updates",
        phase: Space,
        unit: Unit::Factor,
        bar: Bar::AtMost { must: 1.6, aim: 1.6 },
    },
    Workload {
        name: "open-closed",
        title: "open after close, and one get",
        phase: OpenClosed,
        unit: Unit::Millis,
        bar: Bar::None,
    },
    Workload {
        name: "open-killed",
        title: "open after `kill -9`, tail of 64 MiB, two indexes",
        phase: OpenKilled,
        unit: Unit::Millis,
        bar: Bar::AtMost { must: 600.0, aim: 150.0 },
    },
    Workload {
        name: "memory",
        title: "heap after the load with both indexes, pages clean",
        phase: Reads,
        unit: Unit::Mebibytes,
        bar: Bar::AtMost { must: 64.0, aim: 20.0 },
    },
    rate("cold-get", "get uniform, one-shot, memory a quarter of the data", Cold, ratio(1.5, 2.5)),
    Workload {
        name: "cold-get-read",
        title: "the same: read from the device for each",
        phase: Cold,
        unit: Unit::Bytes,
        bar: Bar::AtMost { must: 8192.0, aim: 8192.0 },
    },
    rate("cold-get-zipf", "get Zipfian, one-shot, memory a quarter of the data", Cold, Bar::None),
    rate("cold-key", "unique key → record, a view for each, memory a quarter of the data", Cold, Bar::None),
    rate("cold-update", "update of payload, batches of 100, memory a quarter of the data", Cold, Bar::None),
    rate("append", "plain append of the same bytes, batches of 1,000", Phase::Hardware, Bar::None),
    Workload {
        name: "sync-append",
        title: "append of one record and `fdatasync`, median",
        phase: Phase::Hardware,
        unit: Unit::Micros,
        bar: Bar::None,
    },
    Workload {
        name: "sync-written",
        title: "one record into written extents and `fdatasync`, median",
        phase: Phase::Hardware,
        unit: Unit::Micros,
        bar: Bar::None,
    },
];

/// Whether a workload was asked for: by its name, or by what its name begins with.
pub fn is_wanted(only: &[String], name: &str) -> bool {
    let begins = |asked: &String| name.strip_prefix(asked.as_str()).is_some_and(|rest| rest.starts_with('-'));
    only.is_empty() || only.iter().any(|asked| asked == name || begins(asked))
}

/// Whether any workload of a phase was asked for.
pub fn is_phase_wanted(only: &[String], phase: Phase) -> bool {
    ALL.iter().any(|workload| workload.phase == phase && is_wanted(only, workload.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_those_that_begin_with_it() {
        let only = ["get".to_owned(), "open".to_owned()];
        assert!(is_wanted(&only, "get") && is_wanted(&only, "get-zipf-2") && is_wanted(&only, "open-killed"));
        assert!(!is_wanted(&only, "load") && !is_wanted(&only, "getter"));
        assert!(is_phase_wanted(&only, Phase::Reads) && !is_phase_wanted(&only, Phase::Space));
        assert!(is_wanted(&[], "load"));
    }
}
