//! Waits of a thread for answers, which another thread ends.
//!
//! Owns: which waits those are. Never: ends a wait of any other thread. Whoever drops a reader need not wait for a request that nobody answers.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::error::{Error, Result};

/// How often who waits looks whether that is to end.
const LOOK: Duration = Duration::from_millis(25);

thread_local! {
    static ENDS: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// What ended waits before.
struct Before(Option<Arc<AtomicBool>>);

impl Drop for Before {
    fn drop(&mut self) {
        ENDS.set(self.0.take());
    }
}

/// Does something in this thread, whose waits for a bucket fail with `Closed` once the flag is set.
pub(crate) fn waiting_until<T>(ends: &Arc<AtomicBool>, what: impl FnOnce() -> T) -> T {
    let _before = Before(ENDS.replace(Some(Arc::clone(ends))));
    what()
}

/// Fails if this thread is to wait for nothing more.
pub(super) fn check() -> Result<()> {
    let is_over = ENDS.with_borrow(|ends| ends.as_ref().is_some_and(|ends| ends.load(Ordering::Acquire)));
    if is_over { Err(Error::Closed) } else { Ok(()) }
}

fn may_end() -> bool {
    ENDS.with_borrow(Option::is_some)
}

/// Waits for an answer. `None` if there will be none.
pub(super) fn receive<T>(receiver: &Receiver<T>) -> Result<Option<T>> {
    if !may_end() {
        return Ok(receiver.recv().ok());
    }
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(answer) => return Ok(Some(answer)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => check()?,
        }
    }
}

/// Waits for a lock, which another thread may hold while it waits for an answer.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    if !may_end() {
        return Ok(mutex.lock());
    }
    loop {
        match mutex.try_lock_for(LOOK) {
            Some(guard) => return Ok(guard),
            None => check()?,
        }
    }
}
