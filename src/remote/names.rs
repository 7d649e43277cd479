//! The names of objects.
//!
//! Owns: how a name is built and read. Never: does I/O.

use object_store::path::Path;

use crate::remote::object::LogPoint;

/// The names below a prefix.
#[derive(Clone, Debug)]
pub(super) struct Names(pub(super) Path);

impl Names {
    fn below(&self, name: &str) -> Path {
        let prefix = self.0.as_ref();
        if prefix.is_empty() { Path::from(name) } else { Path::from(format!("{prefix}/{name}")) }
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

    pub(super) fn all_data(&self) -> Path {
        self.below("data")
    }

    pub(super) fn data(&self, file: &str, at: LogPoint, begin: u64) -> Path {
        self.below(&format!("data/{file}.{:016}-{:016}/{begin:016}", at.epoch, at.number))
    }

    pub(super) fn probe(&self, nonce: &str) -> Path {
        self.below(&format!("probe/{nonce}"))
    }
}

/// The number at the end of the name of an epoch or a log object.
pub(super) fn number(path: &Path) -> Option<u64> {
    path.filename()?.parse().ok()
}

/// The point in the name of a base.
pub(super) fn point(path: &Path) -> Option<LogPoint> {
    path.filename()?.parse().ok()
}

/// The point in the name of a log object.
pub(super) fn log_point(path: &Path) -> Option<LogPoint> {
    let mut parts = path.as_ref().rsplit('/');
    let (number, epoch) = (parts.next()?, parts.next()?);
    Some(LogPoint { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
}

/// The point in the name of a data object.
pub(super) fn data_point(path: &Path) -> Option<LogPoint> {
    let file = path.as_ref().rsplit('/').nth(1)?;
    file.rsplit_once('.')?.1.parse().ok()
}
