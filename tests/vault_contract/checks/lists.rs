//! Lists and their pages.

use std::{collections::BTreeSet, sync::Arc};

use azure_security_keyvault_keys::models::KeyClientListKeyPropertiesVersionsOptions;
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use crate::{difference::Difference, target::Target};

pub(crate) async fn versions_come_in_pages(target: Arc<Target>) {
    let (name, first) = target.create(json!({"kty": "EC", "crv": "P-256"})).await;
    let mut made = BTreeSet::from([first["key"]["kid"].clone().to_string()]);
    for _ in 0..4 {
        let version = target.create_version(&name, json!({"kty": "EC", "crv": "P-256"})).await;
        made.insert(version["key"]["kid"].to_string());
    }
    let mut path = format!("/keys/{name}/versions?maxresults=2");
    let (mut listed, mut pages) = (BTreeSet::new(), 0);
    loop {
        let page = if pages == 0 {
            target.ask("GET", &path, Value::Null).await
        } else {
            target.raw("GET", &path, Some(&target.token().await), "").await
        };
        assert_eq!(page.status, 200, "{page:?}");
        let items = page.body["value"].as_array().expect("a list");
        assert!(items.len() <= 2, "{page:?}");
        for item in items {
            assert_eq!(item["attributes"]["enabled"], true, "{item}");
            assert!(item.get("key").is_none(), "{item}");
            assert!(listed.insert(item["kid"].to_string()), "twice: {item}");
        }
        pages += 1;
        let Some(next) = page.body["nextLink"].as_str() else { break };
        assert!(pages < 20, "pages without end");
        path = path_of(next);
        assert!(path.starts_with(&format!("/keys/{name}/versions?")) && path.contains("$skiptoken="), "{next}");
    }
    assert_eq!(listed, made);
    assert!(pages >= 3, "{pages}");

    let options = KeyClientListKeyPropertiesVersionsOptions {
        maxresults: Some(2),
        ..KeyClientListKeyPropertiesVersionsOptions::default()
    };
    let client = target.client();
    let items = client.list_key_properties_versions(&name, Some(options)).expect("a list");
    let items: Vec<_> = items.try_collect().await.expect("every page");
    let listed: BTreeSet<_> = items.into_iter().map(|item| json!(item.kid).to_string()).collect();
    assert_eq!(listed, made);
}

pub(crate) async fn keys_are_listed_without_versions(target: Arc<Target>) {
    let (name, _) = target.create(json!({"kty": "EC", "crv": "P-256", "tags": {"a": "b"}})).await;
    let expected = format!("{}/keys/{name}", target.url);
    let mut path = "/keys?maxresults=25".to_owned();
    let mut page = target.ask("GET", &path, Value::Null).await;
    for _ in 0..1000 {
        assert_eq!(page.status, 200, "{page:?}");
        let items = page.body["value"].as_array().expect("a list");
        if let Some(item) = items.iter().find(|item| item["kid"] == expected) {
            assert_eq!((&item["tags"], &item["attributes"]["enabled"]), (&json!({"a": "b"}), &json!(true)));
            return;
        }
        path = path_of(page.body["nextLink"].as_str().unwrap_or_else(|| panic!("{expected} is in no page")));
        page = target.raw("GET", &path, Some(&target.token().await), "").await;
    }
    panic!("{expected} is not in 1000 pages");
}

/// REST reference, `maxresults`: "Maximum number of results to return in a page. If not specified the service will return up
/// to 25 results"; of 1 to 25.
pub(crate) async fn pages_have_at_most_25_entries(target: Arc<Target>) {
    let (name, _) = target.create(json!({"kty": "EC", "crv": "P-256"})).await;
    for wrong in ["26", "0"] {
        for path in ["/keys".to_owned(), format!("/keys/{name}/versions")] {
            let answer = target.ask("GET", &format!("{path}?maxresults={wrong}"), Value::Null).await;
            answer.refused_unless(Difference::AnyPageSize, &target, 400, "BadParameter", None);
        }
    }
    for wrong in ["-1", "many"] {
        let answer = target.ask("GET", &format!("/keys?maxresults={wrong}"), Value::Null).await;
        answer.refused(&target, 400, "BadParameter", None);
    }
    assert_eq!(target.ask("GET", "/keys?maxresults=25", Value::Null).await.status, 200);
}

/// A link's path and query; the service writes the port into its host (`…vault.azure.net:443`), even where it need not.
fn path_of(link: &str) -> String {
    let (_, rest) = link.split_once("://").expect("a URL");
    let (_, path) = rest.split_once('/').expect("a path");
    format!("/{path}")
}
