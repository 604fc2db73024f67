//! Verifications per second, beside those of two other libraries: `cargo bench -p signet-verification`.
//!
//! Each gets what it needs beforehand, a key that is parsed already. ring hashes the message itself; it is a short one.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use rand_core::OsRng;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use signet_verification::{Curve, EcKey};

const ROUNDS: usize = 9;

fn main() {
    let message = b"the content of a work item";
    let digest = Sha256::digest(message);
    let private = p256::ecdsa::SigningKey::random(&mut OsRng);
    let signature: p256::ecdsa::Signature = private.sign_prehash(&digest).expect("a signature");
    let bytes = signature.to_bytes();
    let rustcrypto = p256::ecdsa::VerifyingKey::from(&private);
    let point = rustcrypto.to_encoded_point(false);
    let (x, y) = point.as_bytes()[1..].split_at(32);
    let ours = EcKey::new(Curve::P256, x, y).expect("a key");
    let ring = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_bytes());

    let contenders: [(&str, &dyn Fn() -> bool); 3] = [
        ("signet-verification", &|| ours.verify(&digest, &bytes)),
        ("ring", &|| ring.verify(message, &bytes).is_ok()),
        ("p256 (RustCrypto)", &|| rustcrypto.verify_prehash(&digest, &signature).is_ok()),
    ];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for ((_, verify), times) in contenders.iter().zip(&mut times) {
            times.push(microseconds(verify));
        }
    }
    println!("ES256, one verification, median of {ROUNDS} interleaved rounds:");
    for ((name, _), times) in contenders.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        println!("  {name:<20} {:6.1} µs  ({:.1} to {:.1})", times[ROUNDS / 2], times[0], times[ROUNDS - 1]);
    }
}

/// The time of one call, by as many as a tenth of a second takes.
fn microseconds(verify: &dyn Fn() -> bool) -> f64 {
    let begun = Instant::now();
    let mut calls = 0_u32;
    while begun.elapsed() < Duration::from_millis(100) {
        assert!(black_box(verify()));
        calls += 1;
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}
