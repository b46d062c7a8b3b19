//! Each kind of mistake as a person sees it.
//!
//! The reports are golden: after a change on purpose, run with `INSTA_UPDATE=always` and read the diff.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is right"
)]

use ward_stack::{
    CODES, Code, EXAMPLE, Look, Mistake, installation, read, render, too_large, views, violations,
};
use ward_types::id::Name;
use ward_types::policy::{Level, Origin, Rule, Violation, Waiver};
use ward_types::time::Timestamp;

const STACK: &str = "stack = { name = \"s\", version = \"1.0\" }\n";

/// A file with the lines under test in a service that is otherwise right.
fn service(lines: &str) -> String {
    format!("{STACK}[service.web]\nimage = \"a:1\"\n{lines}\n")
}

fn listening(lines: &str) -> String {
    service(&format!("port = 8080\nhealth = \"none\"\n{lines}"))
}

fn volume(lines: &str) -> String {
    format!("{}[volume.uploads]\nsize = \"1GiB\"\n", service(lines))
}

fn cases() -> Vec<(Code, &'static str, String)> {
    let stack = |name: &str, version: &str| {
        format!("[stack]\nname = {name}\nversion = {version}\n[service.web]\nimage = \"a:1\"\n")
    };
    let freeze = |days: &str| format!("{}[policy]\nfreeze = [\"{days}\"]\n", service(""));
    vec![
        (
            Code::BadDays,
            "turned around",
            freeze("2027-01-05/2026-12-20"),
        ),
        (Code::BadDays, "no such day", freeze("2026-02-29")),
        (Code::BadDays, "dots", freeze("2026-12-20..2027-01-05")),
        (
            Code::BadZone,
            "space",
            format!(
                "{}[policy]\nfreeze_zone = \"America/New York\"\n",
                service("")
            ),
        ),
        (
            Code::BadZone,
            "no such zone",
            format!(
                "{}[job.close]\nservice = \"web\"\ncommand = [\"close\"]\nschedule = \"0 2 * * *\"\ntime_zone = \"Europe/Berln\"\n",
                service("")
            ),
        ),
        (
            Code::BadChoice,
            "level",
            format!("{}[policy]\ntls = \"denied\"\n", service("")),
        ),
        (
            Code::WrongType,
            "instances of a policy",
            format!("{}[policy]\nmin_instances = true\n", service("")),
        ),
        (
            Code::UnknownKey,
            "rule",
            format!(
                "{}[environment.prod.policy]\nprevent_destroy = \"deny\"\n",
                service("")
            ),
        ),
        (
            Code::Syntax,
            "no equals sign",
            service("port 8080\nlinks = [\"nobody\"]"),
        ),
        (
            Code::Syntax,
            "unquoted",
            service("memory = 256MiB\ncommand = [web]"),
        ),
        (
            Code::Syntax,
            "unclosed header",
            format!("{STACK}[service.web\nimage = \"a:1\"\n"),
        ),
        (Code::Syntax, "unclosed text", service("command = [\"web]")),
        (
            Code::DuplicateKey,
            "key",
            service("instances = 1\ninstances = 2"),
        ),
        (
            Code::DuplicateKey,
            "table",
            service("[service.web]\ninstances = 2"),
        ),
        (
            Code::TooDeep,
            "lists",
            service(&format!("command = {}{}", "[".repeat(100), "]".repeat(100))),
        ),
        (
            Code::TooDeep,
            "dots",
            service(&format!("{} = 1", vec!["a"; 100].join("."))),
        ),
        (Code::UnknownKey, "slip", service("instnaces = 2")),
        (
            Code::UnknownKey,
            "word of another tool",
            service("replicas = 2"),
        ),
        (
            Code::UnknownKey,
            "in the wrong place",
            service("interval = \"1s\""),
        ),
        (Code::UnknownKey, "unlike anything", service("gpu = 1")),
        (
            Code::UnknownKey,
            "table",
            format!("{STACK}[services.web]\nimage = \"a:1\"\n"),
        ),
        (
            Code::WrongType,
            "number as text",
            service("instances = \"2\""),
        ),
        (
            Code::WrongType,
            "text as number",
            service("env = { PORTS = 8080, DEBUG = true }"),
        ),
        (
            Code::WrongType,
            "command as text",
            service("command = \"web --quiet\""),
        ),
        (Code::WrongType, "version as number", stack("\"s\"", "1.0")),
        (
            Code::WrongType,
            "version as whole number",
            stack("\"s\"", "1"),
        ),
        (
            Code::WrongType,
            "duration as number",
            service("stop_timeout = 30"),
        ),
        (
            Code::WrongType,
            "tables in a list",
            format!("{STACK}[[service]]\nimage = \"a:1\"\n"),
        ),
        (
            Code::MissingKey,
            "stack",
            "[service.web]\nimage = \"a:1\"\n".to_owned(),
        ),
        (
            Code::MissingKey,
            "name",
            "[stack]\nversion = \"1.0\"\n[service.web]\nimage = \"a:1\"\n".to_owned(),
        ),
        (Code::MissingKey, "nothing to run", STACK.to_owned()),
        (
            Code::MissingKey,
            "part of a build",
            format!("{STACK}[service.web]\nbuild = {{ files = [\".\"] }}\n"),
        ),
        (
            Code::MissingKey,
            "in one environment",
            service("[environment.dev]\n[environment.prod]\nservice.web.release.timeout = \"1m\""),
        ),
        (
            Code::Conflict,
            "both",
            service("build = { cargo = \"web\" }"),
        ),
        (
            Code::Conflict,
            "neither",
            format!("{STACK}[service.web]\ninstances = 2\n"),
        ),
        (
            Code::Conflict,
            "two shapes",
            format!(
                "{STACK}[service.web]\nbuild = {{ cargo = \"web\", dockerfile = \"Dockerfile\" }}\n"
            ),
        ),
        (
            Code::Conflict,
            "no shape",
            format!("{STACK}[service.web]\nbuild = {{}}\n"),
        ),
        (
            Code::NotOverridable,
            "name",
            service("[environment.prod]\nstack.name = \"other\""),
        ),
        (
            Code::OverrideOfNothing,
            "service",
            service("[environment.prod]\nservice.wbe.instances = 4"),
        ),
        (
            Code::BadName,
            "capitals",
            format!("{STACK}[service.Web_App]\nimage = \"a:1\"\n"),
        ),
        (Code::BadName, "stack", stack("\"-\"", "\"1.0\"")),
        (Code::BadVersion, "three parts", stack("\"s\"", "\"1.0.3\"")),
        (Code::BadVersion, "words", stack("\"s\"", "\"latest\"")),
        (
            Code::BadDuration,
            "no unit",
            service("port = 1\nhealth = { path = \"/\", interval = \"200\" }"),
        ),
        (
            Code::BadDuration,
            "long unit",
            service("stop_timeout = \"10 seconds\""),
        ),
        (
            Code::BadDuration,
            "words",
            service("stop_timeout = \"soon\""),
        ),
        (Code::BadSize, "short unit", service("memory = \"256M\"")),
        (Code::OutOfRange, "instances", service("instances = 101")),
        (Code::OutOfRange, "negative", service("instances = -1")),
        (
            Code::OutOfRange,
            "duration",
            service("start_timeout = \"2d\""),
        ),
        (Code::OutOfRange, "size", service("memory = \"1KiB\"")),
        (Code::OutOfRange, "no processes", service("processes = 0")),
        (Code::OutOfRange, "processes", service("processes = 65537")),
        (
            Code::OutOfRange,
            "little scratch space",
            service("scratch = \"64KiB\""),
        ),
        (
            Code::WrongType,
            "scratch space as number",
            service("scratch = 67108864"),
        ),
        (
            Code::UnknownKey,
            "scratch space of another tool",
            service("shm_size = \"64MiB\""),
        ),
        (
            Code::BadPort,
            "too large",
            service("port = 80800\nhealth = \"none\""),
        ),
        (
            Code::BadPort,
            "zero",
            service("port = 0\nhealth = \"none\""),
        ),
        (
            Code::BadPort,
            "huge",
            service("port = 99999999999999999999999\nhealth = \"none\""),
        ),
        (
            Code::BadChoice,
            "engine",
            format!("{STACK}[database.db]\nengine = \"postgresql\"\n"),
        ),
        (
            Code::BadChoice,
            "health",
            service("port = 80\nhealth = \"off\""),
        ),
        (Code::Empty, "command", service("command = []")),
        (Code::Empty, "program", service("command = [\"\"]")),
        (
            Code::Empty,
            "files",
            format!(
                "{STACK}[service.web]\nbuild = {{ files = [], run = [\"a\"], base = \"host\" }}\n"
            ),
        ),
        (
            Code::BadFilePath,
            "escaping",
            format!(
                "{STACK}[service.web]\nbuild = {{ files = [\"../secrets\", \"/etc/passwd\"], run = [\"a\"], base = \"host\" }}\n"
            ),
        ),
        (
            Code::BadFilePath,
            "dockerfile",
            format!("{STACK}[service.web]\nbuild = {{ dockerfile = \"/Dockerfile\" }}\n"),
        ),
        (
            Code::BadLink,
            "three parts",
            service("links = [\"claims/prod/api\"]"),
        ),
        (
            Code::BadLink,
            "environment behind",
            service("links = [\"claims/api@prod\"]"),
        ),
        (
            Code::BadLink,
            "any stack",
            service("links = [\"*/api\"]"),
        ),
        (
            Code::BadExport,
            "part of a name",
            listening("export = [\"returns/q*\"]"),
        ),
        (
            Code::BadExport,
            "at",
            listening("export = [\"returns@qa\"]"),
        ),
        (
            Code::LinkToOwnStack,
            "service",
            format!("{}[service.api]\nimage = \"a:1\"\nport = 1\nhealth = \"none\"\n", service("links = [\"s/api\"]")),
        ),
        (
            Code::LinkToOwnStack,
            "another environment",
            service("links = [\"s@prod/web\"]"),
        ),
        (
            Code::ExportWithoutPort,
            "worker",
            service("export = [\"returns\"]"),
        ),
        (
            Code::ExportToItself,
            "itself",
            listening("export = [\"returns\", \"s/*\"]"),
        ),
        (
            Code::LinkCollision,
            "two environments",
            service("links = [\"claims/api\", \"claims@prod/api\"]"),
        ),
        (
            Code::LinkCollision,
            "outside name of another stack",
            service("links = [\"claims/api\"]\negress = [\"api.claims:443\"]"),
        ),
        (
            Code::UnknownKey,
            "export of a job",
            format!("{}[job.close]\nservice = \"web\"\ncommand = [\"a\"]\nexport = [\"returns\"]\n", service("")),
        ),
        (
            Code::UnknownKey,
            "export of a database",
            format!("{}[database.db]\nengine = \"postgres\"\nexport = [\"returns\"]\n", service("")),
        ),
        (
            Code::BadEgress,
            "url",
            service("egress = [\"https://api.example.com/v1\"]"),
        ),
        (
            Code::BadEgress,
            "no port",
            service("egress = [\"api.example.com\"]"),
        ),
        (
            Code::BadEgress,
            "loopback",
            service("egress = [\"localhost:5432\", \"127.0.0.1:1\"]"),
        ),
        (
            Code::BadEgress,
            "port",
            service("egress = [\"api.example.com:https\"]"),
        ),
        (
            Code::BadEgress,
            "capitals",
            service("egress = [\"API.example.com:443\"]"),
        ),
        (
            Code::BadImage,
            "no tag",
            format!("{STACK}[service.web]\nimage = \"nginx\"\n"),
        ),
        (
            Code::BadImage,
            "digest",
            format!("{STACK}[service.web]\nimage = \"nginx@sha256:abc\"\n"),
        ),
        (
            Code::BadImage,
            "capitals",
            format!("{STACK}[service.web]\nimage = \"Nginx:1\"\n"),
        ),
        (
            Code::BadHost,
            "url",
            service(
                "port = 80\nhealth = \"none\"\nroute = { host = \"https://Returns.localhost/\" }",
            ),
        ),
        (
            Code::BadHost,
            "wildcard within",
            routed("host = \"www.*.example.com\""),
        ),
        (
            Code::BadHost,
            "wildcard of everything",
            routed("host = \"*.com\""),
        ),
        (
            Code::BadPrefix,
            "no slash at the beginning",
            routed("host = \"a.localhost\", path = \"api\""),
        ),
        (
            Code::BadPrefix,
            "slash at the end",
            routed("host = \"a.localhost\", path = \"/api/\""),
        ),
        (
            Code::BadPrefix,
            "dots",
            routed("host = \"a.localhost\", path = \"/a/../b\""),
        ),
        (
            Code::BadRange,
            "name",
            routed("host = \"a.localhost\", allow = [\"office\"]"),
        ),
        (
            Code::BadRange,
            "loose bits",
            routed("host = \"a.localhost\", allow = [\"10.1.2.3/8\"]"),
        ),
        (
            Code::Repeated,
            "range twice",
            routed("host = \"a.localhost\", allow = [\"10.0.0.0/8\", \"10.0.0.0/8\"]"),
        ),
        (
            Code::Empty,
            "no ranges",
            routed("host = \"a.localhost\", allow = []"),
        ),
        (
            Code::BadHeaderValue,
            "condition",
            routed("host = \"a.localhost\", header = { name = \"x-beta\", value = \"\" }"),
        ),
        (
            Code::BadHeaderValue,
            "line",
            routed("host = \"a.localhost\", response_headers = { x-a = \"b\\nc\" }"),
        ),
        (
            Code::BadToken,
            "header in capitals of a route",
            routed("host = \"a.localhost\", response_headers = { X-Frame-Options = \"DENY\" }"),
        ),
        (
            Code::ReservedHeader,
            "length",
            routed("host = \"a.localhost\", response_headers = { content-length = \"1\" }"),
        ),
        (
            Code::BadChoice,
            "https",
            routed("host = \"a.localhost\", https = \"force\""),
        ),
        (
            Code::OutOfRange,
            "timeout of a route",
            routed("host = \"a.localhost\", timeout = \"2d\""),
        ),
        (Code::MissingKey, "host", routed("path = \"/api\"")),
        (
            Code::BadMachinePath,
            "beside the stack file",
            routed(
                "host = \"a.localhost\", tls = { certificate = \"shop.pem\", key = \"/a/../b\" }",
            ),
        ),
        (
            Code::HalfACertificate,
            "no key",
            routed("host = \"a.localhost\", tls = { certificate = \"/a.pem\" }"),
        ),
        (
            Code::HalfACertificate,
            "no certificate",
            routed("host = \"a.localhost\", tls = { key = \"/a.key\" }"),
        ),
        (
            Code::TlsTwice,
            "another authority",
            service(
                "port = 80\nhealth = \"none\"\nroute = [{ host = \"a.localhost\", tls = { client_ca = \"/a.pem\" } }, \
                 { host = \"a.localhost\", path = \"/b\" }, \
                 { host = \"a.localhost\", path = \"/c\", tls = { client_ca = \"/c.pem\" } }]",
            ),
        ),
        (
            Code::Conflict,
            "acme and a file",
            routed(
                "host = \"a.example\", tls = { acme = true, certificate = \"/a.pem\", key = \"/a.key\" }",
            ),
        ),
        (
            Code::NotByAcme,
            "wildcard",
            routed("host = \"*.a.example\", tls = { acme = true }"),
        ),
        (
            Code::NotAStage,
            "stage",
            "stack = { name = 's', version = '1.0' }\n[service.web]\nimage = 'a:1'\n[environment.dev]\n[environment.qa]\n\
             [pipeline.delivery]\nstages = [\"dev\", \"qua\"]\n"
                .to_owned(),
        ),
        (
            Code::NotAStage,
            "gate",
            "stack = { name = 's', version = '1.0' }\n[service.web]\nimage = 'a:1'\n[environment.dev]\n[environment.qa]\n\
             [pipeline.delivery]\nstages = [\"dev\"]\n[pipeline.delivery.gate.qa]\nsoak = \"1m\"\n"
                .to_owned(),
        ),
        (
            Code::NoRole,
            "approval",
            "stack = { name = 's', version = '1.0' }\n[service.web]\nimage = 'a:1'\n[pipeline.delivery]\nstages = [\"dev\"]\n\
             [pipeline.delivery.gate.dev]\napprove = { role = \"lead\" }\n\
             [role.leads]\npeople = [\"anna\"]\n"
                .to_owned(),
        ),
        (
            Code::TlsWithoutHost,
            "private",
            routed("private = true, tls = { client_ca = \"/a.pem\" }"),
        ),
        (
            Code::NothingToStrip,
            "no path",
            routed("host = \"a.localhost\", strip = true"),
        ),
        (
            Code::WrongType,
            "route as a text",
            service("port = 80\nhealth = \"none\"\nroute = \"a.localhost\""),
        ),
        (
            Code::UnknownKey,
            "routes",
            service("port = 80\nhealth = \"none\"\nroutes = [{ host = \"a.localhost\" }]"),
        ),
        (
            Code::HostTaken,
            "path in another case",
            two_routes(
                "host = \"s.localhost\", path = \"/api\"",
                "host = \"s.localhost\", path = \"/API\"",
            ),
        ),
        (
            Code::HostTaken,
            "header",
            two_routes(
                "host = \"s.localhost\", header = { name = \"x-beta\" }",
                "host = \"s.localhost\", header = { name = \"X-Beta\" }",
            ),
        ),
        (
            Code::BadUrlPath,
            "no slash",
            service("port = 80\nhealth = { path = \"healthz\" }"),
        ),
        (
            Code::BadVariable,
            "hyphen",
            service("env = { LOG-LEVEL = \"info\" }"),
        ),
        (
            Code::BadSecretName,
            "dot",
            service("secrets = { \"api.key\" = \"env\" }"),
        ),
        (
            Code::BadSecretPlace,
            "not in memory",
            service("secrets = { signing-key = \"/etc/signing-key\" }"),
        ),
        (
            Code::BadVariable,
            "secret",
            service("secrets = { signing-key = \"env\" }"),
        ),
        (
            Code::ReservedVariable,
            "secret",
            service("secrets = { WARD_TOKEN = \"env\" }"),
        ),
        (
            Code::SecretCollision,
            "plain",
            service("env = { API_KEY = \"x\" }\nsecrets = { API_KEY = \"env\" }"),
        ),
        (
            Code::SecretCollision,
            "path",
            service("secrets = { a = \"/run/secrets/k\", b = \"/run/secrets/k\" }"),
        ),
        (
            Code::SecretCollision,
            "folder",
            service("secrets = { a = \"/run/k\", b = \"/run/k/b\" }"),
        ),
        (
            Code::SecretOfNobody,
            "misspelt",
            service("secrets = { API_KEY = \"env\" }\n[secret.API_KYE]\ngenerate = 32"),
        ),
        (
            Code::BadVolumePath,
            "of Ward",
            volume("volumes = { uploads = \"/run/uploads\" }"),
        ),
        (
            Code::BadVolumePath,
            "relative",
            volume("volumes = { uploads = \"data/\" }"),
        ),
        (
            Code::BadVolumePath,
            "all of it",
            volume("volumes = { uploads = \"/\" }"),
        ),
        (
            Code::VolumeOfNothing,
            "misspelt",
            volume("volumes = { upload = \"/data\" }"),
        ),
        (
            Code::VolumeTaken,
            "two services",
            volume(
                "volumes = { uploads = \"/data\" }\n[service.worker]\nimage = \"a:1\"\nvolumes.uploads = \"/data\"",
            ),
        ),
        (
            Code::VolumeCollision,
            "same path",
            volume("volumes = { uploads = \"/data\", more = \"/data\" }\n[volume.more]\nsize = \"1GiB\""),
        ),
        (
            Code::VolumeCollision,
            "inside",
            volume("volumes = { uploads = \"/data\", more = \"/data/more\" }\n[volume.more]\nsize = \"1GiB\""),
        ),
        (
            Code::VolumeCollision,
            "among the files of the host",
            format!(
                "{STACK}[service.web]\nbuild = {{ files = [\"a\"], run = [\"a\"], base = \"host\" }}\nvolumes.uploads = \"/usr/share/a\"\n[volume.uploads]\nsize = \"1GiB\"\n"
            ),
        ),
        (
            Code::SameName,
            "volume",
            format!("{}[volume.web]\nsize = \"1GiB\"\n", service("volumes.web = \"/data\"")),
        ),
        (
            Code::OutOfRange,
            "volume of nothing",
            format!("{}[volume.uploads]\nsize = \"1KiB\"\n", service("volumes.uploads = \"/data\"")),
        ),
        (
            Code::OverrideOfNothing,
            "volume",
            format!("{}[environment.dev]\nvolume.more.size = \"2GiB\"\n", volume("volumes.uploads = \"/data\"")),
        ),
        (
            Code::BadSchedule,
            "fields",
            service("[job.tick]\nservice = \"web\"\ncommand = [\"a\"]\nschedule = \"* * *\""),
        ),
        (
            Code::BadSchedule,
            "never",
            service("[job.tick]\nservice = \"web\"\ncommand = [\"a\"]\nschedule = \"0 2 30 2 *\""),
        ),
        (
            Code::BadSchedule,
            "range",
            service("[job.tick]\nservice = \"web\"\ncommand = [\"a\"]\nschedule = \"0 25 * * *\""),
        ),
        (
            Code::BadSchedule,
            "step",
            service("[job.tick]\nservice = \"web\"\ncommand = [\"a\"]\nschedule = \"0-59/70 * * * *\""),
        ),
        (
            Code::JobOfNothing,
            "misspelt",
            service("[job.tick]\nservice = \"wep\"\ncommand = [\"a\"]"),
        ),
        (
            Code::OverrideOfNothing,
            "job",
            service("[environment.dev.job.tick]\ndeadline = \"2h\""),
        ),
        (
            Code::OverrideOfNothing,
            "secret",
            service("secrets = { A = \"env\" }\n[environment.dev.secret.A]\ngenerate = 32"),
        ),
        (
            Code::ReservedVariable,
            "port",
            service("env = { PORT = \"80\", WARD_HOME = \"/\" }"),
        ),
        (
            Code::ReservedVariable,
            "database",
            service(
                "links = [\"db\"]\nenv = { DATABASE_URL = \"x\" }\n[database.db]\nengine = \"postgres\"",
            ),
        ),
        (
            Code::NulCharacter,
            "command",
            service("command = [\"a\\u0000b\"]"),
        ),
        (
            Code::BadPackage,
            "path",
            format!("{STACK}[service.web]\nbuild = {{ cargo = \"./web\" }}\n"),
        ),
        (
            Code::Repeated,
            "link",
            service("links = [\"db\", \"db\"]\n[database.db]\nengine = \"postgres\""),
        ),
        (
            Code::MissingKey,
            "canary without steps",
            deploy("strategy = \"canary\""),
        ),
        (
            Code::MissingKey,
            "step without hold",
            canary("{ weight = 10 }, { weight = 50, hold = \"1m\" }"),
        ),
        (
            Code::Conflict,
            "sticky by both",
            sticky("{ cookie = \"a\", header = \"b\" }"),
        ),
        (Code::Conflict, "sticky by nothing", sticky("{}")),
        (
            Code::Conflict,
            "one cookie for release and instance",
            sticky("{ cookie = \"at\" }\n[service.web.affinity]\ncookie = \"at\""),
        ),
        (
            Code::Conflict,
            "affinity and hedge",
            listening("affinity = { cookie = \"at\" }\nhedge = \"100ms\""),
        ),
        (
            Code::Conflict,
            "requests without a port",
            service("limit = { rate = \"10/s\" }"),
        ),
        (
            Code::MissingKey,
            "affinity by nothing",
            listening("affinity = {}"),
        ),
        (
            Code::BadToken,
            "cookie of an affinity",
            listening("affinity = { cookie = \"my;side\" }"),
        ),
        (
            Code::BadChoice,
            "strategy",
            deploy("strategy = \"blue-green\""),
        ),
        (
            Code::BadDuration,
            "hold",
            canary("{ weight = 10, hold = \"until told\" }"),
        ),
        (
            Code::WrongType,
            "hold as number",
            canary("{ weight = 10, hold = 5 }"),
        ),
        (
            Code::WrongType,
            "one step",
            deploy("strategy = \"canary\", steps = { weight = 10, hold = \"1m\" }"),
        ),
        (Code::WrongType, "weights alone", canary("10, 50")),
        (
            Code::OutOfRange,
            "weight",
            canary("{ weight = 100, hold = \"1m\" }"),
        ),
        (
            Code::OutOfRange,
            "hold",
            canary("{ weight = 10, hold = \"8d\" }"),
        ),
        (Code::OutOfRange, "steps", canary(&many_steps(21))),
        (
            Code::OutOfRange,
            "batch",
            deploy("strategy = \"rolling\", batch = 0, surge = \"0%\""),
        ),
        (Code::Empty, "steps", canary("")),
        (
            Code::BadAmount,
            "batch",
            deploy("strategy = \"rolling\", batch = \"2\", surge = \"a quarter\""),
        ),
        (Code::BadToken, "cookie", sticky("{ cookie = \"my side\" }")),
        (
            Code::KeyOfAnotherStrategy,
            "of none named",
            deploy("batch = 1, sticky = { cookie = \"side\" }"),
        ),
        (
            Code::KeyOfAnotherStrategy,
            "of rolling",
            deploy(
                "strategy = \"rolling\", bake = \"1m\", steps = [{ weight = 1, hold = \"1m\" }]",
            ),
        ),
        (
            Code::KeyOfAnotherStrategy,
            "analysis of rolling",
            deploy("strategy = \"rolling\", analysis = { requests = 10 }"),
        ),
        (
            Code::OutOfRange,
            "analysis",
            deploy("bake = \"1m\", analysis = { requests = 0 }"),
        ),
        (
            Code::BadChoice,
            "inconclusive",
            deploy("bake = \"1m\", analysis = { inconclusive = \"promot\" }"),
        ),
        (
            Code::UnknownKey,
            "analysis",
            deploy("bake = \"1m\", analysis = { min_requests = 20 }"),
        ),
        (
            Code::BadUrlPath,
            "probe",
            deploy("bake = \"1m\", analysis = { probe = { path = \"healthz\" } }"),
        ),
        (
            Code::MissingKey,
            "probe without a path",
            deploy("bake = \"1m\", analysis = { probe = { every = \"1s\" } }"),
        ),
        (
            Code::OutOfRange,
            "probe too often",
            deploy("bake = \"1m\", analysis = { probe = { path = \"/\", every = \"9ms\" } }"),
        ),
        (
            Code::OutOfRange,
            "probe too seldom",
            deploy("bake = \"1m\", analysis = { probe = { path = \"/\", every = \"2m\" } }"),
        ),
        (
            Code::KeyOfAnotherStrategy,
            "of canary",
            deploy("strategy = \"canary\", surge = 1, steps = [{ weight = 1, hold = \"1m\" }]"),
        ),
        (
            Code::WeightsDoNotGrow,
            "canary",
            canary(
                "{ weight = 10, hold = \"1m\" }, { weight = 10, hold = \"1m\" }, { weight = 5, hold = \"1m\" }",
            ),
        ),
        (
            Code::StrategyWithoutPort,
            "rolling worker",
            service("deploy = { strategy = \"rolling\" }"),
        ),
        (
            Code::StrategyWithoutOverlap,
            "canary",
            service(
                "port = 80\nhealth = \"none\"\noverlap = false\ndeploy = { strategy = \"canary\", steps = [{ weight = 1, hold = \"1m\" }] }",
            ),
        ),
        (
            Code::StrategyWithoutOverlap,
            "rolling in one environment",
            format!(
                "{}[environment.dev]\n[environment.prod]\nservice.web.deploy.strategy = \"rolling\"\n",
                service("port = 80\nhealth = \"none\"\noverlap = false")
            ),
        ),
        (
            Code::WrongType,
            "overlap as text",
            service("overlap = \"no\""),
        ),
        (
            Code::StrategyWithoutPort,
            "canary worker",
            service("deploy = { strategy = \"canary\", steps = [{ weight = 1, hold = \"1m\" }] }"),
        ),
        (
            Code::BadRate,
            "unit of another tool",
            listening("limit = { rate = \"10 r/s\" }"),
        ),
        (
            Code::BadRate,
            "none",
            listening("limit = { rate = \"0/s\" }"),
        ),
        (
            Code::BadChoice,
            "limit by ip",
            listening("limit = { rate = \"10/s\", by = \"ip\" }"),
        ),
        (
            Code::BadToken,
            "header of a limit",
            listening("limit = { rate = \"10/s\", by = \"header:x key\" }"),
        ),
        (
            Code::OutOfRange,
            "concurrency",
            listening("concurrency = 0"),
        ),
        (
            Code::BadChoice,
            "concurrency in words",
            listening("concurrency = \"adaptiv\""),
        ),
        (
            Code::LinkToNothing,
            "slip",
            service("links = [\"bd\"]\n[database.db]\nengine = \"postgres\""),
        ),
        (
            Code::LinkToItself,
            "link",
            service("port = 80\nhealth = \"none\"\nlinks = [\"web\"]"),
        ),
        (
            Code::LinkWithoutPort,
            "link",
            service("links = [\"api\"]\n[service.api]\nimage = \"a:1\""),
        ),
        (Code::ReleaseCycle, "three", cycle()),
        (Code::HostTaken, "two", two_hosts()),
        (
            Code::RouteWithoutPort,
            "route",
            service("health = \"none\"\nroute = { host = \"a.localhost\" }"),
        ),
        (
            Code::NoHealthCheck,
            "route",
            service("port = 80\nroute = { host = \"a.localhost\" }"),
        ),
        (Code::NoHealthCheck, "port", service("port = 80")),
        (
            Code::HealthWithoutPort,
            "health",
            service("health = { path = \"/\" }"),
        ),
        (
            Code::IrreversibleBeside,
            "rolling",
            irreversible("strategy = \"rolling\""),
        ),
        (
            Code::IrreversibleBeside,
            "bake",
            irreversible("bake = \"10m\""),
        ),
        (
            Code::IrreversibleBeside,
            "canary of another service",
            format!(
                "{}[service.api]\nimage = \"a:1\"\nport = 80\nhealth = \"none\"\n\
                 deploy = {{ strategy = \"canary\", steps = [{{ weight = 10, hold = \"1m\" }}] }}\n",
                irreversible("")
            ),
        ),
        (
            Code::BadChoice,
            "schema",
            service("release = { command = [\"migrate\"], schema = \"reversible\" }"),
        ),
        (
            Code::OutOfRange,
            "deadline",
            service("").replace(
                "version = \"1.0\"",
                "version = \"1.0\", deadlines = { revert = \"2h\" }",
            ),
        ),
        (
            Code::UnknownKey,
            "deadline of another tool",
            service("").replace(
                "version = \"1.0\"",
                "version = \"1.0\", deadlines = { approval = \"2h\" }",
            ),
        ),
        (
            Code::SameName,
            "both",
            service("[database.web]\nengine = \"postgres\""),
        ),
        (
            Code::LinkCollision,
            "two databases",
            service(
                "links = [\"a\", \"b\"]\n[database.a]\nengine = \"postgres\"\n[database.b]\nengine = \"postgres\"",
            ),
        ),
        (
            Code::LinkCollision,
            "egress",
            service(
                "links = [\"db\"]\negress = [\"db:5432\"]\n[database.db]\nengine = \"postgres\"",
            ),
        ),
    ]
}

