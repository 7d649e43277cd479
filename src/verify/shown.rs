//! The findings of a verification as text.
//!
//! Owns: the lines. Never: decides what is a problem.

use std::fmt;

use crate::verify::{Problem, VerifyReport};

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, what, .. } = self;
        if what.contains(file.as_str()) { f.write_str(what) } else { write!(f, "{file} at byte {offset}: {what}") }
    }
}

/// Several lines: what was checked, each problem, and the verdict.
impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, pages, indexes, files, .. } = self;
        writeln!(f, "checked: {records} records, {pages} pages, {indexes} key indexes in {files} files")?;
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        for not in &self.indexes_not_compared {
            writeln!(f, "not compared with its records: index {:?}, because {}", not.index, not.why)?;
        }
        match self.problems.len() {
            0 => f.write_str("no problem found"),
            1 => f.write_str("1 problem found"),
            more => write!(f, "{more} problems found"),
        }
    }
}
