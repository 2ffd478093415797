//! Checks that the generated parts of the pages in `docs/` match the rules of this crate.
//!
//! `IRSA_WRITE_DOCS=1 cargo test -p irsa-core --test docs` regenerates them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::Path;

use irsa_core::errors::{CATALOGUE, Check, Origin};
use irsa_core::finding::Id;
use irsa_core::presign::{Addressing, Predicted, PresignOptions, SignatureVersion, predict};
use irsa_core::sdk::{
    BlastRadius, Call, Certainty, Code, Environment, Family, Outcome, ReadsVariable, Sdk, SignedCalls,
    scope_cures, sts,
};

/// Compares `text` with the part of the page between the markers of `part`, or replaces it.
#[track_caller]
fn check(page: &str, part: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(page);
    let old = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (start, end) = (
        format!("<!-- generated: {part} -->\n"),
        format!("<!-- end of {part} -->\n"),
    );
    let from = old
        .find(&start)
        .unwrap_or_else(|| panic!("{page} has no `{start}`"))
        + start.len();
    let to = old.find(&end).unwrap_or_else(|| panic!("{page} has no `{end}`"));
    let new = format!(
        "{}\n{}\n{}",
        &old[..from],
        text.trim_end(),
        &old[to..].trim_start()
    );
    if std::env::var_os("IRSA_WRITE_DOCS").is_some() {
        std::fs::write(&path, &new).unwrap();
        return;
    }
    assert!(
        old == new,
        "{page}: `{part}` is out of date: run IRSA_WRITE_DOCS=1 cargo test -p irsa-core --test docs"
    );
}

fn environment(region: Option<&str>, variable: Option<&str>) -> Environment {
    Environment {
        region: region.map(str::to_owned),
        default_region: region.map(str::to_owned),
        sts_regional_endpoints: variable.map(str::to_owned),
        ..Environment::default()
    }
}

/// `regional`, `global` or `error` of an SDK's credentials call.
fn class(sdk: Sdk, region: Option<&str>, variable: Option<&str>) -> String {
    let answer = sts(
        sdk,
        &environment(region, variable),
        Code::default(),
        Call::Credentials,
    );
    match answer.class() {
        "error" => "**error**".to_owned(),
        class => class.to_owned(),
    }
}

#[test]
fn the_table_of_who_obeys_what_is_current() {
    let mut text = String::from(
        "| SDK | unset | `regional` | `legacy` | `global` | empty | `REGIONAL` | no region, unset | rests on |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for sdk in Sdk::representatives() {
        let west = Some("us-west-2");
        let cell = |variable| class(sdk, west, variable);
        let certainty = sts(sdk, &environment(west, None), Code::default(), Call::Credentials).certainty;
        writeln!(
            text,
            "| {sdk} | {} | {} | {} | {} | {} | {} | {} | {certainty} |",
            cell(None),
            cell(Some("regional")),
            cell(Some("legacy")),
            cell(Some("global")),
            cell(Some("")),
            cell(Some("REGIONAL")),
            class(sdk, None, None),
        )
        .unwrap();
    }
    check("sdks.md", "who obeys the variable", &text);
}

#[test]
fn the_table_of_region_variables_is_current() {
    let mut text = String::from(
        "| SDK | only `AWS_REGION` | only `AWS_DEFAULT_REGION` | both, different |\n|---|---|---|---|\n",
    );
    let host = |sdk, region: Option<&str>, default_region: Option<&str>| {
        let environment = Environment {
            region: region.map(str::to_owned),
            default_region: default_region.map(str::to_owned),
            sts_regional_endpoints: Some("regional".to_owned()),
            ..Environment::default()
        };
        let answer = sts(sdk, &environment, Code::default(), Call::Credentials);
        match (answer.endpoint(), answer.region.as_ref()) {
            (None, _) => "**no region**",
            (Some(endpoint), _) if endpoint.host == "sts.amazonaws.com" => "**global**",
            (_, Some((region, _))) if region == "us-west-2" => "`AWS_REGION`",
            (_, Some((region, _))) if region == "eu-west-1" => "`AWS_DEFAULT_REGION`",
            (_, Some(_)) => "assumed us-east-1",
            (_, None) => "**global**",
        }
    };
    for family in Family::ALL {
        let sdk = Sdk::current(family);
        writeln!(
            text,
            "| {family} | {} | {} | {} |",
            host(sdk, Some("us-west-2"), None),
            host(sdk, None, Some("eu-west-1")),
            host(sdk, Some("us-west-2"), Some("eu-west-1")),
        )
        .unwrap();
    }
    check("sdks.md", "region variables", &text);
}

