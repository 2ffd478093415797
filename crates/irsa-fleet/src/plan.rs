//! What setting another endpoint type would change: the annotations, the pods that would have to be recreated, and the
//! hosts that their SDKs would call. Nothing here writes.

use std::collections::{BTreeMap, BTreeSet};

use irsa_core::{
    annotations,
    endpoint::{self, Capability, Choice, ChoiceSource, EndpointType},
    identity,
    partition::{self, Activation},
    pod::{Container, Value},
    variable::Variable,
};

use crate::{
    assess,
    cluster::{Cluster, Error, parse},
    directory::{Decided, Directory, Scope},
    effective::{self, Families},
    finding::{CureFor, Fact, WhyUnknown},
    owner,
    pages::{self, Query, collection, for_each},
    probe,
    webhook::Overrides,
    wire::{self, Page, Pod},
    workload::{PodOwner, WorkloadRef},
};

/// The setting that a service account should get.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wish {
    /// The regional endpoint.
    Regional,
    /// The global endpoint.
    Global,
    /// No annotation: the namespace, the webhook or the platform decides.
    Default,
    /// The annotation as an undo file recorded it, unless it was changed since.
    Back {
        /// The annotation before the change that is undone.
        before: Option<String>,
        /// The annotation that was written then.
        after: Option<String>,
    },
}

impl Wish {
    /// The value of the annotation; `None` if it is to be removed.
    pub fn annotation(&self) -> Option<&str> {
        match self {
            Self::Regional => Some("true"),
            Self::Global => Some("false"),
            Self::Default => None,
            Self::Back { before, .. } => before.as_deref(),
        }
    }
}

/// The service accounts of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, by namespace and name, each with its own setting.
    Named(BTreeMap<(String, String), Wish>),
    /// Every service account of the scope that has a role; the labels of the scope select service accounts.
    All(Wish),
}

/// Field managers of changes that people make by hand: taking the annotation over from them is not a conflict.
///
/// API servers track no `managedFields` of an object that was never applied; at the first apply they give everything
/// in it to `before-first-apply`. Whether a tool wrote it then shows only in the object itself: see
/// [`crate::owner::recorded`].
pub(crate) const BY_HAND: [&str; 4] = [
    "kubectl-annotate",
    "kubectl-edit",
    "kubectl-patch",
    BEFORE_FIRST_APPLY,
];
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The field manager of this tool.
pub const MANAGER: &str = "irsa";

/// One service account in the plan.
#[derive(Clone, Debug)]
pub struct Change {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Identity, so that an account made anew meanwhile is not written to.
    pub uid: String,
    /// Version, for removing the annotation.
    pub resource_version: String,
    /// The annotation now.
    pub before: Option<String>,
    /// The annotation afterwards.
    pub after: Option<String>,
    /// What is chosen now; nothing without a role.
    pub choice_before: Option<Choice>,
    /// What is chosen afterwards.
    pub choice_after: Option<Choice>,
    /// Why it is not known what is chosen afterwards.
    pub unknown_after: Option<WhyUnknown>,
    /// The annotation is neither what an undo file wrote nor what it would write.
    pub changed_meanwhile: bool,
    /// Tools that manage the annotation and would restore it: not this one, and not people.
    pub foreign_managers: Vec<String>,
    /// Pods of the account that have not ended.
    pub pods: usize,
    /// Pods that do not carry what would be written, by the workload that makes them.
    pub recreate: BTreeMap<WorkloadRef, usize>,
    /// Where SDKs call now and would call then, with the containers concerned.
    pub moves: BTreeMap<Move, usize>,
    /// Further effects, one sentence each.
    pub consequences: BTreeSet<String>,
}

impl Change {
    /// Whether the annotation is as wished already.
    pub fn is_noop(&self) -> bool {
        self.before == self.after
    }

    /// `namespace/name`.
    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// SDKs that would call elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    /// Which SDKs, as people name them.
    pub sdks: Vec<String>,
    /// Host now.
    pub from: String,
    /// Host then.
    pub to: String,
}

