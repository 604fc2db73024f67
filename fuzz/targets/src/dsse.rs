//! DSSE envelopes and the statements in them.

use signet_core::{
    algorithm::{Hash, hex},
    content::{ContentName, Predicate},
    dsse::{self, Statement, Subject},
};

use crate::{
    bounds::in_proportion,
    documents::{CONTENT, CONTENT_TYPE, ISSUED_AT, OTHER_CONTENT},
    json::Scanner,
    keys::KEYS,
};

/// What is valid was signed: its statement is about what was signed, and about nothing else. A statement that is read says
/// the same once it is written again.
pub fn dsse(data: &[u8]) {
    if let Some(statement) = in_proportion(data.len(), || Statement::parse(data)) {
        check_statement(data, &statement);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(valid) = in_proportion(data.len(), || dsse::verify(text, &KEYS)) else { return };
    assert!(Scanner::is_json(text));
    assert!(valid.kid.is_some_and(|kid| KEYS.contains(&kid)));
    assert_eq!(valid.payload_type, dsse::STATEMENT_TYPE);
    let statement = Statement::parse(&valid.payload).expect("a statement");
    assert_eq!((statement.is_about(CONTENT), statement.is_about(OTHER_CONTENT)), (Some(true), Some(false)));
    assert_eq!((statement.name.as_str(), statement.predicate_type.as_str()), ("a/b", dsse::DEFAULT_PREDICATE_TYPE));
    assert_eq!((statement.content_type.as_deref(), statement.issued_at), (Some(CONTENT_TYPE), Some(ISSUED_AT)));
}

fn check_statement(data: &[u8], statement: &Statement) {
    let text = std::str::from_utf8(data).expect("JSON is UTF-8");
    let members = Scanner::members_of(text).expect("an object");
    assert!(members.iter().any(|(name, _)| name == "subject"));
    let is_understood = |subject: Subject<'_>| subject.digests.iter().any(|(name, _)| Hash::from_name(name).is_some());
    match statement.is_about(CONTENT) {
        Some(true) => assert!(statement.subjects().any(is_understood)),
        Some(false) => assert!(statement.subjects().all(is_understood)),
        None => assert!(!statement.subjects().all(is_understood)),
    }

    let content = ContentName { hash: Hash::Sha256, hex: hex(&[7; 32]), detached: false };
    let predicate = Predicate { predicate_type: statement.predicate_type.clone(), json: None };
    let content_type = statement.content_type.as_deref().unwrap_or_default();
    let issued_at = statement.issued_at.unwrap_or_default();
    let is_default = statement.predicate_type == dsse::DEFAULT_PREDICATE_TYPE;
    let predicate = Some(&predicate).filter(|_| !is_default);
    let written = dsse::statement(&statement.name, &content, predicate, content_type, issued_at);
    let again = Statement::parse(written.as_bytes()).expect("a statement");
    assert_eq!((&again.name, &again.predicate_type), (&statement.name, &statement.predicate_type));
    assert_eq!(again.digests, [("sha256".to_owned(), content.hex)]);
    assert_eq!(again.content_type.as_deref(), is_default.then_some(content_type));
    assert_eq!(again.issued_at, is_default.then_some(issued_at));
}
