//! The adding up: distinct callers, each with its number of calls, its errors and when it was seen.

use std::collections::{BTreeMap, HashMap};

use irsa_core::sdk::{Sdk, from_user_agent};
use jiff::Timestamp;

/// Distinct callers at most. Whoever can reach STS decides the user agent, so that there could be any number; calls
/// beyond the limit are counted in [`Tally::unlisted`].
const MAX_CALLERS: usize = 200_000;
/// User agents that name no SDK are told by their first product, up to this many bytes.
const MAX_PRODUCT: usize = 64;
/// Distinct error codes of one caller; STS has about thirty.
const MAX_CODES: usize = 64;

/// Whether a call exchanged a token or came from the program itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `AssumeRoleWithWebIdentity`: how a pod gets its credentials.
    Exchange,
    /// Any other call of STS, made with credentials.
    Call,
}

/// The type of the endpoint that was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `sts.amazonaws.com`.
    Global,
    /// An endpoint of a region.
    Regional,
    /// The record tells neither the type nor a host name of AWS.
    Unknown,
}

/// One observation, borrowed from its record.
#[derive(Debug, Clone)]
pub(crate) struct Seen<'a> {
    pub(crate) provider: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) role: &'a str,
    pub(crate) principal_type: &'a str,
    pub(crate) operation: Operation,
    pub(crate) endpoint: Endpoint,
    pub(crate) host: &'a str,
    pub(crate) region: &'a str,
    pub(crate) serving_region: &'a str,
    pub(crate) user_agent: &'a str,
    pub(crate) error: Option<&'a str>,
    pub(crate) calls: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

/// What made a call, as its user agent says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Agent {
    /// An AWS SDK.
    Sdk(Sdk),
    /// Something else: the first product of its user agent, shortened if it is long.
    Other(Box<str>),
    /// The record has no user agent.
    Unknown,
}

impl Agent {
    fn of(user_agent: &str) -> Self {
        if let Some(guess) = from_user_agent(user_agent) {
            return Self::Sdk(guess.sdk);
        }
        match user_agent.split_whitespace().next() {
            None => Self::Unknown,
            Some(product) => {
                let mut end = product.len().min(MAX_PRODUCT);
                while !product.is_char_boundary(end) {
                    end -= 1;
                }
                Self::Other(product[..end].into())
            }
        }
    }
}

/// A distinct caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// ARN of the OIDC provider, which stands for a cluster; empty if the record names none.
    pub provider: Box<str>,
    /// Subject of the token, `system:serviceaccount:NAMESPACE:NAME`; empty for calls of a session, whose records do not
    /// name it.
    pub subject: Box<str>,
    /// ARN of the role.
    pub role: Box<str>,
    /// What kind of call.
    pub operation: Operation,
    /// The type of the endpoint.
    pub endpoint: Endpoint,
    /// The host name that the client used; empty if the record does not tell.
    pub host: Box<str>,
    /// The region whose trail has the record. The global endpoint is always in `us-east-1`.
    pub region: Box<str>,
    /// The region that served the call; empty if the record does not tell.
    pub serving_region: Box<str>,
    /// The SDK.
    pub agent: Agent,
}

/// What is known of a caller's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// How many.
    pub calls: u64,
    /// Refused calls by error code.
    pub errors: BTreeMap<Box<str>, u64>,
    /// Time of the first one.
    pub first: Timestamp,
    /// Time of the last one.
    pub last: Timestamp,
}

