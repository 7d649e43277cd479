//! Small images of changed pages: what they hold reads as before, through views, snapshots, reopenings and damage.

mod cut;
mod damaged;
mod random;
mod sizes;
mod world;
