//! What this crate reads of Kubernetes objects: partial structs that borrow from the bytes of the answer.
//!
//! A page of pods is mostly fields that no rule here looks at (status, probes, managed fields). Skipping them while
//! parsing, and borrowing the strings that are kept, is what makes an inventory cheap. Unknown fields are ignored, so
//! that newer API servers do not break older builds.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData, ops::Deref};

use irsa_core::pod::Spec;
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A page of a list: its items and where the next page starts.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct Page<'a, T> {
    /// Continue token and resource version of the list.
    #[serde(borrow, default)]
    pub metadata: ListMeta<'a>,
    /// The objects of the page. `null` when there are none, which some servers write.
    #[serde(default = "Vec::new", deserialize_with = "null_as_empty")]
    pub items: Vec<T>,
}

/// `ListMeta` of a list.
#[derive(Debug, Default, Deserialize)]
pub struct ListMeta<'a> {
    /// Token for the next page; absent or empty on the last one.
    #[serde(rename = "continue", borrow, default)]
    pub next: Option<Text<'a>>,
    /// How many items are behind this page, if the server says so.
    #[serde(rename = "remainingItemCount", default)]
    pub remaining: Option<u64>,
    /// Version of the collection.
    #[serde(rename = "resourceVersion", borrow, default)]
    pub resource_version: Option<Text<'a>>,
}

/// Labels or annotations: few entries, looked up by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> Strings<'a> {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| &**value)
    }

    /// Entries in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An owned copy, sorted by name.
    pub fn to_owned_map(&self) -> BTreeMap<String, String> {
        self.iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

impl<'a, K: Into<Text<'a>>, V: Into<Text<'a>>> FromIterator<(K, V)> for Strings<'a> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Strings<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Entries<'a> {
            type Value = Strings<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Strings::default())
            }

            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(Strings::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(4));
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Strings(entries))
            }
        }

        deserializer.deserialize_any(Entries(PhantomData))
    }
}

/// A string that is borrowed from the input whenever the input holds it without escapes.
///
/// `null` reads as the empty string, as the API server takes it; a number or a boolean, which people write in
/// manifests where a string belongs, reads as its text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(value: &'a str) -> Self {
        Self(Cow::Borrowed(value))
    }
}

impl From<String> for Text<'_> {
    fn from(value: String) -> Self {
        Self(Cow::Owned(value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for One<'a> {
            type Value = Text<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(value.to_owned().into())
            }

            fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
                Ok(value.into())
            }

            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(if value { "true" } else { "false" })))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(value.to_string().into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(value.to_string().into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(value.to_string().into())
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(One(PhantomData))
    }
}

fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// What is read of any object's metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta<'a> {
    /// Name; empty in a template.
    #[serde(borrow, default)]
    pub name: Text<'a>,
    /// Prefix for a name that the server completes.
    #[serde(borrow, default)]
    pub generate_name: Option<Text<'a>>,
    /// Namespace; empty for cluster-wide objects.
    #[serde(borrow, default)]
    pub namespace: Text<'a>,
    /// Identity across recreation under the same name.
    #[serde(borrow, default)]
    pub uid: Text<'a>,
    /// When the object was made, RFC 3339.
    #[serde(borrow, default)]
    pub creation_timestamp: Option<Text<'a>>,
    /// Set once deletion was asked for.
    #[serde(borrow, default)]
    pub deletion_timestamp: Option<Text<'a>>,
    /// Labels.
    #[serde(borrow, default)]
    pub labels: Strings<'a>,
    /// Annotations.
    #[serde(borrow, default)]
    pub annotations: Strings<'a>,
    /// Owners.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub owner_references: Vec<OwnerReference<'a>>,
}

impl<'a> Meta<'a> {
    /// The owner that manages this object.
    pub fn controller(&self) -> Option<&OwnerReference<'a>> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

/// A reference to an owner.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference<'a> {
    /// Group and version of the owner.
    #[serde(borrow, default)]
    pub api_version: Text<'a>,
    /// Kind of the owner.
    #[serde(borrow, default)]
    pub kind: Text<'a>,
    /// Name of the owner.
    #[serde(borrow, default)]
    pub name: Text<'a>,
    /// Whether the owner is the managing one.
    #[serde(default, deserialize_with = "null_as_default")]
    pub controller: bool,
}

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod<'a> {
    /// Metadata.
    #[serde(borrow, default)]
    pub metadata: Meta<'a>,
    /// Specification, as the rules read it.
    #[serde(borrow, default)]
    pub spec: Spec<'a>,
    /// Status.
    #[serde(borrow, default)]
    pub status: PodStatus<'a>,
}

