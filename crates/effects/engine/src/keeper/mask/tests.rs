use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ward_types::secret::Secret;

use super::*;

fn masker(values: &[(&str, &str)]) -> Masker {
    let masks: Vec<Mask> = values
        .iter()
        .map(|(name, value)| Mask {
            name: (*name).to_owned(),
            value: Secret::new((*value).to_owned()),
        })
        .collect();
    Masker::new(Masks::new(&masks))
}

/// What is written down of a text that is said in pieces of this length.
fn said(values: &[(&str, &str)], text: &str, length: usize) -> String {
    let mut masker = masker(values);
    let mut written = Vec::new();
    for piece in text.as_bytes().chunks(length) {
        written.extend_from_slice(&masker.feed(piece));
    }
    written.extend(masker.finish());
    String::from_utf8(written).unwrap()
}

const KEY: &str = "p4ss/w0rd+%&ü \"x\"";
/// The same, by `base32` of coreutils.
const IN_BASE32: &str = "OA2HG4ZPO4YHEZBLEUTMHPBAEJ4CE===";

/// The key with those of its bytes that `is` takes as this and two digits.
fn escaped(with: &str, is: &dyn Fn(u8) -> bool) -> String {
    let bytes = KEY.bytes().map(|byte| match is(byte) {
        true => format!("{with}{byte:02x}").into_bytes(),
        false => vec![byte],
    });
    String::from_utf8(bytes.flatten().collect()).unwrap()
}

fn in_numbers(between: &str) -> String {
    let numbers: Vec<String> = KEY.bytes().map(|byte| byte.to_string()).collect();
    numbers.join(between)
}

#[test]
fn p6_a_value_is_masked_in_each_form_wherever_reads_are_cut() {
    let forms = [
        KEY.to_owned(),
        STANDARD.encode(KEY),
        URL_SAFE.encode(KEY).trim_end_matches('=').to_owned(),
        "p4ss%2Fw0rd%2B%25%26%C3%BC%20%22x%22".to_owned(),
        "p4ss%2fw0rd%2b%25%26%c3%bc+%22x%22".to_owned(),
        hex::encode(KEY),
        "p4ss/w0rd+%&ü \\\"x\\\"".to_owned(),
        "p4ss/w0rd+%&\\u00fc \\\"x\\\"".to_owned(),
        IN_BASE32.to_owned(),
        IN_BASE32.trim_end_matches('=').to_owned(),
        IN_BASE32.to_ascii_lowercase(),
        IN_BASE32.trim_end_matches('=').to_ascii_lowercase(),
        // As literals of strings have it, of which some escape every byte, and some are escaped themselves.
        escaped("\\x", &|_| true),
        escaped("\\\\x", &|_| true),
        escaped("\\x", &|byte| !byte.is_ascii()),
        escaped("\\\\x", &|byte| !byte.is_ascii_alphanumeric()),
        escaped("\\x", &|_| true)
            .to_ascii_uppercase()
            .replace("\\X", "\\x"),
        in_numbers(", "),
        in_numbers(","),
        "p4ss/w0rd+%&amp;ü &quot;x&quot;".to_owned(),
        "p4ss&#47;w0rd&#43;&#37;&#38;&#252; &#34;x&#34;".to_owned(),
        "p4ss&#x2F;w0rd+&#x25;&amp;&#x000fc;&#x20;&quot;x&#x22;".to_owned(),
    ];
    for form in forms {
        let text = format!("before {form}, twice: {form}{form} after");
        let masked = "before [secret KEY], twice: [secret KEY][secret KEY] after";
        for length in 1..text.len() {
            assert_eq!(
                said(&[("KEY", KEY)], &text, length),
                masked,
                "{form} by {length}"
            );
        }
    }
}

