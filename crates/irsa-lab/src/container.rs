//! What a container of a pod sees: its environment variables, resolved, and the files of its volumes, tokens included.
//!
//! Read through the Kubernetes API only, so that it is the same for the lab's own cluster and for an existing one.
//! The rules are the kubelet's.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};

/// The longest value of a variable or file that is taken, in bytes. ConfigMaps and Secrets hold at most 1 MiB.
const MAX_VALUE: usize = 1 << 20;
/// Lifetime that is asked for when a token volume does not say, in seconds.
const DEFAULT_EXPIRATION: i64 = 3600;

/// Why a container cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod does not exist.
    #[error(
        "there is no pod {name} in namespace {namespace}; `kubectl get pods -n {namespace}` lists those that are"
    )]
    NoPod {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// The pod has no such container.
    #[error("pod {pod} has no container {container}; it has {known}")]
    NoContainer {
        /// The pod.
        pod: String,
        /// The container asked for.
        container: String,
        /// Those that exist.
        known: String,
    },
    /// A variable or a file refers to something that is not there, as the kubelet would say it.
    #[error("{0}")]
    Reference(String),
    /// The API refuses.
    #[error("cannot {action}: {source}")]
    Api {
        /// What was tried.
        action: String,
        /// What the API says.
        source: Box<kube::Error>,
    },
}

/// A container of a pod, as it was when it was read.
#[derive(Clone, Debug)]
pub struct Container {
    pod: Value,
    spec: Value,
}

/// What the container's process finds.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Its variables in their order, last one wins already applied.
    pub variables: Vec<(String, String)>,
    /// Its files.
    pub files: Vec<File>,
    /// Where volumes of any kind are mounted whose content can be given.
    pub mounts: Vec<String>,
}

/// One file of a volume.
#[derive(Clone)]
pub struct File {
    /// Absolute path in the container.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
    /// For tokens: when it must be replaced, at 80 % of its lifetime as the kubelet does.
    pub refresh_at: Option<Timestamp>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The content may be a token.
        f.debug_struct("File")
            .field("path", &self.path)
            .field("bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

impl Container {
    /// Reads a pod. Without a name the container is the pod's default one: that of the annotation
    /// `kubectl.kubernetes.io/default-container`, else the first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read(
        client: &Client,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
    ) -> Result<Self, Error> {
        let found = get(client, &format!("/api/v1/namespaces/{namespace}/pods/{pod}"))
            .await
            .map_err(api(format!("read pod {namespace}/{pod}")))?;
        let found = found.ok_or_else(|| Error::NoPod {
            namespace: namespace.to_owned(),
            name: pod.to_owned(),
        })?;
        Self::of(found, container)
    }

    /// A container of a pod that is at hand.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn of(pod: Value, container: Option<&str>) -> Result<Self, Error> {
        let all: Vec<&Value> = ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .filter_map(|list| pod["spec"][list].as_array())
            .flatten()
            .collect();
        let wanted = container
            .or_else(|| pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str());
        let found = match wanted {
            Some(name) => all.iter().find(|one| one["name"] == name).copied(),
            None => all.first().copied(),
        };
        let spec = found
            .ok_or_else(|| Error::NoContainer {
                pod: text(&pod["metadata"]["name"]).to_owned(),
                container: wanted.unwrap_or_default().to_owned(),
                known: all
                    .iter()
                    .map(|one| text(&one["name"]))
                    .collect::<Vec<_>>()
                    .join(", "),
            })?
            .clone();
        Ok(Self { pod, spec })
    }

