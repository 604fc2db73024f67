//! Files of settings that would not do what they say.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{tool::Desk, world::deployment};

#[tokio::test]
async fn a_name_that_no_variable_can_have_is_refused() {
    let desk = Desk::new(BTreeMap::new());
    desk.write("item.json", r#"{"payload":1}"#);
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "\0")] {
        desk.write("local.settings.json", json!({ "Values": { name: value } }).to_string());
        desk.run(&["send", "item.json"]).await.exits(2, "the settings local.settings.json have ");
    }
}

#[tokio::test]
async fn what_a_settings_file_has_started_starts_nothing_more() {
    let deployment = deployment().await;
    let settings = deployment.settings("https://unused.vault.localhost/keys/unused");
    let mut desk = Desk::new(BTreeMap::new());
    desk.write("item.json", r#"{"payload":1}"#).write("cloud.json", json!({ "Values": settings }).to_string());
    let send = ["send", "item.json", "--settings", "cloud.json"];
    desk.run(&send).await.exits(0, "item.json → ");
    desk.settings.insert("SIGNET_TOOL_HAS_SETTINGS".to_owned(), "1".to_owned());
    desk.run(&send).await.exits(2, "WorkQueue__queueServiceUri is not set");
}
