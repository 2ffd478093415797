//! Which resources the API has: the built-in ones, and those that CustomResourceDefinitions add.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use crate::object::ObjectExt;

/// One resource: how it is addressed, named, and what can be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Served versions, the preferred one first. Objects are stored in the first.
    pub versions: Vec<String>,
    /// Plural name, as in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Kind of the objects.
    pub kind: String,
    /// Kind of a list of them.
    pub list_kind: String,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Short names of kubectl.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Subresources by name.
    pub subresources: Vec<String>,
    /// Name in the [`crate::store::Store`]: `pods`, `deployments.apps`.
    pub storage: String,
    /// Whether objects can be read, listed and watched (false for reviews, which are only created).
    pub stored: bool,
    /// The definition, when a CustomResourceDefinition made it.
    pub custom: Option<Arc<Value>>,
}

impl Resource {
    /// `apiVersion` of objects in the preferred version.
    #[must_use]
    pub fn api_version(&self) -> String {
        api_version(&self.group, self.version())
    }

    /// The preferred version.
    #[must_use]
    pub fn version(&self) -> &str {
        self.versions.first().map_or("v1", String::as_str)
    }

    /// `plural.group` for messages (as in `deployments.apps "x" not found`).
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether objects are served in this version.
    #[must_use]
    pub fn serves(&self, version: &str) -> bool {
        self.versions.iter().any(|served| served == version)
    }

    /// Whether there is this subresource.
    #[must_use]
    pub fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|one| one == subresource)
    }
}

/// `group/version`, or the version alone for the core group.
#[must_use]
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

fn builtin() -> Vec<Arc<Resource>> {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(',').filter(|word| *word != "-");
        words.map(str::to_owned).collect()
    };
    include_str!("../schema/resources.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let mut next = || columns.next();
            let (group, versions, plural, kind) = (next()?, next()?, next()?, next()?);
            let (scope, short, categories, subresources) = (next()?, next()?, next()?, next()?);
            let group = if group == "-" { "" } else { group };
            Some(Arc::new(Resource {
                versions: words(versions),
                singular: kind.to_lowercase(),
                list_kind: format!("{kind}List"),
                namespaced: scope == "namespaced",
                short_names: words(short),
                categories: words(categories),
                subresources: words(subresources),
                // Both API groups of events show the same objects, stored in the core form.
                storage: match group {
                    "" | "events.k8s.io" => plural.to_owned(),
                    group => format!("{plural}.{group}"),
                },
                stored: !matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
                    && plural != "bindings",
                group: group.to_owned(),
                plural: plural.to_owned(),
                kind: kind.to_owned(),
                custom: None,
            }))
        })
        .collect()
}

/// All resources that are served now.
#[derive(Debug)]
pub struct Registry {
    builtin: Vec<Arc<Resource>>,
    custom: RwLock<BTreeMap<String, Arc<Resource>>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            builtin: builtin(),
            custom: RwLock::default(),
        }
    }
}

impl Registry {
    /// Every resource, the built-in ones first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Resource>> {
        let custom = self.custom.read();
        self.builtin.iter().chain(custom.values()).cloned().collect()
    }

    fn find(&self, wanted: impl Fn(&Resource) -> bool) -> Option<Arc<Resource>> {
        let custom = self.custom.read();
        let mut all = self.builtin.iter().chain(custom.values());
        all.find(|resource| wanted(resource)).cloned()
    }

    /// The resource of a path.
    #[must_use]
    pub fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.find(|one| one.plural == plural && one.group == group && one.serves(version))
    }

    /// The resource of a name in the store, such as `deployments.apps`.
    #[must_use]
    pub fn by_storage(&self, storage: &str) -> Option<Arc<Resource>> {
        self.find(|one| one.storage == storage)
    }

    /// The resource whose objects have this `apiVersion` and `kind`.
    #[must_use]
    pub fn by_kind(&self, wanted: &str, kind: &str) -> Option<Arc<Resource>> {
        self.find(|one| {
            let has = |version: &String| api_version(&one.group, version) == wanted;
            one.kind == kind && one.versions.iter().any(has)
        })
    }

    /// The groups that are served, each with its versions, the preferred one first. The core group is not among them.
    #[must_use]
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for resource in self.all().iter().filter(|resource| !resource.group.is_empty()) {
            let known = groups.iter().position(|(group, _)| *group == resource.group);
            let index = known.unwrap_or_else(|| {
                groups.push((resource.group.clone(), Vec::new()));
                groups.len() - 1
            });
            for version in &resource.versions {
                if !groups[index].1.contains(version) {
                    groups[index].1.push(version.clone());
                }
            }
        }
        groups
    }

    /// Serves what a CustomResourceDefinition describes, from now on.
    pub fn define(&self, definition: &Value) {
        let text = |path: &[&str]| definition.str_at(path).to_owned();
        let strings = |path: &[&str]| -> Vec<String> {
            let list = definition.list_at(path).iter();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let served = definition.list_at(&["spec", "versions"]);
        let is = |version: &Value, flag: &str| version.get(flag) == Some(&Value::Bool(true));
        let mut versions: Vec<&Value> = served.iter().filter(|version| is(version, "served")).collect();
        versions.sort_by_key(|version| !is(version, "storage"));
        let has = |name: &&str| {
            served
                .iter()
                .any(|version| version.at(&["subresources", name]).is_some())
        };
        let (group, plural, kind) = (
            text(&["spec", "group"]),
            text(&["spec", "names", "plural"]),
            text(&["spec", "names", "kind"]),
        );
        let storage = format!("{plural}.{group}");
        let or = |value: String, other: String| if value.is_empty() { other } else { value };
        let resource = Resource {
            singular: or(text(&["spec", "names", "singular"]), kind.to_lowercase()),
            list_kind: or(text(&["spec", "names", "listKind"]), format!("{kind}List")),
            namespaced: definition.str_at(&["spec", "scope"]) == "Namespaced",
            short_names: strings(&["spec", "names", "shortNames"]),
            categories: strings(&["spec", "names", "categories"]),
            versions: versions
                .iter()
                .map(|version| version.str_at(&["name"]).to_owned())
                .collect(),
            subresources: ["scale", "status"]
                .iter()
                .filter(|name| has(name))
                .map(|name| (*name).to_owned())
                .collect(),
            storage: storage.clone(),
            stored: true,
            custom: Some(Arc::new(definition.clone())),
            group,
            plural,
            kind,
        };
        self.custom.write().insert(storage, Arc::new(resource));
    }

    /// No longer serves the resource of a deleted CustomResourceDefinition (`plural.group`).
    pub fn undefine(&self, storage: &str) {
        self.custom.write().remove(storage);
    }
}
