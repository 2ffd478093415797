//! The metrics page in its two formats: OpenMetrics, and the older Prometheus text format, which is what the Go webhook
//! serves.

use prometheus_client::registry::Registry;

/// A format of the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4.
    Text,
}

impl Format {
    /// The format that an `Accept` header asks for: OpenMetrics if that is named and preferred or equal, else text.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let quality = |wanted: &[&str]| {
            let ranges = accept.unwrap_or_default().split(',');
            let matching = ranges.filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let media = parts.next()?;
                let quality = parts
                    .find_map(|parameter| parameter.strip_prefix("q="))
                    .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
                wanted
                    .iter()
                    .any(|wanted| media.eq_ignore_ascii_case(wanted))
                    .then_some(quality)
            });
            matching.fold(0.0_f32, f32::max)
        };
        let open_metrics = quality(&["application/openmetrics-text"]);
        if open_metrics > 0.0 && open_metrics >= quality(&["text/plain", "text/*", "*/*"]) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The page of everything that is registered.
pub(super) fn page(registry: &Registry, format: Format) -> String {
    let mut page = String::with_capacity(16 * 1024);
    // Writing into a String does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut page, registry);
    let mut out = String::with_capacity(page.len());
    let mut counters: Vec<&str> = Vec::new();
    for line in page.lines() {
        if format == Format::Text && (line == "# EOF" || line.starts_with("# UNIT ")) {
            continue;
        }
        if let Some(described) = line.strip_prefix("# TYPE ")
            && let Some(name) = described.strip_suffix(" counter")
        {
            counters.push(name);
        }
        line_into(&mut out, line, format);
        out.push('\n');
    }
    if format == Format::Text {
        out = with_total(&out, &counters);
    }
    out
}

/// One line. The bounds of buckets are written as Go writes them (`125000`, `1e+06`), so that recorded series go on.
fn line_into(out: &mut String, line: &str, format: Format) {
    if format == Format::Text
        && let Some(name) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.strip_suffix(" unknown"))
    {
        out.push_str("# TYPE ");
        out.push_str(name);
        out.push_str(" untyped");
        return;
    }
    let bound = line
        .split_once("le=\"")
        .and_then(|(before, rest)| Some((before, rest.split_once('"')?)));
    match bound {
        Some((before, (bound, after))) if !line.starts_with('#') => {
            out.push_str(before);
            out.push_str("le=\"");
            out.push_str(&go_float(bound));
            out.push('"');
            out.push_str(after);
        }
        _ => out.push_str(line),
    }
}

/// In the text format the descriptions of a counter have the name of its series, with `_total`.
fn with_total(page: &str, counters: &[&str]) -> String {
    let mut out = String::with_capacity(page.len() + 16 * counters.len());
    for line in page.lines() {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|kind| {
            let (name, rest) = line.strip_prefix(kind)?.split_once(' ')?;
            counters.contains(&name).then_some((*kind, name, rest))
        });
        match described {
            Some((kind, name, rest)) => {
                out.push_str(&format!("{kind}{name}_total {rest}\n"));
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// A number as Go's `strconv.FormatFloat(f, 'g', -1, 64)` writes it.
fn go_float(text: &str) -> String {
    let Ok(number) = text.parse::<f64>() else {
        return text.to_owned();
    };
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return text.to_owned();
    };
    // Go takes the exponent form below 1e-4 and from 1e6 on.
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{number}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_accept_header_chooses_the_format() {
        for (accept, format) in [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain;version=0.0.4"), Format::Text),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
                ),
                Format::OpenMetrics,
            ),
            (
                Some("application/openmetrics-text;q=0.2,text/plain;q=0.9"),
                Format::Text,
            ),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (text, expected) in [
            ("125000.0", "125000"),
            ("1000000.0", "1e+06"),
            ("8000000.0", "8e+06"),
            ("0.005", "0.005"),
            ("0.00001", "1e-05"),
            ("2.5", "2.5"),
            ("+Inf", "+Inf"),
        ] {
            assert_eq!(go_float(text), expected, "{text}");
        }
    }

    #[test]
    fn the_text_format_names_counters_by_their_series_and_has_no_end_mark() {
        let mut registry = Registry::default();
        registry.register("requests", "Requests", Counter::<u64>::default());
        let text = page(&registry, Format::Text);
        assert_eq!(
            text,
            "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total 0\n"
        );
        assert!(page(&registry, Format::OpenMetrics).ends_with("# EOF\n"));
    }
}
