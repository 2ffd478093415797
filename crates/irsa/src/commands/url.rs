//! `irsa url`: presigned URLs taken apart, and the form in which each SDK makes them.

use std::io::{self, BufRead as _, Read as _, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use irsa_core::duration;
use irsa_core::partition::S3Addressing;
use irsa_core::presign::{
    self, Addressing, Anatomy, Form, Predicted, Prediction, PresignOptions, Signature, SignatureVersion,
    Target,
};
use irsa_core::sdk::Sdk;
use irsa_core::text::Foreign;
use owo_colors::OwoColorize as _;
use serde::Serialize;

use crate::args::{Format, FormatParser};
use crate::commands::offline::{self, EnvironmentArgs};
use crate::exit;
use crate::output::{Output, Table};

/// More than any list of URLs that a person pipes in.
const MAX_INPUT: u64 = 16 * 1024 * 1024;

const API_VERSION: &str = "irsa/v1";

/// Take presigned URLs apart, or predict their form
///
/// S3 answers on a global host (bucket.s3.amazonaws.com) and on one per region (bucket.s3.us-west-2.amazonaws.com).
/// Which of them a presigned URL has is chosen by SDK, addressing style and settings of S3, not by
/// AWS_STS_REGIONAL_ENDPOINTS.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Inspect(InspectArgs),
    Predict(PredictArgs),
}

/// Say what a presigned URL of S3 or STS is, and what AWS would answer to it
///
/// Form of the host, bucket and key, version and scope of the signature, time left, session token; and whether these
/// fit together or which error AWS gives. The signature itself cannot be checked without the secret key. Nothing is
/// sent anywhere. Signatures and tokens are masked in the output.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa url inspect 'https://bucket.s3.us-west-2.amazonaws.com/path?X-Amz-Algorithm=…'
  aws s3 presign s3://bucket/path | irsa url inspect -
  irsa url inspect --bucket-region eu-central-1 \"$URL\"
  irsa url inspect -o json - < urls.txt | jq '.items[] | select(.consistent | not)'

Exit codes: 0 the URL is consistent; 1 AWS would refuse it; 2 it is no presigned URL.")]
struct InspectArgs {
    /// The URL, in quotes, or - for one URL a line on standard input
    #[arg(value_name = "URL|-", required = true)]
    urls: Vec<String>,

    /// The region of the bucket, which a global host does not tell
    #[arg(long, value_name = "REGION")]
    bucket_region: Option<String>,

    /// Show signatures and tokens
    #[arg(long)]
    show_secrets: bool,

    /// Judge the URL at this time instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::plain()
    )]
    format: Format,
}

/// Predict the form in which SDKs presign
///
/// For each SDK: host, path, signature version and the region in the credential scope, in the given settings.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa url predict --region us-west-2                     every SDK
  irsa url predict -r us-west-2 --sdk boto3 --signature-version v4 --addressing virtual
  irsa url predict -r us-east-1 --env AWS_S3_US_EAST_1_REGIONAL_ENDPOINT=regional
  irsa url predict -r us-west-2 --bucket my.dotted.bucket -o wide")]
struct PredictArgs {
    #[command(flatten)]
    environment: EnvironmentArgs,

    /// SDKs, such as boto3, boto3@1.39 or js-v2; else each that behaves in its own way
    #[arg(long, value_name = "SDK", value_delimiter = ',')]
    sdk: Vec<Sdk>,

    /// The bucket, or the ARN of an access point
    #[arg(long, value_name = "BUCKET", default_value = "bucket")]
    bucket: String,

    /// The object's key
    #[arg(long, value_name = "KEY", default_value = "path")]
    key: String,

    /// Addressing style that the program asks for
    #[arg(long, value_enum, default_value_t, value_name = "STYLE")]
    addressing: Style,

    /// Signature version that the program asks for
    #[arg(long, value_enum, value_name = "VERSION")]
    signature_version: Option<Version>,

    /// The program asks for dual-stack endpoints
    #[arg(long)]
    dual_stack: bool,

    /// The program asks for Transfer Acceleration
    #[arg(long)]
    accelerate: bool,

    /// Endpoint that the program gives
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::with(&[Format::Wide])
    )]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Style {
    /// Nothing is said
    #[default]
    Auto,
    /// The bucket in the host
    Virtual,
    /// The bucket in the path
    Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Version {
    /// SigV2
    #[value(alias = "2", alias = "s3")]
    V2,
    /// SigV4
    #[value(alias = "4", alias = "s3v4")]
    V4,
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Inspect(args) => inspect(args, output),
        Command::Predict(args) => predict(args, output),
    }
}

