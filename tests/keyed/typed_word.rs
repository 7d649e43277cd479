//! The guarantees of the typed layer: every accepted value can be read back, and a value that cannot be stored is an
//! error.
#![cfg(feature = "json")]
#[cfg(test)]
mod beginnings;
#[cfg(test)]
mod decoding;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod transactions;
#[cfg(test)]
mod versions;
