//! What keeps blocks few, full and free of dead rows.

mod fold;

pub(crate) use fold::fold;
