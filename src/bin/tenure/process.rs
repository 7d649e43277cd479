//! The environment of the process: stdin, stdout, and the limit on file sizes.
//!
//! Owns: telling a closed stdin or stdout from an empty one, and surviving when a file reaches its size limit. Never:
//! reads or writes through the standard library's own handles of stdin and stdout, which treat an unreadable descriptor
//! as empty and an unwritable one as a sink.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Exit, Failure, Outcome};

static STDIN_WAS_CLOSED: AtomicBool = AtomicBool::new(false);
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

// Before `main` runs, the standard library opens /dev/null in place of closed descriptors. After that they cannot be
// told from a /dev/null that the user passed, so this must look earlier. It only duplicates two descriptors.
ctor::declarative::ctor! {
    #[ctor(unsafe)]
    fn look_before_main() {
        STDIN_WAS_CLOSED.store(is_closed(&io::stdin().as_fd().try_clone_to_owned()), Ordering::Relaxed);
        STDOUT_WAS_CLOSED.store(is_closed(&io::stdout().as_fd().try_clone_to_owned()), Ordering::Relaxed);
    }
}

fn is_closed(copy: &io::Result<OwnedFd>) -> bool {
    copy.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
}

fn closed() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

/// Unbuffered stdin; an error if it is closed.
pub fn stdin() -> Outcome<File> {
    let file = if STDIN_WAS_CLOSED.load(Ordering::Relaxed) {
        Err(closed())
    } else {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    };
    file.map_err(|error| Failure::input("read", "stdin", &error))
}

/// Unbuffered stdout; an error if it is closed.
pub fn stdout() -> Outcome<File> {
    let file = if STDOUT_WAS_CLOSED.load(Ordering::Relaxed) {
        Err(closed())
    } else {
        io::stdout().as_fd().try_clone_to_owned().map(File::from)
    };
    file.map_err(|error| Failure::output("stdout", &error))
}

/// Turns a write beyond the file size limit into an error. By default the signal would end the process.
pub fn survive_file_size_limit() -> Outcome {
    let registered = signal_hook::flag::register(libc::SIGXFSZ, Arc::default());
    registered.map(drop).map_err(|error| {
        let message = format!("cannot handle the signal of the limit on the size of files: {error}");
        Failure::new(Exit::Failed, message, "run it where programs may handle signals")
    })
}
