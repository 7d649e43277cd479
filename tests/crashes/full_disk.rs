//! A completely full disk, and a store that was stopped on it: it opens for writing, with every acknowledged commit,
//! and frees its own space.
//!
//! The tests run on a tmpfs and on ext4 in a file, which only root can mount: if mounting fails, they say so and end.
//! The same cells run in memory everywhere. `TENURE_FULL_DISK=all` runs all cells of the table of `docs/full-disk.md`
//! on ext4 too.

mod cells;
mod content;
mod memory;
mod mounted;
mod small;
