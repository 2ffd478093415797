//! How many pods each ReplicaSet of a Deployment may have next. Pure arithmetic.

use serde_json::Value;

use super::super::pods::int_or_percent;
use crate::object::ObjectExt;

/// The limits of a rolling update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rolling {
    pub(super) replicas: i64,
    pub(super) max_surge: i64,
    pub(super) max_unavailable: i64,
}

impl Rolling {
    /// Surge is rounded up, unavailability down; at least one of them is positive.
    pub(super) fn of(deployment: &Value) -> Self {
        let replicas = super::replicas(deployment);
        if deployment.str_at(&["spec", "strategy", "type"]) == "Recreate" {
            return Self {
                replicas,
                max_surge: 0,
                max_unavailable: 0,
            };
        }
        let part = |key: &str| deployment.at(&["spec", "strategy", "rollingUpdate", key]);
        let quarter = |round_up| int_or_percent(Some(&Value::from("25%")), replicas, round_up, 0);
        let max_surge = int_or_percent(part("maxSurge"), replicas, true, quarter(true));
        let max_unavailable = int_or_percent(part("maxUnavailable"), replicas, false, quarter(false));
        let max_unavailable = if max_surge == 0 && max_unavailable == 0 {
            1
        } else {
            max_unavailable.min(replicas)
        };
        Self {
            replicas,
            max_surge,
            max_unavailable,
        }
    }
}

/// What a ReplicaSet is asked for and what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SetState {
    pub(super) replicas: i64,
    pub(super) available: i64,
}

/// The next size of the new ReplicaSet, of size `present`, when all together are asked for `total`.
pub(super) fn new_set_size(rolling: Rolling, total: i64, present: i64) -> i64 {
    if present >= rolling.replicas {
        return rolling.replicas;
    }
    let room = rolling.replicas + rolling.max_surge - total;
    present + room.clamp(0, rolling.replicas - present)
}

/// The next sizes of the old ReplicaSets, oldest first.
pub(super) fn old_set_sizes(rolling: Rolling, new: SetState, old: &[SetState]) -> Vec<i64> {
    let mut sizes: Vec<i64> = old.iter().map(|set| set.replicas).collect();
    let total = sizes.iter().sum::<i64>() + new.replicas;
    let least = rolling.replicas - rolling.max_unavailable;
    let mut room = total - least - (new.replicas - new.available);
    if room <= 0 {
        return sizes;
    }
    // Those that serve nobody go first.
    let mut lost_available = 0;
    for (size, set) in sizes.iter_mut().zip(old) {
        let unhealthy = (set.replicas - set.available).clamp(0, room);
        *size -= unhealthy;
        room -= unhealthy;
    }
    let available = new.available + old.iter().map(|set| set.available).sum::<i64>();
    let mut spare = (available - least).max(0);
    for size in &mut sizes {
        let down = (*size).min(spare - lost_available).max(0);
        *size -= down;
        lost_available += down;
    }
    spare -= lost_available;
    debug_assert!(spare >= 0, "no more than what is spare is given up");
    sizes
}

/// Shares `allowed` pods among sets in proportion to their sizes; the largest take what rounding leaves.
pub(super) fn proportional(sizes: &[i64], allowed: i64) -> Vec<i64> {
    let total: i64 = sizes.iter().sum();
    if total == 0 {
        return sizes.to_vec();
    }
    let mut shares: Vec<i64> = sizes.iter().map(|size| size * allowed / total).collect();
    let mut left = allowed - shares.iter().sum::<i64>();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(sizes[*index]));
    for index in order {
        if left == 0 {
            break;
        }
        shares[index] += 1;
        left -= 1;
    }
    shares
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rolling(replicas: i64, max_surge: i64, max_unavailable: i64) -> Rolling {
        Rolling {
            replicas,
            max_surge,
            max_unavailable,
        }
    }

    #[test]
    fn percentages_round_in_favour_of_availability() {
        let deployment = json!({ "spec": { "replicas": 3, "strategy": { "type": "RollingUpdate",
            "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } } } });
        assert_eq!(Rolling::of(&deployment), rolling(3, 1, 0));
    }

    #[test]
    fn a_rollout_without_surge_and_unavailability_still_moves() {
        let deployment = json!({ "spec": { "replicas": 3, "strategy": {
            "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "1%" } } } });
        assert_eq!(Rolling::of(&deployment), rolling(3, 0, 1));
    }

    #[test]
    fn the_new_set_grows_into_the_surge() {
        assert_eq!(new_set_size(rolling(3, 1, 0), 3, 0), 1);
        assert_eq!(new_set_size(rolling(3, 1, 0), 4, 1), 1);
        assert_eq!(new_set_size(rolling(3, 1, 0), 3, 5), 3);
    }

    #[test]
    fn shares_add_up() {
        assert_eq!(proportional(&[5, 3, 2], 20).iter().sum::<i64>(), 20);
        assert_eq!(proportional(&[5, 5], 11), [6, 5]);
    }

    proptest! {
        #[test]
        fn a_step_never_goes_below_what_must_stay_available(
            replicas in 1_i64..20, surge in 0_i64..5, unavailable in 0_i64..5,
            new in (0_i64..20, 0_i64..20), old in proptest::collection::vec((0_i64..20, 0_i64..20), 0..4),
        ) {
            let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable.min(replicas) };
            let rolling = rolling(replicas, surge, unavailable);
            let state = |(replicas, available): (i64, i64)| SetState { replicas, available: available.min(replicas) };
            let new = state(new);
            let old: Vec<SetState> = old.into_iter().map(state).collect();
            let sizes = old_set_sizes(rolling, new, &old);
            let before = new.available + old.iter().map(|set| set.available).sum::<i64>();
            let after = new.available
                + old.iter().zip(&sizes).map(|(set, size)| set.available.min(*size)).sum::<i64>();
            prop_assert!(after >= before.min(replicas - unavailable));
            prop_assert!(sizes.iter().zip(&old).all(|(size, set)| *size >= 0 && *size <= set.replicas));
        }
    }
}
