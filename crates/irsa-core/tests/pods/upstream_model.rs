//! What aws/amazon-eks-pod-identity-webhook makes of a pod, told independently of the code under test: on whole JSON
//! values, from the description of its behaviour.

use serde_json::{Map, Value, json};

/// What that webhook has found out about a pod's service account.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// `None` for the container credentials method.
    pub role_arn: Option<String>,
    pub audience: String,
    pub regional: bool,
    pub token_expiration: i64,
}

/// Its flags, as far as they matter here.
#[derive(Debug, Clone)]
pub(crate) struct Flags {
    pub region: String,
    pub mount_path: String,
    pub volume_name: String,
    pub token_path: String,
    pub full_uri: String,
}

/// The pod after its patch. The rewriting of arrays by typed decoding, which drops fields it does not know, is left
/// out: all fields stay.
pub(crate) fn mutate(pod: &Value, found: &Found, flags: &Flags) -> Value {
    let mut pod = pod.clone();
    let annotation = |name: &str| {
        pod["metadata"]["annotations"][format!("eks.amazonaws.com/{name}")]
            .as_str()
            .map(ToOwned::to_owned)
    };
    let mut expiration = found.token_expiration;
    if let Some(own) = annotation("token-expiration").and_then(|text| text.parse::<i64>().ok()) {
        expiration = own.max(600);
    }
    if found.role_arn.is_none() && expiration == 86400 {
        expiration = 79200;
    }
    // Only plain lists are generated in tests of this model; quoting is tested by itself.
    let skip: Vec<String> = annotation("skip-containers")
        .map(|list| list.split(',').map(ToOwned::to_owned).collect())
        .unwrap_or_default();
    let selector = &pod["spec"]["nodeSelector"];
    let windows = selector["kubernetes.io/os"] == "windows" || selector["beta.kubernetes.io/os"] == "windows";
    let mut token_file = format!("{}/{}", flags.mount_path, flags.token_path);
    if windows {
        token_file = format!("C:{}", token_file.replace('/', "\\"));
    }

    for list in ["initContainers", "containers"] {
        for container in pod["spec"]
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if !skip.iter().any(|name| container["name"] == **name) {
                mutate_container(container, found, flags, &token_file);
            }
        }
    }

    if found.role_arn.is_none() {
        let labels = &mut pod["metadata"]["labels"];
        if labels.is_null() {
            *labels = Value::Object(Map::new());
        }
        labels["eks.amazonaws.com/pod-identity"] = json!("enabled");
    }
    let volume = json!({
        "name": flags.volume_name,
        "projected": {"sources": [{"serviceAccountToken": {
            "audience": found.audience, "expirationSeconds": expiration, "path": flags.token_path,
        }}]}
    });
    match pod["spec"].get_mut("volumes").and_then(Value::as_array_mut) {
        None => pod["spec"]["volumes"] = json!([volume]),
        Some(volumes) if volumes.iter().any(|v| v["name"] == *flags.volume_name) => {}
        Some(volumes) => volumes.insert(0, volume),
    }
    pod
}

fn mutate_container(container: &mut Value, found: &Found, flags: &Flags, token_file: &str) {
    let defined = |names: &[&str]| {
        container["env"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|var| names.iter().any(|name| var["name"] == **name))
    };
    let sts = defined(&["AWS_STS_REGIONAL_ENDPOINTS"]);
    let region = defined(&["AWS_REGION", "AWS_DEFAULT_REGION"]);
    let method = match &found.role_arn {
        Some(role) => [
            ("AWS_ROLE_ARN", &**role),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token_file),
        ],
        None => [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*flags.full_uri),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file),
        ],
    };
    let credentials = defined(&[method[0].0, method[1].0]);
    if sts && region && credentials {
        return;
    }
    let mut added = Vec::new();
    if !sts && found.regional {
        added.push(("AWS_STS_REGIONAL_ENDPOINTS", "regional"));
    }
    if !region && !flags.region.is_empty() {
        added.push(("AWS_DEFAULT_REGION", &*flags.region));
        added.push(("AWS_REGION", &*flags.region));
    }
    if !credentials {
        added.extend(method);
    }
    for (name, value) in added {
        append(container, "env", json!({"name": name, "value": value}));
    }
    let mounted = container["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|mount| mount["name"] == *flags.volume_name);
    if !mounted {
        let mount = json!({"name": flags.volume_name, "readOnly": true, "mountPath": flags.mount_path});
        append(container, "volumeMounts", mount);
    }
}

fn append(container: &mut Value, list: &str, entry: Value) {
    match container.get_mut(list).and_then(Value::as_array_mut) {
        Some(entries) => entries.push(entry),
        None => container[list] = json!([entry]),
    }
}
