//! Damage is distinguished from a tear: file headers, missing files, numbers that no file confirms, chunks of large
//! values.

mod craft;
mod ends;
mod gone;
mod headers;
mod numbers;
mod values;
