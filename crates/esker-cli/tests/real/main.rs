//! The real program on the real system: killed, watched by `strace`, on a full disk, on a file system
//! that is shut down under it.
//!
//! Each test is short here and a campaign when its variable says how long; with `ESKER_RECORD=FILE`
//! it leaves its figures there as JSON. What the system does not allow is skipped, said and counted.
//!
//! - `node`, `writes`: the program under test, and a model of what it was told
//! - `mounted`: file systems made for a test; `strace`: what the kernel was asked for
//! - `record`: figures

mod disk_full;
mod fs_shutdown;
mod kill9;
mod mounted;
mod node;
mod record;
mod strace;
mod syscall_order;
mod writes;