    /// The pod's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        text(&self.pod["metadata"]["namespace"])
    }

    /// The pod's name.
    #[must_use]
    pub fn pod_name(&self) -> &str {
        text(&self.pod["metadata"]["name"])
    }

    /// The pod's uid.
    #[must_use]
    pub fn pod_uid(&self) -> &str {
        text(&self.pod["metadata"]["uid"])
    }

    /// The container's name.
    #[must_use]
    pub fn name(&self) -> &str {
        text(&self.spec["name"])
    }

    /// The pod's service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        match text(&self.pod["spec"]["serviceAccountName"]) {
            "" => "default",
            name => name,
        }
    }

    /// Resolves variables and files.
    ///
    /// # Errors
    /// When something referred to is not there, or the API refuses.
    pub async fn resolve(&self, client: &Client) -> Result<Resolved, Error> {
        let mut sources = Sources {
            client,
            namespace: self.namespace(),
            read: HashMap::new(),
        };
        let variables = self.variables(&mut sources).await?;
        let (files, mounts) = self.files(&mut sources).await?;
        Ok(Resolved {
            variables,
            files,
            mounts,
        })
    }

    /// Only the tokens, anew.
    ///
    /// # Errors
    /// When the API refuses: most often because the pod is gone.
    pub async fn tokens(&self, client: &Client) -> Result<Vec<File>, Error> {
        let mut files = Vec::new();
        for (mount, volume) in self.mounted() {
            for source in array(&volume["projected"]["sources"]) {
                if let Some(token) = source.get("serviceAccountToken") {
                    files.push(self.token(client, mount, token).await?);
                }
            }
        }
        Ok(files)
    }

    async fn variables(&self, sources: &mut Sources<'_>) -> Result<Vec<(String, String)>, Error> {
        let mut found: Vec<(String, String)> = Vec::new();
        // What every container has from its runtime.
        set(&mut found, "HOSTNAME", self.pod_name().to_owned());
        for from in array(&self.spec["envFrom"]) {
            let prefix = text(&from["prefix"]);
            for (kind, key) in [(Kind::ConfigMap, "configMapRef"), (Kind::Secret, "secretRef")] {
                let Some(reference) = from.get(key) else { continue };
                let Some(data) = sources.read(kind, reference).await? else {
                    continue;
                };
                for (name, value) in data.clone() {
                    if let Ok(value) = String::from_utf8(value) {
                        set(&mut found, &format!("{prefix}{name}"), value);
                    }
                }
            }
        }
        for variable in array(&self.spec["env"]) {
            let name = text(&variable["name"]);
            if let Some(value) = variable.get("value").and_then(Value::as_str) {
                let value = expand(value, &found);
                set(&mut found, name, value);
                continue;
            }
            let from = &variable["valueFrom"];
            let value = if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
                Some(self.field(path)?)
            } else if from.get("resourceFieldRef").is_some() {
                Some(self.resource(&from["resourceFieldRef"])?)
            } else if let Some(reference) = from.get("configMapKeyRef") {
                sources.key(Kind::ConfigMap, reference).await?
            } else if let Some(reference) = from.get("secretKeyRef") {
                sources.key(Kind::Secret, reference).await?
            } else {
                Some(String::new())
            };
            if let Some(value) = value {
                set(&mut found, name, value);
            }
        }
        Ok(found)
    }

    async fn files(&self, sources: &mut Sources<'_>) -> Result<(Vec<File>, Vec<String>), Error> {
        let mut files = Vec::new();
        let mut mounts = Vec::new();
        for (mount, volume) in self.mounted() {
            let before = files.len();
            for source in array(&volume["projected"]["sources"]) {
                if let Some(token) = source.get("serviceAccountToken") {
                    files.push(self.token(sources.client, mount, token).await?);
                }
                for (kind, key) in [(Kind::ConfigMap, "configMap"), (Kind::Secret, "secret")] {
                    if let Some(reference) = source.get(key) {
                        sources.files(kind, reference, mount, &mut files).await?;
                    }
                }
                self.downward(&source["downwardAPI"], mount, &mut files)?;
            }
            if let Some(reference) = volume.get("configMap") {
                sources
                    .files(Kind::ConfigMap, reference, mount, &mut files)
                    .await?;
            }
            if let Some(reference) = volume.get("secret") {
                sources.files(Kind::Secret, reference, mount, &mut files).await?;
            }
            self.downward(&volume["downwardAPI"], mount, &mut files)?;
            if files.len() > before || volume.get("emptyDir").is_some() {
                mounts.push(mount.to_owned());
            }
        }
        Ok((files, mounts))
    }

    /// Mount paths with their volumes. Mounts of a part of a volume are left out.
    fn mounted(&self) -> Vec<(&str, &Value)> {
        array(&self.spec["volumeMounts"])
            .iter()
            .filter(|mount| text(&mount["subPath"]).is_empty() && text(&mount["subPathExpr"]).is_empty())
            .filter_map(|mount| {
                let volume = array(&self.pod["spec"]["volumes"])
                    .iter()
                    .find(|volume| volume["name"] == mount["name"])?;
                let path = text(&mount["mountPath"]);
                path.starts_with('/')
                    .then_some((path.trim_end_matches('/'), volume))
            })
            .collect()
    }

    async fn token(&self, client: &Client, mount: &str, source: &Value) -> Result<File, Error> {
        let (namespace, account) = (self.namespace(), self.service_account());
        let seconds = source["expirationSeconds"].as_i64().unwrap_or(DEFAULT_EXPIRATION);
        let audience = text(&source["audience"]);
        let audiences: Vec<&str> = if audience.is_empty() {
            Vec::new()
        } else {
            vec![audience]
        };
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": self.pod_name(),
                    "uid": self.pod["metadata"]["uid"],
                },
            },
        });
        let action = || {
            format!(
                "get a token of service account {namespace}/{account} for pod {}",
                self.pod_name()
            )
        };
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let body = request.to_string().into_bytes();
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(body)
            .map_err(|error| Error::Reference(format!("cannot {}: {error}", action())))?;
        let answer: Value = client.request(request).await.map_err(api(action()))?;
        let token = text(&answer["status"]["token"]).to_owned();
        let now = Timestamp::now();
        let lifetime = text(&answer["status"]["expirationTimestamp"])
            .parse::<Timestamp>()
            .map_or(seconds, |end| end.as_second() - now.as_second());
        Ok(File {
            path: join(mount, text(&source["path"]))?,
            content: token.into_bytes(),
            refresh_at: Timestamp::from_second(now.as_second() + lifetime * 4 / 5).ok(),
        })
    }

    fn downward(&self, source: &Value, mount: &str, files: &mut Vec<File>) -> Result<(), Error> {
        for item in array(&source["items"]) {
            let content = match item["fieldRef"]["fieldPath"].as_str() {
                Some(path) => self.field(path)?,
                None => self.resource(&item["resourceFieldRef"])?,
            };
            files.push(File {
                path: join(mount, text(&item["path"]))?,
                content: content.into_bytes(),
                refresh_at: None,
            });
        }
        Ok(())
    }

    /// The downward API.
    fn field(&self, path: &str) -> Result<String, Error> {
        let metadata = &self.pod["metadata"];
        let all = |map: &Value| {
            let lines = map.as_object().into_iter().flatten();
            lines
                .map(|(key, value)| format!("{key}={:?}", text(value)))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let addresses = |list: &Value, single: &Value| {
            let found: Vec<_> = array(list).iter().map(|one| text(&one["ip"])).collect();
            if found.is_empty() {
                text(single).to_owned()
            } else {
                found.join(",")
            }
        };
        let (spec, status) = (&self.pod["spec"], &self.pod["status"]);
        Ok(match path {
            "metadata.name" | "metadata.namespace" | "metadata.uid" => {
                text(&metadata[path.trim_start_matches("metadata.")]).to_owned()
            }
            "metadata.labels" => all(&metadata["labels"]),
            "metadata.annotations" => all(&metadata["annotations"]),
            "spec.nodeName" => text(&spec["nodeName"]).to_owned(),
            "spec.serviceAccountName" => self.service_account().to_owned(),
            "status.hostIP" => text(&status["hostIP"]).to_owned(),
            "status.hostIPs" => addresses(&status["hostIPs"], &status["hostIP"]),
            "status.podIP" => text(&status["podIP"]).to_owned(),
            "status.podIPs" => addresses(&status["podIPs"], &status["podIP"]),
            path => {
                let (map, rest) = if let Some(rest) = path.strip_prefix("metadata.labels['") {
                    (&metadata["labels"], rest)
                } else if let Some(rest) = path.strip_prefix("metadata.annotations['") {
                    (&metadata["annotations"], rest)
                } else {
                    return Err(Error::Reference(format!(
                        "field label not supported: {path} (in container {} of pod {})",
                        self.name(),
                        self.pod_name()
                    )));
                };
                text(&map[rest.trim_end_matches("']")]).to_owned()
            }
        })
    }

    /// `limits.cpu` and its like, in units of the divisor, rounded up.
    fn resource(&self, reference: &Value) -> Result<String, Error> {
        let unsupported = || {
            Error::Reference(format!(
                "unsupported container resource: {}",
                text(&reference["resource"])
            ))
        };
        let (list, resource) = text(&reference["resource"])
            .split_once('.')
            .ok_or_else(unsupported)?;
        let container = match text(&reference["containerName"]) {
            "" => &self.spec,
            name => array(&self.pod["spec"]["containers"])
                .iter()
                .find(|container| container["name"] == name)
                .ok_or_else(unsupported)?,
        };
        let quantity = text(&container["resources"][list][resource]);
        if quantity.is_empty() {
            // The kubelet falls back to the node's capacity for limits; a local process has no such bound.
            return Ok("0".to_owned());
        }
        let divisor = match text(&reference["divisor"]) {
            "" | "0" => "1",
            divisor => divisor,
        };
        let (value, divisor) = (
            quantity_of(quantity).ok_or_else(unsupported)?,
            quantity_of(divisor).ok_or_else(unsupported)?,
        );
        Ok((value / divisor).ceil().to_string())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

type Data = BTreeMap<String, Vec<u8>>;

/// ConfigMaps and Secrets of a namespace, each read once.
struct Sources<'a> {
    client: &'a Client,
    namespace: &'a str,
    read: HashMap<(Kind, String), Option<Data>>,
}

impl Sources<'_> {
    /// The content of what `reference` names; `None` when it does not exist and need not.
    async fn read(&mut self, kind: Kind, reference: &Value) -> Result<Option<&Data>, Error> {
        // Volumes of Secrets say `secretName`.
        let name = match text(&reference["name"]) {
            "" => text(&reference["secretName"]),
            name => name,
        };
        let key = (kind, name.to_owned());
        if !self.read.contains_key(&key) {
            let path = format!("/api/v1/namespaces/{}/{}s/{name}", self.namespace, kind.name());
            let object = get(self.client, &path).await.map_err(api(format!(
                "read {} {}/{name}",
                kind.name(),
                self.namespace
            )))?;
            self.read
                .insert(key.clone(), object.map(|object| data_of(kind, &object)));
        }
        let found = self.read.get(&key).and_then(Option::as_ref);
        if found.is_none() && !optional(reference) {
            return Err(Error::Reference(format!("{} \"{name}\" not found", kind.name())));
        }
        Ok(found)
    }

    async fn key(&mut self, kind: Kind, reference: &Value) -> Result<Option<String>, Error> {
        let namespace = self.namespace.to_owned();
        let key = text(&reference["key"]);
        let Some(data) = self.read(kind, reference).await? else {
            return Ok(None);
        };
        match data.get(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if optional(reference) => Ok(None),
            None => Err(Error::Reference(format!(
                "couldn't find key {key} in {} {namespace}/{}",
                match kind {
                    Kind::ConfigMap => "ConfigMap",
                    Kind::Secret => "Secret",
                },
                text(&reference["name"])
            ))),
        }
    }

    async fn files(
        &mut self,
        kind: Kind,
        reference: &Value,
        mount: &str,
        files: &mut Vec<File>,
    ) -> Result<(), Error> {
        let Some(data) = self.read(kind, reference).await? else {
            return Ok(());
        };
        let items = array(&reference["items"]);
        let chosen: Vec<(&str, &Vec<u8>)> = if items.is_empty() {
            data.iter().map(|(key, value)| (key.as_str(), value)).collect()
        } else {
            items
                .iter()
                .filter_map(|item| Some((text(&item["path"]), data.get(text(&item["key"]))?)))
                .collect()
        };
        for (path, content) in chosen {
            files.push(File {
                path: join(mount, path)?,
                content: content.clone(),
                refresh_at: None,
            });
        }
        Ok(())
    }
}

