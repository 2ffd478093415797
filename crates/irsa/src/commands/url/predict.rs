//! `irsa url predict`: the form in which SDKs presign.

use std::process::ExitCode;

use clap::ValueEnum;
use irsa_core::presign::{self, Addressing, Predicted, Prediction, PresignOptions, SignatureVersion};
use irsa_core::sdk::Sdk;

use super::predict_report::PredictionList;
use crate::args::{Format, FormatParser};
use crate::commands::offline::{self, EnvironmentArgs};
use crate::output::{Output, Table};

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
pub(super) struct Args {
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

pub(super) fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
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
    match &args.format {
        format if format.is_text() => {
            let wide = *format == Format::Wide;
            output.page(|to| prediction_table(&predictions, wide).write(to, output.columns()))?;
            if environment.sts_regional_endpoints.is_some() {
                output.note("Note: AWS_STS_REGIONAL_ENDPOINTS changes none of these forms")?;
            }
        }
        format => {
            let list = PredictionList::new(&args.bucket, &args.key, &environment, &predictions);
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
            Predicted::Error(text) => {
                row.extend(["error".to_owned(), "-".to_owned(), "-".to_owned(), text.clone()]);
            }
            Predicted::DecidedByFile => row.extend([
                "unknown".to_owned(),
                "-".to_owned(),
                "-".to_owned(),
                "-".to_owned(),
            ]),
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
