//! Signatures that a vault must not be believed.

use std::sync::{Arc, Mutex, PoisonError};

use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
use serde_json::Value;
use signet::local::{
    tap::{Action, Fault},
    vault::Vault,
};
use signet_core::base64;

use crate::dice::Dice;

/// Too short, too long, empty, with one bit changed, or of another digest.
pub(super) fn spoilt(dice: &mut Dice) -> Fault {
    let how = dice.below(5);
    let kept: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    altered(move |answer| {
        let Some(value) = answer["value"].as_str().and_then(base64::decode_url) else { return };
        let mut signature = value.clone();
        match how {
            0 => signature.truncate(63),
            1 => signature.push(0),
            2 => signature.clear(),
            3 => signature[5] ^= 1,
            _ => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(other) = kept.replace(value) else { return };
                signature = other;
            }
        }
        answer["value"] = base64::encode_url(&signature).into();
    })
}

/// The vault says that it used another version.
pub(super) fn of_another_version() -> Fault {
    altered(|answer| {
        let Some(kid) = answer["kid"].as_str() else { return };
        let (key, _) = kid.rsplit_once('/').unwrap_or((kid, ""));
        answer["kid"] = format!("{key}/{}", "0".repeat(32)).into();
    })
}

/// What was asked for is signed by a key that is not the vault's, and everything else is as it should be.
pub(super) fn by_foreign_key(vault: Vault) -> Fault {
    let foreign = SigningKey::from_slice(&[7; 32]).ok();
    altered(move |answer| {
        let signature = answer["value"].as_str().and_then(base64::decode_url);
        let made = vault.signatures().into_iter().rev().find(|made| Some(&made.signature) == signature.as_ref());
        let Some((foreign, made)) = foreign.as_ref().zip(made) else { return };
        let signed: Result<Signature, _> = foreign.sign_prehash(&made.digest);
        if let Ok(signed) = signed {
            answer["value"] = base64::encode_url(&signed.to_bytes()).into();
        }
    })
}

fn altered(alter: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
    let action = Action::alter(move |response| {
        response.map(|body| match serde_json::from_slice::<Value>(&body) {
            Ok(mut answer) => {
                alter(&mut answer);
                answer.to_string().into()
            }
            Err(_) => body,
        })
    });
    Fault::new(action).method("POST").path("/sign")
}
