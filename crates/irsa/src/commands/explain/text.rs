//! The explanation on one screen: the conclusion, why, what to do, and who chose; SDKs with the same answer are one row.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use irsa_core::presign::Predicted;
use irsa_core::sdk::{Answer, Concern, Family, Outcome, Reason, Sdk, SignedCalls};
use irsa_core::text::Foreign;
use irsa_fleet::finding::{CureFor, Fact};
use irsa_fleet::report::FindingReport;
use owo_colors::{OwoColorize as _, Style};

use super::report::{ExplainedContainer, Explanation, Header, source_name, target};
use crate::output::{Finding, counted, findings, wrapped};

/// Where text stands behind its label.
const INDENT: usize = 11;
/// SDKs that a row names before the rest is counted.
const NAMED: usize = 6;
/// Different reasons and concerns that are shown without `-o wide`.
const DISTINCT: usize = 3;

/// Containers with the same answers.
struct Group<'a> {
    names: Vec<&'a str>,
    container: &'a ExplainedContainer,
}

impl Group<'_> {
    /// The calls that are talked of: those of the program if they were asked about, else those for credentials.
    fn answers(&self) -> &[Answer] {
        if self.container.program.is_empty() {
            &self.container.answers
        } else {
            &self.container.program
        }
    }
}

/// SDKs with the same answer.
struct Row<'a> {
    sdks: Vec<Sdk>,
    /// What decided, each reason once.
    reasons: Vec<Reason>,
    /// The answer of the first of them.
    answer: &'a Answer,
}

impl Row<'_> {
    fn add(&mut self, answer: &Answer) {
        self.sdks.push(answer.sdk);
        if !self.reasons.contains(&answer.reason) {
            self.reasons.push(answer.reason);
        }
    }
}

/// Whether two answers are told in one row. Each SDK has its own words for the same refusal; `-o wide` has them all.
fn is_same(one: &Answer, other: &Answer) -> bool {
    match (&one.outcome, &other.outcome) {
        (Outcome::Failure(_), Outcome::Failure(_)) => one.reason == other.reason,
        (one_outcome, other_outcome) => {
            one_outcome == other_outcome && one.signed_calls == other.signed_calls
        }
    }
}

/// Writes the whole explanation.
pub(super) fn write(
    to: &mut impl Write,
    explanation: &Explanation,
    columns: Option<usize>,
) -> io::Result<()> {
    let mut page = Page { to, columns };
    let subject = explanation.header.as_ref().map(subject);
    if let Some(reason) = explanation.header.as_ref().and_then(Header::without_identity) {
        let subject = subject.as_deref().unwrap_or_default();
        page.headline(
            &format!("{subject} gets no identity: {reason}"),
            Style::new().bold(),
        )?;
        writeln!(page.to)?;
    } else {
        let groups = groups(&explanation.containers);
        let unknown = explanation
            .header
            .as_ref()
            .is_some_and(|header| header.unknown.is_some());
        if let (Some(subject), true) = (subject.as_deref(), unknown && groups.is_empty()) {
            let nothing = format!("where the next pod of {subject} calls is not known");
            page.headline(&nothing, Style::new().bold())?;
            writeln!(page.to)?;
        }
        for (index, group) in groups.iter().enumerate() {
            if index > 0 {
                writeln!(page.to)?;
            }
            let who = who(subject.as_deref(), group, groups.len());
            page.group(&who, group)?;
        }
    }
    if let Some(header) = &explanation.header {
        if let Some(why) = header.unknown {
            let fact = Fact::ChoiceUnknown { why };
            page.labelled("chosen", &format!("not known: {}", fact.message()))?;
            page.labelled("", &fact.cure(CureFor::Cluster))?;
        }
        page.header(header)?;
    }
    if !explanation.skipped.is_empty() {
        page.labelled(
            "others",
            &format!("{}: no part in this", explanation.skipped.join(", ")),
        )?;
    }
    let reports: Vec<FindingReport> = explanation
        .findings
        .iter()
        .map(|finding| FindingReport::new(finding, CureFor::Cluster))
        .collect();
    let found: Vec<Finding<'_>> = reports
        .iter()
        .map(|report| Finding {
            report,
            subject: String::new(),
            pods: 0,
        })
        .collect();
    findings(page.to, &found, false, columns)?;
    for note in &explanation.notes {
        writeln!(page.to)?;
        page.labelled("note", note)?;
    }
    Ok(())
}

