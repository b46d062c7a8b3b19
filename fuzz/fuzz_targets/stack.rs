//! Stack files. Each mistake has its place within the text, there is a stack where there is no mistake, and a text
//! says the same each time.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use ward_stack::{Look, Span, read, render, views};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else {
        return Corpus::Reject;
    };
    let reading = read("ward.toml", text);
    assert_eq!(reading.stack.is_some(), reading.mistakes.is_empty());
    let within = |span: Span| {
        let bounds = span.start <= span.end && span.end <= text.len();
        bounds && text.is_char_boundary(span.start) && text.is_char_boundary(span.end)
    };
    for mistake in &reading.mistakes {
        assert!(within(mistake.span), "{mistake:?}");
        assert!(!mistake.message.is_empty(), "{mistake:?}");
        assert!(
            mistake.labels.iter().all(|label| within(label.span)),
            "{mistake:?}"
        );
    }
    assert_eq!(read("ward.toml", text).mistakes, reading.mistakes);
    // It takes longer than everything else.
    if text.len().is_multiple_of(8) {
        let _ = render("ward.toml", text, &reading.mistakes, Look::Plain, 80);
        let _ = views("ward.toml", text, &reading.mistakes);
    }
    Corpus::Keep
});
