//! Every detail of an explanation: all sources, and for each container every SDK in tables.

use std::io::{self, Write};

use irsa_core::presign::Predicted;
use irsa_core::sdk::{Answer, Outcome, SignedCalls};
use irsa_fleet::finding::CureFor;
use owo_colors::OwoColorize as _;

use super::report::{ExplainedContainer, Explanation, Header, source_name, target};
use crate::commands::url::prediction_table;
use crate::output::Table;
use irsa_core::text::Foreign;

/// Writes the whole explanation.
pub(super) fn write(
    to: &mut impl Write,
    explanation: &Explanation,
    columns: Option<usize>,
) -> io::Result<()> {
    if let Some(header) = &explanation.header {
        write_header(header, to, columns)?;
    }
    for (i, container) in explanation.containers.iter().enumerate() {
        if i > 0 || explanation.header.is_some() {
            writeln!(to)?;
        }
        write_container(container, explanation.header.as_ref(), to, columns)?;
    }
    if !explanation.skipped.is_empty() {
        writeln!(to, "\nWithout a part in this: {}", explanation.skipped.join(", "))?;
    }
    if !explanation.findings.is_empty() {
        heading(to, "Findings")?;
        for finding in &explanation.findings {
            let place = finding
                .container
                .as_ref()
                .map(|c| format!("{c}: "))
                .unwrap_or_default();
            writeln!(
                to,
                "{} {}: {place}{}",
                finding.severity(),
                finding.id(),
                Foreign(&finding.message())
            )?;
            writeln!(to, "  cure: {}", Foreign(&finding.cure(CureFor::Cluster)))?;
        }
    }
    for note in &explanation.notes {
        writeln!(to, "\nNote: {}", Foreign(note))?;
    }
    Ok(())
}

fn heading(to: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(to, "\n{}", text.bold())
}

fn write_header(header: &Header, to: &mut impl Write, columns: Option<usize>) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(to, "{name:<16} {}", Foreign(value));
    line(
        if header.kind == "Pod" {
            "Pod"
        } else {
            "Service account"
        },
        &format!("{}/{}", header.namespace, header.name),
    )?;
    if header.kind == "Pod" {
        let missing = if header.account_exists {
            ""
        } else {
            " (does not exist)"
        };
        line("Service account", &format!("{}{missing}", header.account))?;
        let region = match &header.region {
            Some((region, source)) => format!("{region}, from its {}", source.replace('-', " ")),
            None => "region unknown".to_owned(),
        };
        match &header.node {
            Some(node) => line("Node", &format!("{node} ({region})"))?,
            None => line("Node", "not scheduled")?,
        }
    }
    line("Role", header.role.as_deref().unwrap_or("<none>"))?;
    line(
        "Cluster",
        &format!(
            "{} ({}), webhook settings: {}",
            header.context, header.version, header.settings_from
        ),
    )?;

    heading(to, "Who decides the endpoint type, the strongest first")?;
    let mut table = Table::new(&["", "SOURCE", "SAYS", "MEANS"]);
    for source in &header.sources {
        let means = match (source.endpoint, &source.says) {
            (Some(endpoint), _) => endpoint.as_str(),
            (None, Some(_)) => "nothing: ignored",
            (None, None) => "-",
        };
        table.row([
            if source.wins { "*" } else { " " },
            source_name(source.source),
            &source
                .says
                .as_deref()
                .map_or("-".to_owned(), |says| Foreign(says).to_string()),
            means,
        ]);
    }
    table.write(to, columns)?;
    writeln!(to)?;
    let mut line = |name: &str, value: &str| writeln!(to, "{name:<16} {}", Foreign(value));
    match (header.choice, header.unchanged) {
        (Some(choice), _) => {
            line(
                "Choice",
                &format!("{}, because {}", choice.endpoint, choice.source.reason()),
            )?;
            let written = header
                .written
                .map(|value| format!("AWS_STS_REGIONAL_ENDPOINTS={value}"));
            line(
                "Webhook writes",
                written
                    .as_deref()
                    .unwrap_or("nothing: the SDK's own default applies"),
            )?;
        }
        (None, Some(reason)) => line("Webhook writes", &format!("nothing at all, because {reason}"))?,
        (None, None) => {}
    }
    Ok(())
}

