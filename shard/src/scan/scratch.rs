//! Buffers that plaintext is opened into: one set per thread, kept for its capacity, wiped after every use.

use std::cell::Cell;
use zeroize::Zeroize;

/// Capacity that is worth keeping between requests. A larger buffer is given back.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Buffers for one job on one thread.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) codes: Vec<u8>,
    pub(crate) identities: Vec<u8>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) record: Vec<u8>,
    pub(crate) vector: Vec<f32>,
}

thread_local! {
    static KEPT: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Lends the thread's buffers to `work`. What is in them is wiped afterwards.
    ///
    /// They are taken out for that time: should the thread begin another job while this one waits for its parts, that
    /// job has buffers of its own.
    pub(crate) fn lend<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
        let mut scratch = Wiped(KEPT.take().unwrap_or_default());
        let result = work(&mut scratch.0);
        drop(scratch);
        result
    }
}

/// Wipes on the way out, also when that is a panic.
struct Wiped(Box<Scratch>);

impl Drop for Wiped {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.0);
        let Scratch {
            codes,
            identities,
            metadata,
            record,
            vector,
        } = &mut *scratch;
        for buffer in [codes, identities, metadata, record] {
            buffer.zeroize();
            if buffer.capacity() > KEPT_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
        vector.zeroize();
        KEPT.set(Some(scratch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_kept_and_wiped() {
        let place = Scratch::lend(|scratch| {
            scratch.codes.extend([7; 1000]);
            scratch.vector.push(1.5);
            scratch.metadata.resize(KEPT_BYTES_MAX + 1, 1);
            scratch.codes.as_ptr()
        });
        Scratch::lend(|scratch| {
            assert_eq!(scratch.codes.as_ptr(), place);
            assert!(scratch.codes.is_empty() && scratch.vector.is_empty());
            assert_eq!(scratch.metadata.capacity(), 0);
            scratch.codes.resize(1000, 9);
            Scratch::lend(|other| assert_ne!(other.codes.as_ptr(), place));
        });
    }
}
