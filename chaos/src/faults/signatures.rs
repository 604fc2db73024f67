//! Signatures that a vault must not be believed.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use signet::local::tap::{Action, Fault};
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

/// The vault says that it used another version, or another key of the same kind did sign.
pub(super) fn of_another_key() -> Fault {
    altered(|answer| {
        let Some(kid) = answer["kid"].as_str() else { return };
        let (key, _) = kid.rsplit_once('/').unwrap_or((kid, ""));
        answer["kid"] = format!("{key}/{}", "0".repeat(32)).into();
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
