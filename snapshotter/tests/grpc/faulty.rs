//! A repository behind a FUSE file system that can be told to misbehave, as a CVMFS client can.
//!
//! It speaks just enough of the kernel's protocol (`linux/fuse.h`, 7.31) to show a read-only tree, and lets nothing be
//! cached, so that each access meets the fault.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// What the file system does below a path; an empty path is all of it, the root included.
#[derive(Clone, Copy)]
pub enum Fault {
    /// Requests are never answered.
    Hangs(&'static str),
    /// Requests are answered with this error.
    Fails(&'static str, Errno),
}

/// A mounted repository. It is unmounted when dropped.
pub struct Faulty {
    tree: Arc<Tree>,
    mount_point: PathBuf,
    is_mounted: bool,
}

/// Length of the header of a request and of an answer.
const REQUEST: usize = 40;
const ANSWER: usize = 16;

impl Faulty {
    /// Shows the directory `source` at `mount_point`.
    pub fn mount(source: &Path, mount_point: &Path) -> Self {
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        mount("faulty", mount_point, "fuse", flags, Some(options.as_c_str())).unwrap();
        let tree = Arc::new(Tree {
            device,
            source: source.to_owned(),
            inodes: Mutex::new(vec![PathBuf::new()]),
            fault: Mutex::default(),
            waiting: Mutex::default(),
        });
        let server = Arc::clone(&tree);
        std::thread::spawn(move || {
            let mut request = vec![0; 1 << 18];
            // Reading fails when the connection is aborted.
            while let Ok(length) = (&server.device).read(&mut request) {
                server.serve(&request[..length]);
            }
        });
        Self { tree, mount_point: mount_point.to_owned(), is_mounted: true }
    }

    pub fn set(&self, fault: Fault) {
        *self.tree.fault.lock().unwrap() = Some(fault);
    }

    /// Ends the fault. Whoever waits gets an I/O error.
    pub fn heal(&self) {
        *self.tree.fault.lock().unwrap() = None;
        for unique in self.tree.waiting.lock().unwrap().drain(..) {
            self.tree.answer(unique, Err(Errno::IO));
        }
    }

    /// The client dies: "transport endpoint is not connected" until it is mounted again.
    pub fn crash(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let at = self.mount_point.to_str().unwrap();
        let line = mounts.lines().find(|line| line.split(' ').nth(4) == Some(at)).unwrap();
        let (_, minor) = line.split(' ').nth(2).unwrap().split_once(':').unwrap();
        let connections = tempfile::tempdir().unwrap();
        mount("fusectl", connections.path(), "fusectl", MountFlags::empty(), None).unwrap();
        let aborted = fs::write(connections.path().join(minor).join("abort"), "1");
        unmount(connections.path(), UnmountFlags::empty()).unwrap();
        aborted.unwrap();
    }

    pub fn unmount(&mut self) {
        if std::mem::take(&mut self.is_mounted) {
            // Forced, so that all waiting processes get an error.
            let _ = unmount(&self.mount_point, UnmountFlags::FORCE);
            let _ = unmount(&self.mount_point, UnmountFlags::DETACH);
        }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.unmount();
    }
}

struct Tree {
    device: File,
    source: PathBuf,
    /// Relative paths; the number of an inode is its place here and one.
    inodes: Mutex<Vec<PathBuf>>,
    fault: Mutex<Option<Fault>>,
    /// Numbers of the requests that wait for their answer.
    waiting: Mutex<Vec<u64>>,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Numbers as the kernel reads them.
fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

impl Tree {
    fn answer(&self, unique: u64, result: Result<Vec<u8>, Errno>) {
        let (error, body) = match result {
            Ok(body) => (0, body),
            Err(errno) => (-errno.raw_os_error(), Vec::new()),
        };
        let length = (ANSWER + body.len()) as u32;
        let mut answer = [length.to_ne_bytes(), error.to_ne_bytes()].concat();
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        // Fails if whoever asked has been killed.
        let _ = (&self.device).write_all(&answer);
    }

    fn serve(&self, request: &[u8]) {
        let operation = u32::from_ne_bytes(request[4..8].try_into().unwrap());
        let (unique, inode) = (number(request, 8), number(request, 16));
        let body = &request[REQUEST..];
        let path = || self.inodes.lock().unwrap()[inode as usize - 1].clone();
        let path = match operation {
            // LOOKUP
            1 => {
                let name = body.split(|byte| *byte == 0).next().unwrap();
                path().join(std::ffi::OsStr::from_bytes(name))
            }
            // GETATTR, READLINK, OPEN, READ, OPENDIR
            3 | 5 | 14 | 15 | 27 => path(),
            // FORGET, INTERRUPT and BATCH_FORGET have no answer.
            2 | 36 | 42 => return,
            // GETXATTR
            22 => return self.answer(unique, Err(Errno::NODATA)),
            // RELEASE, RELEASEDIR
            18 | 29 => return self.answer(unique, Ok(Vec::new())),
            // INIT: version 7.31, and at most 4096 bytes are written.
            26 => {
                let mut reply = vec![0; 64];
                reply[..4].copy_from_slice(&7_u32.to_ne_bytes());
                reply[4..8].copy_from_slice(&31_u32.to_ne_bytes());
                reply[20..24].copy_from_slice(&4096_u32.to_ne_bytes());
                return self.answer(unique, Ok(reply));
            }
            _ => return self.answer(unique, Err(Errno::NOSYS)),
        };
        match *self.fault.lock().unwrap() {
            Some(Fault::Hangs(below)) if path.starts_with(below) => {
                return self.waiting.lock().unwrap().push(unique);
            }
            Some(Fault::Fails(below, error)) if path.starts_with(below) => {
                return self.answer(unique, Err(error));
            }
            _ => {}
        }
        let source = self.source.join(&path);
        let result = match operation {
            1 => self
                .attributes(&path)
                .map(|(inode, attributes)| [words(&[inode, 0, 0, 0, 0]), attributes].concat()),
            3 => {
                self.attributes(&path).map(|(_, attributes)| [words(&[0, 0]), attributes].concat())
            }
            5 => fs::read_link(source)
                .map(|target| target.as_os_str().as_bytes().to_vec())
                .map_err(|_| Errno::INVAL),
            15 => {
                let (offset, size) = (number(body, 8), number(body, 16) as u32);
                let mut data = vec![0; size as usize];
                let read = File::open(source).and_then(|file| file.read_at(&mut data, offset));
                read.map_err(|_| Errno::IO).map(|length| {
                    data.truncate(length);
                    data
                })
            }
            _ => Ok(words(&[0, 0])),
        };
        self.answer(unique, result);
    }

    /// The number of the inode, and its `struct fuse_attr`.
    fn attributes(&self, path: &Path) -> Result<(u64, Vec<u8>), Errno> {
        let found = fs::symlink_metadata(self.source.join(path)).map_err(|_| Errno::NOENT)?;
        let mut inodes = self.inodes.lock().unwrap();
        let place = inodes.iter().position(|known| known == path).unwrap_or_else(|| {
            inodes.push(path.to_owned());
            inodes.len() - 1
        });
        let inode = place as u64 + 1;
        let mut attributes = words(&[inode, found.len(), found.blocks(), 0, 0, 0]);
        for half in [0, 0, 0, found.mode(), 1, found.uid(), found.gid(), 0, 4096, 0] {
            attributes.extend(half.to_ne_bytes());
        }
        Ok((inode, attributes))
    }
}