/// A file in which a service with an irreversible command is deployed in this way.
fn irreversible(keys: &str) -> String {
    let release = "release = { command = [\"migrate\"], schema = \"irreversible\" }";
    format!("{}{release}\n", deploy(keys))
}

/// A file in which a service is deployed in this way.
fn deploy(keys: &str) -> String {
    service(&format!(
        "port = 80\nhealth = \"none\"\ndeploy = {{ {keys} }}"
    ))
}

fn canary(steps: &str) -> String {
    deploy(&format!("strategy = \"canary\", steps = [{steps}]"))
}

fn sticky(by: &str) -> String {
    service(&format!(
        "port = 80\nhealth = \"none\"\n[service.web.deploy]\nstrategy = \"canary\"\n\
         steps = [{{ weight = 1, hold = \"1m\" }}]\nsticky = {by}"
    ))
}

fn many_steps(count: u32) -> String {
    let step = |weight| format!("{{ weight = {weight}, hold = \"1s\" }}");
    let steps: Vec<String> = (1..=count).map(step).collect();
    steps.join(",\n")
}

fn cycle() -> String {
    let one = |name: &str, link: &str| {
        format!(
            "[service.{name}]\nimage = \"a:1\"\nport = 80\nhealth = \"none\"\nlinks = [\"{link}\"]\nrelease = {{ command = [\"migrate\"] }}\n"
        )
    };
    format!(
        "{STACK}{}{}{}",
        one("web", "api"),
        one("api", "jobs"),
        one("jobs", "web")
    )
}

