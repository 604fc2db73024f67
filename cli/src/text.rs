//! What others have written, made fit for a terminal.

use std::borrow::Cow;

/// The text with every character escaped that a terminal would obey, or that would show something else than what stands there.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// As [`visible`], but lines stay lines, and tabs tabs.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// The beginning of a text, visible, with an ellipsis where it goes on.
#[must_use]
pub fn shortened(text: &str, characters: usize) -> String {
    let visible = visible(text);
    if visible.chars().count() <= characters {
        return visible.into_owned();
    }
    visible.chars().take(characters.saturating_sub(1)).chain(['…']).collect()
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_bad = |character: char| !is_kept(character) && is_treacherous(character);
    if !text.chars().any(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_bad(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Control characters, line separators, and what changes the direction or the look of what follows.
fn is_treacherous(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(visible("é <&> ✔"), "é <&> ✔");
        assert_eq!(visible("\u{1b}]0;title\u{7}\u{9b}2J\r\n\t"), r"\u{1b}]0;title\u{7}\u{9b}2J\r\n\t");
        assert_eq!(visible("a\u{202e}b\u{2066}\u{feff}\u{200b}"), r"a\u{202e}b\u{2066}\u{feff}\u{200b}");
        assert_eq!(visible_lines("one\n\ttwo\r\n\u{1b}[2J"), "one\n\ttwo\\r\n\\u{1b}[2J");
    }

    #[test]
    fn long_texts_end_with_an_ellipsis() {
        assert_eq!(shortened("éàü", 3), "éàü");
        assert_eq!(shortened("éàüx", 3), "éà…");
        assert_eq!(shortened("\u{1b}[31mred", 8), r"\u{1b}[…");
    }
}
