//! Committing what a consumer of the changes has acknowledged.
//!
//! Owns: that commit. Never: decides how far a consumer has come.

use crate::catalogue::Consumer;
use crate::engine::{Engine, Need};
use crate::error::Result;
use crate::format::frame::FrameBuilder;
use crate::heap::{Effect, put_consumer};
use crate::id::Seq;

impl Engine {
    /// Sets or removes a consumer. `check` runs under the commit lock.
    pub(crate) fn commit_consumer(
        &self,
        name: &str,
        consumer: Option<Consumer>,
        mut check: impl FnMut() -> Result<()>,
    ) -> Result<Seq> {
        let mut frame = FrameBuilder::new();
        put_consumer(&mut frame, name, consumer);
        let mut effects = vec![Effect::Consumer(name.to_owned(), consumer)];
        self.commit_frame(&mut frame, &mut effects, Need::MakesRoom, &mut check)
    }
}
