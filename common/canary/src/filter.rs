//! Which eight bytes some needle begins with, roughly: a yes may be wrong, a no never is.

pub(super) struct Filter(Vec<u64>);

impl Default for Filter {
    fn default() -> Self {
        Self(vec![0; 1 << (FILTER_BITS_LOG2 - 6)])
    }
}

impl Filter {
    pub(super) fn add(&mut self, value: u64) {
        let bit = Self::bit(value);
        self.0[bit >> 6] |= 1 << (bit & 63);
    }

    pub(super) fn may_have(&self, value: u64) -> bool {
        let bit = Self::bit(value);
        self.0[bit >> 6] & (1 << (bit & 63)) != 0
    }

    fn bit(value: u64) -> usize {
        (value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS_LOG2)) as usize
    }
}

const FILTER_BITS_LOG2: u32 = 24;
