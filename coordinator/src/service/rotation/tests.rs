//! How far a rotation says it is.

use super::*;

#[test]
fn no_more_is_done_than_there_is() {
    let progress = Progress::default();
    progress.begin_resealing(10);
    for (items, expected) in [(4, (4, 10)), (6, (10, 10)), (3, (13, 13))] {
        progress.went_through(items, 1);
        let counts = progress.inner.lock().clone();
        assert_eq!((counts.items, counts.items_total), expected);
    }
}
