//! AVX2 and FMA: 8 floats or 32 bytes at a time.

mod float;
pub(super) mod int8;
pub(super) mod pq4;
mod products;

pub(super) use float::{dot, dots, exact_products, exact_squared, squared};
pub(super) use int8::{byte_dots, int8_dots};
pub(super) use pq4::{pq4_distances, pq4_encode, pq4_scan};
pub(super) use products::products;
