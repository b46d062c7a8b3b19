//! `check`: everything that is wrong with a stack file, and what it names for its builds and is not there.

use std::io::Write;

use ward_stack::Look;

use super::{Context, Trouble};
use crate::args;
use crate::printer::Status;

pub(crate) async fn check(context: &Context, check: &args::Check) -> Result<Status, Trouble> {
    let (name, text) = ward_server::source::read(&check.dir)
        .map_err(|error| Trouble::failure(error.to_string(), error.hint()))?;
    let reading = ward_stack::read(&name, &text);
    let mistakes = match &reading.stack {
        Some(stack) => ward_build::absent_inputs(&check.dir, &stack.all_inputs()).await,
        None => reading.mistakes,
    };
    if context.printer.is_json() {
        context
            .printer
            .json(&ward_stack::views(&name, &text, &mistakes));
    } else if mistakes.is_empty() {
        context.printer.say(&format!("{name}: no mistakes"));
    } else {
        let rendered = ward_stack::render(&name, &text, &mistakes, Look::Colour, 100);
        let _ = write!(anstream::stderr(), "{rendered}");
    }
    Ok(match mistakes.is_empty() {
        true => Status::Success,
        false => Status::Usage,
    })
}
