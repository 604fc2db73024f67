//! Project Wycheproof's cases for every algorithm that is offered here.

use std::{collections::BTreeMap, fmt::Debug};

use signet_core::{
    algorithm::{Algorithm, Hash},
    key::{Curve, PublicKey},
    raw,
};
use wycheproof::{EllipticCurve, HashFunction, Mgf, TestResult, ecdsa, rsa_pkcs1_verify, rsa_pss_verify};

/// What came of the cases of one algorithm.
#[derive(Debug, Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    /// Cases that may be judged either way.
    acceptable_and_accepted: usize,
    acceptable_and_refused: usize,
}

impl Tally {
    /// Counts a case, whose verdict must be the expected one.
    fn count(&mut self, case: impl Debug, expected: TestResult, accepted: bool) {
        let counter = match (expected, accepted) {
            (TestResult::Valid, true) => &mut self.accepted,
            (TestResult::Invalid, false) => &mut self.refused,
            (TestResult::Acceptable, true) => &mut self.acceptable_and_accepted,
            (TestResult::Acceptable, false) => &mut self.acceptable_and_refused,
            (TestResult::Valid, false) => panic!("a good signature is refused: {case:?}"),
            (TestResult::Invalid, true) => panic!("a bad signature is accepted: {case:?}"),
        };
        *counter += 1;
    }
}

/// Tallies by algorithm, and how many good signatures are refused for which reason.
#[derive(Debug, Default)]
struct Outcome {
    tallies: BTreeMap<&'static str, Tally>,
    declined: BTreeMap<&'static str, usize>,
}

impl Outcome {
    fn judge(&mut self, algorithm: Algorithm, case: impl Debug, expected: TestResult, accepted: bool) {
        self.tallies.entry(algorithm.name()).or_default().count(case, expected, accepted);
    }

    /// What is good by other parameters is not by ours; what is bad by others says nothing.
    fn decline(&mut self, reason: &'static str, case: impl Debug, expected: TestResult, accepted: bool) {
        if expected == TestResult::Valid {
            assert!(!accepted, "it is accepted in spite of this: {reason}: {case:?}");
            *self.declined.entry(reason).or_default() += 1;
        }
    }

    /// Each algorithm must have had at least so many good and bad signatures.
    fn assert_complete(&self, least: &[(Algorithm, usize, usize)]) {
        println!("{self:#?}");
        assert_eq!(self.tallies.len(), least.len());
        for (algorithm, accepted, refused) in least {
            let tally = &self.tallies[algorithm.name()];
            assert!(tally.accepted >= *accepted && tally.refused >= *refused, "{algorithm}: {tally:?}");
        }
    }
}

const OTHER_HASH: &str = "no algorithm here has this hash";
const OTHER_SIZE: &str = "the key is too small or too large";

fn offered(hash: HashFunction) -> Option<Hash> {
    match hash {
        HashFunction::Sha2_256 => Some(Hash::Sha256),
        HashFunction::Sha2_384 => Some(Hash::Sha384),
        HashFunction::Sha2_512 => Some(Hash::Sha512),
        _ => None,
    }
}

#[test]
fn ecdsa_signatures_are_judged_as_wycheproof_says() {
    let outcome = judge_ecdsa([
        ecdsa::TestName::EcdsaSecp256r1Sha256P1363,
        ecdsa::TestName::EcdsaSecp384r1Sha384P1363,
        ecdsa::TestName::EcdsaSecp521r1Sha512P1363,
        ecdsa::TestName::EcdsaSecp256k1Sha256P1363,
    ]);
    outcome.assert_complete(&[
        (Algorithm::Es256, 173, 89),
        (Algorithm::Es384, 193, 87),
        (Algorithm::Es512, 231, 87),
        (Algorithm::Es256K, 167, 85),
    ]);
}

/// Without the set of Bitcoin's: that s is of the lower half is no rule of ECDSA's.
#[test]
fn ecdsa_signatures_in_der_are_judged_as_wycheproof_says() {
    let outcome = judge_ecdsa([
        ecdsa::TestName::EcdsaSecp256r1Sha256,
        ecdsa::TestName::EcdsaSecp384r1Sha384,
        ecdsa::TestName::EcdsaSecp521r1Sha512,
        ecdsa::TestName::EcdsaSecp256k1Sha256,
    ]);
    outcome.assert_complete(&[
        (Algorithm::Es256, 174, 310),
        (Algorithm::Es384, 194, 310),
        (Algorithm::Es512, 232, 310),
        (Algorithm::Es256K, 168, 308),
    ]);
}

