//! AVX-512 (F, BW, VL), with VNNI where there is: 16 floats or 64 bytes at a time.

mod float;
mod int8;
mod pq4;
mod products;

pub(super) use super::avx2::{byte_dots, pq4_distances, pq4_encode};
pub(super) use float::{dot, dots, exact_products, exact_squared, squared};
pub(super) use int8::{int8_dots, int8_dots_vnni};
pub(super) use pq4::pq4_scan;
pub(super) use products::products;
