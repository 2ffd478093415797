//! How many pods each ReplicaSet of a Deployment may have next. Pure arithmetic.

use k8s_openapi::api::apps::v1::DeploymentSpec;

use super::super::owned::scaled;

/// The limits of a rolling update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rolling {
    pub(super) replicas: i64,
    pub(super) max_surge: i64,
    pub(super) max_unavailable: i64,
    /// All old pods have to go before the first new one is made.
    pub(super) recreate: bool,
}

impl Rolling {
    /// Surge is rounded up, unavailability down; at least one of them is positive.
    pub(super) fn of(spec: &DeploymentSpec) -> Self {
        let replicas = i64::from(spec.replicas.unwrap_or(1));
        let strategy = spec.strategy.as_ref();
        let recreate = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate");
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let part = |value: Option<_>, round_up: bool| {
            let rounding = if round_up { 3 } else { 0 };
            let default = (replicas + rounding) / 4;
            value
                .map_or(Some(default), |value| scaled(value, replicas, round_up))
                .unwrap_or(default)
        };
        let max_surge = part(rolling.and_then(|rolling| rolling.max_surge.as_ref()), true);
        let max_unavailable = part(
            rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
            false,
        );
        let (max_surge, max_unavailable) = match (max_surge, max_unavailable) {
            _ if recreate => (0, 0),
            (0, 0) => (0, 1),
            (surge, unavailable) => (surge, unavailable.min(replicas)),
        };
        Self {
            replicas,
            max_surge,
            max_unavailable,
            recreate,
        }
    }
}

/// What a ReplicaSet is asked for and what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SetState {
    pub(super) replicas: i64,
    pub(super) available: i64,
}

/// The ReplicaSets of a Deployment: that of its template, and the others, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes<T> {
    pub(super) new: Option<T>,
    pub(super) old: Vec<T>,
}

/// The next sizes, when every set has those of `sets` now. `old_pods` says whether pods of old sets are left, even such
/// as are ending.
pub(super) fn next(rolling: Rolling, sets: &Sizes<SetState>, old_pods: bool) -> Sizes<i64> {
    let present = sets.new.unwrap_or_default();
    if rolling.recreate {
        let waits = old_pods || sets.old.iter().any(|set| set.replicas > 0);
        let new = if waits { present.replicas } else { rolling.replicas };
        return Sizes {
            new: sets.new.map(|_| new),
            old: vec![0; sets.old.len()],
        };
    }
    let total = present.replicas + sets.old.iter().map(|set| set.replicas).sum::<i64>();
    let new = new_set_size(rolling, total, present.replicas);
    let grown = SetState {
        replicas: new,
        ..present
    };
    Sizes {
        new: sets.new.map(|_| new),
        old: old_set_sizes(rolling, grown, &sets.old),
    }
}