/// A list, as kubectl writes one.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct List<T> {
    /// `irsa/v1`.
    api_version: &'static str,
    /// `PresignedUrlList`.
    kind: &'static str,
    /// One for each URL, in their order.
    items: Vec<T>,
}

/// The document of one URL.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct UrlReport {
    /// `irsa/v1`.
    api_version: &'static str,
    /// `PresignedUrl`.
    kind: &'static str,
    /// The URL, its secrets masked unless asked for.
    url: String,
    /// `s3`, `sts` or `other`.
    service: &'static str,
    /// `regional`, `global`, `dualstack`, `fips`, `accelerate`, `access-point`, `multi-region-access-point`, `express`, `website`, `object-lambda`, `outposts`, `vpc-endpoint` or `custom`.
    form: &'static str,
    /// The host, lower case, without port.
    host: String,
    /// The region in the host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_region: Option<String>,
    /// The partition of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'static str>,
    /// `virtual`, `path`, `access-point`, `multi-region-access-point` or `express`.
    #[serde(skip_serializing_if = "Option::is_none")]
    addressing: Option<&'static str>,
    /// The bucket, or what stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    /// The key, decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The action of STS.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    /// The signature, without its value.
    signature: SignatureReport,
    /// When it is good for, if that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    validity: Option<ValidityReport>,
    /// Whether a session token is present.
    session_token: bool,
    /// Every query parameter, in its order.
    parameters: Vec<ParameterReport>,
    /// Whether AWS would serve it, as far as the URL alone tells.
    consistent: bool,
    /// What AWS would answer instead; the first is the one that it would say.
    problems: Vec<ProblemReport>,
    /// What else is worth knowing.
    notes: Vec<NoteReport>,
}

/// A signature.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct SignatureReport {
    /// `SigV2`, `SigV4` or `SigV4a`.
    version: &'static str,
    /// The access key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<String>,
    /// The credential scope; SigV2 has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<ScopeReport>,
    /// SigV4a's regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    region_set: Option<String>,
    /// The signed headers.
    signed_headers: Vec<String>,
}

/// A credential scope.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ScopeReport {
    /// `YYYYMMDD`.
    date: String,
    /// The region; SigV4a has none here.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// The service.
    service: String,
    /// `aws4_request`.
    terminator: String,
}

/// When a URL is good for.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ValidityReport {
    /// When it was signed; SigV2 does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_at: Option<String>,
    /// When it ends.
    expires_at: String,
    /// Seconds left, negative when over.
    seconds_left: i64,
}

/// One query parameter.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ParameterReport {
    /// The name, decoded.
    name: String,
    /// Absent when masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// Whether its holder could act with it.
    secret: bool,
}

/// An answer of AWS other than success.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ProblemReport {
    /// The HTTP status.
    status: u16,
    /// The error code.
    code: &'static str,
    /// The message, exactly as far as it is known.
    message: String,
    /// `tested`, `read`, `documented`, `reported` or `memory`.
    certainty: &'static str,
}

/// A note.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct NoteReport {
    /// The stable name.
    id: &'static str,
    /// The note in words.
    message: String,
}

fn addressing_word(addressing: S3Addressing) -> &'static str {
    match addressing {
        S3Addressing::Virtual => "virtual",
        S3Addressing::Path => "path",
        S3Addressing::AccessPoint => "access-point",
        S3Addressing::MultiRegionAccessPoint => "multi-region-access-point",
        S3Addressing::Express => "express",
    }
}

