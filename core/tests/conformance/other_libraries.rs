//! Our verification against other libraries': what they sign is good, and what is not good here is not there.

use p256::elliptic_curve::sec1::ToEncodedPoint;
use rand_core::{OsRng, RngCore};
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey, traits::PublicKeyParts, traits::SignatureScheme};
use sha2::{Sha256, Sha384, Sha512};
use signet_core::{
    algorithm::{Algorithm, Hash, unhex},
    key::{Curve, PublicKey},
};

/// Keys of one curve, digests of all kinds, signatures good and bad: both libraries say the same of each.
macro_rules! curve {
    ($name:ident, $library:ident, $curve:expr, $algorithm:expr) => {
        #[test]
        fn $name() {
            use $library::ecdsa::{
                Signature, SigningKey, VerifyingKey,
                signature::hazmat::{PrehashVerifier, RandomizedPrehashSigner},
            };
            let length = $curve.coordinate_bytes();
            let mut judged = [0, 0];
            for scalar in scalars(length) {
                let Ok(private) = SigningKey::from_slice(&scalar) else { continue };
                let theirs = VerifyingKey::from(&private);
                let point = theirs.to_encoded_point(false);
                let (x, y) = point.as_bytes()[1..].split_at(length);
                let ours = PublicKey::ec($curve, x, y).expect("a point");
                for digest in digests($algorithm.hash()) {
                    let signature: Signature = private.sign_prehash_with_rng(&mut OsRng, &digest).expect("a signature");
                    for signature in variations(&signature.to_bytes()) {
                        let ours = ours.verify($algorithm, &digest, &signature).is_ok();
                        let theirs = Signature::from_slice(&signature).is_ok_and(|signature| {
                            // One of the libraries takes the lower half of s alone.
                            let signature = signature.normalize_s().unwrap_or(signature);
                            theirs.verify_prehash(&digest, &signature).is_ok()
                        });
                        assert_eq!(ours, theirs, "{scalar:02x?} {digest:02x?} {signature:02x?}");
                        judged[usize::from(ours)] += 1;
                    }
                }
            }
            println!("{} refused, {} accepted by both", judged[0], judged[1]);
            assert!(judged[0] > 500 && judged[1] >= 80, "{judged:?}");
        }
    };
}

curve!(p256_agrees, p256, Curve::P256, Algorithm::Es256);
curve!(p384_agrees, p384, Curve::P384, Algorithm::Es384);
curve!(p521_agrees, p521, Curve::P521, Algorithm::Es512);
curve!(p256k_agrees, k256, Curve::P256K, Algorithm::Es256K);

/// Private keys: small ones and powers of two, whose multiples meet those of the generator, and random ones.
fn scalars(length: usize) -> Vec<Vec<u8>> {
    let mut scalars: Vec<Vec<u8>> = (1..=4).map(|small| [vec![0; length - 1], vec![small]].concat()).collect();
    for bit in [43, 64, 65, 86, 87, 128, 200, 255] {
        let mut power = vec![0; length];
        power[length - 1 - bit / 8] = 1 << (bit % 8);
        scalars.push(power);
    }
    for _ in 0..8 {
        let mut random = vec![0; length];
        OsRng.fill_bytes(&mut random);
        // Smaller than every order, of 521 bits as well.
        random[0] = 0;
        random[1] &= 1;
        scalars.push(random);
    }
    scalars
}

fn digests(hash: Hash) -> Vec<Vec<u8>> {
    let mut random = vec![0; hash.length()];
    OsRng.fill_bytes(&mut random);
    let one = [vec![0; hash.length() - 1], vec![1]].concat();
    vec![vec![0; hash.length()], one, vec![0xff; hash.length()], random]
}

/// The signature itself, and others that are not far from it.
fn variations(signature: &[u8]) -> Vec<Vec<u8>> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let zero = vec![0; r.len()];
    let one = [&zero[1..], &[1]].concat();
    let mut flipped = signature.to_vec();
    let bit = OsRng.next_u32() as usize % (8 * flipped.len());
    flipped[bit / 8] ^= 1 << (bit % 8);
    let pairs = [[r, s], [s, r], [r, &zero], [&zero, s], [&one, s], [r, &one], [&one, &one]];
    let mut all: Vec<Vec<u8>> = pairs.iter().map(|pair| pair.concat()).collect();
    all.extend([flipped, signature[1..].to_vec(), vec![0xff; signature.len()]]);
    all
}

/// Where the two multiples are the same point, it is doubled; where they are opposite ones, there is no point.
#[test]
fn multiples_may_meet() {
    // The x of twice the generator, so that r = s = digest has the verifier add the generator to the key.
    for (curve, algorithm, generator, field, twice) in [
        (
            Curve::P256,
            Algorithm::Es256,
            p256::ProjectivePoint::GENERATOR.to_affine().to_encoded_point(false).as_bytes().to_vec(),
            "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
            "7cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978",
        ),
        (
            Curve::P256K,
            Algorithm::Es256K,
            k256::ProjectivePoint::GENERATOR.to_affine().to_encoded_point(false).as_bytes().to_vec(),
            "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f",
            "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
        ),
    ] {
        let (x, y) = generator[1..].split_at(32);
        let digest = unhex(twice).expect("hexadecimal");
        let signature = [&*digest, &*digest].concat();
        let key = PublicKey::ec(curve, x, y).expect("a point");
        assert_eq!(key.verify(algorithm, &digest, &signature), Ok(()), "{algorithm}");
        let field = BigUint::from_bytes_be(&unhex(field).expect("hexadecimal"));
        let opposite = (field - BigUint::from_bytes_be(y)).to_bytes_be();
        let key = PublicKey::ec(curve, x, &opposite).expect("a point");
        assert!(key.verify(algorithm, &digest, &signature).is_err(), "{algorithm}");
    }
}

