//! Reads `NAME=VALUE` lines, as `.env` files have them. No message holds a value.
//!
//! `export` before a name is skipped, `#` begins a comment at the start of a line or behind a space. A value in single
//! quotes is taken as it is; in double quotes `\n`, `\r`, `\t`, `\"`, `\\` and `\$` stand for one character each; both
//! may go on over several lines. Without quotes it ends with its line, and spaces around it do not belong to it.
//! Nothing is substituted.

use ward_types::secret::Secret;

/// What is wrong, and in which line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) line: usize,
    pub(crate) what: &'static str,
}

/// Every name with its value, in the order of the text.
pub(crate) fn read(text: &str) -> Result<Vec<(String, Secret)>, Wrong> {
    let mut found = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        let wrong = |what| Wrong { line, what };
        let (head, below) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = head.trim_start();
        if trimmed.trim_end().is_empty() || trimmed.starts_with('#') {
            rest = below;
            continue;
        }
        let (name, _) = trimmed.split_once('=').ok_or(wrong("it has no `=`"))?;
        let name = name.trim().strip_prefix("export ").unwrap_or(name).trim();
        let at = head.find('=').map_or(head.len(), |at| at + 1);
        let value = rest[at..].trim_start_matches([' ', '\t']);
        let (value, end) = match value.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                quoted(&value[1..], quote).ok_or(wrong("its quotes do not end"))?
            }
            _ => plain(value),
        };
        let (after, below) = end.split_once('\n').unwrap_or((end, ""));
        let after = after.trim();
        if !after.is_empty() && !after.starts_with('#') {
            return Err(wrong("something stands behind the quotes"));
        }
        found.push((name.to_owned(), Secret::new(value)));
        rest = below;
    }
    Ok(found)
}

/// A value without quotes, and what is left of the text from the end of its line on.
fn plain(text: &str) -> (String, &str) {
    let end = text.find('\n').unwrap_or(text.len());
    let line = &text[..end];
    let comment = line.find(" #").or_else(|| line.find("\t#"));
    let value = match line.starts_with('#') {
        true => "",
        false => &line[..comment.unwrap_or(line.len())],
    };
    (value.trim().to_owned(), &text[end..])
}

/// A value in quotes, and what is left of the text behind them.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value, &text[at + 1..])),
            '\\' if quote == '"' => {
                let (_, next) = chars.next()?;
                match next {
                    'n' => value.push('\n'),
                    'r' => value.push('\r'),
                    't' => value.push('\t'),
                    '"' | '\\' | '$' => value.push(next),
                    other => value.extend(['\\', other]),
                }
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let read = read(text).unwrap();
        read.into_iter()
            .map(|(name, value)| (name, value.expose().to_owned()))
            .collect()
    }

    #[test]
    fn the_forms_that_such_files_have() {
        let text = "# a comment\n\nA=one\nexport B = two words  # said\nC='it''s'\n";
        assert_eq!(read(text).unwrap_err().line, 5);
        let text = "A=one\r\nexport B = two # said\nC='raw \\n #x'\nD=\"a\\n\\\"b\\\" \\$x \\q\"\n\
                    E=\"-----BEGIN\nlines\n-----END\" # key\nF=\nG=a#b\nH=last=x";
        let expected = [
            ("A", "one"),
            ("B", "two"),
            ("C", "raw \\n #x"),
            ("D", "a\n\"b\" $x \\q"),
            ("E", "-----BEGIN\nlines\n-----END"),
            ("F", ""),
            ("G", "a#b"),
            ("H", "last=x"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn what_is_wrong_is_said_by_its_line() {
        let wrong = |text: &str| read(text).unwrap_err();
        assert_eq!(wrong("A=1\nhunter2").line, 2);
        assert_eq!(wrong("A=\"1\nB=2").what, "its quotes do not end");
        assert_eq!(wrong("A=1\n\nB='1' x").line, 3);
    }
}