#[test]
fn within_a_longer_text_that_was_encoded_little_is_left() {
    for user in ["a", "ab", "abc"] {
        let encoded = STANDARD.encode(format!("{user}:{KEY}@host"));
        let written = said(&[("KEY", KEY)], &encoded, 7);
        assert!(written.contains("[secret KEY]"), "{written}");
        let left = written.len() - "[secret KEY]".len();
        let around = STANDARD.encode(format!("{user}:@host")).len();
        assert!(left <= around + 4, "{written}");
    }
    // "{user}:{KEY}@host", by `base32` of coreutils.
    for (user, encoded) in [
        ("", "HJYDI43TF53TA4TEFMSSNQ54EARHQISANBXXG5A="),
        ("a", "ME5HANDTOMXXOMDSMQVSKJWDXQQCE6BCIBUG643U"),
        ("ab", "MFRDU4BUONZS65ZQOJSCWJJGYO6CAITYEJAGQ33TOQ======"),
        ("abc", "MFRGGOTQGRZXGL3XGBZGIKZFE3B3YIBCPAREA2DPON2A===="),
        ("abcd", "MFRGGZB2OA2HG4ZPO4YHEZBLEUTMHPBAEJ4CEQDIN5ZXI==="),
    ] {
        for encoded in [encoded.to_owned(), encoded.to_ascii_lowercase()] {
            let written = said(&[("KEY", KEY)], &encoded, 7);
            let left = written.replacen("[secret KEY]", "", 1);
            assert!(left.len() < written.len(), "{written}");
            let around = (user.len() + ":@host".len()) * 8 / 5;
            let left = left.trim_end_matches('=').len();
            assert!(left <= around + 4, "{written}");
        }
    }
}

#[test]
fn what_only_begins_like_a_secret_is_written_in_the_end() {
    let values = [("KEY", "abcdefgh"), ("LONG", "xxabcdefghyy")];
    assert_eq!(
        said(&values, "abcdefg and xxabcdef", 3),
        "abcdefg and xxabcdef"
    );
    assert_eq!(said(&values, "xxabcdefghyy", 3), "[secret LONG]");
    assert_eq!(said(&values, "xxabcdefghz", 3), "xx[secret KEY]z");
    assert_eq!(said(&values, "xxabcdefgh", 3), "xx[secret KEY]");
    // A line waits for nothing that its end rules out.
    let mut masker = masker(&values);
    assert_eq!(&*masker.feed(b"plain\nabc\n"), b"plain\nabc\n");
}

#[test]
fn long_values_are_masked_in_pieces_and_short_ones_not_at_all() {
    let long: String = (0..2000)
        .map(|n| char::from(b'!' + (n * 7 % 90) as u8))
        .collect();
    let written = said(&[("LONG", &long)], &format!("a {long} b"), 300);
    assert_eq!(
        written, "a [secret LONG] b",
        "it repeats itself, and so do its pieces"
    );
    assert!(masker(&[("SHORT", "1234567")]).masks.is_none());
    let pem =
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0B\n-----END PRIVATE KEY-----\n";
    let written = said(
        &[("PEM", pem)],
        &format!("{pem}-----BEGIN CERTIFICATE-----\n"),
        5,
    );
    let masked =
        "-----BEGIN PRIVATE KEY-----\n[secret PEM]\n[secret PEM]\n-----END PRIVATE KEY-----\n";
    assert_eq!(written, format!("{masked}-----BEGIN CERTIFICATE-----\n"));
}

/// A value that is longer than a line of base64, and has what each form writes in its own way.
fn long_key() -> String {
    format!("{KEY}-{}", "0123456789 ~!/?=äß".repeat(12))
}

