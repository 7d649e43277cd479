//! Dumps: a store and a store loaded from its dump have the same content.

mod damage;
mod document;
mod full;
mod past;
mod resume;
mod round_trip;
