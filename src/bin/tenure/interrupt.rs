//! Handling Ctrl-C and SIGTERM in a command that reports its progress.
//!
//! Owns: recording the signal, and ending a read that waits for input. A second signal ends the process at once. Never:
//! handles a signal that the process was started to ignore.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::failure::{Exit, Failure, Outcome};

/// Signals by which a user interrupts a command.
const SIGNALS: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// Whether a signal has arrived.
pub struct Interrupt {
    has_come: Arc<AtomicBool>,
    /// Becomes readable with the first signal.
    wake: Arc<UnixStream>,
}

impl Interrupt {
    /// Records signals from now on.
    pub fn watched() -> Outcome<Self> {
        let (has_come, ignored) = (Arc::<AtomicBool>::default(), ignored());
        let install = || {
            let (wake, writer) = UnixStream::pair()?;
            for signal in SIGNALS.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0) {
                // In this order: the second signal's handler depends on what the first one recorded.
                flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, Arc::clone(&has_come))?;
                flag::register(signal, Arc::clone(&has_come))?;
                pipe::register(signal, writer.try_clone()?)?;
            }
            Ok(wake)
        };
        let wake = install().map_err(|error: io::Error| {
            let message = format!("cannot handle the signals that end the command: {error}");
            Failure::new(Exit::Failed, message, "run it where programs may handle signals")
        })?;
        Ok(Self { has_come, wake: Arc::new(wake) })
    }

    /// Whether a signal has arrived.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.has_come)
    }

    /// A file whose reads fail once a signal has arrived, even those that wait.
    pub fn watch(&self, file: File) -> impl Read + use<> {
        Watched { file, has_come: self.flag(), wake: Arc::clone(&self.wake) }
    }
}

/// The signals that the process was started to ignore, one bit each.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

struct Watched {
    file: File,
    has_come: Arc<AtomicBool>,
    wake: Arc<UnixStream>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut waited = [PollFd::new(&self.file, PollFlags::IN), PollFd::new(&*self.wake, PollFlags::IN)];
        // A signal also ends the wait.
        let polled = poll(&mut waited, None);
        if self.has_come.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        match polled {
            Ok(_) => self.file.read(buffer),
            Err(error) => Err(error.into()),
        }
    }
}
