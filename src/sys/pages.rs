//! Anonymous memory mapped straight from the kernel, page-aligned and zeroed.
//!
//! Invariant: the region stays mapped, at one address, until the [`Pages`] is dropped.

use std::io;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// A private anonymous mapping.
#[derive(Debug)]
pub struct Pages {
    base: NonNull<u8>,
    bytes: usize,
}

impl Pages {
    /// Maps `bytes` (rounded up to whole pages by the kernel; not zero). Pages take memory only
    /// once they are touched.
    ///
    /// # Errors
    /// What mmap(2) reports: `ENOMEM` above all.
    pub fn map(bytes: usize) -> io::Result<Self> {
        // SAFETY: a null hint asks for a fresh mapping, which overlaps no memory in use.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, bytes })
    }

    /// The address of the first byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: base and bytes are those of the mapping made in `map`, which nobody else
        // unmaps; the owners of references into it (bufring) keep this value alive.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping failed: {unmapped:?}");
    }
}
