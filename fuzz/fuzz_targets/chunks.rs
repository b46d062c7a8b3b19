//! A chunked body, however it is cut: what it holds, where it ends and whether it is one is what a reader of the
//! whole finds. What is written as chunks comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ward_fuzz::{http1, parts};
use ward_gateway::fuzzing::{Chunks, chunk};

fuzz_target!(|data: &[u8]| {
    let Some((&size, input)) = data.split_first() else {
        return;
    };
    let size = usize::from(size);
    assert_eq!(taken(input, size), http1::chunked(input));
    let mut written: Vec<u8> = parts(input, size).flat_map(chunk).collect();
    written.extend_from_slice(b"0\r\n\r\n");
    let all = written.len();
    written.extend_from_slice(input);
    assert_eq!(taken(&written, size), Some((input.to_vec(), all, true)));
});

fn taken(input: &[u8], size: usize) -> Option<(Vec<u8>, usize, bool)> {
    let (mut chunks, mut body, mut all) = (Chunks::default(), Vec::new(), 0);
    for part in parts(input, size) {
        let (piece, used) = chunks.take(part)?;
        body.extend(piece);
        all += used;
        if chunks.is_over() {
            break;
        }
        assert_eq!(used, part.len());
    }
    Some((body, all, chunks.is_over()))
}
