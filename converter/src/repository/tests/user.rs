//! Being an ordinary user. Linux keeps credentials per thread, so a thread of the test gives up its own.

use std::thread;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

pub(in crate::repository) const USER: u32 = 65534;

/// Runs `f` as an ordinary user.
pub(in crate::repository) fn as_ordinary_user<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let user = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(USER), Gid::from_raw(USER));
            set_thread_groups(&[]).unwrap();
            set_thread_res_gid(gid, gid, gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            f()
        });
        user.join().unwrap()
    })
}
