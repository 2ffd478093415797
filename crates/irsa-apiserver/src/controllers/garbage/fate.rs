//! What becomes of an object when its owners go. Pure.

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    There,
    /// Being deleted, and waiting for its dependents.
    Waiting,
    Gone,
    /// Of a kind that is not served: nobody can say that it has gone.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    /// Stay, without the references to owners that have gone.
    Forget,
    Delete {
        /// An owner waits for the end, so that its own dependents have to be waited for, too.
        waited_for: bool,
    },
}

/// The fate of an object with these owners.
pub(super) fn fate(owners: &[Owner]) -> Fate {
    let any = |owner| owners.contains(&owner);
    match owners {
        [] => Fate::Keep,
        _ if any(Owner::Unknown) => Fate::Keep,
        _ if any(Owner::There) && any(Owner::Gone) => Fate::Forget,
        _ if any(Owner::There) => Fate::Keep,
        _ => Fate::Delete {
            waited_for: any(Owner::Waiting),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Owner::{Gone, There, Unknown, Waiting};
    use super::*;

    #[test]
    fn an_object_goes_when_no_owner_is_left() {
        for (owners, expected) in [
            (&[][..], Fate::Keep),
            (&[There], Fate::Keep),
            (&[Gone], Fate::Delete { waited_for: false }),
            (&[Gone, Waiting], Fate::Delete { waited_for: true }),
            (&[There, Gone], Fate::Forget),
            (&[There, Waiting], Fate::Keep),
            (&[Unknown, Gone], Fate::Keep),
        ] {
            assert_eq!(fate(owners), expected, "{owners:?}");
        }
    }
}
