//! Past states, as the command line names them.
//!
//! Owns: parsing such names. Digits may be the number or the name of a snapshot; the name takes precedence.

use tenure::{Point, Seq, SnapshotInfo};

/// The option of commands that read.
#[derive(Debug, Clone, clap::Args)]
pub struct At {
    /// Read a past state: snapshot:NAME, snapshot:NUMBER, mark:NAME or seq:N
    #[arg(long = "at", value_name = "POINT", value_parser = read)]
    pub past: Option<Past>,
}

/// A past state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// A saved snapshot, by its name or number.
    Snapshot(String),
    Mark(String),
    Seq(u64),
}

impl Past {
    /// The possible meanings, the most likely first.
    pub fn points(&self) -> Vec<Point> {
        match self {
            Self::Snapshot(text) => {
                let number = text.parse().ok().map(Point::Snapshot);
                std::iter::once(Point::Name(text.clone())).chain(number).collect()
            }
            Self::Mark(name) => vec![Point::Mark(name.clone())],
            Self::Seq(seq) => vec![Point::Seq(Seq(*seq))],
        }
    }

    /// The meaning, given the snapshots that are kept.
    pub fn among(&self, snapshots: &[SnapshotInfo]) -> Option<Point> {
        let mut points = self.points();
        let is_there = |point: &Point| {
            snapshots.iter().any(|snapshot| match point {
                Point::Name(name) => snapshot.name.as_ref() == Some(name),
                Point::Snapshot(number) => snapshot.number == *number,
                Point::Mark(_) | Point::Seq(_) => true,
            })
        };
        let at = points.iter().position(is_there).unwrap_or(0);
        (at < points.len()).then(|| points.swap_remove(at))
    }
}

/// Parses `snapshot:NAME` and the like.
fn read(text: &str) -> Result<Past, String> {
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    let past = match kind {
        _ if name.is_empty() => None,
        "snapshot" => Some(Past::Snapshot(name.to_owned())),
        "mark" => Some(Past::Mark(name.to_owned())),
        "seq" => name.parse().ok().map(Past::Seq),
        _ => None,
    };
    past.ok_or_else(|| "write it as snapshot:NAME, snapshot:NUMBER, mark:NAME or seq:N".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use tenure::SnapshotKind;

    use super::*;

    #[test]
    fn states_are_read() {
        assert_eq!(read("snapshot:a:b"), Ok(Past::Snapshot("a:b".to_owned())));
        assert_eq!(read("mark:a"), Ok(Past::Mark("a".to_owned())));
        assert_eq!(read("seq:7"), Ok(Past::Seq(7)));
        for text in ["", "a", "snapshot", "snapshot:", "mark:", "seq:", "seq:x", "seq:-1", "commit:7"] {
            assert!(read(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn a_name_of_digits_counts_before_a_number() {
        let (seq, time) = (Seq(1), UNIX_EPOCH);
        let info = |number, name: Option<&str>| SnapshotInfo {
            number,
            name: name.map(str::to_owned),
            kind: SnapshotKind::Named,
            seq,
            time,
            pages_written: 0,
            bytes_written: 0,
        };
        let kept = [info(7, None), info(8, Some("9")), info(9, None)];
        let among = |text: &str| Past::Snapshot(text.to_owned()).among(&kept);
        assert_eq!(among("7"), Some(Point::Snapshot(7)));
        assert_eq!(among("9"), Some(Point::Name("9".to_owned())));
        assert_eq!(among("x"), Some(Point::Name("x".to_owned())));
        assert_eq!(Past::Seq(3).among(&[]), Some(Point::Seq(Seq(3))));
    }
}
