//! ARNs of IAM roles: read, check, compose.

use std::borrow::Cow;
use std::fmt;

/// An IAM role's ARN, in its parts: `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleArn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: &'a str,
    /// Twelve digits.
    pub account: &'a str,
    /// The path with its closing slash, without the opening one; empty for a role without a path.
    pub path: &'a str,
    /// The role's name.
    pub name: &'a str,
}

/// Why a text cannot be the ARN of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ArnError {
    /// Empty text.
    #[error("it is empty")]
    Empty,
    /// White space at an end or within.
    #[error("it contains white space")]
    WhiteSpace,
    /// A name or path where a full ARN is needed.
    #[error("it does not begin with `arn:`")]
    NotAnArn,
    /// Too few or too many colons.
    #[error("it does not have the form `arn:PARTITION:iam::ACCOUNT:role/NAME`: count the colons")]
    Form,
    /// The partition does not begin with `aws`.
    #[error("its partition is not one of AWS's, such as `aws`, `aws-cn` or `aws-us-gov`")]
    Partition,
    /// Another service than IAM.
    #[error("it is not of the service `iam`")]
    Service,
    /// IAM is global: there is no region in the ARN of a role.
    #[error("it names a region: the ARN of a role has none")]
    Region,
    /// Not twelve digits.
    #[error("its account is not twelve digits")]
    Account,
    /// `user/…`, `instance-profile/…` and so on.
    #[error("it is not a role: expected `role/NAME` after the account")]
    NotARole,
    /// The role has no name, or one with characters that IAM does not allow.
    #[error("its role name is not 1 to 64 letters, digits or `+=,.@_-`")]
    Name,
    /// The path has characters that IAM does not allow, or is too long.
    #[error("its path is not made of printable ASCII, or is longer than 512 characters")]
    Path,
}

impl<'a> RoleArn<'a> {
    /// Reads the ARN of a role as IAM defines it.
    pub fn parse(text: &'a str) -> Result<Self, ArnError> {
        if text.is_empty() {
            return Err(ArnError::Empty);
        }
        if text.contains(char::is_whitespace) {
            return Err(ArnError::WhiteSpace);
        }
        let rest = text.strip_prefix("arn:").ok_or(ArnError::NotAnArn)?;
        let mut parts = rest.splitn(5, ':');
        let mut next = || parts.next().ok_or(ArnError::Form);
        let (partition, service, region, account, resource) = (next()?, next()?, next()?, next()?, next()?);
        let partition_tail = partition.strip_prefix("aws").ok_or(ArnError::Partition)?;
        if !partition_tail
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return Err(ArnError::Partition);
        }
        if service != "iam" {
            return Err(ArnError::Service);
        }
        if !region.is_empty() {
            // `arn:aws:iam:111122223333:role/x` has a colon too few, which lands the account here.
            return Err(if is_account(region) {
                ArnError::Form
            } else {
                ArnError::Region
            });
        }
        if !is_account(account) {
            // `arn:aws:iam:::111122223333:role/x` has one too many.
            return Err(if account.is_empty() {
                ArnError::Form
            } else {
                ArnError::Account
            });
        }
        let role = resource.strip_prefix("role/").ok_or(ArnError::NotARole)?;
        let (path, name) = match role.rfind('/') {
            Some(slash) => role.split_at(slash + 1),
            None => ("", role),
        };
        let name_byte = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(name_byte) {
            return Err(ArnError::Name);
        }
        if path.len() > 511 || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ArnError::Path);
        }
        Ok(Self {
            partition,
            account,
            path,
            name,
        })
    }
}

impl fmt::Display for RoleArn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partition,
            account,
            path,
            name,
        } = self;
        write!(f, "arn:{partition}:iam::{account}:role/{path}{name}")
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Where role names without an account belong: `--compose-role-arn`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    /// The account of the cluster.
    pub account: Box<str>,
    /// Its partition.
    pub partition: Box<str>,
}

impl Compose {
    /// The ARN meant by `text`, which may be a name or path without an account. Text that contains `arn:` is
    /// taken as it is, as the Go webhook does.
    #[must_use]
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.contains("arn:") {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(format!(
                "arn:{}:iam::{}:role/{text}",
                self.partition, self.account
            ))
        }
    }
}