fn subject(header: &Header) -> String {
    let kind = if header.kind == "Pod" {
        "pod"
    } else {
        "serviceaccount"
    };
    Foreign(format!("{kind} {}/{}", header.namespace, header.name)).to_string()
}

fn groups(containers: &[ExplainedContainer]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for container in containers {
        let same = groups.iter_mut().find(|group| {
            let known = group.container;
            known.facts.environment == container.facts.environment
                && known.facts.unknown == container.facts.unknown
                && known.answers == container.answers
                && known.program == container.program
        });
        match same {
            Some(group) => group.names.push(&container.facts.name),
            None => groups.push(Group {
                names: vec![&container.facts.name],
                container,
            }),
        }
    }
    groups
}

/// The subject of the conclusion.
fn who(subject: Option<&str>, group: &Group<'_>, groups: usize) -> String {
    let names = Foreign(group.names.join(", ")).to_string();
    match subject {
        None => "this environment".to_owned(),
        Some(subject) if names.is_empty() => format!("the next pod of {subject}"),
        Some(subject) if groups == 1 => subject.to_owned(),
        Some(subject) if group.names.len() == 1 => format!("{subject}, container {names}"),
        Some(subject) => format!("{subject}, containers {names}"),
    }
}

/// The rows of a group: errors first, then what fewest SDKs do.
fn rows(answers: &[Answer]) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for answer in answers {
        match rows.iter_mut().find(|row| is_same(row.answer, answer)) {
            Some(row) => row.add(answer),
            None => rows.push(Row {
                sdks: vec![answer.sdk],
                reasons: vec![answer.reason],
                answer,
            }),
        }
    }
    rows.sort_by_key(|row| (row.answer.endpoint().is_some(), row.sdks.len()));
    rows
}

/// Names of SDKs: a family whose releases are all meant is named once.
fn names(sdks: &[Sdk], all: &[Answer]) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut families: BTreeSet<Family> = BTreeSet::new();
    for sdk in sdks {
        let releases = all
            .iter()
            .filter(|answer| answer.sdk.family == sdk.family)
            .count();
        let here = sdks.iter().filter(|other| other.family == sdk.family).count();
        if releases > 1 && releases == here {
            if families.insert(sdk.family) {
                names.push(sdk.family.title().to_owned());
            }
        } else {
            names.push(sdk.to_string());
        }
    }
    match names.len().saturating_sub(NAMED) {
        0 | 1 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

/// What a row does.
fn deed(row: &Row<'_>) -> String {
    match &row.answer.outcome {
        Outcome::Endpoint(endpoint) => {
            let refused = matches!(row.answer.signed_calls, SignedCalls::Refused { .. });
            format!(
                "{} ({}), signed for {}{}",
                endpoint.host,
                row.answer.class(),
                endpoint.signing_region,
                if refused { ": refused" } else { "" }
            )
        }
        Outcome::Failure(failure) => {
            let example = if row.sdks.len() > 1 { ", for example" } else { "" };
            format!("error{example}: {}", failure.text)
        }
        Outcome::DecidedByFile => format!("unknown: {}", row.answer.reason.sentence()),
    }
}

struct Page<'a, W: Write> {
    to: &'a mut W,
    columns: Option<usize>,
}

