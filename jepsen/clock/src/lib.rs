//! A wall clock that can be wrong: loaded into a process by `LD_PRELOAD`, it stands in for the C library's clocks.
//!
//! What it is: `clock_gettime`, `gettimeofday` and `time` for the wall clock, plus what the file named by
//! `KEELSON_CLOCK` says, which may change at any time. What it is not: monotonic clocks stay as they are, and programs
//! that ask the kernel without the C library, as Go's do, see nothing of it.
//!
//! It allocates nothing, since allocators read clocks too, and depends on nothing.

use std::ffi::{c_char, c_int, c_long, c_void};
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

const CLOCK_REALTIME: c_int = 0;
const CLOCK_MONOTONIC: c_int = 1;
const CLOCK_REALTIME_COARSE: c_int = 5;
const CLOCK_TAI: c_int = 11;

/// What the file holds, in the order of the bytes of this machine.
#[repr(C)]
struct Skew {
    offset_ns: AtomicI64,
    drift_ppm: AtomicI64,
    /// Where on the monotonic clock the drift begins.
    since_ns: AtomicI64,
    strobe_ns: AtomicI64,
    strobe_period_ns: AtomicI64,
}

impl Skew {
    /// Not wrong at all.
    const fn none() -> Skew {
        Skew {
            offset_ns: AtomicI64::new(0),
            drift_ppm: AtomicI64::new(0),
            since_ns: AtomicI64::new(0),
            strobe_ns: AtomicI64::new(0),
            strobe_period_ns: AtomicI64::new(0),
        }
    }

    /// How far the wall clock is ahead when the monotonic one says `now_ns`.
    fn ahead_ns(&self, now_ns: i64) -> i64 {
        let read = |field: &AtomicI64| field.load(Ordering::Relaxed);
        let since = i128::from(now_ns.saturating_sub(read(&self.since_ns)));
        let drift = since * i128::from(read(&self.drift_ppm)) / 1_000_000;
        let period = read(&self.strobe_period_ns);
        let strobe = if period > 0 && (now_ns / period) % 2 == 1 {
            read(&self.strobe_ns)
        } else {
            0
        };
        let drift = i64::try_from(drift).unwrap_or(0);
        read(&self.offset_ns).saturating_add(drift).saturating_add(strobe)
    }
}

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

#[repr(C)]
pub struct Timeval {
    seconds: i64,
    microseconds: c_long,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn getenv(name: *const c_char) -> *const c_char;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn mmap(at: *mut c_void, length: usize, protect: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
}

/// `RTLD_NEXT`: the definition after ours.
const NEXT: *mut c_void = std::ptr::without_provenance_mut(usize::MAX);
const O_CLOEXEC: c_int = 0o2_000_000;
const PROT_READ: c_int = 1;
const MAP_SHARED: c_int = 1;
const MAP_FAILED: *mut c_void = std::ptr::without_provenance_mut(usize::MAX);

type ClockGettime = unsafe extern "C" fn(c_int, *mut Timespec) -> c_int;

/// What the C library has under our name.
fn real() -> Option<ClockGettime> {
    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    let mut found = FOUND.load(Ordering::Relaxed);
    if found.is_null() {
        // SAFETY: the name ends with a zero, and the call has no other demands.
        found = unsafe { dlsym(NEXT, c"clock_gettime".as_ptr()) };
        FOUND.store(found, Ordering::Relaxed);
    }
    // SAFETY: the C library's function of this name has this signature; null is no function.
    unsafe { std::mem::transmute::<*mut c_void, Option<ClockGettime>>(found) }
}

/// The file, mapped; nothing is skewed when there is none.
fn skew() -> &'static Skew {
    static NONE: Skew = Skew::none();
    static MAPPED: AtomicPtr<Skew> = AtomicPtr::new(std::ptr::null_mut());
    let mut mapped = MAPPED.load(Ordering::Acquire);
    if mapped.is_null() {
        // Two threads may do it at once: one mapping more, of the same file.
        mapped = map().unwrap_or((&raw const NONE).cast_mut());
        MAPPED.store(mapped, Ordering::Release);
    }
    // SAFETY: it points to a static, or to a mapping that is never taken away; it is only read, by atomics.
    unsafe { &*mapped }
}

