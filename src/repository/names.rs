//! The names of objects, and the piece that a name of data says.
//!
//! Owns: how a name is built and read. Never: does I/O.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use crate::backing::check_name;
use crate::error::Error;
use crate::id::Seq;
use crate::repository::sum::Sum;

/// Says that the place is a repository, and of which store.
pub(super) const HEADER: &str = "repository";
/// The lists of the backups.
pub(super) const LISTS: &str = "backups";
/// Pieces of files.
pub(super) const DATA: &str = "data";
/// What is at work.
pub(super) const MARKS: &str = "marks";
/// Names of pieces that were found damaged.
pub(super) const NOTES: &str = "damaged";
/// Of a directory: objects that are being written.
pub(super) const TEMPORARY: &str = "temporary";

pub(super) const FOLDERS: [&str; 5] = [LISTS, DATA, MARKS, NOTES, TEMPORARY];

/// The number of a backup in its repository, from 1. Shown as `b7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(pub u64);

impl Display for BackupId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl FromStr for BackupId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let id = text.strip_prefix('b').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let refused =
            || Error::BadName { what: "backup", name: text.to_owned(), why: "it is a b and a number, as in b7" };
        id.and_then(|digits| digits.parse().ok()).map(Self).ok_or_else(refused)
    }
}

/// A backup, by what people know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest one.
    Newest,
    /// The one with this ID.
    Id(BackupId),
    /// The newest one whose last commit is this.
    Seq(Seq),
}

impl FromStr for At {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.parse() {
            Ok(seq) => Ok(Self::Seq(Seq(seq))),
            Err(_) => text.parse().map(Self::Id),
        }
    }
}

impl BackupId {
    /// The object of its list, in its folder.
    pub(super) fn file(self) -> String {
        format!("{:012}", self.0)
    }

    /// The backup whose list has this name.
    pub(super) fn of_file(name: &str) -> Option<Self> {
        let id = Self(name.parse().ok()?);
        (id.file() == name).then_some(id)
    }

    pub(super) fn object(self) -> String {
        format!("{LISTS}/{}", self.file())
    }
}

/// A range of the bytes of a file, and what it contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Piece {
    pub(super) begin: u64,
    pub(super) bytes: u64,
    pub(super) sum: Sum,
}

impl Piece {
    /// The name of its object, in its folder.
    pub(super) fn name(&self, file: &str) -> String {
        format!("{file}.{}-{}-{}", self.begin, self.bytes, self.sum)
    }

    pub(super) fn object(&self, file: &str) -> String {
        format!("{DATA}/{}", self.name(file))
    }

    /// The file and the piece that a name says.
    pub(super) fn of_name(name: &str) -> Option<(&str, Self)> {
        let (file, piece) = name.rsplit_once('.')?;
        let mut parts = piece.split('-');
        let (begin, bytes, sum) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        let piece = Self { begin, bytes, sum: sum.parse().ok()? };
        (check_name(file).is_ok() && piece.name(file) == name).then_some((file, piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_were_made_of() {
        let piece = Piece { begin: 8 << 20, bytes: 77, sum: Sum::of(b"abc") };
        let name = piece.name("log-000000000012.seg");
        assert_eq!(Piece::of_name(&name), Some(("log-000000000012.seg", piece)));
        for foreign in ["", "a", "a.b", "a.1-2-3", &name.to_uppercase(), &format!("../{name}"), &format!("{name}0")] {
            assert_eq!(Piece::of_name(foreign), None, "{foreign}");
        }
        assert_eq!(BackupId::of_file(&BackupId(7).file()), Some(BackupId(7)));
        assert_eq!(BackupId::of_file("7"), None);
        assert_eq!("b7".parse::<At>().ok(), Some(At::Id(BackupId(7))));
        assert_eq!("7".parse::<At>().ok(), Some(At::Seq(Seq(7))));
        assert!("x7".parse::<At>().is_err() && "b".parse::<At>().is_err() && "b+7".parse::<At>().is_err());
    }
}