#[test]
fn the_table_of_refused_values_is_current() {
    let mut text = String::from("| SDK | what stops | text |\n|---|---|---|\n");
    let mut sdks: Vec<Sdk> = ["botocore@1.27.96", "botocore@1.28.5"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    sdks.extend(Family::ALL.map(Sdk::current));
    for sdk in sdks {
        let answer = sts(
            sdk,
            &environment(Some("us-west-2"), Some("global")),
            Code::default(),
            Call::Credentials,
        );
        match answer.outcome {
            Outcome::Failure(failure) => {
                writeln!(text, "| {sdk} | {} | `{}` |", failure.blast_radius, failure.text).unwrap();
            }
            Outcome::DecidedByFile => {}
            Outcome::Endpoint(_) if answer.reads == ReadsVariable::Never => {}
            Outcome::Endpoint(endpoint) => {
                writeln!(text, "| {sdk} | nothing: taken as {} | |", endpoint.class).unwrap();
            }
        }
    }
    let ignoring: Vec<_> = Family::ALL
        .into_iter()
        .filter(|family| {
            let environment = environment(Some("us-west-2"), None);
            sts(
                Sdk::current(*family),
                &environment,
                Code::default(),
                Call::Credentials,
            )
            .reads
                == ReadsVariable::Never
        })
        .map(Family::title)
        .collect();
    writeln!(text, "\n{}: {}.", BlastRadius::Nothing, ignoring.join(", ")).unwrap();
    check("sdks.md", "refused values", &text);
}

#[test]
fn the_cures_of_the_scope_error_are_current() {
    let code = Code {
        endpoint: Some("https://sts.amazonaws.com"),
        region: None,
    };
    let tried = [
        "boto3@old",
        "boto3",
        "aws-cli-v2",
        "js-v2",
        "js-v3",
        "rust",
        "go-v1",
    ];
    let environment = environment(Some("us-west-2"), Some("regional"));
    let cures: Vec<_> = tried
        .iter()
        .map(|sdk| scope_cures(sdk.parse().unwrap(), &environment, code))
        .collect();
    let mut text = String::from("| what is tried | does it help |\n|---|---|\n");
    for (i, cure) in cures[0].iter().enumerate() {
        let most = cures.iter().filter(|of_sdk| of_sdk[i].works).count() * 2 > cures.len();
        let exceptions: Vec<String> = cures
            .iter()
            .zip(tried)
            .filter(|(of_sdk, _)| of_sdk[i].works != most)
            .map(|(_, name)| name.parse::<Sdk>().unwrap().family.to_string())
            .collect();
        let verdict = if most { "**yes**" } else { "no" };
        if exceptions.is_empty() {
            writeln!(text, "| {} | {verdict} |", cure.remedy.what()).unwrap();
        } else {
            let but = exceptions.join(", ");
            writeln!(text, "| {} | {verdict}, except in {but} |", cure.remedy.what()).unwrap();
        }
    }
    check("sdks.md", "cures", &text);
}

#[test]
fn the_tables_of_presigned_forms_are_current() {
    let mut text = String::new();
    let settings = [
        ("nothing is set", PresignOptions::default()),
        (
            "signature version 4 is asked for",
            PresignOptions {
                signature: Some(SignatureVersion::V4),
                ..PresignOptions::default()
            },
        ),
        (
            "signature version 4 and addressing style `virtual` are asked for",
            PresignOptions {
                signature: Some(SignatureVersion::V4),
                addressing: Addressing::Virtual,
                ..PresignOptions::default()
            },
        ),
    ];
    for (title, options) in settings {
        writeln!(
            text,
            "When {title}:\n\n| SDK | us-west-2 | us-east-1 | ap-east-1 |\n|---|---|---|---|"
        )
        .unwrap();
        for family in Family::ALL {
            let cell = |region| {
                let environment = environment(Some(region), None);
                let prediction = predict(Sdk::current(family), &environment, &options, "bucket", "path");
                match prediction.predicted {
                    Predicted::Form(form) => {
                        let mark = if prediction.certainty == Certainty::Tested {
                            ""
                        } else {
                            " ?"
                        };
                        format!("{} {}{mark}", form.word(), form.signature)
                    }
                    Predicted::Error(text) => text,
                    Predicted::DecidedByFile => "decided by a file".to_owned(),
                    Predicted::Never => "never presigns".to_owned(),
                }
            };
            writeln!(
                text,
                "| {family} | {} | {} | {} |",
                cell("us-west-2"),
                cell("us-east-1"),
                cell("ap-east-1")
            )
            .unwrap();
        }
        text.push('\n');
    }
    text.push_str("`?`: not tested.\n");
    check("presigned-urls.md", "forms", &text);
}

#[test]
fn the_table_of_findings_is_current() {
    let mut text = String::from("| id | severity | meaning |\n| --- | --- | --- |\n");
    for id in Id::ALL {
        writeln!(text, "| `{id}` | {} | {} |", id.severity(), id.describe()).unwrap();
    }
    check("status.md", "findings", &text);
}

#[test]
fn the_page_of_errors_covers_the_catalogue() {
    let mut text = String::new();
    for (origin, title) in [
        (Origin::Sts, "From STS"),
        (Origin::Sdk, "From the SDK, before anything reaches AWS"),
        (Origin::Network, "From the network"),
        (Origin::Service, "From any AWS service"),
        (Origin::S3, "From S3"),
        (Origin::Kubernetes, "From Kubernetes"),
    ] {
        writeln!(text, "## {title}\n").unwrap();
        for entry in CATALOGUE.iter().filter(|entry| entry.origin == origin) {
            let shown = |text: &str| text.replace("{}", "…");
            writeln!(text, "### `{}`\n", shown(entry.texts[0])).unwrap();
            for other in &entry.texts[1..] {
                writeln!(text, "also `{}`  ", shown(other)).unwrap();
            }
            if entry.texts.len() > 1 {
                text.push('\n');
            }
            let code = entry
                .code
                .map(|code| format!(", code `{code}`"))
                .unwrap_or_default();
            writeln!(text, "{} (id `{}`{code})\n", entry.meaning, entry.id).unwrap();
            for check in entry.checks {
                writeln!(text, "* check {}: `{}`", check.what(), check.command()).unwrap();
            }
            for cure in entry.cures {
                writeln!(text, "* fix: {cure}").unwrap();
            }
            text.push('\n');
        }
    }
    assert!(
        CATALOGUE.iter().all(|entry| text.contains(entry.id)),
        "an origin has no section"
    );
    assert!(
        Check::ALL
            .iter()
            .all(|check| CATALOGUE.iter().any(|e| e.checks.contains(check))),
        "a check decides nothing"
    );
    check("errors.md", "catalogue", &text);
}

/// People search for the exact text.
#[test]
fn the_pages_contain_the_exact_error_text_of_the_procedure() {
    for page in ["sdks.md", "errors.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs")
            .join(page);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.contains(SignedCalls::refusal_text("GetCallerIdentity").trim_end()),
            "{page}"
        );
    }
}