#[test]
fn rsa_keys_have_bounds() {
    let modulus = |bits: usize| (BigUint::from(1_u8) << (bits - 1) | BigUint::from(1_u8)).to_bytes_be();
    for (bits, exponent, is_key) in [
        (2048, (1_u64 << 33) - 1, true),
        (2048, (1 << 33) + 1, false),
        (2048, 3, true),
        (2048, 1, false),
        (2048, 65_536, false),
        (2047, 65_537, false),
        (4096, 65_537, true),
        (4097, 65_537, false),
    ] {
        let key = PublicKey::rsa(&modulus(bits), &exponent.to_be_bytes());
        assert_eq!(key.is_ok(), is_key, "{bits} bits, exponent {exponent}");
    }
    let even = (BigUint::from(1_u8) << 2047).to_bytes_be();
    assert!(PublicKey::rsa(&even, &[1, 0, 1]).is_err());
    assert!(PublicKey::rsa(&[], &[1, 0, 1]).is_err());
}

#[test]
fn rsa_agrees() {
    // The sizes between whole bytes have paddings of their own.
    for bits in [2048, 2049, 2055] {
        let private = RsaPrivateKey::new(&mut OsRng, bits).expect("a key");
        let ours = PublicKey::rsa(&private.n().to_bytes_be(), &private.e().to_bytes_be()).expect("a key");
        assert_eq!(ours.kind(), format!("RSA {bits}"));
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_ecdsa()) {
            let digest = algorithm.hash().digest(&[b"content"]);
            let sign = |digest: &[u8]| match (algorithm.is_pss(), algorithm.hash()) {
                (true, Hash::Sha256) => Pss::new_with_salt::<Sha256>(32).sign(Some(&mut OsRng), &private, digest),
                (true, Hash::Sha384) => Pss::new_with_salt::<Sha384>(48).sign(Some(&mut OsRng), &private, digest),
                (true, Hash::Sha512) => Pss::new_with_salt::<Sha512>(64).sign(Some(&mut OsRng), &private, digest),
                (false, Hash::Sha256) => Pkcs1v15Sign::new::<Sha256>().sign(Some(&mut OsRng), &private, digest),
                (false, Hash::Sha384) => Pkcs1v15Sign::new::<Sha384>().sign(Some(&mut OsRng), &private, digest),
                (false, Hash::Sha512) => Pkcs1v15Sign::new::<Sha512>().sign(Some(&mut OsRng), &private, digest),
            };
            let signature = sign(&digest).expect("a signature");
            assert_eq!(ours.verify(algorithm, &digest, &signature), Ok(()), "{algorithm} {bits}");
            let other = Algorithm::ALL.into_iter().filter(|other| !other.is_ecdsa() && *other != algorithm);
            for other in other {
                let digest = other.hash().digest(&[b"content"]);
                assert!(ours.verify(other, &digest, &signature).is_err(), "{algorithm} as {other}");
            }
            // Every bit of the encoded message counts, so does every bit of what is signed.
            for bit in (0..8 * signature.len()).step_by(37) {
                let mut flipped = signature.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(ours.verify(algorithm, &digest, &flipped).is_err(), "{algorithm} {bits}: bit {bit}");
            }
            let beyond = (BigUint::from_bytes_be(&signature) + private.n()).to_bytes_be();
            assert!(ours.verify(algorithm, &digest, &beyond).is_err(), "{algorithm} {bits}: not reduced");
            assert!(
                ours.verify(algorithm, &digest, &[&[0], &*signature].concat()).is_err(),
                "{algorithm} {bits}: long"
            );
            assert!(ours.verify(algorithm, &digest, &signature[1..]).is_err(), "{algorithm} {bits}: short");
        }
    }
}

/// Encoded messages that are wrong in one place each, made by the private key as a signature is.
#[test]
fn paddings_have_one_form() {
    let private = RsaPrivateKey::new(&mut OsRng, 2048).expect("a key");
    let public = RsaPublicKey::from(&private);
    let ours = PublicKey::rsa(&public.n().to_bytes_be(), &public.e().to_bytes_be()).expect("a key");
    let digest = Hash::Sha256.digest(&[b"content"]);
    for (algorithm, good) in [
        (Algorithm::Rs256, Pkcs1v15Sign::new::<Sha256>().sign(Some(&mut OsRng), &private, &digest)),
        (Algorithm::Ps256, Pss::new_with_salt::<Sha256>(32).sign(Some(&mut OsRng), &private, &digest)),
    ] {
        let good = good.expect("a signature");
        let encoded =
            rsa::hazmat::rsa_encrypt(&public, &BigUint::from_bytes_be(&good)).expect("a number").to_bytes_be();
        let encoded = [vec![0; 256 - encoded.len()], encoded].concat();
        let mut refused = 0;
        for at in 0..256 {
            let mut wrong = encoded.clone();
            wrong[at] ^= 1;
            let Ok(signature) =
                rsa::hazmat::rsa_decrypt_and_check(&private, None::<&mut OsRng>, &BigUint::from_bytes_be(&wrong))
            else {
                continue;
            };
            let signature = signature.to_bytes_be();
            let signature = [vec![0; 256 - signature.len()], signature].concat();
            assert!(ours.verify(algorithm, &digest, &signature).is_err(), "{algorithm}: byte {at}");
            refused += 1;
        }
        // Beginning with a byte that is too large, it is no number below the modulus.
        assert!(refused >= 255, "{refused}");
    }
}
