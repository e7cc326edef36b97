//! Users' tokens. A token names its user and holds the secret that the user's grants are sealed to; its tag tells that
//! this deployment made it. The server keeps none.
//!
//! ```text
//! cdbk_1_ base64url, unpadded, of: user id 16, secret 32, tag 8
//! ```

use crate::error::BadToken;
use crate::hybrid::PrivateKey;
use crate::kdf::Kdf;
use crate::labels;
use crate::prf::Prf;
use crate::public_keys::UserPublicKey;
use crate::random;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealdex_core::UserId;
use std::hash::{Hash, Hasher};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const PREFIX: &str = "cdbk_1_";
const ID_BYTES: usize = 16;
const TAG_BYTES: usize = 8;
const TOKEN_BYTES: usize = ID_BYTES + Secret::BYTES + TAG_BYTES;
/// Characters behind the prefix.
const BODY_CHARACTERS: usize = (TOKEN_BYTES * 8).div_ceil(6);

/// Makes tokens and recognises its own. Two authorities of the same root key are the same; under another root key all
/// tokens are foreign.
pub struct TokenAuthority(Prf);

impl TokenAuthority {
    /// Of the server's root key. Whoever has a token can try root keys against its tag, so that the root key should be
    /// as long as a key.
    pub fn new(root_key: &str) -> Self {
        Self(Prf::new(
            &Kdf::of_text(root_key.as_bytes()).derive(labels::TOKEN_TAG, &[]),
        ))
    }

    /// A token for a new user.
    pub fn mint(&self) -> (UserId, UserToken) {
        let user = UserId(random::random());
        let secret = Secret::generate();
        let tag = self.tag(user, &secret);
        (user, UserToken { user, secret, tag })
    }

    /// Reads a token that this authority has made. What is malformed and what is foreign are not told apart.
    pub fn verify(&self, text: &str) -> Result<UserToken, BadToken> {
        let token = UserToken::parse(text).ok_or(BadToken)?;
        if bool::from(self.tag(token.user, &token.secret).ct_eq(&token.tag)) {
            Ok(token)
        } else {
            Err(BadToken)
        }
    }

    fn tag(&self, user: UserId, secret: &Secret) -> [u8; TAG_BYTES] {
        self.0.of(&[user.as_bytes(), secret.expose()])
    }
}

/// A user's token.
pub struct UserToken {
    user: UserId,
    secret: Secret,
    tag: [u8; TAG_BYTES],
}

impl UserToken {
    /// The token's text, for its user: shown once, when it is made, and never stored or logged.
    pub fn reveal(&self) -> String {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        let (id, rest) = bytes.split_at_mut(ID_BYTES);
        let (secret, tag) = rest.split_at_mut(Secret::BYTES);
        id.copy_from_slice(self.user.as_bytes());
        secret.copy_from_slice(self.secret.expose());
        tag.copy_from_slice(&self.tag);
        // All of it at once: a string that grew later would leave the secret behind in freed memory.
        let mut text = String::with_capacity(PREFIX.len() + BODY_CHARACTERS);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let body = text.strip_prefix(PREFIX)?;
        if body.len() != BODY_CHARACTERS {
            return None;
        }
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        URL_SAFE_NO_PAD.decode_slice(body, bytes.as_mut_slice()).ok()?;
        let (id, rest) = bytes.split_at(ID_BYTES);
        let (secret, tag) = rest.split_at(Secret::BYTES);
        Some(Self {
            user: UserId::from_slice(id)?,
            secret: Secret::fill_with(|out| out.copy_from_slice(secret)),
            tag: tag.try_into().ok()?,
        })
    }

    /// Whose token it is.
    pub fn user_id(&self) -> UserId {
        self.user
    }

    /// What the user's grants are sealed to.
    pub fn public_key(&self) -> UserPublicKey {
        UserPublicKey::of_private(self.private_key().public())
    }

    /// What a cache finds this token by, without keeping it.
    pub fn fingerprint(&self) -> TokenFingerprint {
        let digest = Kdf::new(&self.secret).derive(labels::TOKEN_FINGERPRINT, &[self.user.as_bytes()]);
        TokenFingerprint(*digest.expose())
    }

    pub(crate) fn private_key(&self) -> PrivateKey {
        PrivateKey::derive(&Kdf::new(&self.secret).derive(labels::USER_KEY_PAIR, &[]))
    }
}

/// A digest of a token, keyed by its secret: tells one token from another and nothing more. Compared in constant time.
#[derive(Clone, Copy)]
pub struct TokenFingerprint([u8; 32]);

impl TokenFingerprint {
    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for TokenFingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenFingerprint {}

impl Hash for TokenFingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn authority() -> TokenAuthority {
        TokenAuthority::new("root key")
    }

    #[test]
    fn its_own_tokens_are_recognised() {
        let (id, token) = authority().mint();
        let text = token.reveal();
        assert_eq!(text.len(), 82);
        // Another process with the same root key.
        let verified = authority().verify(&text).unwrap();
        assert_eq!(verified.user_id(), id);
        assert_eq!(verified.reveal(), text);
        assert_eq!(verified.public_key(), token.public_key());
        assert!(verified.fingerprint() == token.fingerprint());
    }

    #[test]
    fn foreign_and_malformed_tokens_are_the_same_error() {
        let (_, token) = TokenAuthority::new("another root key").mint();
        let foreign = token.reveal();
        let own = authority().mint().1.reveal();
        for text in [
            "",
            "cdbk_1_",
            "root key",
            &foreign,
            &own[..81],
            &own[1..],
            &format!("{own}A"),
            &format!("{own}="),
            &format!(" {own}"),
            &own.replace("cdbk_1_", "cdbk_2_"),
            &own.replace("cdbk_1_", "CDBK_1_"),
            &format!("cdbk_1_{}", "\u{e9}".repeat(37) + "A"),
        ] {
            assert_eq!(authority().verify(text).err(), Some(BadToken), "{text:?}");
        }
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let ((one_id, one), (other_id, other)) = (authority().mint(), authority().mint());
        assert_ne!(one_id, other_id);
        assert_ne!(one.secret.expose(), other.secret.expose());
        assert_ne!(one.public_key(), other.public_key());
        assert!(one.fingerprint() != other.fingerprint());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,100}", body in "[A-Za-z0-9_\\-]{75}") {
            for text in [text, format!("{}{}", PREFIX, body)] {
                prop_assert_eq!(authority().verify(&text).err(), Some(BadToken));
            }
        }

        #[test]
        fn a_changed_character_is_noticed(at in 0usize..82, to in "[ -~]") {
            let text = authority().mint().1.reveal();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(authority().verify(&changed).is_ok(), changed == text);
        }

        #[test]
        fn a_changed_byte_is_noticed(at in 0usize..TOKEN_BYTES, bit in 0u8..8) {
            let text = authority().mint().1.reveal();
            let mut bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).unwrap();
            bytes[at] ^= 1 << bit;
            let changed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
            prop_assert_eq!(authority().verify(&changed).err(), Some(BadToken));
        }
    }
}