fn two_hosts() -> String {
    let lines = "port = 80\nhealth = \"none\"\nroute = { host = \"s.localhost\" }";
    format!(
        "{}[service.api]\nimage = \"a:1\"\n{lines}\n",
        service(lines)
    )
}

/// A file in which a service has this route.
fn routed(keys: &str) -> String {
    service(&format!(
        "port = 80\nhealth = \"none\"\nroute = {{ {keys} }}"
    ))
}

/// A file in which a service has these two.
fn two_routes(one: &str, two: &str) -> String {
    let routes = format!("route = [\n  {{ {one} }},\n  {{ {two} }},\n]");
    service(&format!("port = 80\nhealth = \"none\"\n{routes}"))
}

fn show(text: &str, mistakes: &[Mistake]) -> String {
    render("ward.toml", text, mistakes, Look::Plain, 100)
}

#[test]
fn each_kind_of_mistake_is_reported() {
    for (code, title, text) in cases() {
        let reading = read("ward.toml", &text);
        assert!(reading.stack.is_none(), "{title}");
        let found = reading.mistakes.iter().any(|mistake| mistake.code == code);
        assert!(found, "{code} {title}: {:#?}", reading.mistakes);
        let unrelated = reading.mistakes.iter().find(|mistake| mistake.code != code);
        let on_purpose = matches!(title, "no equals sign" | "capitals" | "table");
        assert!(
            unrelated.is_none() || on_purpose,
            "{code} {title}: {unrelated:#?}"
        );
        let name = format!("{code} {title}").replace(' ', "_");
        insta::assert_snapshot!(name, show(&text, &reading.mistakes));
    }
}