impl UrlReport {
    fn new(url: &str, anatomy: &Anatomy, show_secrets: bool) -> Self {
        let (service, addressing, bucket, key, action) = match &anatomy.target {
            Target::S3 {
                bucket,
                key,
                addressing,
            } => (
                "s3",
                Some(addressing_word(*addressing)),
                bucket.clone(),
                Some(key.clone()),
                None,
            ),
            Target::Sts { action } => ("sts", None, None, None, action.clone()),
            Target::Other => ("other", None, None, None, None),
        };
        let (region_set, signed_headers) = match &anatomy.signature {
            Signature::V4 {
                region_set,
                signed_headers,
                ..
            } => (region_set.clone(), signed_headers.clone()),
            Signature::V2 { .. } => (None, Vec::new()),
        };
        Self {
            api_version: API_VERSION,
            kind: "PresignedUrl",
            url: shown_url(url, show_secrets),
            service,
            form: anatomy.form(),
            host: anatomy.host.clone(),
            host_region: anatomy.aws_host.as_ref().and_then(|h| h.region.clone()),
            partition: anatomy.aws_host.as_ref().map(|h| h.partition.name()),
            addressing,
            bucket,
            key,
            action,
            signature: SignatureReport {
                version: anatomy.version().as_str(),
                access_key_id: anatomy
                    .access_key_id()
                    .filter(|id| !id.is_empty())
                    .map(str::to_owned),
                scope: anatomy.scope().map(|scope| ScopeReport {
                    date: scope.date.clone(),
                    region: scope.region.clone(),
                    service: scope.service.clone(),
                    terminator: scope.terminator.clone(),
                }),
                region_set,
                signed_headers,
            },
            validity: anatomy.validity.map(|validity| ValidityReport {
                signed_at: validity.signed_at.map(presign::format_date),
                expires_at: presign::format_date(validity.expires_at),
                seconds_left: validity.left,
            }),
            session_token: anatomy.session_token.is_some(),
            parameters: anatomy
                .parameters
                .iter()
                .map(|parameter| ParameterReport {
                    name: parameter.name.clone(),
                    value: (show_secrets || !parameter.secret).then(|| parameter.value.clone()),
                    secret: parameter.secret,
                })
                .collect(),
            consistent: anatomy.problems.is_empty(),
            problems: anatomy
                .problems
                .iter()
                .map(|problem| ProblemReport {
                    status: problem.status,
                    code: problem.code,
                    message: problem.message.clone(),
                    certainty: problem.certainty.as_str(),
                })
                .collect(),
            notes: anatomy
                .notes
                .iter()
                .map(|note| NoteReport {
                    id: note.id(),
                    message: note.to_string(),
                })
                .collect(),
        }
    }
}

fn shown_url(url: &str, show_secrets: bool) -> String {
    let url = url.trim();
    if show_secrets {
        url.to_owned()
    } else {
        presign::mask(url)
    }
}

fn inspect(args: &InspectArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let now = args.at.unwrap_or_else(jiff::Timestamp::now).as_second();
    let urls = read_urls(&args.urls)?;
    let mut read = Vec::with_capacity(urls.len());
    for url in &urls {
        let anatomy = Anatomy::read(url, now, args.bucket_region.as_deref()).with_context(|| {
            format!(
                "cannot read `{}`",
                abbreviated(&Foreign(presign::mask(url)).to_string())
            )
        })?;
        read.push((url.as_str(), anatomy));
    }
    let consistent = read.iter().all(|(_, anatomy)| anatomy.problems.is_empty());
    match args.format {
        Format::Text => {
            let mut to = output.stdout();
            for (i, (url, anatomy)) in read.iter().enumerate() {
                if i > 0 {
                    writeln!(to)?;
                }
                describe(&mut to, &shown_url(url, args.show_secrets), anatomy)?;
            }
        }
        format => {
            let mut items: Vec<UrlReport> = read
                .iter()
                .map(|(url, anatomy)| UrlReport::new(url, anatomy, args.show_secrets))
                .collect();
            // One URL as an argument is one document; a stream is a list, even of one.
            if let ([_], false) = (&*items, args.urls.iter().any(|url| url == "-"))
                && let Some(only) = items.pop()
            {
                output.document(&only, format)?;
            } else {
                let list = List {
                    api_version: API_VERSION,
                    kind: "PresignedUrlList",
                    items,
                };
                output.document(&list, format)?;
            }
        }
    }
    Ok(if consistent { ExitCode::SUCCESS } else { exit::no() })
}

/// The arguments, with `-` replaced by the lines of standard input.
fn read_urls(arguments: &[String]) -> anyhow::Result<Vec<String>> {
    let mut urls = Vec::new();
    let mut stdin_read = false;
    for argument in arguments {
        if argument != "-" {
            urls.push(argument.clone());
        } else if !stdin_read {
            stdin_read = true;
            for line in io::stdin().lock().take(MAX_INPUT).lines() {
                let line = line.context("reading URLs from standard input")?;
                // Quotes and a log's indentation may have come along.
                let line = line.trim().trim_matches(['"', '\'']);
                if !line.is_empty() {
                    urls.push(line.to_owned());
                }
            }
        }
    }
    anyhow::ensure!(!urls.is_empty(), "standard input holds no URL");
    Ok(urls)
}

