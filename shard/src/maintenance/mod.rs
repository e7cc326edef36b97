//! What keeps blocks few, full and free of dead rows, and takes records from one key epoch to the next.

mod fold;
mod reseal;

pub(crate) use fold::fold;
pub(crate) use reseal::reseal;
