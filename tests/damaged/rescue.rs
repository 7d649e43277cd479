//! Damaged stores: they open, report the damage, and return everything intact.

mod exchange;
mod indexes;
mod interrupted;
mod measure;
mod model;
mod repair;
mod salvage;
