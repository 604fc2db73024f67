//! The contract, one function for each promise.

mod algorithms;
mod authentication;
mod lifecycle;
mod lists;
mod refusals;
mod shapes;

use std::{sync::Arc, time::Instant};

use futures::future::BoxFuture;

use crate::target::Target;

type Check = fn(Arc<Target>) -> BoxFuture<'static, ()>;

macro_rules! checks {
    ($($module:ident :: $name:ident),* $(,)?) => {
        [$((concat!(stringify!($module), "::", stringify!($name)), |target| Box::pin($module::$name(target)))),*]
    };
}

const ALL: [(&str, Check); 25] = checks![
    authentication::without_a_token_there_is_a_challenge,
    authentication::a_token_that_is_none_is_refused,
    authentication::the_sdk_s_client_is_let_in,
    shapes::every_answer_has_the_service_s_headers,
    shapes::bundles_have_the_service_s_members,
    shapes::what_was_not_given_is_not_in_a_bundle,
    algorithms::every_curve_signs_and_verifies,
    algorithms::rsa_2048_signs_and_verifies,
    algorithms::rsa_3072_signs_and_verifies,
    algorithms::rsa_4096_signs_and_verifies,
    algorithms::what_was_changed_does_not_verify,
    refusals::the_api_version_is_checked,
    refusals::what_is_not_there_is_not_found,
    refusals::what_cannot_be_signed_is_refused,
    refusals::an_algorithm_that_is_not_for_the_key_is_refused,
    refusals::what_cannot_be_made_is_refused,
    refusals::a_version_that_may_not_sign_does_not,
    refusals::an_operation_that_a_key_is_not_for_is_refused,
    lifecycle::a_rotated_key_signs_with_its_newest_version_and_keeps_the_old,
    lifecycle::no_version_is_the_newest,
    lifecycle::attributes_are_updated_one_by_one,
    lifecycle::a_deleted_key_is_gone_and_can_be_recovered,
    lists::versions_come_in_pages,
    lists::keys_are_listed_without_versions,
    lists::pages_have_at_most_25_entries,
];

/// Asks everything of a vault, and fails with the names of all promises that it does not keep.
pub(crate) async fn hold(target: Target) {
    let target = Arc::new(target);
    let mut broken = Vec::new();
    for (name, check) in ALL {
        let start = Instant::now();
        let kept = tokio::spawn(check(Arc::clone(&target))).await.is_ok();
        println!(
            "{}: {name}: {} ({} ms)",
            target.name,
            if kept { "kept" } else { "BROKEN" },
            start.elapsed().as_millis()
        );
        if !kept {
            broken.push(name);
        }
    }
    target.clean_up().await;
    assert!(broken.is_empty(), "{} does not keep {} promises: {}", target.name, broken.len(), broken.join(", "));
}