/// The sizes after a change of `spec.replicas` in the middle of a rollout, or while paused: every set that has pods gets
/// its share.
pub(super) fn share(rolling: Rolling, sets: &Sizes<SetState>) -> Sizes<i64> {
    let mut all: Vec<i64> = sets.old.iter().chain(&sets.new).map(|set| set.replicas).collect();
    let active: Vec<usize> = (0..all.len()).filter(|index| all[*index] > 0).collect();
    match active.as_slice() {
        // Of an idle Deployment the newest set grows.
        [] => all
            .last_mut()
            .into_iter()
            .for_each(|size| *size = rolling.replicas),
        [only] => all[*only] = rolling.replicas,
        _ => {
            let allowed = if rolling.replicas > 0 {
                rolling.replicas + rolling.max_surge
            } else {
                0
            };
            let sizes: Vec<i64> = active.iter().map(|index| all[*index]).collect();
            for (index, size) in active.into_iter().zip(proportional(&sizes, allowed)) {
                all[index] = size;
            }
        }
    }
    let new = sets.new.and_then(|_| all.pop());
    Sizes { new, old: all }
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
fn old_set_sizes(rolling: Rolling, new: SetState, old: &[SetState]) -> Vec<i64> {
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
fn proportional(sizes: &[i64], allowed: i64) -> Vec<i64> {
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
    use serde_json::{Value, json};

    use super::super::super::owned::typed;
    use super::*;

    fn rolling(replicas: i64, max_surge: i64, max_unavailable: i64) -> Rolling {
        Rolling {
            replicas,
            max_surge,
            max_unavailable,
            recreate: false,
        }
    }

    fn of(replicas: i64, strategy: Value) -> Rolling {
        let spec = json!({ "replicas": replicas, "selector": {}, "template": {}, "strategy": strategy });
        Rolling::of(&typed(&spec).unwrap())
    }

    /// Each set is asked for so many pods and has so many that are available.
    fn sets(new: Option<(i64, i64)>, old: &[(i64, i64)]) -> Sizes<SetState> {
        let state = |(replicas, available)| SetState { replicas, available };
        Sizes {
            new: new.map(state),
            old: old.iter().copied().map(state).collect(),
        }
    }

    fn sizes(new: i64, old: &[i64]) -> Sizes<i64> {
        Sizes {
            new: Some(new),
            old: old.to_vec(),
        }
    }

    #[test]
    fn percentages_round_in_favour_of_availability() {
        let quarter = json!({ "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } });
        assert_eq!(of(3, quarter), rolling(3, 1, 0));
        assert_eq!(of(10, json!({ "type": "RollingUpdate" })), rolling(10, 3, 2));
    }

    #[test]
    fn a_rollout_without_surge_and_unavailability_still_moves() {
        let none = json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "1%" } });
        assert_eq!(of(3, none), rolling(3, 0, 1));
    }

    #[test]
    fn old_pods_go_as_new_ones_become_available() {
        let rolling = rolling(3, 1, 0);
        assert_eq!(
            next(rolling, &sets(Some((0, 0)), &[(3, 3)]), true),
            sizes(1, &[3])
        );
        assert_eq!(
            next(rolling, &sets(Some((1, 0)), &[(3, 3)]), true),
            sizes(1, &[3])
        );
        assert_eq!(
            next(rolling, &sets(Some((1, 1)), &[(3, 3)]), true),
            sizes(1, &[2])
        );
        assert_eq!(
            next(rolling, &sets(Some((3, 3)), &[(1, 1)]), true),
            sizes(3, &[0])
        );
    }

    #[test]
    fn old_pods_that_serve_nobody_go_first() {
        let sets = sets(Some((0, 0)), &[(1, 0), (3, 3)]);
        assert_eq!(next(rolling(3, 1, 1), &sets, true).old, [0, 2]);
    }

    #[test]
    fn recreation_waits_for_the_last_old_pod() {
        let recreate = of(2, json!({ "type": "Recreate" }));
        assert_eq!(
            next(recreate, &sets(Some((0, 0)), &[(2, 2)]), true),
            sizes(0, &[0])
        );
        assert_eq!(
            next(recreate, &sets(Some((0, 0)), &[(0, 0)]), true),
            sizes(0, &[0])
        );
        assert_eq!(
            next(recreate, &sets(Some((0, 0)), &[(0, 0)]), false),
            sizes(2, &[0])
        );
        assert_eq!(next(recreate, &sets(None, &[(2, 2)]), true).new, None);
    }

    #[test]
    fn a_change_of_size_is_shared_among_the_sets_that_have_pods() {
        let rolling = rolling(10, 2, 0);
        assert_eq!(
            share(rolling, &sets(Some((3, 3)), &[(0, 0), (3, 3)])),
            sizes(6, &[0, 6])
        );
        assert_eq!(share(rolling, &sets(Some((0, 0)), &[(3, 3)])), sizes(0, &[10]));
        assert_eq!(share(rolling, &sets(Some((0, 0)), &[(0, 0)])), sizes(10, &[0]));
        assert_eq!(share(rolling, &sets(None, &[])), Sizes::default());
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