fn judge_ecdsa(sets: [ecdsa::TestName; 4]) -> Outcome {
    let mut outcome = Outcome::default();
    for set in sets {
        for group in ecdsa::TestSet::load(set).expect("a set").test_groups {
            let curve = match group.key.curve {
                EllipticCurve::Secp256r1 => Curve::P256,
                EllipticCurve::Secp384r1 => Curve::P384,
                EllipticCurve::Secp521r1 => Curve::P521,
                EllipticCurve::Secp256k1 => Curve::P256K,
                other => panic!("{other:?}"),
            };
            let (x, y) = group.key.key[1..].split_at(curve.coordinate_bytes());
            let key = PublicKey::ec(curve, x, y).expect("a point on the curve");
            let algorithm = key.default_algorithm();
            assert_eq!(offered(group.hash), Some(algorithm.hash()));
            for test in group.tests {
                let signature = match group.test_type {
                    ecdsa::TestGroupTypeId::EcdsaP1363 => Some(test.sig.to_vec()),
                    _ => raw::ecdsa_from_der(&test.sig, curve.coordinate_bytes()),
                };
                let digest = algorithm.hash().digest(&[test.msg.as_ref()]);
                let accepted = signature.is_some_and(|signature| key.verify(algorithm, &digest, &signature).is_ok());
                outcome.judge(algorithm, (set, &test), test.result, accepted);
            }
        }
    }
    outcome
}

#[test]
fn pss_signatures_are_judged_as_wycheproof_says() {
    let mut outcome = Outcome::default();
    for set in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(set).expect("a set").test_groups {
            let hash = offered(group.hash);
            let (algorithm, salt) = match hash {
                Some(Hash::Sha384) => (Algorithm::Ps384, 48),
                Some(Hash::Sha512) => (Algorithm::Ps512, 64),
                Some(Hash::Sha256) | None => (Algorithm::Ps256, 32),
            };
            let key = PublicKey::rsa(&group.key.n, &group.key.e);
            let declined = if hash.is_none() || group.mgf != Mgf::Mgf1 {
                Some(OTHER_HASH)
            } else if group.mgf_hash != Some(group.hash) {
                Some("the hash of MGF1 is another one (RFC 7518, section 3.5)")
            } else if group.salt_size != salt {
                Some("the salt is not as long as the digest (RFC 7518, section 3.5)")
            } else if key.is_err() {
                Some(OTHER_SIZE)
            } else {
                None
            };
            for test in group.tests {
                let digest = algorithm.hash().digest(&[test.msg.as_ref()]);
                let accepted = key.as_ref().is_ok_and(|key| key.verify(algorithm, &digest, &test.sig).is_ok());
                match declined {
                    Some(reason) => outcome.decline(reason, (set, &test), test.result, accepted),
                    None => outcome.judge(algorithm, (set, &test), test.result, accepted),
                }
            }
        }
    }
    outcome.assert_complete(&[(Algorithm::Ps256, 317, 225), (Algorithm::Ps384, 192, 92), (Algorithm::Ps512, 266, 94)]);
}

const PKCS1: [rsa_pkcs1_verify::TestName; 12] = [
    rsa_pkcs1_verify::TestName::Rsa2048Sha256,
    rsa_pkcs1_verify::TestName::Rsa2048Sha384,
    rsa_pkcs1_verify::TestName::Rsa2048Sha512,
    rsa_pkcs1_verify::TestName::Rsa3072Sha256,
    rsa_pkcs1_verify::TestName::Rsa3072Sha384,
    rsa_pkcs1_verify::TestName::Rsa3072Sha512,
    rsa_pkcs1_verify::TestName::Rsa4096Sha256,
    rsa_pkcs1_verify::TestName::Rsa4096Sha384,
    rsa_pkcs1_verify::TestName::Rsa4096Sha512,
    rsa_pkcs1_verify::TestName::Rsa8192Sha256,
    rsa_pkcs1_verify::TestName::Rsa8192Sha384,
    rsa_pkcs1_verify::TestName::Rsa8192Sha512,
];

#[test]
fn pkcs1_signatures_are_judged_as_wycheproof_says() {
    let mut outcome = Outcome::default();
    for set in PKCS1 {
        for group in rsa_pkcs1_verify::TestSet::load(set).expect("a set").test_groups {
            let algorithm = match offered(group.hash).expect("a hash of ours") {
                Hash::Sha256 => Algorithm::Rs256,
                Hash::Sha384 => Algorithm::Rs384,
                Hash::Sha512 => Algorithm::Rs512,
            };
            let key = PublicKey::rsa(&group.key.n, &group.key.e);
            for test in group.tests {
                let digest = algorithm.hash().digest(&[test.msg.as_ref()]);
                match &key {
                    Ok(key) => {
                        let accepted = key.verify(algorithm, &digest, &test.sig).is_ok();
                        outcome.judge(algorithm, (set, &test), test.result, accepted);
                    }
                    Err(_) => outcome.decline(OTHER_SIZE, (set, &test), test.result, false),
                }
            }
        }
    }
    // The cases that may be judged either way are signatures without the NULL of RFC 8017, appendix A.2.4; all are refused.
    outcome.assert_complete(&[(Algorithm::Rs256, 24, 749), (Algorithm::Rs384, 21, 752), (Algorithm::Rs512, 23, 752)]);
    assert!(outcome.tallies.values().all(|tally| tally.acceptable_and_accepted == 0));
}