fn write_container(
    container: &ExplainedContainer,
    header: Option<&Header>,
    to: &mut impl Write,
    columns: Option<usize>,
) -> io::Result<()> {
    let facts = &container.facts;
    let title = match (header, facts.name.as_str()) {
        (None, _) => "Environment".to_owned(),
        (Some(_), "") => "The next pod of the service account".to_owned(),
        (Some(_), name) => {
            let init = if facts.init { "Init container" } else { "Container" };
            format!("{init} {name} ({})", facts.image)
        }
    };
    writeln!(to, "{}", Foreign(&title).bold())?;
    let mut empty = true;
    for (name, value) in facts.environment.iter() {
        writeln!(to, "  {name}={}", Foreign(value))?;
        empty = false;
    }
    for name in &facts.unknown {
        writeln!(to, "  {name} comes from elsewhere: its value is not in the pod")?;
        empty = false;
    }
    if empty {
        writeln!(to, "  none of the variables that decide is set")?;
    }
    if let Some(guess) = &container.guess {
        writeln!(
            to,
            "  SDK: probably {}, by its {}",
            guess.sdk,
            Foreign(&guess.evidence)
        )?;
    }

    heading(to, "Where the SDK gets its credentials")?;
    write_answers(&container.answers, to, columns)?;
    if !container.program.is_empty() {
        heading(to, "What the program's own STS client does")?;
        write_answers(&container.program, to, columns)?;
    }
    write_cures(container, to)?;
    write_switching(container, to, columns)?;
    let shown: Vec<_> = container
        .predictions
        .iter()
        .filter(|p| p.predicted != Predicted::Never)
        .cloned()
        .collect();
    if !shown.is_empty() {
        heading(
            to,
            "Form of presigned S3 URLs, which the STS setting does not change",
        )?;
        prediction_table(&shown, false).write(to, columns)?;
    }
    Ok(())
}

fn write_cures(container: &ExplainedContainer, to: &mut impl Write) -> io::Result<()> {
    if let Some((sdk, cures)) = &container.cures {
        heading(to, "What AWS says to its signed calls")?;
        writeln!(
            to,
            "{}",
            SignedCalls::refusal_text("GetCallerIdentity").trim_end()
        )?;
        writeln!(to, "\nCures, tried with {sdk}:")?;
        for cure in cures {
            let verdict = if cure.works {
                "works".green().to_string()
            } else {
                "does not help".red().to_string()
            };
            writeln!(to, "  {verdict}: {}", Foreign(&cure.remedy.what()))?;
        }
    }
    Ok(())
}

fn write_switching(
    container: &ExplainedContainer,
    to: &mut impl Write,
    columns: Option<usize>,
) -> io::Result<()> {
    if !container.switching.is_empty() {
        heading(to, "What switching would change")?;
        let mut table = Table::new(&["SDK", "NOW", "REGIONAL", "GLOBAL"]);
        for switch in &container.switching {
            let same = |host: &String| {
                if *host == switch.now {
                    "same".to_owned()
                } else {
                    host.clone()
                }
            };
            table.row([
                switch.sdk.to_string(),
                switch.now.clone(),
                same(&switch.regional),
                same(&switch.global),
            ]);
        }
        table.write(to, columns)?;
    }
    Ok(())
}

fn write_answers(answers: &[Answer], to: &mut impl Write, columns: Option<usize>) -> io::Result<()> {
    let mut table = Table::new(&[
        "SDK",
        "CLASS",
        "HOST",
        "SIGNED FOR",
        "REGION FROM",
        "CERTAINTY",
        "WHY",
    ]);
    for answer in answers {
        let endpoint = answer.endpoint();
        let refused = matches!(answer.signed_calls, SignedCalls::Refused { .. });
        table.row([
            answer.sdk.to_string(),
            answer.class().to_owned(),
            Foreign(target(answer)).to_string(),
            endpoint.map_or("-".to_owned(), |e| {
                let mark = if refused { " (refused)" } else { "" };
                format!("{}{mark}", Foreign(&e.signing_region))
            }),
            answer
                .region
                .as_ref()
                .map_or("-".to_owned(), |(_, source)| source.to_string()),
            answer.certainty.to_string(),
            answer.reason.sentence().to_owned(),
        ]);
    }
    table.write(to, columns)?;
    // The same words of several SDKs are said once.
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    let mut say = |text: String, sdk: String| match said.iter_mut().find(|(known, _)| *known == text) {
        Some((_, sdks)) => sdks.push(sdk),
        None => said.push((text, vec![sdk])),
    };
    for answer in answers {
        if let Outcome::Failure(failure) = &answer.outcome {
            say(
                format!("{} (stops {})", Foreign(&failure.text), failure.blast_radius),
                answer.sdk.to_string(),
            );
        }
        for concern in &answer.concerns {
            say(Foreign(concern.to_string()).to_string(), answer.sdk.to_string());
        }
    }
    if !said.is_empty() {
        writeln!(to)?;
    }
    for (text, sdks) in said {
        let who = match sdks.len() {
            1 => sdks[0].clone(),
            count if count == answers.len() => "all".to_owned(),
            count if count > 4 => format!("{}, and {} others", sdks[..3].join(", "), count - 3),
            _ => sdks.join(", "),
        };
        writeln!(to, "  {who}: {text}")?;
    }
    Ok(())
}
