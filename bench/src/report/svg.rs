//! What the charts are written with.

use std::fmt::Write as _;

/// Adds an element, in a line of its own.
pub(crate) fn put(body: &mut String, element: &str) {
    writeln!(body, "{element}").expect("a String takes all that is written");
}

/// Text as it may stand in an element.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
