//! `trust`: the local certificate authority, and this machine's trust in it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Context, Trouble};
use crate::args;
use crate::printer::Status;

/// Where Debian's `update-ca-certificates` looks for a machine's own authorities.
const ANCHOR: &str = "/usr/local/share/ca-certificates/ward.crt";

pub(crate) fn trust(context: &Context, trust: &args::Trust) -> Result<Status, Trouble> {
    if trust.uninstall {
        fs::remove_file(ANCHOR).map_err(|error| denied("remove", &error))?;
        update(context, &["--fresh"])?;
        return Ok(Status::Success);
    }
    if !context.home.exists() {
        let message = format!("there is no state folder {}", context.home.display());
        let hint = "start the platform first: `ward up`".to_owned();
        return Err(Trouble::failure(message, Some(hint)));
    }
    let pem = ward_gateway::ca::certificate_pem(&context.home)
        .map_err(|error| Trouble::failure(super::processes::chain(&error), None))?;
    if !trust.install {
        if context.printer.is_json() {
            let pem = pem.trim_end();
            context
                .printer
                .json(&serde_json::json!({ "certificate": pem }));
            return Ok(Status::Success);
        }
        context.printer.data(pem.trim_end());
        context
            .printer
            .say("add --install to let this machine's programs trust it");
        return Ok(Status::Success);
    }
    if let Some(dir) = Path::new(ANCHOR).parent() {
        fs::create_dir_all(dir).map_err(|error| denied("make the folder of", &error))?;
    }
    fs::write(ANCHOR, pem).map_err(|error| denied("write", &error))?;
    update(context, &[])?;
    Ok(Status::Success)
}

fn denied(what: &str, error: &std::io::Error) -> Trouble {
    let hint = "run it as root, or give the certificate that `ward trust` prints to your browser"
        .to_owned();
    Trouble::failure(format!("cannot {what} {ANCHOR}: {error}"), Some(hint))
}

fn update(context: &Context, arguments: &[&str]) -> Result<(), Trouble> {
    let ran = Command::new("update-ca-certificates")
        .args(arguments)
        .output();
    match ran {
        Ok(output) if output.status.success() => {
            context.printer.say(
                "this machine's trust store is up to date; browsers may keep one of their own",
            );
            Ok(())
        }
        Ok(output) => Err(Trouble::failure(
            format!(
                "update-ca-certificates failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ),
            None,
        )),
        Err(error) => Err(Trouble::failure(
            format!("cannot run update-ca-certificates: {error}"),
            Some("apt-get install ca-certificates".to_owned()),
        )),
    }
}
