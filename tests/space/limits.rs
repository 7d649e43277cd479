//! The limits of a store, the cost of large stores, and the way back from a limit.

mod cleared;
mod indexes;
mod names;
mod numbers;
mod raised;