#[test]
fn no_kind_of_mistake_is_without_a_case() {
    // Those about what is not there need a disk.
    let absent = [
        Code::NoPackage,
        Code::NoDockerfile,
        Code::NoFile,
        Code::NoProgram,
    ];
    // Those about a policy need one.
    let policy = [Code::AgainstPolicy, Code::PolicyWarning, Code::NotOfAPolicy];
    let elsewhere = [Code::TooLarge, Code::UnknownEnvironment];
    let elsewhere = [&elsewhere[..], &absent, &policy].concat();
    let cases = cases();
    for code in CODES.iter().filter(|code| !elsewhere.contains(code)) {
        assert!(cases.iter().any(|(other, ..)| other == code), "{code}");
    }
    let mut ids: Vec<_> = CODES.iter().map(|code| code.id()).collect();
    ids.dedup();
    assert!(ids.len() == CODES.len() && ids.is_sorted());
}

/// What breaks a rule, where the environment says it, where the stack does, and where nobody does.
#[test]
fn what_breaks_a_policy_is_underlined_where_it_stands() {
    let text = format!(
        "{}[environment.prod]\nprotected = true\nservice.web.instances = 1\n",
        listening("route = { host = \"s.example.org\" }")
    );
    let violation = |rule: Rule, path: &str, level: Level, waived: Option<Waiver>| Violation {
        rule,
        level,
        origin: match level {
            Level::Warn => Origin::Installation,
            Level::Off | Level::Deny => Origin::Stack,
        },
        path: path.to_owned(),
        message: format!("{rule} is broken"),
        way_out: "something else".to_owned(),
        place: None,
        waived,
    };
    let waiver = Waiver {
        until: Timestamp(1_795_257_315_000),
        why: "a reason".to_owned(),
        by: "uid:0(root)".to_owned(),
        at: Timestamp(0),
    };
    let instances = "service.web.instances";
    let mut found = [
        violation(Rule::MinInstances, instances, Level::Deny, None),
        violation(Rule::MinInstances, instances, Level::Deny, Some(waiver)),
        violation(Rule::Tls, "service.web.route.https", Level::Warn, None),
        violation(Rule::DatabaseRemoved, "database.db", Level::Deny, None),
    ];
    let prod = Name::parse("prod").unwrap();
    let mistakes = violations("ward.toml", &text, &prod, &mut found);
    let codes: Vec<Code> = mistakes.iter().map(|mistake| mistake.code).collect();
    let (against, warning) = (Code::AgainstPolicy, Code::PolicyWarning);
    assert_eq!(codes, [against, warning, warning, against]);
    let lines = found.map(|violation| violation.place.unwrap().line);
    assert_eq!(lines, [9, 9, 6, 1]);
    insta::assert_snapshot!(show(&text, &mistakes));
}

