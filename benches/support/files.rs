//! Files of a store as a crash or a cold start finds them.
//!
//! Owns: copies of directories, and dropping the operating system's caches. Never: touches a store in use, except to
//! copy its files as they are, which is what a killed process leaves behind.

use std::fs;
use std::path::Path;

/// Copies the files of a directory to a new one. For a store that is open and idle this gives what a kill now would
/// leave.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Makes the operating system drop its cache of a directory's files. They are synced first, because only clean pages
/// are dropped. Whether the device has its own cache cannot be seen from here.
pub fn drop_caches(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let file = fs::OpenOptions::new().read(true).open(entry.expect("an entry").path()).expect("a file");
        file.sync_all().expect("synced");
        forget(&file);
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call that the standard library does not have")]
fn forget(file: &fs::File) {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the descriptor is that of a file that is open during the call; no memory is touched.
    let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(result, 0, "the caches of a file were not dropped");
}

#[cfg(not(target_os = "linux"))]
fn forget(_: &fs::File) {}
