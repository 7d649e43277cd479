//! How many maps and descriptors stores may hold in this process.
//!
//! Owns: the count of maps, and both limits. Never: unmaps or closes anything. Both limits apply to the whole process:
//! when they are used up, the program around the store fails too, down to its allocator. So stores take a share, and
//! manage without beyond it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

/// Linux's default limit of maps per process.
const MAPS_DEFAULT: u64 = 65_530;
/// Where the limit is found.
const MAPS_FILE: &str = "/proc/sys/vm/max_map_count";

/// Assumed descriptor limit if it cannot be queried.
const DESCRIPTORS_DEFAULT: u64 = 1_024;
/// Fewer are useless, and more save nothing.
pub(super) const DESCRIPTORS_LEAST: usize = 4;
const DESCRIPTORS_MOST: usize = 1_024;

/// Maps currently held.
#[derive(Debug, Default)]
struct Maps {
    held: AtomicU64,
}

static MAPS: Maps = Maps { held: AtomicU64::new(0) };

/// Maximum number of maps for stores in this process: half of all.
fn maps_max() -> u64 {
    static MAX: OnceLock<u64> = OnceLock::new();
    *MAX.get_or_init(|| {
        let text = std::fs::read_to_string(MAPS_FILE).unwrap_or_default();
        text.trim().parse().unwrap_or(MAPS_DEFAULT) / 2
    })
}

/// One counted map.
#[derive(Debug)]
pub(super) struct MapPermit(&'static Maps);

impl MapPermit {
    /// `None` if all are used up.
    pub(super) fn take() -> Option<Self> {
        Self::of(&MAPS, maps_max())
    }

    fn of(maps: &'static Maps, max: u64) -> Option<Self> {
        let before = maps.held.fetch_add(1, Ordering::Relaxed);
        let permit = Self(maps);
        (before < max).then_some(permit)
    }
}

impl Drop for MapPermit {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The purpose of a map. Later ones may use what earlier ones must leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapFor {
    /// Existing records, which may never be read.
    Records,
    /// Records being written.
    NewRecords,
    /// Records that are read repeatedly.
    HotRecords,
    /// Pages of an index, which every read needs.
    Pages,
}

impl MapFor {
    /// Whether the process has maps left for this purpose.
    pub(crate) fn is_allowed(self) -> bool {
        self.is_allowed_beside(MAPS.held.load(Ordering::Relaxed), maps_max())
    }

    fn is_allowed_beside(self, held: u64, max: u64) -> bool {
        let eighths = match self {
            Self::Records => 4,
            Self::NewRecords => 6,
            Self::HotRecords => 7,
            Self::Pages => 8,
        };
        held < max / 8 * eighths
    }
}

/// Maximum number of descriptors for files that stores in this process only read: a quarter of the current limit.
pub(super) fn descriptors_max() -> usize {
    let part = getrlimit(Resource::Nofile).current.unwrap_or(DESCRIPTORS_DEFAULT) / 4;
    usize::try_from(part).unwrap_or(usize::MAX).clamp(DESCRIPTORS_LEAST, DESCRIPTORS_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_is_gone_leaves_its_permit() {
        static OURS: Maps = Maps { held: AtomicU64::new(0) };
        let take = || MapPermit::of(&OURS, 3);
        let mut permits: Vec<MapPermit> = std::iter::from_fn(take).collect();
        assert_eq!(permits.len(), 3);
        assert!(take().is_none() && take().is_none(), "what was refused counts as held");
        permits.pop();
        assert!(take().is_some());
    }

    #[test]
    fn what_is_read_gets_maps_that_what_is_only_there_does_not_get() {
        let all = [MapFor::Records, MapFor::NewRecords, MapFor::HotRecords, MapFor::Pages];
        let allowed = |held| all.map(|wanted| wanted.is_allowed_beside(held, 80));
        assert_eq!(allowed(39), [true, true, true, true]);
        assert_eq!(allowed(40), [false, true, true, true]);
        assert_eq!(allowed(60), [false, false, true, true]);
        assert_eq!(allowed(70), [false, false, false, true]);
        assert_eq!(allowed(80), [false, false, false, false]);
    }
}