#[test]
fn p6_percent_encoding_hides_nothing_whichever_bytes_are_encoded() {
    let encoded = |plain: &dyn Fn(usize, u8) -> bool| {
        let bytes = KEY.bytes().enumerate();
        let encoded = bytes.map(|(at, byte)| match plain(at, byte) {
            true => char::from(byte).to_string(),
            false if at % 2 == 0 => format!("%{byte:02X}"),
            false => format!("%{byte:02x}"),
        });
        encoded.collect::<String>()
    };
    let forms = [
        // Python's `quote` leaves the slash, JavaScript's `encodeURI` also `+&`, some encode all.
        encoded(&|_, byte| byte.is_ascii_alphanumeric() || byte == b'/'),
        encoded(&|_, byte| byte.is_ascii_alphanumeric() || b"/+&".contains(&byte)),
        encoded(&|_, _| false),
        encoded(&|at, byte| byte.is_ascii() && at % 3 != 0 && byte != b'%'),
        encoded(&|_, byte| byte.is_ascii_alphanumeric()).replace("%20", "+"),
    ];
    for form in forms {
        let text = format!("100% of a%zz &c; & {form}, {form}% and 5%&");
        let masked = "100% of a%zz &c; & [secret KEY], [secret KEY]% and 5%&";
        for length in 1..text.len() {
            let written = said(&[("KEY", KEY)], &text, length);
            assert_eq!(written, masked, "{form} by {length}");
        }
    }
}

#[test]
fn p6_base64_is_masked_across_its_lines() {
    let key = long_key();
    let broken = |text: &str, width: usize, end: &str| {
        let letters: Vec<char> = text.chars().collect();
        let lines = letters.chunks(width).map(String::from_iter);
        lines.collect::<Vec<_>>().join(end)
    };
    for before in ["", "{\"user\": \"anna\", \"password\": \"", "0123456789"] {
        let file = format!("{before}{key}\"}}");
        for encoded in [
            STANDARD.encode(&file),
            URL_SAFE.encode(&file),
            URL_SAFE_NO_PAD.encode(&file),
        ] {
            for (width, end) in [
                (76, "\n"),
                (76, "\r\n"),
                (64, "\n"),
                (60, "\n  "),
                (76, "\\n"),
            ] {
                let text = broken(&encoded, width, end);
                for length in [1, 7, 75, 76, 77, 4096] {
                    let written =
                        said(&[("KEY", &key)], &format!("file: {text}\nand on\n"), length);
                    let left = written.replace("[secret KEY]", "");
                    let around = STANDARD.encode(format!("{before}\"}}")).len();
                    assert!(
                        left.len() <= "file: \nand on\n".len() + around + 4 + 3 * end.len(),
                        "{width} by {length}: {written}"
                    );
                    assert!(left.ends_with("\nand on\n"), "{written}");
                }
            }
        }
    }
    // A digest at the end of a line is no line of base64, and waits for nothing.
    let digest = hex::encode([0xab; 32]);
    let mut masker = masker(&[("KEY", "bbbbbbbbb"), ("LINE", &key)]);
    let line = format!("built sha256:{digest}\n");
    assert_eq!(&*masker.feed(line.as_bytes()), line.as_bytes());
}

#[test]
fn p6_colours_and_titles_within_a_value_hide_nothing() {
    for between in [
        "\x1b[31m",
        "\x1b[0;38;5;208m\x1b[K",
        "\x1b(B\x1b[m",
        "\x1b]0;a title\x07",
        "\x1b]8;;http://x\x1b\\",
    ] {
        for at in [1, 4, 12] {
            let (head, tail) = KEY.split_at(at);
            let text = format!("\x1b[1mthe key\x1b[0m {head}{between}{tail}\x1b[0m.\n");
            let masked = "\x1b[1mthe key\x1b[0m [secret KEY]\x1b[0m.\n";
            for length in 1..text.len() {
                let written = said(&[("KEY", KEY)], &text, length);
                assert_eq!(written, masked, "{between:?} at {at} by {length}");
            }
        }
    }
    let each: String = KEY.chars().map(|c| format!("\x1b[32m{c}\x1b[0m")).collect();
    for length in 1..each.len() {
        let written = said(&[("KEY", KEY)], &each, length);
        assert_eq!(written, "\x1b[32m[secret KEY]\x1b[0m", "by {length}");
    }
}

/// The digits of the key in pairs, so many to a line.
fn in_pairs(between: &str, announced: &str, of_line: usize, line: &str) -> String {
    let bytes: Vec<String> = KEY.bytes().map(|b| format!("{announced}{b:02x}")).collect();
    let lines: Vec<String> = bytes.chunks(of_line).map(|l| l.join(between)).collect();
    lines.join(line)
}