impl Pod<'_> {
    /// The service account, with the API server's default filled in.
    pub fn service_account(&self) -> &str {
        match self.spec.service_account() {
            "" => "default",
            name => name,
        }
    }

    /// Whether every container has ended for good.
    pub fn is_finished(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }

    /// Whether the `Ready` condition is true.
    pub fn is_ready(&self) -> bool {
        self.status
            .conditions
            .iter()
            .any(|condition| condition.kind == "Ready" && condition.status == "True")
    }

    /// Whether the kubelet made it from a file on the node: deleting it through the API changes nothing.
    pub fn is_mirror(&self) -> bool {
        self.metadata
            .annotations
            .get("kubernetes.io/config.mirror")
            .is_some()
    }
}

/// What is read of a pod's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus<'a> {
    /// Phase.
    #[serde(borrow, default)]
    pub phase: Text<'a>,
    /// Conditions.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub conditions: Vec<Condition<'a>>,
}

/// A condition of an object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Condition<'a> {
    /// Type.
    #[serde(rename = "type", borrow, default)]
    pub kind: Text<'a>,
    /// `True`, `False` or `Unknown`.
    #[serde(borrow, default)]
    pub status: Text<'a>,
}

/// A service account.
#[derive(Debug, Default, Deserialize)]
pub struct ServiceAccount<'a> {
    /// Metadata.
    #[serde(borrow, default)]
    pub metadata: AccountMeta<'a>,
}

/// What is read of a service account's metadata: also who changed which field when.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountMeta<'a> {
    /// Name.
    #[serde(borrow, default)]
    pub name: Text<'a>,
    /// Namespace.
    #[serde(borrow, default)]
    pub namespace: Text<'a>,
    /// Identity across recreation under the same name.
    #[serde(borrow, default)]
    pub uid: Text<'a>,
    /// Version of the object, for optimistic locking.
    #[serde(borrow, default)]
    pub resource_version: Text<'a>,
    /// Labels.
    #[serde(borrow, default)]
    pub labels: Strings<'a>,
    /// Annotations.
    #[serde(borrow, default)]
    pub annotations: Strings<'a>,
    /// Managers of fields.
    #[serde(borrow, default, deserialize_with = "null_as_empty")]
    pub managed_fields: Vec<ManagedFields<'a>>,
}

/// The fields that one manager owns.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedFields<'a> {
    /// Name of the manager.
    #[serde(borrow, default)]
    pub manager: Text<'a>,
    /// When it last changed any of them, RFC 3339.
    #[serde(borrow, default)]
    pub time: Option<Text<'a>>,
    /// The set of fields, as the JSON it came in.
    #[serde(rename = "fieldsV1", borrow, default)]
    pub fields: Option<&'a RawValue>,
}

impl ManagedFields<'_> {
    /// Whether the annotation `name` is among the fields.
    pub fn owns_annotation(&self, name: &str) -> bool {
        self.fields.is_some_and(|fields| {
            let fields = fields.get();
            fields.find("\"f:annotations\"").is_some_and(|at| {
                // Names of annotations hold no character that JSON escapes.
                fields[at..].contains(&format!("\"f:{name}\""))
            })
        })
    }
}

impl AccountMeta<'_> {
    /// The managers that own the annotation `name`.
    pub fn annotation_managers(&self, name: &str) -> Vec<String> {
        let mut managers: Vec<String> = self
            .managed_fields
            .iter()
            .filter(|entry| entry.owns_annotation(name))
            .map(|entry| entry.manager.to_string())
            .collect();
        managers.sort();
        managers.dedup();
        managers
    }

    /// The latest moment at which a manager that owns the annotation `name` changed anything.
    pub fn annotation_changed(&self, name: &str) -> Option<Timestamp> {
        self.managed_fields
            .iter()
            .filter(|entry| entry.owns_annotation(name))
            .filter_map(|entry| entry.time.as_deref()?.parse().ok())
            .max()
    }
}

