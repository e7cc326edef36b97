//! The JSON that the REST edge accepts: as lenient as the server its clients were written for, and as exact in telling
//! what is wrong. Knows nothing of indexes, items or HTTP.

mod fault;
mod malformed;
mod object;
mod parse;
mod place;
mod query_vectors;
mod scalar;
mod vector;

pub(crate) use fault::Fault;
pub(crate) use malformed::Malformed;
pub(crate) use object::Object;
pub(crate) use parse::parse;
pub(crate) use place::Place;
pub(crate) use query_vectors::QueryVectors;
pub(crate) use scalar::{Flag, Int, Real};
pub(crate) use vector::Vector;
