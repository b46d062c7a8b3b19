//! Text that somebody else wrote, and that people read in a terminal or in the log.

/// Letters that do not show: they move the cursor, begin a line, turn the direction of reading, or tell apart what looks the
/// same. With them a text could look like lines that it does not have.
#[must_use]
pub fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        // And those that do not show at all, but for the two that join letters.
        || matches!(letter, '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
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

/// A word as a shell takes it, in one line, whatever it holds.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_@%+=:,./-".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("'");
    for letter in word.chars() {
        match letter {
            '\'' => quoted.push_str("'\\''"),
            // What a terminal obeys is written out.
            _ if steers(letter) => quoted.extend(letter.escape_default()),
            _ => quoted.push(letter),
        }
    }
    quoted.push('\'');
    quoted
}

/// A command as a shell takes it, in one line.
#[must_use]
pub fn command(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_as_a_shell_takes_it_in_one_line() {
        for (word, told) in [
            ("/bin/ls", "/bin/ls"),
            ("-c", "-c"),
            ("", "''"),
            ("echo hi; ls $HOME", "'echo hi; ls $HOME'"),
            ("it's", "'it'\\''s'"),
            ("a \"b\" \\n", "'a \"b\" \\n'"),
            (
                "one\ntwo\u{1b}[2J\u{202e}",
                "'one\\ntwo\\u{1b}[2J\\u{202e}'",
            ),
            ("ä", "'ä'"),
        ] {
            assert_eq!(quoted(word), told);
        }
    }

    #[test]
    fn what_steers_is_spelled_out_and_all_else_is_kept() {
        assert_eq!(shown("Grüße, 雪 “x”"), "Grüße, 雪 “x”");
        assert_eq!(shown("a\nb\x1b[2J\u{202e}"), "a\\u{a}b\\u{1b}[2J\\u{202e}");
    }
}
