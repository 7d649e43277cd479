//! The guarantees of the interface: nothing is lost at its edges, and its answers are correct.

mod against_model;
mod complete;
mod documented;
mod handles;
mod lineages;
mod states;
mod unique;
mod writing;
