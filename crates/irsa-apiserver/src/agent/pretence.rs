//! How a simulated container behaves.

use std::time::Duration;

use serde_json::Value;

use crate::object::ObjectExt;

/// How long a pretended container runs, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pretence {
    /// How long; `None` runs until it is told to end.
    pub(crate) lasts: Option<Duration>,
    /// Exit code of one that ends by itself.
    pub(crate) exit_code: i32,
}

/// Reads what can be known from the command line: `sleep N`, `true`, `false`, and a shell's `exit N`, also behind
/// `sh -c`. Anything else works for `work` and succeeds when the pod is one that ends (`to_end`), and runs on when
/// it is not.
pub(crate) fn of(container: &Value, to_end: bool, work: Duration) -> Pretence {
    let words: Vec<&str> = ["command", "args"]
        .iter()
        .flat_map(|part| container.list_at(&[part]))
        .filter_map(Value::as_str)
        .collect();
    let script = match words.as_slice() {
        [shell, "-c", script, ..] if shell.rsplit('/').next().is_some_and(|name| name.ends_with("sh")) => {
            (*script).to_owned()
        }
        words => words.join(" "),
    };
    let mut lasts = to_end.then_some(work);
    let mut exit_code = 0;
    for step in script.split([';', '\n', '&']) {
        let mut step = step.split_whitespace();
        match (step.next(), step.next()) {
            (Some("sleep"), Some("infinity" | "inf")) => lasts = None,
            (Some("sleep"), Some(time)) => {
                if let Some(time) = parse_sleep(time)
                    && to_end
                {
                    lasts = Some(time);
                }
            }
            (Some("false"), None) => exit_code = 1,
            (Some("exit"), Some(code)) => exit_code = code.parse().unwrap_or(2),
            _ => {}
        }
    }
    Pretence { lasts, exit_code }
}

fn parse_sleep(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, text.chars().last()),
        None => (text, None),
    };
    let factor = match unit {
        Some('m') => 60.0,
        Some('h') => 3600.0,
        Some('d') => 86_400.0,
        _ => 1.0,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const WORK: Duration = Duration::from_millis(100);

    #[test]
    fn a_container_of_a_job_works_and_succeeds() {
        let container = json!({ "name": "a", "command": ["backup"] });
        let expected = Pretence {
            lasts: Some(WORK),
            exit_code: 0,
        };
        assert_eq!(of(&container, true, WORK), expected);
        assert_eq!(
            of(&container, false, WORK),
            Pretence {
                lasts: None,
                exit_code: 0
            }
        );
    }

    #[test]
    fn sleep_lasts_as_long_as_it_says() {
        let sleep = |time: &str| of(&json!({ "command": ["sleep"], "args": [time] }), true, WORK).lasts;
        assert_eq!(sleep("3600"), Some(Duration::from_secs(3600)));
        assert_eq!(sleep("2m"), Some(Duration::from_secs(120)));
        assert_eq!(sleep("infinity"), None);
        assert_eq!(sleep("1e999"), Some(WORK));
    }

    #[test]
    fn a_shell_says_how_it_ends() {
        let shell = |script: &str| of(&json!({ "command": ["/bin/sh", "-c", script] }), true, WORK);
        assert_eq!(shell("echo hello; exit 3").exit_code, 3);
        assert_eq!(shell("sleep 5 && exit 0").lasts, Some(Duration::from_secs(5)));
        assert_eq!(of(&json!({ "command": ["false"] }), true, WORK).exit_code, 1);
    }
}
