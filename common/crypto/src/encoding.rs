//! What a derived key is for, and what a grant, a signature or a wrapped key is bound to, in bytes.

/// Each part behind its length in four bytes: no two lists of parts have the same encoding.
pub(crate) fn encode(label: &[u8], fields: &[&[u8]]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(128);
    for part in [label].iter().chain(fields) {
        let length = u32::try_from(part.len()).expect("labels and fields are short");
        encoded.extend_from_slice(&length.to_be_bytes());
        encoded.extend_from_slice(part);
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Few distinct bytes and short parts, so that joined parts collide if lengths are not encoded.
        prop::collection::vec(prop::collection::vec(0u8..2, 0..3), 1..4)
    }

    proptest! {
        #[test]
        fn encodings_are_equal_only_if_their_parts_are(a in parts(), b in parts()) {
            let encode = |parts: &[Vec<u8>]| {
                let fields: Vec<&[u8]> = parts[1..].iter().map(Vec::as_slice).collect();
                super::encode(&parts[0], &fields)
            };
            prop_assert_eq!(encode(&a) == encode(&b), a == b);
        }
    }
}
