//! Text that somebody else wrote, and that people read in a terminal or in the log.

/// Letters that do not show but move the cursor, begin a line, or turn the direction of reading: with them a text could
/// look like lines that it does not have.
#[must_use]
pub fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with [`steers`] letters spelled out.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match steers(letter) {
            true => shown.extend(letter.escape_unicode()),
            false => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_spelled_out_and_all_else_is_kept() {
        assert_eq!(shown("Grüße, 雪 “x”"), "Grüße, 雪 “x”");
        assert_eq!(shown("a\nb\x1b[2J\u{202e}"), "a\\u{a}b\\u{1b}[2J\\u{202e}");
    }
}
