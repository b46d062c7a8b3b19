//! What can be wrong with a stack file, each kind with a code that never changes its meaning.

use std::fmt;

pub use ward_types::view::Span;

macro_rules! codes {
    ($($variant:ident $id:literal $title:literal $advice:literal)*) => {
        /// A kind of mistake. Codes are stable: one is never reused for something else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        /// Every kind of mistake, in the order of the codes.
        pub const CODES: &[Code] = &[$(Code::$variant),*];

        impl Code {
            /// The code as people see and search it: `W0201`.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Code::$variant => $id),* }
            }

            /// What it means, as a phrase.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),* }
            }

            /// What to do about it, in a sentence.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Code::$variant => $advice),* }
            }
        }
    };
}

codes! {
    Syntax "W0101" "The text is not TOML" "Mend the syntax at the place that is shown (TOML 1.1)."
    DuplicateKey "W0102" "A key or table is given twice" "Keep one of the two."
    TooLarge "W0103" "The file is larger than 1 MiB" "A stack file is a few kilobytes; look whether the right file is read."
    TooDeep "W0104" "Tables or lists are nested too deeply" "No key of a stack file needs more than a few levels."

    UnknownKey "W0201" "A key that Ward does not know" "See the tables above for the keys of each part."
    WrongType "W0202" "A value of the wrong type" "Give the type that the key's table names."
    MissingKey "W0203" "A required key is missing" "Add the key."
    Conflict "W0204" "Keys that exclude each other, or none of them" "Keep exactly one of them."
    NotOverridable "W0205" "An environment overrides what is the same in all environments" "Remove it from the environment."
    OverrideOfNothing "W0206" "An environment overrides a service, database, volume, job or secret that the stack does not declare" "Declare it outside of the environment first."
    UnknownEnvironment "W0207" "An environment that the stack does not declare" "Name a declared one, or add `[environment.NAME]`."

    BadName "W0301" "A name that cannot be a DNS label" "Lower-case letters, digits and hyphens, beginning with a letter, at most 40."
    BadVersion "W0302" "A version that is not MAJOR.MINOR" "Two whole numbers; Ward appends the build number."
    BadDuration "W0303" "A duration that does not parse" "A whole number and `ms`, `s`, `m`, `h` or `d`."
    BadSize "W0304" "A size that does not parse" "A whole number and a unit such as `MiB` or `GB`."
    OutOfRange "W0305" "A value outside of its range" "Stay within the range that the key's table names."
    BadPort "W0306" "A port out of range" "1 to 65535."
    BadChoice "W0307" "A word that is not one of the choices" "Use one of the words that the key's table names."
    Empty "W0308" "An empty command, list or text" "Give at least one word, or remove the key."
    BadFilePath "W0309" "A path that leaves the stack's folder" "A path relative to the stack file, without `..`."
    BadEgress "W0310" "An outside address that does not parse" "`HOST:PORT`, the host a DNS name or an IPv4 address outside of the instance."
    BadImage "W0311" "An image reference that does not parse, or names neither tag nor digest" "`name:tag` or `host/name@sha256:…`."
    BadHost "W0312" "A route's host that is not a host name" "A DNS name in lower case, without scheme, port or path; `*` only as its whole first label, as in `*.example.org`."
    BadUrlPath "W0313" "A health check's path that is not one" "Begin with `/`, without spaces."
    BadVariable "W0314" "A name that cannot be an environment variable" "Letters, digits and underscores, not beginning with a digit."
    ReservedVariable "W0315" "An environment variable that Ward sets itself" "Remove it; the application is given it."
    NulCharacter "W0316" "A NUL character in a value" "Neither arguments nor environment variables can hold one."
    BadPackage "W0317" "A name that cannot be a Cargo package" "The `name` in the `[package]` of a Cargo.toml."
    Repeated "W0318" "A list that names the same thing twice" "Keep one of the two."
    BadAmount "W0319" "A text that is not a percentage" "A whole number without quotes, or a percentage such as `\"25%\"`."
    BadToken "W0320" "A name that cannot be a cookie's or a header's" "Letters, digits, `-` and `_`, at most 64."
    BadRange "W0321" "A range of addresses that does not parse" "An address, or its first bits and their number, as in `10.0.0.0/8`."
    BadHeaderValue "W0322" "A text that cannot be a header's value" "Visible ASCII characters and spaces between them, at most 1000."
    BadPrefix "W0323" "A route's path that is not one" "Whole segments of plain letters, such as `/api/v1`: no escapes, no `..`, no slash at the end."
    ReservedHeader "W0324" "A response header that is not for a route to set" "Remove it; Ward or the application sends it."
    BadRate "W0325" "A rate that does not parse" "A whole number and `/s`, `/m` or `/h`."
    BadMachinePath "W0326" "A path on the machine that is not absolute" "Begin with `/`, without `..`; such files lie beside no stack file."
    BadDays "W0327" "Days that the calendar does not have, or the last before the first" "`YYYY-MM-DD/YYYY-MM-DD`, the first and the last day."
    BadZone "W0328" "A text that is not the name of a time zone" "A name of the IANA time zone database, such as `Europe/Berlin`."
    BadSchedule "W0330" "A schedule that does not parse, is never due, or steps over its whole range" "Five fields: minute, hour, day of the month, month, day of the week; a step of at most what it steps through."
    BadSecretName "W0331" "A name that cannot be a secret's" "A letter, then letters, digits, `_` and `-`, at most 64."
    BadSecretPlace "W0332" "A secret that is neither a variable nor a file below /run/" "`\"env\"`, or an absolute path such as `/run/secrets/NAME`."
    BadVolumePath "W0333" "A path at which no volume can be" "An absolute path without `.` and `..`, not below /dev, /etc, /proc, /run, /sys or /tmp."
    BadLink "W0338" "A link to another stack that does not parse" "`STACK/SERVICE` or `STACK@ENVIRONMENT/SERVICE`; outside addresses go into `egress`."
    BadExport "W0339" "An export that does not parse" "`STACK`, `STACK/ENVIRONMENT` or `STACK/*`."

    LinkToNothing "W0401" "A link to what the stack does not declare" "Link to a service or database of this file; outside addresses go into `egress`."
    LinkToItself "W0402" "A service that links to itself" "Remove the link; an instance reaches itself on localhost."
    LinkWithoutPort "W0403" "A link to a service without a port" "Give the linked service a `port`."
    ReleaseCycle "W0404" "Release commands that wait for each other" "Break the circle: remove one of the links, or one of the release commands."
    HostTaken "W0405" "Two routes for the same requests" "Give one of them a host, a path or a header of its own."
    RouteWithoutPort "W0406" "A route to a service without a port" "Say on which `port` the application listens."
    NoHealthCheck "W0407" "A service with a route or a port, but no health check" "Add `health = { path = \"…\" }`, or opt out in writing with `health = \"none\"`."
    HealthWithoutPort "W0408" "A health check of a service without a port" "Say on which `port` the application listens, or remove the check."
    SameName "W0409" "Two of the services, databases and volumes of one name" "Rename one; links and logs name them without their kind."
    LinkCollision "W0410" "Two links, or a link and an outside address, that the instance could not tell apart" "Keep one of the two, or rename one."
    KeyOfAnotherStrategy "W0411" "A key that does not belong to the strategy" "Remove the key, or choose the strategy that it belongs to."
    WeightsDoNotGrow "W0412" "A canary whose weight does not grow from step to step" "Give each step a greater weight than the one before; less than before is a rollback."
    StrategyWithoutPort "W0413" "A canary or a rolling deployment of a service without a port" "Say on which `port` the application listens, or leave `deploy` to `blue_green`."
    IrreversibleBeside "W0414" "An irreversible release command where the release before goes on serving beside the new one" "Split the change into one that expands the schema and, in a later release, one that contracts it; or deploy by `blue_green` without `bake`."
    StrategyWithoutOverlap "W0415" "A canary or a rolling deployment of a service whose releases do not overlap" "Remove `overlap = false`, or leave `deploy` to `blue_green`: two releases cannot share requests without running at the same time."
    NothingToStrip "W0416" "A route that strips its path, but has none" "Say which `path` is taken off, or remove `strip`."
    HalfACertificate "W0417" "A certificate without its key, or a key without its certificate" "Name both files, or neither."
    TlsTwice "W0418" "Two routes of one host that say different things of its TLS" "Say it in one of them: it holds for the host."
    TlsWithoutHost "W0419" "A route that says something of TLS, but has no host" "Give the route a `host`, or remove `tls`."
    NotByAcme "W0420" "A certificate by ACME that cannot be had" "Wildcards need files; names below `localhost` have certificates of the local authority anyhow."
    LinkToOwnStack "W0424" "A link by the name of its own stack" "Name the service alone; environments of one stack do not reach each other."
    ExportWithoutPort "W0425" "An export of a service without a port" "Say on which `port` the application listens, or remove the export."
    ExportToItself "W0426" "An export to the stack itself" "Remove it; services of one stack name each other in `links` alone."
    JobOfNothing "W0430" "A job of a service that the stack does not declare" "Name a service of this file; its image holds the command."
    SecretCollision "W0431" "A secret in the place of a variable or of another secret" "Keep one of the two, or rename one."
    SecretOfNobody "W0432" "A secret that no service gets" "Name it in the `secrets` of a service, or remove it."
    VolumeOfNothing "W0433" "A service with a volume that the stack does not declare" "Declare it, `[volume.NAME]` with its `size`, or name a declared one."
    VolumeTaken "W0434" "A volume of two services" "Let one of them have it; all instances of that service see the same files."
    VolumeCollision "W0435" "Two volumes in one place, or a volume among the host's own files" "Give it a path of its own, such as `/data`."
    NotAStage "W0441" "A pipeline with an environment that the stack does not declare, or a gate without its stage" "Name an environment of this file, and in `gate` one of the pipeline's stages."
    NoRole "W0442" "An approval by a role that the stack does not declare" "Declare it: `[role.NAME]` with its `people`."

    NoPackage "W0501" "A Cargo package that is not there, or has no binary" "Name a package of the Cargo workspace that the stack's folder is in."
    NoDockerfile "W0502" "A Dockerfile that is not there" "A path relative to the stack file."
    NoFile "W0503" "A file for an image that is not there" "A path relative to the stack file; add a `command` if a build makes it."
    NoProgram "W0504" "A build command whose program is not there" "Install it, or put it into the PATH; a path with a `/` begins at the stack's folder."

    AgainstPolicy "W0601" "What a rule of the policy forbids" "Change it as the report says, or let somebody answer for it: `ward policy waive`."
    PolicyWarning "W0602" "What a rule of the policy warns of" "Change it as the report says, or set the rule to `off`."
    NotOfAPolicy "W0603" "A key of a stack file in `policy.toml`" "Only `policy`, `protected` and `[environment.NAME]` with these stand there."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// Another place that has to do with a mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is there, in a few words.
    pub text: String,
}

