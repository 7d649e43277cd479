//! Power cuts, failing calls and full disks at every step: acknowledged commits stay, and nothing else appears.
//!
//! `TENURE_POWER_CUT_ROUNDS` lengthens the seeded runs.

mod beside;
mod failing;
mod found;
mod killed;
mod linked;
mod order;
mod planted;
mod runs;
mod sequences;
mod told_once;
mod world;