/// A namespace.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Namespace<'a> {
    /// Metadata.
    #[serde(borrow, default)]
    pub metadata: Meta<'a>,
}

/// A node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node<'a> {
    /// Metadata.
    #[serde(borrow, default)]
    pub metadata: Meta<'a>,
    /// Specification.
    #[serde(borrow, default)]
    pub spec: NodeSpec<'a>,
}

/// What is read of a node's specification.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec<'a> {
    /// Cloud identity, for example `aws:///us-west-2a/i-0123456789abcdef0`.
    #[serde(rename = "providerID", borrow, default)]
    pub provider_id: Option<Text<'a>>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    const POD: &str = r#"{"metadata":{"name":"aws-node-6mfgv","namespace":"kube-system",
        "labels":{"k8s-app":"aws-node"},"annotations":null,
        "ownerReferences":[{"apiVersion":"apps/v1","kind":"DaemonSet","name":"aws-node","controller":true}]},
        "spec":{"serviceAccountName":"aws-node","initContainers":null,
        "containers":[{"name":"c","image":"i","env":[{"name":"A","value":"1"},{"name":"B","valueFrom":{"fieldRef":{}}},
            {"name":"A","value":"2"},{"name":"C"}],"envFrom":[]}],
        "volumes":[{"name":"aws-iam-token","projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}}]},
        "status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;

    #[test]
    fn strings_without_escapes_are_borrowed() {
        let pod: Pod<'_> = serde_json::from_str(POD).unwrap();
        assert!(matches!(pod.metadata.name.0, Cow::Borrowed("aws-node-6mfgv")));
        assert!(matches!(pod.metadata.labels.0[0].1.0, Cow::Borrowed("aws-node")));
        assert_eq!(pod.metadata.controller().unwrap().kind, "DaemonSet");
        assert!(pod.is_ready());
    }

    #[test]
    fn a_page_without_items_or_with_null_is_empty() {
        let page: Page<'_, Pod<'_>> = serde_json::from_str(r#"{"items":null}"#).unwrap();
        assert!(page.items.is_empty() && page.metadata.next.is_none());
        let page: Page<'_, Pod<'_>> =
            serde_json::from_str(r#"{"metadata":{"continue":"abc","remainingItemCount":7}}"#).unwrap();
        assert_eq!(page.metadata.next.as_deref(), Some("abc"));
        assert_eq!(page.metadata.remaining, Some(7));
    }

    #[test]
    fn the_moment_of_a_change_is_that_of_the_manager_that_owns_the_annotation() {
        let sa: ServiceAccount<'_> = serde_json::from_str(
            r#"{"metadata":{"name":"a","managedFields":[
                {"manager":"helm","time":"2026-01-01T00:00:00Z","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:eks.amazonaws.com/role-arn":{}}}}},
                {"manager":"kubectl-annotate","time":"2026-02-01T00:00:00Z","fieldsV1":{"f:metadata":{"f:annotations":{"f:eks.amazonaws.com/sts-regional-endpoints":{}}}}}]}}"#,
        )
        .unwrap();
        let changed = |name| sa.metadata.annotation_changed(name).map(|time| time.to_string());
        assert_eq!(
            changed("eks.amazonaws.com/sts-regional-endpoints").as_deref(),
            Some("2026-02-01T00:00:00Z")
        );
        assert_eq!(
            changed("eks.amazonaws.com/role-arn").as_deref(),
            Some("2026-01-01T00:00:00Z")
        );
        assert_eq!(changed("eks.amazonaws.com/audience"), None);
    }

    #[test]
    fn annotation_values_that_are_not_strings_are_read_as_their_text() {
        let sa: ServiceAccount<'_> =
            serde_json::from_str(r#"{"metadata":{"name":"a","annotations":{"x":true,"y":7,"z":null}}}"#)
                .unwrap();
        assert_eq!(sa.metadata.annotations.get("x"), Some("true"));
        assert_eq!(sa.metadata.annotations.get("y"), Some("7"));
        assert_eq!(sa.metadata.annotations.get("z"), Some(""));
    }
}
