//! The names of objects.
//!
//! Owns: how a name is built and read. Never: does I/O.

use object_store::path::Path;

use crate::remote::object::LogPoint;

/// Digits of a number in a name. One with more is never reached.
const DIGITS: usize = 16;

/// The names below a prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// As it was given.
    given: Path,
    /// As all names have it: what object stores advise against is escaped, also in what was escaped before. Objects are where they always
    /// were.
    prefix: Path,
}

impl Names {
    pub(super) fn new(given: Path) -> Self {
        let prefix = Path::from(given.as_ref());
        Self { given, prefix }
    }

    /// The prefix of all names, and the one that was given, if that is another.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.prefix).chain((self.given != self.prefix).then_some(&self.given))
    }

    /// A name of parts that have nothing to escape.
    pub(super) fn below(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), Path::join)
    }

    pub(super) fn epochs(&self) -> Path {
        self.below("epoch")
    }

    pub(super) fn epoch(&self, epoch: u64) -> Path {
        self.below(&format!("epoch/{epoch:016}"))
    }

    pub(super) fn logs(&self) -> Path {
        self.below("log")
    }

    pub(super) fn logs_of(&self, epoch: u64) -> Path {
        self.below(&format!("log/{epoch:016}"))
    }

    pub(super) fn log(&self, at: LogPoint) -> Path {
        self.below(&format!("log/{:016}/{:016}", at.epoch, at.number))
    }

    pub(super) fn bases(&self) -> Path {
        self.below("base")
    }

    pub(super) fn base(&self, at: LogPoint) -> Path {
        self.below(&format!("base/{:016}-{:016}", at.epoch, at.number))
    }

    pub(super) fn all_cleared(&self) -> Path {
        self.below("cleared")
    }

    pub(super) fn cleared(&self, at: LogPoint) -> Path {
        self.below(&format!("cleared/{:016}-{:016}", at.epoch, at.number))
    }

    pub(super) fn all_data(&self) -> Path {
        self.below("data")
    }

    pub(super) fn data(&self, file: &str, at: LogPoint, begin: u64) -> Path {
        self.below(&format!("data/{file}.{:016}-{:016}/{begin:016}", at.epoch, at.number))
    }

    pub(super) fn probe(&self, nonce: &str) -> Path {
        self.below(&format!("probe/{nonce}"))
    }

    /// The last parts of a name, if it has as many below the prefix. Another bucket's prefix may be below this one: its names are longer.
    fn parts<'p, const COUNT: usize>(&self, path: &'p Path) -> Option<[&'p str; COUNT]> {
        let own = self.prefix.parts_count();
        let parts: Vec<&str> = path.as_ref().split('/').skip(own).collect();
        parts.try_into().ok()
    }

    /// The number of an epoch in the name of its object.
    pub(super) fn epoch_in(&self, path: &Path) -> Option<u64> {
        self.parts(path).and_then(|[_, epoch]| digits(epoch))
    }

    /// The point in the name of a log object.
    pub(super) fn log_in(&self, path: &Path) -> Option<LogPoint> {
        let [_, epoch, number] = self.parts(path)?;
        Some(LogPoint { epoch: digits(epoch)?, number: digits(number)? })
    }

    /// The point in the name of a base.
    pub(super) fn base_in(&self, path: &Path) -> Option<LogPoint> {
        self.parts(path).and_then(|[_, at]| point(at))
    }

    /// The point in the name of a mark.
    pub(super) fn cleared_in(&self, path: &Path) -> Option<LogPoint> {
        self.base_in(path)
    }

    /// The point in the name of a data object.
    pub(super) fn data_in(&self, path: &Path) -> Option<LogPoint> {
        let [_, file, begin] = self.parts(path)?;
        digits(begin)?;
        point(file.rsplit_once('.')?.1)
    }
}

/// A number as names have it. Nothing else is one: an object of another program is none of the store's.
fn digits(text: &str) -> Option<u64> {
    let is_number = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn point(text: &str) -> Option<LogPoint> {
    let (epoch, number) = text.split_once('-')?;
    Some(LogPoint { epoch: digits(epoch)?, number: digits(number)? })
}