fn abbreviated(text: &str) -> String {
    const SHOWN: usize = 120;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

/// The text for people.
fn describe(to: &mut impl Write, url: &str, anatomy: &Anatomy) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(to, "{name:<12} {}", Foreign(value));
    line("URL", url)?;
    match &anatomy.target {
        Target::S3 {
            bucket,
            key,
            addressing,
        } => {
            let place = match addressing {
                S3Addressing::Virtual => "bucket in the host",
                S3Addressing::Path => "bucket in the path",
                S3Addressing::AccessPoint => "access point in the host",
                S3Addressing::MultiRegionAccessPoint => "multi-region access point in the host",
                S3Addressing::Express => "directory bucket in the host",
            };
            line("Service", "S3")?;
            line("Form", &format!("{}, {place}", anatomy.form()))?;
            line("Host", &anatomy.host)?;
            line("Bucket", bucket.as_deref().unwrap_or("<none>"))?;
            line("Key", if key.is_empty() { "<none>" } else { key })?;
        }
        Target::Sts { action } => {
            line("Service", "STS")?;
            line("Form", anatomy.form())?;
            line("Host", &anatomy.host)?;
            line("Action", action.as_deref().unwrap_or("<none>"))?;
        }
        Target::Other => {
            line("Service", "other")?;
            line("Form", anatomy.form())?;
            line("Host", &anatomy.host)?;
        }
    }
    line("Signature", anatomy.version().as_str())?;
    if let Some(id) = anatomy.access_key_id().filter(|id| !id.is_empty()) {
        line("Key id", id)?;
    }
    if let Some(scope) = anatomy.scope() {
        let region = scope
            .region
            .as_deref()
            .map(|r| format!("{r}/"))
            .unwrap_or_default();
        line(
            "Scope",
            &format!("{}/{region}{}/{}", scope.date, scope.service, scope.terminator),
        )?;
    }
    if let Some(validity) = anatomy.validity {
        if let Some(at) = validity.signed_at {
            line("Signed", &presign::format_date(at))?;
        }
        let left = if validity.left >= 0 {
            format!("{} left", duration::short(validity.left))
        } else {
            format!("over since {}", duration::short(validity.left))
        };
        line(
            "Expires",
            &format!("{} ({left})", presign::format_date(validity.expires_at)),
        )?;
    }
    let token = anatomy
        .session_token
        .map(|length| format!("present, {length} characters"));
    line("Token", token.as_deref().unwrap_or("none"))?;
    writeln!(to)?;
    if anatomy.problems.is_empty() {
        writeln!(
            to,
            "{} host, scope, times and parameters fit together",
            "Consistent:".green().bold()
        )?;
    }
    for (i, problem) in anatomy.problems.iter().enumerate() {
        let who = match (&anatomy.target, i) {
            (Target::Sts { .. }, 0) => "STS would answer:",
            (_, 0) => "S3 would answer:",
            _ => "and then:",
        };
        writeln!(
            to,
            "{} {} {}: {}",
            who.red().bold(),
            problem.status,
            problem.code,
            Foreign(&problem.message)
        )?;
    }
    for note in &anatomy.notes {
        writeln!(to, "Note: {}", Foreign(&note.to_string()))?;
    }
    Ok(())
}

/// The document of a prediction.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct PredictionReport {
    /// The SDK, as `--sdk` takes it.
    sdk: String,
    /// The SDK, as people know it.
    sdk_name: String,
    /// The form of the host, as in a `PresignedUrl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'static str>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The path, with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Where the bucket stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    addressing: Option<&'static str>,
    /// `SigV2`, `SigV4` or `SigV4a`.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'static str>,
    /// The region in the credential scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_region: Option<String>,
    /// The URL with words in place of what only a signer knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The error, when there is no URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What decided, as a stable name.
    reason: &'static str,
    /// What decided, in words.
    message: &'static str,
    /// `tested`, `read`, `documented`, `reported` or `memory`.
    certainty: &'static str,
}

impl PredictionReport {
    pub(crate) fn new(prediction: &Prediction) -> Self {
        let form = match &prediction.predicted {
            Predicted::Form(form) => Some(form),
            Predicted::Error(_) | Predicted::DecidedByFile | Predicted::Never => None,
        };
        Self {
            sdk: prediction.sdk.id(),
            sdk_name: prediction.sdk.to_string(),
            form: form.map(Form::word),
            host: form.map(|f| f.host.clone()),
            path: form.map(|f| f.path.clone()),
            addressing: form.map(|f| addressing_word(f.addressing)),
            signature: form.map(|f| f.signature.as_str()),
            scope_region: form.and_then(|f| f.scope_region.clone()),
            url: form.map(Form::template),
            error: match &prediction.predicted {
                Predicted::Error(text) => Some(text.clone()),
                Predicted::Form(_) | Predicted::DecidedByFile | Predicted::Never => None,
            },
            reason: prediction.why.id(),
            message: prediction.why.sentence(),
            certainty: prediction.certainty.as_str(),
        }
    }
}