impl Totals {
    fn refuse(&mut self, code: &str, calls: u64) {
        let code = if self.errors.len() < MAX_CODES || self.errors.contains_key(code) {
            code
        } else {
            "other"
        };
        match self.errors.get_mut(code) {
            Some(count) => *count += calls,
            None => {
                self.errors.insert(code.into(), calls);
            }
        }
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        for (code, count) in &other.errors {
            self.refuse(code, *count);
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// Which records count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Period {
    /// Records before this are left out.
    pub since: Option<Timestamp>,
    /// Records at this time or later are left out.
    pub until: Option<Timestamp>,
}

impl Period {
    fn contains(self, first: Timestamp, last: Timestamp) -> bool {
        self.since.is_none_or(|since| last >= since) && self.until.is_none_or(|until| first < until)
    }
}

/// Distinct texts, each stored once and then known by number.
#[derive(Debug, Default)]
struct Texts {
    numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        // Callers are limited, and each has seven texts at most.
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    fn known(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }
}

/// A [`Caller`] by the numbers of its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    texts: [u32; 6],
    agent: u32,
    operation: Operation,
    endpoint: Endpoint,
}

/// Everything seen so far.
#[derive(Debug)]
pub struct Tally {
    period: Period,
    limit: usize,
    texts: Texts,
    agents: Texts,
    read_agents: Vec<Agent>,
    callers: HashMap<Key, Totals>,
    /// STS calls that were added up.
    pub sts_calls: u64,
    /// STS calls that no web identity is behind: users, services, roles of other kinds.
    pub without_web_identity: u64,
    /// Calls of callers beyond the limit of distinct callers.
    pub unlisted: u64,
    /// Records outside the period.
    pub outside_period: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new(Period::default())
    }
}

impl Tally {
    /// Counts the records of a period.
    #[must_use]
    pub fn new(period: Period) -> Self {
        Self {
            period,
            limit: MAX_CALLERS,
            texts: Texts::default(),
            agents: Texts::default(),
            read_agents: Vec::new(),
            callers: HashMap::new(),
            sts_calls: 0,
            without_web_identity: 0,
            unlisted: 0,
            outside_period: 0,
        }
    }

    pub(crate) fn add(&mut self, seen: &Seen<'_>) {
        if !self.period.contains(seen.first, seen.last) {
            self.outside_period += seen.calls;
            return;
        }
        self.sts_calls += seen.calls;
        let is_web_identity = seen.operation == Operation::Exchange
            || seen.principal_type == "WebIdentityUser"
            || !seen.provider.is_empty();
        if !is_web_identity {
            self.without_web_identity += seen.calls;
            return;
        }
        let Some(totals) = self.totals(seen) else {
            self.unlisted += seen.calls;
            return;
        };
        totals.calls += seen.calls;
        if let Some(code) = seen.error {
            totals.refuse(code, seen.calls);
        }
        totals.first = totals.first.min(seen.first);
        totals.last = totals.last.max(seen.last);
    }

    /// The totals of the caller that was seen; `None` if it is new and there are too many.
    fn totals(&mut self, seen: &Seen<'_>) -> Option<&mut Totals> {
        let texts = [
            seen.provider,
            seen.subject,
            seen.role,
            seen.host,
            seen.region,
            seen.serving_region,
        ];
        let is_full = self.callers.len() >= self.limit;
        if is_full
            && (texts.iter().any(|text| self.texts.known(text).is_none())
                || self.agents.known(seen.user_agent).is_none())
        {
            return None;
        }
        let agent = self.agents.number(seen.user_agent);
        if self.agents.texts.len() > self.read_agents.len() {
            self.read_agents.push(Agent::of(seen.user_agent));
        }
        let key = Key {
            texts: texts.map(|text| self.texts.number(text)),
            agent,
            operation: seen.operation,
            endpoint: seen.endpoint,
        };
        if is_full && !self.callers.contains_key(&key) {
            return None;
        }
        Some(self.callers.entry(key).or_insert_with(|| Totals {
            calls: 0,
            errors: BTreeMap::new(),
            first: seen.first,
            last: seen.last,
        }))
    }