impl<W: Write> Page<'_, W> {
    fn headline(&mut self, text: &str, style: Style) -> io::Result<()> {
        for line in wrapped(&Foreign(text).to_string(), self.columns) {
            writeln!(self.to, "{}", line.style(style))?;
        }
        Ok(())
    }

    fn labelled(&mut self, label: &str, text: &str) -> io::Result<()> {
        let width = self.columns.map(|columns| columns.saturating_sub(INDENT));
        for (index, line) in wrapped(&Foreign(text).to_string(), width).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            writeln!(self.to, "  {:<width$}{line}", label.cyan(), width = INDENT - 2)?;
        }
        Ok(())
    }

    fn group(&mut self, who: &str, group: &Group<'_>) -> io::Result<()> {
        let answers = group.answers();
        let rows = rows(answers);
        let (text, style) = conclusion(who, group, &rows);
        self.headline(&text, style)?;
        writeln!(self.to)?;
        let facts = &group.container.facts;
        let variables: Vec<String> = facts
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .chain(
                facts
                    .unknown
                    .iter()
                    .map(|name| format!("{name} from elsewhere, so its value is not known")),
            )
            .collect();
        let variables = if variables.is_empty() {
            "none of those that decide is set".to_owned()
        } else {
            variables.join(", ")
        };
        self.labelled("env", &variables)?;
        self.calls(group, answers, &rows)?;
        self.cures(group)?;
        self.concerns(answers)?;
        self.switching(group)?;
        self.presigned(group)
    }

    fn calls(&mut self, group: &Group<'_>, answers: &[Answer], rows: &[Row<'_>]) -> io::Result<()> {
        for (index, row) in rows.iter().enumerate() {
            let label = match (index, rows.len()) {
                (0, 1) if row.sdks.len() == 1 => "SDK",
                (0, _) => "SDKs",
                _ => "",
            };
            let guess = group
                .container
                .guess
                .as_ref()
                .map_or(String::new(), |guess| format!(" (by its {})", guess.evidence));
            self.labelled(label, &format!("{}{guess}", names(&row.sdks, answers)))?;
            self.labelled("", &format!("  -> {}", deed(row)))?;
            for reason in row.reasons.iter().take(DISTINCT) {
                self.labelled("", &format!("     {}", reason.sentence()))?;
            }
        }
        Ok(())
    }

    /// What else is worth knowing, what most SDKs share first.
    fn concerns(&mut self, answers: &[Answer]) -> io::Result<()> {
        let mut said: Vec<(&Concern, Vec<Sdk>)> = Vec::new();
        for answer in answers {
            // That the variable is ignored is what the reason says already.
            for concern in answer
                .concerns
                .iter()
                .filter(|concern| **concern != Concern::VariableIgnored)
            {
                match said.iter_mut().find(|(known, _)| *known == concern) {
                    Some((_, sdks)) => sdks.push(answer.sdk),
                    None => said.push((concern, vec![answer.sdk])),
                }
            }
        }
        said.sort_by_key(|(_, sdks)| std::cmp::Reverse(sdks.len()));
        for (index, (concern, sdks)) in said.iter().take(DISTINCT).enumerate() {
            let whom = match sdks.len() {
                all if all == answers.len() => String::new(),
                few if few <= DISTINCT => format!(" ({})", names(sdks, answers)),
                many => format!(" ({})", counted(many, "SDK")),
            };
            self.labelled(if index == 0 { "note" } else { "" }, &format!("{concern}{whom}"))?;
        }
        if said.len() > DISTINCT {
            self.labelled("", &format!("and {} more (-o wide)", said.len() - DISTINCT))?;
        }
        Ok(())
    }

    fn cures(&mut self, group: &Group<'_>) -> io::Result<()> {
        let Some((sdk, cures)) = &group.container.cures else {
            return Ok(());
        };
        self.labelled("AWS says", SignedCalls::refusal_text("GetCallerIdentity").trim())?;
        for works in [true, false] {
            let mut label = if works { "fix" } else { "no fix" };
            for cure in cures.iter().filter(|cure| cure.works == works) {
                let text = if label == "fix" {
                    format!("{} (computed for {sdk})", cure.remedy.what())
                } else {
                    cure.remedy.what()
                };
                self.labelled(label, &text)?;
                label = "";
            }
        }
        Ok(())
    }

    fn switching(&mut self, group: &Group<'_>) -> io::Result<()> {
        let switches = &group.container.switching;
        if switches.is_empty() {
            return Ok(());
        }
        let effect = |host: fn(&super::report::Switch) -> &str| {
            let mut moves: BTreeMap<&str, usize> = BTreeMap::new();
            for switch in switches.iter().filter(|switch| host(switch) != switch.now) {
                *moves.entry(host(switch)).or_default() += 1;
            }
            if moves.is_empty() {
                return "no change".to_owned();
            }
            let moves: Vec<String> = moves
                .into_iter()
                .map(|(host, count)| format!("{} to {host}", counted(count, "SDK")))
                .collect();
            moves.join(", ")
        };
        let text = format!(
            "to regional: {}; to global: {}",
            effect(|switch| &switch.regional),
            effect(|switch| &switch.global)
        );
        self.labelled("switch", &text)
    }

    fn presigned(&mut self, group: &Group<'_>) -> io::Result<()> {
        let mut forms: Vec<(&str, Vec<Sdk>)> = Vec::new();
        for prediction in &group.container.predictions {
            let form = match &prediction.predicted {
                Predicted::Form(form) => form.word(),
                Predicted::Error(_) => "error",
                Predicted::DecidedByFile => "unknown",
                Predicted::Never => continue,
            };
            match forms.iter_mut().find(|(known, _)| *known == form) {
                Some((_, sdks)) => sdks.push(prediction.sdk),
                None => forms.push((form, vec![prediction.sdk])),
            }
        }
        forms.sort_by_key(|(_, sdks)| std::cmp::Reverse(sdks.len()));
        let text = match forms.as_slice() {
            [] => return Ok(()),
            [(form, _)] => (*form).to_owned(),
            [(most, sdks), rest @ ..] => {
                let rest: Vec<String> = rest
                    .iter()
                    .map(|(form, sdks)| format!("{form}: {}", names(sdks, group.answers())))
                    .collect();
                format!("{most}: {}; {}", counted(sdks.len(), "SDK"), rest.join("; "))
            }
        };
        self.labelled(
            "S3 URLs",
            &format!("presigned as {text} (the STS setting does not change that)"),
        )
    }

    fn header(&mut self, header: &Header) -> io::Result<()> {
        if let Some(choice) = header.choice {
            let silent = header.sources.iter().filter(|source| !source.wins).count();
            self.labelled(
                "chosen",
                &format!(
                    "{} by {} ({}: -o wide)",
                    choice.endpoint,
                    source_name(choice.source),
                    counted(silent, "other source")
                ),
            )?;
            self.labelled(
                "webhook",
                &match header.written {
                    Some(value) => format!("writes AWS_STS_REGIONAL_ENDPOINTS={value}"),
                    None => "writes nothing: the SDK's own default applies".to_owned(),
                },
            )?;
        }
        if header.kind == "Pod" {
            let missing = if header.account_exists {
                ""
            } else {
                " (does not exist)"
            };
            self.labelled("account", &format!("{}{missing}", header.account))?;
            let node = match (&header.node, &header.region) {
                (Some(node), Some((region, source))) => {
                    format!("{node} in {region}, from its {}", source.replace('-', " "))
                }
                (Some(node), None) => format!("{node}, region unknown"),
                (None, _) => "not scheduled".to_owned(),
            };
            self.labelled("node", &node)?;
        }
        self.labelled("role", header.role.as_deref().unwrap_or("none"))
    }
}