#[test]
fn p6_a_value_is_masked_whichever_letters_a_json_string_escapes() {
    let units = |is: &dyn Fn(char) -> bool, with: &str| {
        let mut text = String::new();
        for c in VALUE.chars() {
            let mut both = [0; 2];
            match c {
                c if is(c) => c.encode_utf16(&mut both).iter().for_each(|unit| {
                    text.push_str(&format!("{with}u{unit:04x}"));
                }),
                '"' => text.push_str("\\\""),
                c => text.push(c),
            }
        }
        text
    };
    const VALUE: &str = "a+b/c<\"'>&=ü🔑d==";
    let html = |c| "<>&='".contains(c);
    let gson = units(&html, "\\");
    let again = |json: &str| json.replace('\\', "\\\\").replace('"', "\\\"");
    for form in [
        gson.clone(),
        gson.replace("\\u003c", "\\u003C"),
        // As Go leaves what it need not escape, and PHP by itself, and with all that it can.
        units(&|c| "<>&".contains(c), "\\"),
        units(&|c| !c.is_ascii(), "\\").replace('/', "\\/"),
        units(&|c| html(c) || c == '"' || !c.is_ascii(), "\\").replace('/', "\\/"),
        units(&|_| true, "\\"),
        again(&gson),
        again(&units(&|c| html(c) || !c.is_ascii(), "\\").replace('/', "\\/")),
        again(&units(&|_| true, "\\")),
    ] {
        let text = format!("{{\"k\":\"{form}\",\"l\":\"\\u00e4\\/\\ud83d\\u\"}}");
        let masked = "{\"k\":\"[secret KEY]\",\"l\":\"\\u00e4\\/\\ud83d\\u\"}";
        for length in 1..=text.len() {
            let written = said(&[("KEY", VALUE)], &text, length);
            assert_eq!(written, masked, "{form} by {length}");
        }
    }
    // Base64 of a value as PHP writes it, in one line and in many.
    let encoded = STANDARD.encode("?>?>~~".repeat(20));
    let lines: Vec<&[u8]> = encoded.as_bytes().chunks(76).collect();
    for form in [encoded.clone().into_bytes(), lines.join(&b"\\n"[..])] {
        let form = String::from_utf8(form).unwrap().replace('/', "\\/");
        for length in 1..form.len() {
            let written = said(&[("KEY", &"?>?>~~".repeat(20))], &form, length);
            assert_eq!(written, "[secret KEY]", "{form} by {length}");
        }
    }
}

#[test]
fn p6_a_value_with_escapes_of_its_own_is_masked_in_strings_within_strings() {
    let inside = |text: &str| {
        let json = serde_json::to_string(text).unwrap();
        json[1..json.len() - 1].to_owned()
    };
    for value in [
        "postgres://u:p%40ss@h/db?a=1&b=2",
        "correct\"horse\"x",
        "back\\slash\tand tab",
        "all%20of<them>\"\\ü",
    ] {
        let go = inside(value)
            .replace('&', "\\u0026")
            .replace('<', "\\u003c")
            .replace('>', "\\u003e");
        let php = inside(value).replace('/', "\\/");
        for form in [inside(value), inside(&inside(value)), go, php] {
            let text = format!("{{\"k\":\"{form}\"}}");
            for length in [1, 2, 3, 5, 7, text.len()] {
                let written = said(&[("KEY", value)], &text, length);
                assert_eq!(written, "{\"k\":\"[secret KEY]\"}", "{form} by {length}");
            }
        }
    }
}

/// The digits of the key between others, so many to a line.
fn in_lines(before: usize, behind: usize, key: &str, of_line: usize) -> String {
    let digits = hex::encode([&vec![0; before][..], key.as_bytes(), &vec![0xff; behind]].concat());
    let lines = digits.as_bytes().chunks(of_line);
    let lines: Vec<&str> = lines.map(|line| str::from_utf8(line).unwrap()).collect();
    lines.join("\n")
}