fn data_of(kind: Kind, object: &Value) -> Data {
    let mut found = Data::new();
    for (field, encoded) in [("data", kind == Kind::Secret), ("binaryData", true)] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            let value = if encoded {
                STANDARD.decode(text(value)).unwrap_or_default()
            } else {
                text(value).as_bytes().to_vec()
            };
            if value.len() <= MAX_VALUE {
                found.insert(key.clone(), value);
            }
        }
    }
    found
}

/// A path beneath a mount. The API refuses paths that lead out of it; so do we, since they become files.
fn join(mount: &str, path: &str) -> Result<String, Error> {
    let leads_out = path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..");
    if leads_out || mount.split('/').any(|part| part == "..") {
        return Err(Error::Reference(format!(
            "{path:?} is no path beneath the mount {mount}"
        )));
    }
    Ok(format!("{mount}/{path}"))
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: String) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => variables.push((name.to_owned(), value)),
    }
}

/// Replaces `$(NAME)` of variables that came before; `$$(NAME)` is `$(NAME)`, and what is unknown stays.
fn expand(value: &str, variables: &[(String, String)]) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) else {
            out.push('$');
            continue;
        };
        match variables.iter().find(|(known, _)| known == name) {
            Some((_, value)) => out.push_str(value),
            None => {
                out.push_str("$(");
                out.push_str(name);
                out.push(')');
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A Kubernetes quantity as a number: `500m`, `2`, `128Mi`, `1e3`.
fn quantity_of(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some(text.strip_suffix(suffix)?.parse::<f64>().ok()? * factor))
}

fn optional(reference: &Value) -> bool {
    reference["optional"] == Value::Bool(true)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An object, or `None` when there is none.
async fn get(client: &Client, path: &str) -> Result<Option<Value>, kube::Error> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    match client.request(request).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

fn api(action: String) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Api {
        action,
        source: Box::new(source),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {
                "name": "p", "namespace": "n", "uid": "u",
                "labels": {"app": "x", "a/b": "y"},
            },
            "spec": {
                "nodeName": "node",
                "containers": [
                    {"name": "first", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}},
                    {"name": "second"},
                ],
                "initContainers": [{"name": "init"}],
            },
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
        })
    }

    #[test]
    fn the_default_container_is_the_annotated_or_the_first() {
        assert_eq!(Container::of(pod(), None).unwrap().name(), "first");
        let mut annotated = pod();
        annotated["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "second"});
        assert_eq!(Container::of(annotated, None).unwrap().name(), "second");
        assert_eq!(Container::of(pod(), Some("init")).unwrap().name(), "init");
        let error = Container::of(pod(), Some("third")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pod p has no container third; it has first, second, init"
        );
    }

    #[test]
    fn fields_of_the_pod_are_resolved_as_the_downward_api_does() {
        let container = Container::of(pod(), None).unwrap();
        for (path, wanted) in [
            ("metadata.name", "p"),
            ("metadata.namespace", "n"),
            ("metadata.labels['a/b']", "y"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "app=\"x\"\na/b=\"y\""),
            ("spec.nodeName", "node"),
            ("spec.serviceAccountName", "default"),
            ("status.podIP", "10.0.0.1"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
        ] {
            assert_eq!(container.field(path).unwrap(), wanted, "{path}");
        }
        assert!(container.field("spec.containers").is_err());
        for (resource, divisor, wanted) in [
            ("limits.cpu", "", "2"),
            ("limits.cpu", "1m", "1500"),
            ("limits.memory", "1Mi", "64"),
            ("requests.memory", "", "0"),
        ] {
            let reference = json!({"resource": resource, "divisor": divisor});
            assert_eq!(
                container.resource(&reference).unwrap(),
                wanted,
                "{resource}/{divisor}"
            );
        }
    }

    #[test]
    fn references_to_other_variables_are_expanded_as_kubernetes_does() {
        let variables = vec![("A".to_owned(), "1".to_owned())];
        for (value, wanted) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$$$(A)", "$1"),
        ] {
            assert_eq!(expand(value, &variables), wanted, "{value}");
        }
    }

    #[test]
    fn no_file_leaves_its_mount() {
        assert_eq!(join("/var/run", "a/b").unwrap(), "/var/run/a/b");
        for path in ["../x", "a/../../x", "/etc/passwd", ""] {
            assert!(join("/var/run", path).is_err(), "{path}");
        }
        assert!(join("/var/../etc", "x").is_err());
    }
}