/// The first sentence.
fn conclusion(who: &str, group: &Group<'_>, rows: &[Row<'_>]) -> (String, Style) {
    let total: usize = rows.iter().map(|row| row.sdks.len()).sum();
    if !group.container.facts.unknown.is_empty() {
        let text = format!("{who}: not certain, since a variable that decides is set from elsewhere");
        return (text, Style::new().bold().yellow());
    }
    let failing: usize = rows
        .iter()
        .filter(|row| row.answer.endpoint().is_none())
        .map(|row| row.sdks.len())
        .sum();
    if failing == total && total > 0 {
        let whom = if total == 1 {
            names(&rows[0].sdks, group.answers())
        } else {
            format!("all {total} SDKs")
        };
        return (
            format!("{who} calls no endpoint: {whom} fail"),
            Style::new().bold().red(),
        );
    }
    let mut hosts: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut refused = 0;
    for row in rows.iter().filter(|row| row.answer.endpoint().is_some()) {
        let host = hosts.entry(target(row.answer)).or_insert((0, row.answer.class()));
        host.0 += row.sdks.len();
        if matches!(row.answer.signed_calls, SignedCalls::Refused { .. }) {
            refused += row.sdks.len();
        }
    }
    let mut by_count: Vec<(&str, usize, &str)> = hosts
        .iter()
        .map(|(host, (count, class))| (*host, *count, *class))
        .collect();
    by_count.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    let mut text = match by_count.as_slice() {
        [(host, _, class)] if failing == 0 => format!("{who} calls {host} ({class})"),
        several => {
            let parts: Vec<String> = several
                .iter()
                .map(|(host, count, class)| format!("{host} ({class}) with {count}"))
                .collect();
            format!("{who} calls {} of {total} SDKs", parts.join(", "))
        }
    };
    if failing > 0 {
        text.push_str(&format!("; {failing} fail"));
    }
    let style = if refused > 0 {
        let whom = if refused == total {
            String::new()
        } else {
            format!(" of {}", counted(refused, "SDK"))
        };
        text.push_str(&format!(
            ", and signed calls{whom} will FAIL: {}",
            SignedCalls::REFUSAL_CODE
        ));
        Style::new().bold().red()
    } else if failing > 0 {
        Style::new().bold().red()
    } else if by_count.iter().any(|(_, _, class)| *class == "global") {
        Style::new().bold().yellow()
    } else {
        Style::new().bold()
    };
    (text, style)
}
