//! The forms in which a secret may leak: what a text and a vector look like when a program writes them without sealing them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use half::f16;

/// The forms in which a text may leak, each with its name.
pub fn forms(secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("raw bytes".to_owned(), secret.to_vec()),
        (
            "UTF-16".to_owned(),
            secret.iter().flat_map(|&byte| [byte, 0]).collect(),
        ),
        (
            "big-endian UTF-16".to_owned(),
            secret.iter().flat_map(|&byte| [0, byte]).collect(),
        ),
        ("upper-case hex".to_owned(), hex.to_uppercase().into_bytes()),
        ("lower-case hex".to_owned(), hex.into_bytes()),
    ];
    for alignment in 0..3 {
        let shifted = [vec![0; alignment], secret.to_vec()].concat();
        // Only characters whose six bits all come from the secret are sure to appear.
        let sure = (alignment * 8).div_ceil(6)..shifted.len() * 8 / 6;
        for (name, alphabet) in [("base64", &STANDARD), ("base64url", &URL_SAFE)] {
            let text = alphabet.encode(&shifted).into_bytes();
            forms.push((
                format!("{name} at alignment {alignment}"),
                text[sure.clone()].to_vec(),
            ));
        }
    }
    forms
}

/// The binary forms in which a vector may leak, each with its name and the bytes per number.
pub fn vector_forms(vector: &[f32]) -> [(&'static str, Vec<u8>, usize); 6] {
    let halves = || vector.iter().map(|&x| f16::from_f32(x));
    let doubles = || vector.iter().map(|&x| f64::from(x));
    [
        (
            "little-endian float32",
            vector.iter().flat_map(|x| x.to_le_bytes()).collect(),
            4,
        ),
        (
            "big-endian float32",
            vector.iter().flat_map(|x| x.to_be_bytes()).collect(),
            4,
        ),
        (
            "little-endian float16",
            halves().flat_map(f16::to_le_bytes).collect(),
            2,
        ),
        (
            "big-endian float16",
            halves().flat_map(f16::to_be_bytes).collect(),
            2,
        ),
        (
            "little-endian float64",
            doubles().flat_map(f64::to_le_bytes).collect(),
            8,
        ),
        (
            "big-endian float64",
            doubles().flat_map(f64::to_be_bytes).collect(),
            8,
        ),
    ]
}
