//! Asymmetric barriers: readers pay nothing, the writer pays for both sides.
//!
//! On Linux the writer's side is `membarrier`, which makes every running thread of the process execute a full barrier
//! (the kernel's `membarrier(2)`; the pattern is Folly's asymmetric fence). Elsewhere, and in the models, whose checker
//! only knows fences, both sides are full fences. A thread sanitizer needs neither: what is freed was removed from its
//! slot with a releasing store, which the writer has read.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

use crate::sync::fence;
#[cfg(all(test, loom))]
use crate::sync::planted;

static PREPARED: Once = Once::new();
static IS_ASYMMETRIC: AtomicBool = AtomicBool::new(false);

/// Must be called before the first barrier.
pub(super) fn prepare() {
    PREPARED.call_once(|| IS_ASYMMETRIC.store(register(), Ordering::SeqCst));
}

/// The reader's side: either earlier writes are visible to a thread that later executes `heavy`, or later reads see
/// what was written before that.
#[inline]
pub(super) fn light() {
    #[cfg(all(test, loom))]
    if planted::is(planted::Fault::NoLightBarrier) {
        return;
    }
    if IS_ASYMMETRIC.load(Ordering::Relaxed) {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// The writer's side.
pub(super) fn heavy() {
    #[cfg(all(test, loom))]
    if planted::is(planted::Fault::NoHeavyBarrier) {
        return;
    }
    fence(Ordering::SeqCst);
    if IS_ASYMMETRIC.load(Ordering::Relaxed) && !everybody() {
        // It was registered, so it does not fail; aborting is better than freeing memory in use.
        std::process::abort();
    }
}

#[cfg(all(target_os = "linux", not(miri), not(loom)))]
#[expect(unsafe_code, reason = "a system call that the standard library does not have")]
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: `membarrier` takes three integers and touches no memory of the process.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    result == 0
}

#[cfg(all(target_os = "linux", not(miri), not(loom)))]
fn register() -> bool {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
}

#[cfg(all(target_os = "linux", not(miri), not(loom)))]
fn everybody() -> bool {
    membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
}

#[cfg(not(all(target_os = "linux", not(miri), not(loom))))]
fn register() -> bool {
    false
}

#[cfg(not(all(target_os = "linux", not(miri), not(loom))))]
fn everybody() -> bool {
    false
}