/// One mistake, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Which kind.
    pub code: Code,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// The offending text.
    pub span: Span,
    /// A few words to stand under the offending text.
    pub note: String,
    /// What would have been right, as a noun phrase.
    pub expected: Option<String>,
    /// The text that was probably meant.
    pub did_you_mean: Option<String>,
    /// Other places that have to do with it.
    pub labels: Vec<Label>,
}

impl Mistake {
    pub(crate) fn at(span: Span, code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            span,
            note: "here".to_owned(),
            expected: None,
            did_you_mean: None,
            labels: Vec::new(),
        }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn mean(mut self, text: Option<String>) -> Self {
        self.did_you_mean = text;
        self
    }

    pub(crate) fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        let text = text.into();
        self.labels.push(Label { span, text });
        self
    }

    /// Whether it complains that a key is not there, which says nothing when lines were lost.
    pub(crate) fn misses_a_key(&self) -> bool {
        matches!(
            self.code,
            Code::MissingKey
                | Code::Conflict
                | Code::LinkWithoutPort
                | Code::ExportWithoutPort
                | Code::RouteWithoutPort
                | Code::NoHealthCheck
                | Code::HealthWithoutPort
                | Code::StrategyWithoutPort
        )
    }

    /// Whether it complains that a service or database is not there.
    pub(crate) fn misses_a_part(&self) -> bool {
        matches!(self.code, Code::OverrideOfNothing | Code::LinkToNothing)
    }
}
