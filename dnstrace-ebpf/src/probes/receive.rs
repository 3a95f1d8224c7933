//! Where programs want to have what they receive: noted when the system call begins, needed when the kernel has put it
//! there.

use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::map, maps::LruHashMap};

use super::kernel::{Buffers, Skip, Sock};

/// A program's receiving under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Receiving {
    sock: u64,
    pub buffers: Buffers,
    /// Of a TCP connection: sequence number of the first byte that the call may receive.
    pub seq: u32,
    /// Of a TCP connection: bytes that have been told of.
    pub told: u32,
}

/// Receivings by thread: a thread is in one at a time. What a call leaves behind is overwritten by the next. The oldest
/// goes when it is full: what that one receives is not seen, or not whole, and said to be so.
#[map]
static RECEIVING: LruHashMap<u64, Receiving> = LruHashMap::with_max_entries(16_384, 0);

/// The current thread begins to receive from this socket; of a TCP connection, what has this sequence number.
#[inline(always)]
pub fn begin(sock: Sock, buffers: Buffers, seq: u32) {
    let receiving = Receiving { sock: sock.0, buffers, seq, told: 0 };
    _ = RECEIVING.insert(bpf_get_current_pid_tgid(), receiving, 0);
}

/// The current thread receives nothing that will be asked for.
#[inline(always)]
pub fn forget() {
    _ = RECEIVING.remove(bpf_get_current_pid_tgid());
}

/// What the current thread receives from this socket.
#[inline(always)]
pub fn under_way(sock: Sock) -> Result<&'static mut Receiving, Skip> {
    let receiving = RECEIVING.get_ptr_mut(bpf_get_current_pid_tgid()).ok_or(Skip::NotOurs)?;
    // SAFETY: only the thread itself uses its entry, and one program at a time; the map outlives the program.
    let receiving = unsafe { &mut *receiving };
    if receiving.sock == sock.0 { Ok(receiving) } else { Err(Skip::NotOurs) }
}
