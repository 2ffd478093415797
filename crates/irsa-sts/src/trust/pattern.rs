//! Values of policies: wildcards and variables.

use super::request::ConditionKeys;

/// A piece of a policy value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Char(char),
    /// `*`: any number of characters.
    Many,
    /// `?`: any one character.
    One,
    /// `${key}` or `${key, 'default'}`.
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// A value of a policy, read for one kind of comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
}

impl Pattern {
    /// Reads a value. `wildcards`: `*` and `?` are such. `variables`: `${…}` is such.
    pub(super) fn parse(text: &str, wildcards: bool, variables: bool) -> Self {
        let mut pieces = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if variables && let Some((piece, after)) = variable(rest) {
                pieces.push(piece);
                rest = after;
                continue;
            }
            pieces.push(match c {
                '*' if wildcards => Piece::Many,
                '?' if wildcards => Piece::One,
                c => Piece::Char(c),
            });
            rest = &rest[c.len_utf8()..];
        }
        Self { pieces }
    }

    /// Whether `value` has this pattern. A variable without value and default never matches anything.
    pub(super) fn matches(&self, value: &str, ignore_case: bool, context: &ConditionKeys) -> bool {
        let Some(pieces) = self.resolve(context) else {
            return false;
        };
        let value: Vec<char> = value.chars().collect();
        matches(&pieces, &value, ignore_case)
    }

    /// The same, component by component as ARNs are compared: a wildcard does not reach over a colon, except in the
    /// last, the resource.
    pub(super) fn matches_arn(&self, value: &str, context: &ConditionKeys) -> bool {
        let Some(pieces) = self.resolve(context) else {
            return false;
        };
        let pattern: Vec<&[Piece]> = pieces.splitn(6, |piece| *piece == Piece::Char(':')).collect();
        let value: Vec<&str> = value.splitn(6, ':').collect();
        pattern.len() == value.len()
            && pattern.iter().zip(&value).all(|(pattern, value)| {
                let value: Vec<char> = value.chars().collect();
                matches(pattern, &value, false)
            })
    }

    fn resolve(&self, context: &ConditionKeys) -> Option<Vec<Piece>> {
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            match piece {
                Piece::Variable { key, default } => {
                    let value = match context.values(key) {
                        [value] => value,
                        _ => default.as_ref()?,
                    };
                    pieces.extend(value.chars().map(Piece::Char));
                }
                piece => pieces.push(piece.clone()),
            }
        }
        Some(pieces)
    }
}

/// A variable at the start of `text`, and what comes after it.
fn variable(text: &str) -> Option<(Piece, &str)> {
    let inside = text.strip_prefix("${")?;
    let (name, after) = inside.split_once('}')?;
    let piece = match name {
        "*" => Piece::Char('*'),
        "?" => Piece::Char('?'),
        "$" => Piece::Char('$'),
        name => {
            let (key, default) = match name.split_once(',') {
                Some((key, default)) => (key, Some(default.trim().trim_matches('\'').to_owned())),
                None => (name, None),
            };
            Piece::Variable {
                key: key.trim().to_ascii_lowercase(),
                default,
            }
        }
    };
    Some((piece, after))
}

/// Greedy matching with one point to return to: time is at most the product of both lengths, whatever the pattern.
fn matches(pattern: &[Piece], value: &[char], ignore_case: bool) -> bool {
    let same = |a: char, b: char| a == b || (ignore_case && a.to_lowercase().eq(b.to_lowercase()));
    let (mut p, mut v) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while v < value.len() {
        match pattern.get(p) {
            Some(Piece::Many) => {
                back = Some((p + 1, v));
                p += 1;
                continue;
            }
            Some(Piece::One) => {
                p += 1;
                v += 1;
                continue;
            }
            Some(Piece::Char(c)) if same(*c, value[v]) => {
                p += 1;
                v += 1;
                continue;
            }
            _ => {}
        }
        match back {
            Some((after_many, taken)) => {
                back = Some((after_many, taken + 1));
                p = after_many;
                v = taken + 1;
            }
            None => return false,
        }
    }
    pattern[p..].iter().all(|piece| *piece == Piece::Many)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn like(pattern: &str, value: &str) -> bool {
        Pattern::parse(pattern, true, true).matches(value, false, &ConditionKeys::new())
    }

    #[test]
    fn wildcards_match_as_iam_says() {
        for (pattern, value, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "ac", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            (
                "*:kube-system:*",
                "system:serviceaccount:kube-system:aws-node",
                true,
            ),
            (
                "system:serviceaccount:kube-*:aws-node",
                "system:serviceaccount:default:aws-node",
                false,
            ),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "axbxbx", false),
            ("A", "a", false),
            ("?", "é", true),
            ("${*}", "*", true),
            ("${*}", "x", false),
        ] {
            assert_eq!(like(pattern, value), expected, "{pattern} {value}");
        }
    }

    #[test]
    fn a_variable_stands_for_its_literal_value() {
        let mut context = ConditionKeys::new();
        context.set("aws:UserName", "a*b");
        let pattern = Pattern::parse("x/${aws:username}/*", true, true);
        assert!(pattern.matches("x/a*b/c", false, &context));
        assert!(
            !pattern.matches("x/aab/c", false, &context),
            "a wildcard in a value is none"
        );
        let absent = Pattern::parse("${aws:absent}", true, true);
        assert!(!absent.matches("", false, &context));
        assert!(!absent.matches("${aws:absent}", false, &context));
        let default = Pattern::parse("${aws:absent, 'd'}", false, true);
        assert!(default.matches("d", false, &context));
        let text = Pattern::parse("${aws:username}", true, false);
        assert!(
            text.matches("${aws:username}", false, &context),
            "version 2008-10-17 has no variables"
        );
    }

    #[test]
    fn an_arn_is_compared_part_by_part() {
        let arn = |pattern: &str, value: &str| {
            Pattern::parse(pattern, true, true).matches_arn(value, &ConditionKeys::new())
        };
        assert!(arn("arn:aws:iam::*:role/*", "arn:aws:iam::111122223333:role/a/b"));
        assert!(!arn("arn:aws:*:role/*", "arn:aws:iam::111122223333:role/a"));
        assert!(arn(
            "arn:aws:eks:*:*:cluster/x",
            "arn:aws:eks:us-west-2:111122223333:cluster/x"
        ));
        assert!(!arn("*", "arn:aws:iam::111122223333:role/a"));
    }

    #[test]
    fn a_hostile_pattern_costs_no_exponential_time() {
        let pattern = "*a".repeat(500) + "b";
        let value = "a".repeat(2000);
        assert!(!like(&pattern, &value));
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*?]{0,8}", value in "[ab]{0,8}") {
            fn by_definition(pattern: &[u8], value: &[u8]) -> bool {
                match (pattern.split_first(), value.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) if by_definition(rest, value) => true,
                    (Some((b'*', _)), Some((_, after))) => by_definition(pattern, after),
                    (Some((b'?', rest)), Some((_, after))) => by_definition(rest, after),
                    (Some((c, rest)), Some((d, after))) if c == d => by_definition(rest, after),
                    _ => false,
                }
            }
            prop_assert_eq!(like(&pattern, &value), by_definition(pattern.as_bytes(), value.as_bytes()));
        }

        #[test]
        fn any_pattern_is_read_without_panic(pattern in "\\PC{0,40}", value in "\\PC{0,40}") {
            let _ = like(&pattern, &value);
        }
    }
}