/// A plan for one cluster.
#[derive(Debug)]
pub struct Plan {
    /// Name of the context.
    pub context: String,
    /// URL of the API server.
    pub server: String,
    /// The annotation's full name.
    pub annotation: String,
    /// The accounts, by namespace and name.
    pub changes: Vec<Change>,
    /// Accounts that were named and do not exist.
    pub missing: Vec<String>,
    /// What pods refer to, as it is now.
    pub directory: Directory,
}

impl Plan {
    /// Accounts whose annotation would be written.
    pub fn to_apply(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| !change.is_noop())
    }
}

/// Makes a plan. Only reads.
pub async fn plan(
    cluster: &Cluster,
    scope: &Scope,
    selection: &Selection,
    families: &Families,
    overrides: &Overrides,
) -> Result<Plan, Error> {
    let everything = Scope {
        labels: None,
        ..scope.clone()
    };
    let mut directory = Directory::gather(cluster, &everything, overrides).await?;
    probe::learn(cluster, &mut directory, scope.namespace.as_deref()).await?;
    let annotation = format!(
        "{}/{}",
        directory.webhooks.settings.annotation_prefix,
        annotations::STS_REGIONAL_ENDPOINTS
    );
    let mut changes = read_accounts(cluster, scope, selection, &directory, &annotation).await?;
    let missing = match selection {
        Selection::Named(named) => named
            .keys()
            .filter(|key| !changes.contains_key(*key))
            .map(|(namespace, name)| format!("{namespace}/{name}"))
            .collect(),
        Selection::All(_) => Vec::new(),
    };
    if !changes.is_empty() {
        read_pods(cluster, scope, &directory, families, &mut changes).await?;
    }
    let mut changes: Vec<Change> = changes.into_values().collect();
    for change in &mut changes {
        add_consequences(change, &directory);
    }
    Ok(Plan {
        context: cluster.context().to_owned(),
        server: cluster.server().to_owned(),
        annotation,
        changes,
        missing,
        directory,
    })
}

/// Changes by namespace and name.
type Changes = BTreeMap<(String, String), Change>;

async fn read_accounts(
    cluster: &Cluster,
    scope: &Scope,
    selection: &Selection,
    directory: &Directory,
    annotation: &str,
) -> Result<Changes, Error> {
    let mut changes = Changes::new();
    let query = Query {
        labels: scope.labels.clone(),
        ..scope.query()
    };
    let path = collection("v1", scope.namespace.as_deref(), "serviceaccounts");
    for_each::<pages::ServiceAccounts>(cluster, &path, &query, |account| {
        let key = (
            account.metadata.namespace.to_string(),
            account.metadata.name.to_string(),
        );
        let has_role = || {
            let lookup = directory.lookup(&key.0, &key.1);
            identity::resolve(&lookup, &directory.webhooks.settings).is_ok()
        };
        let wish = match selection {
            Selection::Named(named) => named.get(&key),
            Selection::All(wish) => Some(wish).filter(|_| has_role()),
        };
        if let Some(wish) = wish {
            let change = change(directory, annotation, &account, wish);
            changes.insert(key, change);
        }
    })
    .await?;
    Ok(changes)
}

async fn read_pods(
    cluster: &Cluster,
    scope: &Scope,
    directory: &Directory,
    families: &Families,
    changes: &mut Changes,
) -> Result<(), Error> {
    let path = collection("v1", scope.namespace.as_deref(), "pods");
    pages::pages(cluster, &path, &scope.query(), |body| {
        let page: Page<'_, Pod<'_>> = parse(&path, body)?;
        for pod in page.items.iter().filter(|pod| !pod.is_finished()) {
            let key = (
                pod.metadata.namespace.to_string(),
                pod.service_account().to_owned(),
            );
            if let Some(change) = changes.get_mut(&key) {
                add_pod(change, pod, directory, families);
            }
        }
        Ok(())
    })
    .await
    .map(drop)
}

