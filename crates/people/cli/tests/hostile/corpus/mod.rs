//! The corpus: requests that are malformed, ambiguous, or carry another request inside, from a grammar of a
//! request's parts and from mutations of what that makes. The same seed makes the same cases, byte for byte.

mod connections;
mod framing;
mod heads;
mod mutations;

/// Which mutations are made, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Mutations {
    pub seed: u64,
    pub number: usize,
}

/// When the request comes that must get its own answer on the same connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// With the last bytes of the case.
    Along,
    /// Once what the case asks for has been answered.
    After,
}

/// What is sent on one connection.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its number, which is in its paths.
    pub id: usize,
    pub family: &'static str,
    /// What is written at once, and what a moment later.
    pub parts: Vec<Vec<u8>>,
    pub canary: Canary,
    /// Whether nothing is wrong with it: all of it must be answered with 200.
    pub good: bool,
}

impl Case {
    pub fn bytes(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

/// The request that comes after a case.
pub fn canary(host: &str, id: usize) -> Vec<u8> {
    fill("GET /canary/@N HTTP/1.1\r\n@L\r\n", host, id)
}

/// All cases for an origin of this host. Hosts of one length make corpora that differ in nothing else.
pub fn corpus(host: &str, mutations: Mutations) -> Vec<Case> {
    let mut book = Book {
        host: host.to_owned(),
        cases: Vec::new(),
    };
    heads::write(&mut book);
    framing::write(&mut book);
    connections::write(&mut book);
    mutations::write(&mut book, mutations);
    book.cases
}

/// The cases so far.
pub struct Book {
    host: String,
    cases: Vec<Case>,
}

impl Book {
    /// A case with something in it that a strict parser refuses, or may refuse.
    pub fn bad(&mut self, family: &'static str, text: &str) {
        let bytes = fill(text, &self.host, self.cases.len());
        self.push(family, vec![bytes], Good::No);
    }

    /// One that every parser takes.
    pub fn good(&mut self, family: &'static str, text: &str) {
        let bytes = fill(text, &self.host, self.cases.len());
        self.push(family, vec![bytes], Good::Yes);
    }

    fn push(&mut self, family: &'static str, parts: Vec<Vec<u8>>, good: Good) {
        let id = self.cases.len();
        self.cases.push(Case {
            id,
            family,
            parts,
            canary: match id % 2 {
                0 => Canary::Along,
                _ => Canary::After,
            },
            good: good == Good::Yes,
        });
    }

    /// A body's length, with what it stands for filled in.
    pub fn length(&self, text: &str) -> usize {
        fill(text, &self.host, 0).len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Good {
    Yes,
    No,
}

/// A letter of the text is a byte. `@H` is the host, `@L` the line that names it, `@N` the case's number, `@S` a
/// request that is smuggled.
fn fill(text: &str, host: &str, id: usize) -> Vec<u8> {
    let smuggled = "GET /smuggled/@N HTTP/1.1\r\n@LX-Smuggled: @N\r\n\r\n";
    let text = text
        .replace("@S", smuggled)
        .replace("@L", "Host: @H\r\n")
        .replace("@H", host)
        .replace("@N", &format!("{id:05}"));
    let byte = |letter| u8::try_from(u32::from(letter)).expect("a letter of the corpus is a byte");
    text.chars().map(byte).collect()
}
