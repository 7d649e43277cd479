//! Indexes and sets that change while in use: new versions of extractors, records that no longer decode, keys of
//! another type; stores of an older format.

mod formats;
mod handles;
mod in_use;
mod key_types;
mod kills;
mod people;
mod sets;
mod unreadable;