#[test]
fn a_policy_says_nothing_of_services() {
    let text = "[policy]\ntls = \"deny\"\n[service.web]\nport = 1\n";
    insta::assert_snapshot!(show(text, &installation(text).unwrap_err()));
}

#[test]
fn a_file_that_is_too_large_is_said_without_its_text() {
    insta::assert_snapshot!(show("", &[too_large(5_000_000)]));
}

#[test]
fn an_environment_that_is_not_declared_is_said_with_those_that_are() {
    let stack = read("ward.toml", EXAMPLE).stack.unwrap();
    let mistakes = stack.resolve(&Name::parse("prd").unwrap()).unwrap_err();
    assert_eq!(mistakes[0].code, Code::UnknownEnvironment);
    insta::assert_snapshot!(show(EXAMPLE, &mistakes));
}

#[test]
fn in_a_stack_without_environments_its_name_is_underlined() {
    let text = "[stack]\nname = \"returns\"\nversion = \"1.0\"\n[service.web]\nimage = \"a:1\"\n";
    let stack = read("ward.toml", text).stack.unwrap();
    let mistakes = stack.resolve(&Name::parse("prod").unwrap()).unwrap_err();
    assert_eq!(views("ward.toml", text, &mistakes)[0].text, "\"returns\"");
    insta::assert_snapshot!(show(text, &mistakes));
}

