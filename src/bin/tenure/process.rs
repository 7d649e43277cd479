//! What the process was started with: stdin and stdout, and the limit on the size of files.
//!
//! Owns: telling a closed stdin or stdout from an empty one, and living on when a file has reached its limit.
//! Never: reads or writes by the standard library's own handles of stdin and stdout. These take a descriptor that cannot
//! be read for an empty one, and one that cannot be written for a sink.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Exit, Failure, Outcome};

static STDIN_WAS_CLOSED: AtomicBool = AtomicBool::new(false);
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

// Before `main` runs, the standard library opens /dev/null in the place of what is closed. After that nobody can tell it
// from a /dev/null that the user meant, so this has to look earlier. It does nothing but copy two descriptors.
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

/// Stdin, without a buffer; an error when it is closed.
pub fn stdin() -> Outcome<File> {
    let file = if STDIN_WAS_CLOSED.load(Ordering::Relaxed) {
        Err(closed())
    } else {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    };
    file.map_err(|error| Failure::input("read", "stdin", &error))
}

/// Stdout, without a buffer; an error when it is closed.
pub fn stdout() -> Outcome<File> {
    let file = if STDOUT_WAS_CLOSED.load(Ordering::Relaxed) {
        Err(closed())
    } else {
        io::stdout().as_fd().try_clone_to_owned().map(File::from)
    };
    file.map_err(|error| Failure::output("stdout", &error))
}

/// Makes a write beyond the limit on the size of files an error of that write. By itself the signal ends the process.
pub fn survive_file_size_limit() -> Outcome {
    let registered = signal_hook::flag::register(libc::SIGXFSZ, Arc::default());
    registered.map(drop).map_err(|error| {
        let message = format!("cannot handle the signal of the limit on the size of files: {error}");
        Failure::new(Exit::Failed, message, "run it where a program may handle signals")
    })
}