/// The forms that SDKs give a URL.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct PredictionList {
    /// `irsa/v1`.
    api_version: &'static str,
    /// `PresignPrediction`.
    kind: &'static str,
    /// The bucket that was asked about.
    bucket: String,
    /// The key that was asked about.
    key: String,
    /// The variables that were considered.
    environment: std::collections::BTreeMap<&'static str, String>,
    /// One for each SDK.
    predictions: Vec<PredictionReport>,
}

fn predict(args: &PredictArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let environment = args.environment.environment()?;
    let options = PresignOptions {
        region: None,
        addressing: match args.addressing {
            Style::Auto => Addressing::Auto,
            Style::Virtual => Addressing::Virtual,
            Style::Path => Addressing::Path,
        },
        signature: args.signature_version.map(|version| match version {
            Version::V2 => SignatureVersion::V2,
            Version::V4 => SignatureVersion::V4,
        }),
        dual_stack: args.dual_stack,
        accelerate: args.accelerate,
        endpoint: args.endpoint_url.as_deref(),
    };
    let predictions: Vec<Prediction> = offline::sdks(&args.sdk)
        .into_iter()
        .map(|sdk| presign::predict(sdk, &environment, &options, &args.bucket, &args.key))
        // A program that never presigns is shown only to those who ask about it.
        .filter(|prediction| !args.sdk.is_empty() || prediction.predicted != Predicted::Never)
        .collect();
    match args.format {
        format @ (Format::Text | Format::Wide) => {
            let wide = format == Format::Wide;
            output.page(|to| prediction_table(&predictions, wide).write(to, output.columns()))?;
            if environment.sts_regional_endpoints.is_some() {
                output.note("Note: AWS_STS_REGIONAL_ENDPOINTS changes none of these forms")?;
            }
        }
        format => {
            let list = PredictionList {
                api_version: API_VERSION,
                kind: "PresignPrediction",
                bucket: args.bucket.clone(),
                key: args.key.clone(),
                environment: environment
                    .iter()
                    .map(|(name, value)| (name, value.to_owned()))
                    .collect(),
                predictions: predictions.iter().map(PredictionReport::new).collect(),
            };
            output.document(&list, format)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One row for each SDK.
pub(crate) fn prediction_table(predictions: &[Prediction], wide: bool) -> Table {
    let mut headings = vec!["SDK", "FORM", "SIGNATURE", "SCOPE", "URL"];
    if wide {
        headings.extend(["REASON", "CERTAINTY"]);
    }
    let mut table = Table::new(&headings);
    for prediction in predictions {
        let mut row = vec![prediction.sdk.to_string()];
        match &prediction.predicted {
            Predicted::Form(form) => row.extend([
                form.word().to_owned(),
                form.signature.to_string(),
                form.scope_region.clone().unwrap_or_else(|| "-".to_owned()),
                format!("{}{}", form.host, form.path),
            ]),
            Predicted::DecidedByFile => row.extend([
                "unknown".to_owned(),
                "-".to_owned(),
                "-".to_owned(),
                "-".to_owned(),
            ]),
            Predicted::Error(text) => {
                row.extend(["error".to_owned(), "-".to_owned(), "-".to_owned(), text.clone()]);
            }
            Predicted::Never => {
                row.extend(["never".to_owned(), "-".to_owned(), "-".to_owned(), "-".to_owned()])
            }
        }
        if wide {
            row.extend([
                prediction.why.sentence().to_owned(),
                prediction.certainty.to_string(),
            ]);
        }
        table.row(row);
    }
    table
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::commands::offline::schema_is_current;

    #[test]
    fn the_schemas_of_url_are_current() {
        schema_is_current::<UrlReport>("presigned-url.json");
        schema_is_current::<List<UrlReport>>("presigned-url-list.json");
        schema_is_current::<PredictionList>("presign-prediction.json");
    }

    #[test]
    fn long_urls_are_cut_for_error_messages_between_characters() {
        assert_eq!(abbreviated("short"), "short");
        let long = "é".repeat(200);
        assert_eq!(abbreviated(&long).chars().count(), 121);
    }
}
