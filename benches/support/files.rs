//! Files of a store as a crash or a cold start finds them.
//!
//! Owns: copies of directories, and dropping what the operating system caches. Never: touches a store that is in use, except
//! to copy its files as they are, which is what a process that is killed leaves behind.

use std::fs;
use std::path::Path;

/// Copies the files of a directory to a new one. Of a store that is open and idle this gives what would be there if its process
/// were killed now.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Has the operating system forget what it caches of the files of a directory. They are synced before, because only clean
/// pages go. Whether the device keeps a cache of its own is not seen from here.
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
