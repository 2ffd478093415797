//! The credential: who signed, and for which day, region and service.

use std::fmt;

use super::date::AmzDate;

/// `KEY/DATE/REGION/SERVICE/aws4_request`, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialScope {
    /// The access key id.
    pub access_key_id: String,
    /// `YYYYMMDD`.
    pub date: String,
    /// The region.
    pub region: String,
    /// The service's signing name.
    pub service: String,
    /// `aws4_request`.
    pub terminator: String,
}

/// One way in which a scope does not fit an endpoint. Several may apply; [`CredentialScope::problems`] gives them in
/// the order in which AWS tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeProblem {
    /// Not a region that the endpoint takes.
    Region {
        /// The region sent.
        sent: String,
    },
    /// Not the endpoint's service.
    Service {
        /// The service sent.
        sent: String,
        /// The service of the endpoint.
        expected: &'static str,
    },
    /// Not `aws4_request`.
    Terminator {
        /// What was sent.
        sent: String,
    },
    /// Not the day of the request's date.
    Date {
        /// The day in the scope.
        sent: String,
        /// The request's date.
        date: AmzDate,
    },
}

impl CredentialScope {
    /// Reads a credential.
    #[must_use]
    pub fn parse(credential: &str) -> Option<Self> {
        let mut parts = credential.split('/');
        let mut next = || parts.next().map(str::to_owned);
        let scope = Self {
            access_key_id: next()?,
            date: next()?,
            region: next()?,
            service: next()?,
            terminator: next()?,
        };
        parts.next().is_none().then_some(scope)
    }

    /// How this scope does not fit an endpoint that takes `regions` of `service`, at the request's date.
    #[must_use]
    pub fn problems(&self, regions: &[&str], service: &'static str, date: AmzDate) -> Vec<ScopeProblem> {
        let mut problems = Vec::new();
        if !regions.contains(&self.region.as_str()) {
            problems.push(ScopeProblem::Region {
                sent: self.region.clone(),
            });
        }
        if self.service != service {
            problems.push(ScopeProblem::Service {
                sent: self.service.clone(),
                expected: service,
            });
        }
        if self.terminator != "aws4_request" {
            problems.push(ScopeProblem::Terminator {
                sent: self.terminator.clone(),
            });
        }
        if self.date != date.day() {
            problems.push(ScopeProblem::Date {
                sent: self.date.clone(),
                date,
            });
        }
        problems
    }
}

impl fmt::Display for CredentialScope {
    /// The scope without the key, as in a string to sign.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.date, self.region, self.service, self.terminator
        )
    }
}