const MANY: &str = r#"[stack]
name = "Returns"
version = 1.0

[service.web]
build = { cargo = "returns-web" }
port = 80800
helth = { path = "/healthz", interval = "200 ms", healthy = 2 }
instances = "2"
links = ["bd", "web"]
egress = ["https://api.example.com"]
env = { RUST_LOG = 1 }
memory = "256M"
release = { comand = ["returns-web", "migrate"] }
route = { host = "returns.localhost" }

[service.worker]
links = ["db"]
route = { host = "returns.localhost" }

[database.db]
engine = "mysql"

[environment.prod]
service.web.instance = 4
service.wroker.instances = 1
"#;

#[test]
fn all_mistakes_of_a_file_are_reported_in_one_run() {
    let mistakes = read("ward.toml", MANY).mistakes;
    insta::assert_snapshot!(show(MANY, &mistakes));
    let lines = |code: Code| {
        mistakes
            .iter()
            .filter(|mistake| mistake.code == code)
            .count()
    };
    assert_eq!(lines(Code::UnknownKey), 3);
    assert!(mistakes.len() >= 16, "{}", mistakes.len());
}

#[test]
fn a_program_is_told_the_same() {
    let text = two_hosts();
    let views = views("ward.toml", &text, &read("ward.toml", &text).mistakes);
    insta::assert_snapshot!(serde_json::to_string_pretty(&views).unwrap());
}

#[test]
fn colour_is_only_where_it_is_asked_for() {
    let mistakes = read("ward.toml", MANY).mistakes;
    assert!(!render("ward.toml", MANY, &mistakes, Look::Plain, 80).contains('\u{1b}'));
    assert!(render("ward.toml", MANY, &mistakes, Look::Colour, 80).contains('\u{1b}'));
}

#[test]
fn a_line_that_is_too_long_to_show_is_named_by_its_place() {
    let text = service(&format!("command = [\"{}\", 1]", "x".repeat(100_000)));
    let shown = show(&text, &read("ward.toml", &text).mistakes);
    assert!(
        shown.len() < 1000 && shown.contains("line 4, column 100016"),
        "{shown}"
    );
}

#[test]
fn nothing_in_a_file_steers_the_terminal() {
    let text =
        service("a\u{1b}]0;x\u{7} = 1\nstop_timeout = \"\\u001b[31m\"\nmemory = \"\u{202e}1\"");
    let shown = show(&text, &read("ward.toml", &text).mistakes);
    assert!(
        !shown.contains(['\u{1b}', '\u{7}', '\u{202e}']),
        "{shown:?}"
    );
}