fn change(
    directory: &Directory,
    annotation: &str,
    account: &wire::ServiceAccount<'_>,
    wish: &Wish,
) -> Change {
    let meta = &account.metadata;
    let settings = &directory.webhooks.settings;
    let before = meta.annotations.get(annotation).map(str::to_owned);
    let after = wish.annotation().map(str::to_owned);
    // The annotations as they would be, read by the same rules as those that are.
    let others = meta.annotations.iter().filter(|(key, _)| *key != annotation);
    let written = after.as_deref().map(|value| (annotation, value));
    let then = identity::ServiceAccount::from_annotations(others.chain(written), settings);
    let decided = |known: identity::Known<&identity::ServiceAccount>| {
        let lookup = identity::Lookup {
            service_account: known,
            ..directory.lookup(&meta.namespace, &meta.name)
        };
        directory.decide_as(&lookup, directory.webhooks.possible(false))
    };
    let now = directory.lookup(&meta.namespace, &meta.name).service_account;
    let decided_after = decided(
        then.as_ref()
            .map_or(identity::Known::Plain, identity::Known::Annotated),
    );
    Change {
        namespace: meta.namespace.to_string(),
        name: meta.name.to_string(),
        uid: meta.uid.to_string(),
        resource_version: meta.resource_version.to_string(),
        choice_before: decided(now).choice(),
        choice_after: decided_after.choice(),
        unknown_after: match decided_after {
            Decided::Unknown(why) => Some(why),
            Decided::Known(_) | Decided::NoIdentity(_) => None,
        },
        foreign_managers: foreign_managers(meta, annotation),
        changed_meanwhile: match wish {
            Wish::Back { after: written, .. } => *written != before && before != after,
            _ => false,
        },
        before,
        after,
        pods: 0,
        recreate: BTreeMap::new(),
        moves: BTreeMap::new(),
        consequences: BTreeSet::new(),
    }
}

/// The tools that manage the annotation, by the fields that the API server tracks; where it tracks none, by what the
/// object itself says.
fn foreign_managers(meta: &wire::AccountMeta<'_>, annotation: &str) -> Vec<String> {
    let managers = meta.annotation_managers(annotation);
    let untracked = managers.iter().all(|manager| manager == BEFORE_FIRST_APPLY);
    let mut foreign: Vec<String> = managers
        .into_iter()
        .filter(|manager| manager != MANAGER && !BY_HAND.contains(&manager.as_str()))
        .collect();
    if untracked && meta.annotations.get(annotation).is_some() {
        foreign.extend(
            owner::recorded(&meta.labels, &meta.annotations, annotation).map(|tool| tool.name().to_owned()),
        );
    }
    foreign
}

fn add_pod(change: &mut Change, pod: &Pod<'_>, directory: &Directory, families: &Families) {
    change.pods += 1;
    let Some(choice) = change.choice_after else { return };
    let written = choice.written(directory.webhooks.settings.global_value);
    let own: Vec<&str> = assess::pod(pod, directory, families)
        .map(|view| {
            view.containers
                .iter()
                .filter(|container| container.own)
                .map(|container| container.name)
                .collect()
        })
        .unwrap_or_default();
    let mut differs = false;
    let mut unmutated = true;
    for (container, _) in pod.spec.all_containers() {
        let has = |variable| container.value(variable).is_some();
        if !has(Variable::RoleArn) && !has(Variable::ContainerCredentialsFullUri) {
            continue;
        }
        unmutated = false;
        if own.contains(&container.name()) {
            change.consequences.insert(format!(
                "container {} of {} sets {} itself, which no choice overrules: it stays as it is",
                container.name(),
                PodOwner::of(pod).likely(&pod.metadata.namespace),
                endpoint::ENV
            ));
            continue;
        }
        let carried = match container.value(Variable::StsRegionalEndpoints) {
            Some(Value::Reference) => continue,
            Some(Value::Literal(value)) => Some(value),
            None => None,
        };
        if carried == written {
            continue;
        }
        differs = true;
        add_moves(change, container, written, families);
    }
    if differs || unmutated {
        let workload = PodOwner::of(pod).likely(&pod.metadata.namespace);
        *change.recreate.entry(workload).or_default() += 1;
    }
}

fn add_moves(change: &mut Change, container: &Container<'_>, written: Option<&str>, families: &Families) {
    let before = effective::of_container(container, families);
    let after = effective::of_container_with(container, written, families);
    let mut moves: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (before, after) in before.effective.iter().zip(&after.effective) {
        if before.target() != after.target() {
            moves
                .entry((before.target().to_owned(), after.target().to_owned()))
                .or_default()
                .push(before.sdk.to_string());
        }
    }
    for ((from, to), sdks) in moves {
        *change.moves.entry(Move { sdks, from, to }).or_default() += 1;
    }
}