    /// Adds what another tally of the same period has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (key, totals) in &other.callers {
            let [provider, subject, role, host, region, serving_region] =
                key.texts.map(|number| &*other.texts.texts[number as usize]);
            let seen = Seen {
                provider,
                subject,
                role,
                principal_type: "",
                operation: key.operation,
                endpoint: key.endpoint,
                host,
                region,
                serving_region,
                user_agent: &other.agents.texts[key.agent as usize],
                error: None,
                calls: totals.calls,
                first: totals.first,
                last: totals.last,
            };
            match self.totals(&seen) {
                Some(known) => known.add(totals),
                None => self.unlisted += totals.calls,
            }
        }
        self.sts_calls += other.sts_calls;
        self.without_web_identity += other.without_web_identity;
        self.unlisted += other.unlisted;
        self.outside_period += other.outside_period;
    }

    /// The callers in a stable order.
    #[must_use]
    pub fn callers(&self) -> BTreeMap<Caller, Totals> {
        let mut callers: BTreeMap<Caller, Totals> = BTreeMap::new();
        for (key, totals) in &self.callers {
            let [provider, subject, role, host, region, serving_region] =
                key.texts.map(|number| self.texts.texts[number as usize].clone());
            let caller = Caller {
                provider,
                subject,
                role,
                operation: key.operation,
                endpoint: key.endpoint,
                host,
                region,
                serving_region,
                agent: self.read_agents[key.agent as usize].clone(),
            };
            callers
                .entry(caller)
                .and_modify(|known| known.add(totals))
                .or_insert_with(|| totals.clone());
        }
        callers
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seen<'a>(subject: &'a str, user_agent: &'a str, at: &str) -> Seen<'a> {
        let at: Timestamp = at.parse().unwrap();
        Seen {
            provider: "p",
            subject,
            role: "r",
            principal_type: "WebIdentityUser",
            operation: Operation::Exchange,
            endpoint: Endpoint::Global,
            host: "sts.amazonaws.com",
            region: "us-east-1",
            serving_region: "",
            user_agent,
            error: None,
            calls: 1,
            first: at,
            last: at,
        }
    }

    #[test]
    fn calls_of_the_same_sdk_add_up_whatever_else_their_user_agents_say() {
        let mut tally = Tally::default();
        tally.add(&seen(
            "a",
            "Boto3/1.39.0 ua/2.0 lang/python#3.11",
            "2026-01-02T00:00:00Z",
        ));
        tally.add(&Seen {
            error: Some("AccessDenied"),
            ..seen(
                "a",
                "Boto3/1.39.0 ua/2.0 lang/python#3.12",
                "2026-01-01T00:00:00Z",
            )
        });
        tally.add(&seen("a", "curl/8.0", "2026-01-03T00:00:00Z"));
        let callers = tally.callers();
        assert_eq!(callers.len(), 2);
        let (_, totals) = callers
            .iter()
            .find(|(caller, _)| matches!(caller.agent, Agent::Sdk(_)))
            .unwrap();
        assert_eq!((totals.calls, totals.errors.get("AccessDenied")), (2, Some(&1)));
        assert_eq!(totals.first.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(totals.last.to_string(), "2026-01-02T00:00:00Z");
    }

    #[test]
    fn invented_user_agents_do_not_grow_memory_without_bound() {
        let mut tally = Tally {
            limit: 100,
            ..Tally::default()
        };
        for number in 0..110 {
            tally.add(&seen("a", &format!("x/{number}"), "2026-01-02T00:00:00Z"));
        }
        tally.add(&seen("a", "x/0", "2026-01-03T00:00:00Z"));
        assert_eq!(tally.unlisted, 10);
        assert_eq!(tally.sts_calls, 111);
        assert_eq!(tally.callers.len(), 100);
    }

    #[test]
    fn only_the_period_counts_and_other_principals_are_counted_apart() {
        let mut tally = Tally::new(Period {
            since: Some("2026-01-02T00:00:00Z".parse().unwrap()),
            until: Some("2026-01-03T00:00:00Z".parse().unwrap()),
        });
        for at in [
            "2026-01-01T23:59:59Z",
            "2026-01-02T00:00:00Z",
            "2026-01-03T00:00:00Z",
        ] {
            tally.add(&seen("a", "", at));
        }
        tally.add(&Seen {
            operation: Operation::Call,
            principal_type: "IAMUser",
            provider: "",
            ..seen("", "", "2026-01-02T00:00:00Z")
        });
        assert_eq!(tally.outside_period, 2);
        assert_eq!(tally.without_web_identity, 1);
        assert_eq!(tally.callers().len(), 1);
    }
}
