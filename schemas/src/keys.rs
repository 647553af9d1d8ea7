//! Ed25519 (RFC 8032), with one rule for accepting a signature everywhere: `verify_strict`.
//!
//! Strict means: no small-order public key or R, no malleable S. A batch rule would accept other signatures than a single
//! one does, and then live intake and replay could disagree.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::ids::KeyId;

/// An Ed25519 signature.
pub type SignatureBytes = [u8; 64];

/// A private key. Erased from memory when dropped; neither printed nor serialised.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of a 32-byte RFC 8032 seed, which the caller took from the operating system's generator.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`. Deterministic (RFC 8032).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> SignatureBytes {
        self.0.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey of {}", self.id())
    }
}

/// Whether `signature` over `message` is by `key`, by the strict rule.
#[must_use]
pub fn verify(key: &KeyId, message: &[u8], signature: &SignatureBytes) -> bool {
    VerifyingKey::from_bytes(&key.0)
        .is_ok_and(|key| key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok())
}

/// Whether somebody can hold the private half of a key: it is a point of the curve, and not of small order. Anything else signs
/// nothing, or is a key whose signatures everybody can make; it is asked wherever a key comes to be trusted.
#[must_use]
pub fn can_sign(key: &KeyId) -> bool {
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| !key.is_weak())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::unhex;

    #[test]
    fn rfc_8032_test_3() {
        let key = SecretKey::from_seed(
            &unhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7").expect("hex"),
        );
        assert_eq!(key.id().to_string(), "ed25519:fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        let signature = key.sign(&[0xaf, 0x82]);
        assert_eq!(
            crate::ids::hex(&signature),
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        );
        assert!(verify(&key.id(), &[0xaf, 0x82], &signature));
        assert!(!verify(&key.id(), &[0xaf, 0x83], &signature));
    }

    #[test]
    fn a_secret_is_printed_as_the_key_that_everybody_may_know() {
        let key = SecretKey::from_seed(&[7; 32]);
        assert_eq!(format!("{key:?}"), format!("SecretKey of {}", key.id()));
    }

    /// The eight points of small order, two of them also as they must not be written, and what is no point.
    #[test]
    fn a_key_that_nobody_holds_cannot_sign() {
        for hex in [
            format!("01{}", "00".repeat(31)),
            format!("ec{}7f", "ff".repeat(30)),
            "00".repeat(32),
            format!("{}80", "00".repeat(31)),
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".to_owned(),
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85".to_owned(),
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".to_owned(),
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa".to_owned(),
            format!("ed{}7f", "ff".repeat(30)),
            format!("ee{}7f", "ff".repeat(30)),
            format!("02{}", "00".repeat(31)), // no point
        ] {
            assert!(!can_sign(&KeyId(unhex(&hex).expect(&hex))), "{hex}");
        }
        assert!(can_sign(&SecretKey::from_seed(&[7; 32]).id()));
    }

    #[test]
    fn refuses_malleable_s_and_small_order_keys() {
        let key = SecretKey::from_seed(&[7; 32]);
        let mut signature = key.sign(b"m");
        // S + L: the group order L, little-endian (RFC 8032, section 5.1), added to the second half.
        let order: [u8; 32] = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").expect("hex");
        let mut carry = 0_u16;
        for (s, l) in signature.iter_mut().skip(32).zip(order) {
            carry += u16::from(*s) + u16::from(l);
            *s = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert!(!verify(&key.id(), b"m", &signature));

        // The neutral element as key and R with S = 0 satisfies the cofactorless equation for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        assert!(!verify(&KeyId(neutral), b"anything", &forged));
    }
}
