//! A FUSE file system that stops answering, as a CVMFS client can.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Size of `struct fuse_init_out` (the kernel's `linux/fuse.h`, since protocol 7.23) and of the header before it.
const INIT_REPLY: usize = 16 + 64;
const PROTOCOL: (u32, u32) = (7, 31);

/// A mount over a directory. It accepts requests and never answers them, so a process that makes one cannot be
/// killed. Dropping it aborts the connection.
pub struct Hung {
    target: PathBuf,
    device: Option<Arc<File>>,
}

impl Hung {
    pub fn over(target: &Path) -> Self {
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        mount("hung", target, "fuse", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        let device = Arc::new(device);
        let taker = Arc::clone(&device);
        std::thread::spawn(move || {
            let mut request = vec![0; 1 << 18];
            // The first request is INIT. Reading fails when the connection is aborted.
            if taker.as_ref().read(&mut request).is_ok() {
                let mut reply = vec![0; INIT_REPLY];
                reply[..4].copy_from_slice(&(INIT_REPLY as u32).to_ne_bytes());
                reply[8..16].copy_from_slice(&request[8..16]);
                reply[16..20].copy_from_slice(&PROTOCOL.0.to_ne_bytes());
                reply[20..24].copy_from_slice(&PROTOCOL.1.to_ne_bytes());
                // max_write
                reply[36..40].copy_from_slice(&4096_u32.to_ne_bytes());
                taker.as_ref().write_all(&reply).unwrap();
            }
            while taker.as_ref().read(&mut request).is_ok() {}
        });
        Self { target: target.to_owned(), device: Some(device) }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // A forced unmount aborts the connection: all waiting processes get an error, and so does the reading thread.
        let _ = unmount(&self.target, UnmountFlags::FORCE);
        unmount(&self.target, UnmountFlags::DETACH).ok();
        self.device.take();
    }
}