fn map() -> Option<*mut Skew> {
    // SAFETY: names end with a zero; the mapping is as long as what is read from it, which the runner wrote before.
    unsafe {
        let path = getenv(c"KEELSON_CLOCK".as_ptr());
        if path.is_null() {
            return None;
        }
        let fd = open(path, O_CLOEXEC);
        if fd < 0 {
            return None;
        }
        let at = mmap(std::ptr::null_mut(), size_of::<Skew>(), PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
        (at != MAP_FAILED).then_some(at.cast())
    }
}

/// Nanoseconds of a clock of the C library.
fn read_ns(clock: c_int) -> Option<i64> {
    let mut time = Timespec {
        seconds: 0,
        nanoseconds: 0,
    };
    let real = real()?;
    // SAFETY: it writes one `struct timespec`, which lives until it returns.
    let done = unsafe { real(clock, &raw mut time) };
    (done == 0).then(|| time.seconds * 1_000_000_000 + time.nanoseconds)
}

/// The wall clock, wrong as the file says.
fn wall_ns(clock: c_int) -> Option<i64> {
    let now = read_ns(CLOCK_MONOTONIC)?;
    Some(read_ns(clock)?.saturating_add(skew().ahead_ns(now)).max(0))
}

/// # Safety
/// `time` points to a `struct timespec`, as for the C library's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    if matches!(clock, CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_TAI)
        && let Some(now) = wall_ns(clock)
    {
        // SAFETY: the caller's promise.
        unsafe {
            (*time).seconds = now / 1_000_000_000;
            (*time).nanoseconds = now % 1_000_000_000;
        }
        return 0;
    }
    match real() {
        // SAFETY: the caller's promise.
        Some(real) => unsafe { real(clock, time) },
        None => -1,
    }
}

/// # Safety
/// `time` points to a `struct timeval`, as for the C library's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn gettimeofday(time: *mut Timeval, _zone: *mut c_void) -> c_int {
    let Some(now) = wall_ns(CLOCK_REALTIME) else {
        return -1;
    };
    if !time.is_null() {
        // SAFETY: the caller's promise.
        unsafe {
            (*time).seconds = now / 1_000_000_000;
            (*time).microseconds = now % 1_000_000_000 / 1000;
        }
    }
    0
}

/// # Safety
/// `seconds` is null or points to a `time_t`, as for the C library's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn time(seconds: *mut i64) -> i64 {
    let Some(now) = wall_ns(CLOCK_REALTIME) else {
        return -1;
    };
    let now = now / 1_000_000_000;
    if !seconds.is_null() {
        // SAFETY: the caller's promise.
        unsafe { *seconds = now };
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_drifts_and_strobes_add_up() {
        let skew = Skew::none();
        assert_eq!(skew.ahead_ns(77), 0);
        skew.offset_ns.store(-5_000, Ordering::Relaxed);
        assert_eq!(skew.ahead_ns(77), -5_000);
        skew.since_ns.store(1_000_000, Ordering::Relaxed);
        skew.drift_ppm.store(100_000, Ordering::Relaxed);
        assert_eq!(skew.ahead_ns(3_000_000), -5_000 + 200_000);
        skew.strobe_ns.store(7, Ordering::Relaxed);
        skew.strobe_period_ns.store(1_000_000, Ordering::Relaxed);
        assert_eq!(skew.ahead_ns(3_000_000), -5_000 + 200_000 + 7);
        assert_eq!(skew.ahead_ns(4_000_000), -5_000 + 300_000);
    }

    #[test]
    fn without_a_file_the_clock_is_right() {
        let (before, wall, after) = (read_ns(0), wall_ns(0), read_ns(0));
        assert!(before <= wall && wall <= after, "{before:?} {wall:?} {after:?}");
    }
}
