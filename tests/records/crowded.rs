//! Stores in which changed pages have little room, so that leaves are changed beside their images and snapshots follow one
//! another: compared with models, and damaged in between.

mod damaged_below;
mod model;
mod worlds;