#[test]
fn p6_lines_of_digits_alone_hide_nothing() {
    let long = long_key();
    for key in [KEY, &long] {
        let digits = hex::encode(key);
        for of_line in [16, 32, 60, 512] {
            for (before, behind) in [(0, 0), (1, 40), (29, 3), (300, 300)] {
                let dump = in_lines(before, behind, key, of_line);
                let around = [
                    hex::encode(vec![0; before]),
                    hex::encode(vec![0xff; behind]),
                ];
                for dump in [
                    dump.clone(),
                    dump.to_ascii_uppercase(),
                    dump.replace('\n', "\r\n  "),
                ] {
                    let text = format!("a dump:\n{dump}\nand on\n");
                    for length in [1, 61, 100, 4096] {
                        let written = said(&[("KEY", key)], &text, length);
                        assert_eq!(written.matches("[secret KEY]").count(), 1, "{written}");
                        let left = written.replace("[secret KEY]", "");
                        let left: String = left.split_whitespace().collect();
                        let expected = format!("adump:{}andon", around.concat());
                        assert!(
                            left.eq_ignore_ascii_case(&expected),
                            "{of_line} by {length}: {left}"
                        );
                    }
                }
            }
        }
        // As `xxd -p` has it behind a name.
        let text = format!("the key: {}\n", in_lines(0, 0, key, 60));
        for length in 1..=text.len() {
            let written = said(&[("KEY", key)], &text, length);
            assert_eq!(written, "the key: [secret KEY]\n", "{digits} by {length}");
        }
    }
}

#[test]
fn digests_and_ids_are_written_as_they_are() {
    // Both begin as the value's digits do where the lines end.
    let digest = format!("{}7034", "ab".repeat(30));
    let id = format!("{}70", "0f".repeat(15));
    for line in [
        format!("built sha256:{digest}\n"),
        format!("2026-11-22 22:30:21 handled trace={id}\n"),
        format!("{digest}  file.txt\n"),
        format!("{digest}0\n"),
        "550e8400-e29b-41d4-a716-446655440070\n".to_owned(),
        "it is 2026-11-22 22:30:70\n".to_owned(),
        "0123456789 7034\n".to_owned(),
    ] {
        let mut masker = masker(&[("KEY", KEY)]);
        assert_eq!(&*masker.feed(line.as_bytes()), line.as_bytes());
        for length in [1, 3, 16, 4096] {
            let text = format!("{line}{line}7373\n{line}").repeat(9);
            assert_eq!(said(&[("KEY", KEY)], &text, length), text, "by {length}");
        }
    }
    // Alone in its line it may begin a dump, and comes with the next one.
    let mut masker = masker(&[("KEY", KEY)]);
    assert_ne!(
        &*masker.feed(format!("{id}\n").as_bytes()),
        format!("{id}\n").as_bytes()
    );
    let mut written = masker.feed(b"2026-11-22\n").into_owned();
    written.extend(masker.finish());
    assert!(written.ends_with(b"70\n2026-11-22\n"));
}

