//! Buffers that plaintext is opened into: one set per thread, kept for its capacity, wiped after every use.

use std::cell::Cell;
use std::hint::black_box;

/// Bytes that are worth keeping, and wiping, between requests. A larger buffer is given back.
const KEPT_BYTES_MAX: usize = 256 * 1024;

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
        let mut lent = Lent(Some(KEPT.take().unwrap_or_default()));
        work(lent.0.as_mut().expect("it is given back when it is dropped"))
    }

    fn wipe(&mut self) {
        for buffer in [
            &mut self.codes,
            &mut self.identities,
            &mut self.metadata,
            &mut self.record,
        ] {
            wipe(buffer);
        }
        wipe(&mut self.vector);
    }
}

/// Wipes on the way out, also when that is a panic.
struct Lent(Option<Box<Scratch>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(mut scratch) = self.0.take() {
            scratch.wipe();
            KEPT.set(Some(scratch));
        }
    }
}

/// Overwrites all of the buffer's memory: behind its end is what was opened before. In one stroke, because a byte by
/// byte wipe took as long as a quarter of the opening.
fn wipe<T: Copy + Default>(buffer: &mut Vec<T>) {
    let capacity = buffer.capacity();
    buffer.clear();
    buffer.resize(capacity, T::default());
    // Else the optimiser might find out that nobody reads the zeros.
    black_box(buffer.as_slice());
    buffer.clear();
    if capacity * size_of::<T>() > KEPT_BYTES_MAX {
        *buffer = Vec::new();
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