fn add_consequences(change: &mut Change, directory: &Directory) {
    let mut add = |text: String| {
        change.consequences.insert(text);
    };
    let settings = &directory.webhooks.settings;
    if let Some(platform) = directory
        .version
        .platform(settings.platform.and_then(|platform| platform.eks))
        && platform.capability() == Capability::GlobalOnly
    {
        add(format!(
            "no effect: {platform} is too old to choose and uses the global endpoint only"
        ));
    }
    if let Some(why) = change.unknown_after {
        let fact = Fact::ChoiceUnknown { why };
        add(format!("{}: {}", fact.message(), fact.cure(CureFor::Cluster)));
    }
    match (change.choice_after, &change.after) {
        _ if change.unknown_after.is_some() => {}
        (None, Some(_)) => {
            add("no effect: the service account has no role, so webhooks write nothing".to_owned())
        }
        (Some(choice), Some(_)) if choice.source != ChoiceSource::ServiceAccount => {
            add(format!("no effect: {} overrules it", choice.source.reason()))
        }
        _ => {}
    }
    let global = change
        .choice_after
        .is_some_and(|choice| choice.endpoint == EndpointType::Global);
    if global && settings.compat.is_upstream() {
        add(
            "this webhook only leaves the variable out for global: SDKs released since 2025-07-31 call the regional \
             endpoint all the same"
                .to_owned(),
        );
    }
    let regional =
        |choice: Option<Choice>| choice.is_some_and(|choice| choice.endpoint == EndpointType::Regional);
    let becomes_regional = regional(change.choice_after) && !regional(change.choice_before);
    let regions: BTreeSet<&str> = directory.nodes.values().map(|node| &*node.region).collect();
    for region in regions {
        match partition::activation(region) {
            Activation::OptIn if global => add(format!(
                "{region} has to be enabled in an account: SDKs call its regional endpoint for `legacy` too, except \
                 JavaScript v2, whose tokens from the global endpoint are not valid there unless they are version 2"
            )),
            Activation::OptIn | Activation::Default if becomes_regional => add(format!(
                "STS must be active in {region}; where it is not, calls fail with RegionDisabledException"
            )),
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "eks.amazonaws.com/sts-regional-endpoints";

    fn managers(metadata: serde_json::Value) -> Vec<String> {
        let text = json!({"metadata": metadata}).to_string();
        let account: wire::ServiceAccount<'_> = serde_json::from_str(&text).unwrap();
        foreign_managers(&account.metadata, KEY)
    }

    fn tracked(manager: &str) -> serde_json::Value {
        json!([{"manager": manager, "fieldsV1": {"f:metadata": {"f:annotations": {format!("f:{KEY}"): {}}}}}])
    }

    #[test]
    fn an_annotation_that_the_api_server_does_not_track_was_written_by_hand() {
        assert!(managers(json!({"annotations": {KEY: "true"}})).is_empty());
        for manager in BY_HAND {
            let metadata = json!({"annotations": {KEY: "true"}, "managedFields": tracked(manager)});
            assert!(managers(metadata).is_empty(), "{manager}");
        }
        let metadata = json!({"annotations": {KEY: "true"}, "managedFields": tracked("argocd-controller")});
        assert_eq!(managers(metadata), ["argocd-controller"]);
    }

    #[test]
    fn an_untracked_annotation_belongs_to_the_tool_that_left_its_marks_on_the_object() {
        let helm = json!({KEY: "true", "meta.helm.sh/release-name": "shop"});
        assert_eq!(managers(json!({"annotations": helm})), ["Helm"]);
        assert_eq!(
            managers(json!({"annotations": helm, "managedFields": tracked(BEFORE_FIRST_APPLY)})),
            ["Helm"]
        );
        // Tracked as written by hand: the marks of the tool are about other fields.
        assert!(
            managers(json!({"annotations": helm, "managedFields": tracked("kubectl-annotate")})).is_empty()
        );
        // Nothing would restore an annotation that is not there.
        assert!(managers(json!({"annotations": {"meta.helm.sh/release-name": "shop"}})).is_empty());
    }
}