#[test]
fn p6_digits_with_something_between_them_hide_nothing() {
    for (form, masked) in [
        (in_pairs(" ", "", 99, ""), "[secret KEY]"),
        (in_pairs(":", "", 99, ""), "[secret KEY]"),
        (in_pairs("-", "", 99, ""), "[secret KEY]"),
        (in_pairs(", ", "0x", 99, ""), "0x[secret KEY]"),
        (in_pairs(",", "0x", 99, ""), "0x[secret KEY]"),
        // As `od`, `openssl` and `xxd -i` break lines.
        (in_pairs(" ", "", 8, "\n "), "[secret KEY]"),
        (in_pairs(" ", "", 16, "\r\n "), "[secret KEY]"),
        (in_pairs(":", "", 15, ":\n    "), "[secret KEY]"),
        (in_pairs(", ", "0x", 12, ",\n  "), "0x[secret KEY]"),
        (in_pairs(" ", "\\x", 99, ""), "\\x[secret KEY]"),
    ] {
        let capitals = form.to_ascii_uppercase();
        let capitals = capitals.replace("0X", "0x").replace("\\X", "\\x");
        for form in [form, capitals] {
            let text = format!("12:30 a {form}; [{form}]\n");
            let masked = format!("12:30 a {masked}; [{masked}]\n");
            for length in 1..=text.len() {
                let written = said(&[("KEY", KEY)], &text, length);
                assert_eq!(written, masked, "{form} by {length}");
            }
        }
    }
    // In a dump of more, and of a value that is digits itself.
    let dump = in_pairs(" ", "", 99, "");
    let text = format!(
        "{} {dump} {}\n",
        "00 ".repeat(300).trim_end(),
        "ff ".repeat(300)
    );
    for length in [1, 7, 100, 4096] {
        let written = said(&[("KEY", KEY)], &text, length);
        assert_eq!(written, text.replace(&dump, "[secret KEY]"), "by {length}");
    }
    let digits = [("KEY", "0123456789abcdef")];
    assert_eq!(said(&digits, "01:23:45:67:89:ab:cd:ef", 3), "[secret KEY]");
    // A line that ends with a few pairs waits for nothing, and what is no pair is written as it is.
    for line in [
        "it is 12:30:70\n",
        "00 11 22 33 44 55 66 77 88 99 700 34\n",
        "70, 34, 73, 115, 47\n",
    ] {
        let mut masker = masker(&[("KEY", KEY)]);
        assert_eq!(&*masker.feed(line.as_bytes()), line.as_bytes());
    }
}

#[test]
fn what_is_held_back_for_a_secret_is_bounded_and_comes_in_the_end() {
    let values = [("KEY", KEY)];
    for text in [
        format!("p4{}", "\x1b[0m".repeat(20_000)),
        format!("p4\x1b]0;{}", "x".repeat(100_000)),
        "%".repeat(50_000),
        format!("p4{}", "\x1b[".repeat(50_000)),
        "\\".repeat(50_000),
        "\\x".repeat(50_000),
        "70 ".repeat(30_000),
        "70 34 73 73 2f 77 30 72\n".repeat(5_000),
        "703473732f773072\n".repeat(5_000),
        "7034".repeat(30_000),
        "\\u".repeat(50_000),
        "\\ud83d".repeat(20_000),
        format!("70{}", " ".repeat(50_000)),
        format!("{}\n{}", STANDARD.encode([7; 60_000]), " ".repeat(50_000)),
    ] {
        let mut masker = masker(&values);
        let mut written = Vec::new();
        for piece in text.as_bytes().chunks(4096) {
            written.extend_from_slice(&masker.feed(piece));
            assert!(masker.held.len() <= HELD + 1, "{}", masker.held.len());
        }
        written.extend(masker.finish());
        assert!(written == text.as_bytes(), "it is changed");
    }
}

/// Its forms look like each other, and the pieces of one lie within another's.
#[test]
fn p6_of_a_long_value_that_repeats_itself_nothing_is_left() {
    let key = format!("planted-{}", "long0123456789".repeat(100));
    for around in ["", "k=", "{\"key\": \""] {
        let letters = STANDARD.encode(format!("{around}{key}"));
        let lines: Vec<&str> = letters
            .as_bytes()
            .chunks(76)
            .map(|l| str::from_utf8(l).unwrap())
            .collect();
        for text in [letters.clone(), lines.join("\n"), lines.join("\r\n")] {
            for length in [1, 7, 76, 500, text.len()] {
                let written = said(&[("KEY", &key)], &format!("{text}\n\nover\n"), length);
                // Around the value the letters at both of its ends are of the text around it, too.
                let left = written.replace("[secret KEY]", "");
                assert!(
                    left.len() <= around.len() * 2 + 12,
                    "{around} by {length}: {written}"
                );
                assert!(left.ends_with("over\n"), "{written}");
            }
        }
    }
}
