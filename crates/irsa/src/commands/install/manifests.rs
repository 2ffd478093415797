//! The objects of an installation. The chart in `deploy/helm/irsa` renders the same ones; `.ci/helm-check` compares the
//! two.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use irsa_core::annotations::SKIP_LABEL;
use irsa_core::identity::CONFIG_MAP_NAME;
use serde_json::{Value, json};

use super::{ADMISSION_PORT, Certificates, METRICS_PORT, Plan};

/// The default namespace, which is created with the webhook and deleted with it.
pub(crate) const OWN_NAMESPACE: &str = "irsa-system";

/// The name of the label with which pods and namespaces require an identity.
const IDENTITY_LABEL: &str = "identity";

/// The user ID in the image (see deploy/Dockerfile), which owns nothing.
const USER: u32 = 65532;

impl Plan {
    /// All objects, in the order in which they depend on each other. The configuration, with which the API server
    /// starts to call the webhook, is the last one.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let mut objects = Vec::new();
        // Labels on an existing namespace would also affect the pods of others in it.
        if self.create_namespace {
            objects.push(self.namespace_object());
        }
        objects.push(self.object("v1", "ServiceAccount", json!({})));
        objects.extend(self.access());
        if self.certificates == Certificates::CertManager {
            objects.extend(self.certificate());
        }
        objects.push(self.service());
        objects.push(self.deployment());
        objects.push(self.object(
            "policy/v1",
            "PodDisruptionBudget",
            json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": self.selector()}}}),
        ));
        if self.network_policy {
            objects.push(self.network());
        }
        if self.service_monitor {
            objects.push(self.object(
                "monitoring.coreos.com/v1",
                "ServiceMonitor",
                json!({"spec": {"selector": {"matchLabels": self.selector()}, "endpoints": [{"port": "metrics"}]}}),
            ));
        }
        objects.push(self.configuration());
        objects
    }

    fn selector(&self) -> Value {
        json!({"app.kubernetes.io/name": "irsa-webhook", "app.kubernetes.io/instance": self.name})
    }

    fn labels(&self) -> Value {
        let mut labels = self.selector();
        labels["app.kubernetes.io/version"] = env!("CARGO_PKG_VERSION").into();
        labels["app.kubernetes.io/part-of"] = "irsa".into();
        labels
    }

    /// An object in the webhook's namespace.
    fn object(&self, api_version: &str, kind: &str, body: Value) -> Value {
        let metadata = json!({"name": self.name, "namespace": self.namespace, "labels": self.labels()});
        with(
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}),
            body,
        )
    }

    /// An object of the whole cluster.
    fn cluster_object(&self, api_version: &str, kind: &str, body: Value) -> Value {
        let metadata = json!({"name": self.name, "labels": self.labels()});
        with(
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}),
            body,
        )
    }

    fn namespace_object(&self) -> Value {
        let mut labels = self.labels();
        if !self.host_network {
            for mode in ["enforce", "warn"] {
                labels[format!("pod-security.kubernetes.io/{mode}")] = "restricted".into();
            }
        }
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}})
    }

    /// Roles and their bindings: read access to the sources of identities, and with self-managed certificates also
    /// write access to the webhook's own Secret and configuration.
    fn access(&self) -> Vec<Value> {
        let watch = json!(["list", "watch"]);
        let mut cluster = vec![
            json!({"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list", "watch"]}),
        ];
        if self.namespace_defaults {
            cluster.push(json!({"apiGroups": [""], "resources": ["namespaces"], "verbs": watch}));
        }
        let mut own = Vec::new();
        if self.certificates == Certificates::Own {
            cluster.push(json!({
                "apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"],
                "resourceNames": [self.name], "verbs": ["get", "list", "watch", "update"],
            }));
            // `create` cannot be restricted by name.
            own.push(json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}));
            own.push(json!({
                "apiGroups": [""], "resources": ["secrets"], "resourceNames": [self.tls_secret],
                "verbs": ["get", "update"],
            }));
        }
        if self.config_map {
            own.push(json!({
                "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG_MAP_NAME], "verbs": watch,
            }));
        }
        let subjects = json!([{"kind": "ServiceAccount", "name": self.name, "namespace": self.namespace}]);
        let group = "rbac.authorization.k8s.io/v1";
        let bind = |kind: &str| json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": self.name}, "subjects": subjects});
        let mut objects = vec![
            self.cluster_object(group, "ClusterRole", json!({"rules": cluster})),
            self.cluster_object(group, "ClusterRoleBinding", bind("ClusterRole")),
        ];
        if !own.is_empty() {
            objects.push(self.object(group, "Role", json!({"rules": own})));
            objects.push(self.object(group, "RoleBinding", bind("Role")));
        }
        objects
    }

    fn certificate(&self) -> [Value; 2] {
        let host = format!("{}.{}", self.name, self.namespace);
        [
            self.object(
                "cert-manager.io/v1",
                "Issuer",
                json!({"spec": {"selfSigned": {}}}),
            ),
            self.object(
                "cert-manager.io/v1",
                "Certificate",
                json!({"spec": {
                    "secretName": self.tls_secret,
                    "issuerRef": {"kind": "Issuer", "name": self.name},
                    "dnsNames": [format!("{host}.svc"), format!("{host}.svc.cluster.local"), host],
                    "duration": "2160h", "renewBefore": "720h",
                    "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
                }}),
            ),
        ]
    }

    fn service(&self) -> Value {
        self.object(
            "v1",
            "Service",
            json!({"spec": {
                "selector": self.selector(),
                "ports": [
                    {"name": "admission", "port": 443, "targetPort": "admission", "protocol": "TCP"},
                    {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"},
                ],
            }}),
        )
    }

    fn deployment(&self) -> Value {
        let mut pod_labels = self.labels();
        // Excludes the webhook's own pods, so that it can start while no replica is running.
        pod_labels[format!("{}/{SKIP_LABEL}", self.prefix)] = "true".into();
        let spread = |key: &str| {
            json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
                   "labelSelector": {"matchLabels": self.selector()}})
        };
        let probe = |path: &str, seconds: u8, failures: u8| {
            json!({"httpGet": {"path": path, "port": "metrics", "scheme": "HTTP"},
                   "periodSeconds": seconds, "timeoutSeconds": 3, "failureThreshold": failures})
        };
        let mut container = json!({
            "name": "webhook",
            "image": self.image,
            "args": std::iter::once("webhook").chain(self.webhook_args.iter().map(String::as_str)).collect::<Vec<_>>(),
            "ports": [
                {"name": "admission", "containerPort": ADMISSION_PORT, "protocol": "TCP"},
                {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
            ],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "startupProbe": probe("/healthz", 2, 30),
            "livenessProbe": probe("/healthz", 10, 3),
            "readinessProbe": probe("/readyz", 5, 2),
            "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "privileged": false,
                "readOnlyRootFilesystem": true,
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
        });
        let mut pod = json!({
            "serviceAccountName": self.name,
            "priorityClassName": self.priority_class,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
            "topologySpreadConstraints": [spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")],
            // Longer than --shutdown-delay and --shutdown-timeout together.
            "terminationGracePeriodSeconds": 45,
            // Without it, a Service named `irsa-webhook` would set variables that look like the webhook's own.
            "enableServiceLinks": false,
        });
        if self.kops {
            // In kOps, the webhook must run before any node other than the control plane joins.
            if let Some(tolerations) = pod["tolerations"].as_array_mut() {
                tolerations.push(json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}));
            }
        }
        if self.host_network {
            pod["hostNetwork"] = true.into();
            pod["dnsPolicy"] = "ClusterFirstWithHostNet".into();
        }
        if self.certificates != Certificates::Own {
            container["volumeMounts"] =
                json!([{"name": "tls", "mountPath": "/etc/webhook/certs", "readOnly": true}]);
            pod["volumes"] = json!([{"name": "tls", "secret": {"secretName": self.tls_secret}}]);
        }
        pod["containers"] = json!([container]);
        // In the network of the node, a new pod cannot use the ports until an old one has released them.
        let rolling = if self.host_network {
            json!({"maxUnavailable": 1, "maxSurge": 0})
        } else {
            json!({"maxUnavailable": 0, "maxSurge": 1})
        };
        self.object(
            "apps/v1",
            "Deployment",
            json!({"spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": self.selector()},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "template": {"metadata": {"labels": pod_labels}, "spec": pod},
            }}),
        )
    }

    fn network(&self) -> Value {
        let port = |port: u16, protocol: &str| json!({"port": port, "protocol": protocol});
        let mut egress = vec![
            json!({"ports": [port(53, "UDP"), port(53, "TCP")]}),
            // The API server, whose address depends on the cluster.
            json!({"ports": [port(443, "TCP"), port(6443, "TCP")]}),
        ];
        if self.instance_metadata {
            egress.push(
                json!({"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}], "ports": [port(80, "TCP")]}),
            );
        }
        // No selector matches the addresses of API servers, so they can only be given as address ranges.
        let api_servers: Vec<_> = self
            .api_server_cidrs
            .iter()
            .map(|cidr| json!({"ipBlock": {"cidr": cidr}}))
            .collect();
        let mut admission = json!({"ports": [port(ADMISSION_PORT, "TCP")]});
        if !api_servers.is_empty() {
            admission["from"] = api_servers.into();
        }
        let mut metrics = json!({"ports": [port(METRICS_PORT, "TCP")]});
        if let Some((key, value)) = &self.metrics_namespace {
            metrics["from"] = json!([{"namespaceSelector": {"matchLabels": {key: value}}}]);
        }
        self.object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": {
                "podSelector": {"matchLabels": self.selector()},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [admission, metrics],
                "egress": egress,
            }}),
        )
    }

    fn configuration(&self) -> Value {
        let policy = self.failure_policy.as_str();
        let mut webhooks = vec![self.webhook("pods", "/mutate", policy)];
        if self.opt_in {
            let label = format!("{}/{IDENTITY_LABEL}", self.prefix);
            let required =
                |operator: &str| json!({"key": label, "operator": operator, "values": ["required"]});
            push(&mut webhooks[0], "objectSelector", required("NotIn"));
            push(&mut webhooks[0], "namespaceSelector", required("NotIn"));

            let mut pods = self.webhook("required-pods", "/mutate/required", "Fail");
            push(&mut pods, "objectSelector", required("In"));
            let mut namespaces = self.webhook("required-namespaces", "/mutate", "Fail");
            push(&mut namespaces, "objectSelector", required("NotIn"));
            push(&mut namespaces, "namespaceSelector", required("In"));
            webhooks.extend([pods, namespaces]);
        }
        let mut object = self.cluster_object(
            "admissionregistration.k8s.io/v1",
            "MutatingWebhookConfiguration",
            json!({"webhooks": webhooks}),
        );
        if self.certificates == Certificates::CertManager {
            object["metadata"]["annotations"] =
                json!({"cert-manager.io/inject-ca-from": format!("{}/{}", self.namespace, self.name)});
        }
        object
    }

    /// One webhook of the configuration, for all pods except those with the label that excludes them.
    fn webhook(&self, name: &str, path: &str, failure_policy: &str) -> Value {
        let mut client =
            json!({"service": {"name": self.name, "namespace": self.namespace, "path": path, "port": 443}});
        if let Some(pem) = &self.ca_bundle {
            client["caBundle"] = BASE64.encode(pem).into();
        }
        let mut excluded =
            vec![json!({"key": format!("{}/{SKIP_LABEL}", self.prefix), "operator": "DoesNotExist"})];
        if self.kops {
            excluded.push(json!({"key": "kops.k8s.io/managed-by", "operator": "NotIn", "values": ["kops"]}));
            excluded.push(json!({"key": "k8s-app", "operator": "NotIn", "values": ["kube-apiserver"]}));
        }
        json!({
            "name": format!("{name}.irsa.dev"),
            "clientConfig": client,
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "Namespaced"}],
            "objectSelector": {"matchExpressions": excluded},
            "failurePolicy": failure_policy,
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "timeoutSeconds": self.timeout_seconds,
            "admissionReviewVersions": ["v1", "v1beta1"],
        })
    }
}

/// The objects that `kubectl delete` has to delete, in reverse order of creation. This includes the Secret that the
/// webhook created, and the namespace only if the installation created it.
pub(crate) fn removal(plan: &Plan) -> Vec<Value> {
    let mut objects = plan.objects();
    if plan.certificates == Certificates::Own {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": plan.tls_secret, "namespace": plan.namespace}});
        objects.insert(usize::from(plan.create_namespace), secret);
    }
    objects.reverse();
    objects
        .into_iter()
        .map(|object| {
            let mut metadata = json!({"name": object["metadata"]["name"]});
            if let Some(namespace) = object["metadata"].get("namespace") {
                metadata["namespace"] = namespace.clone();
            }
            json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata})
        })
        .collect()
}

/// Adds the fields of `body` to `object`.
fn with(mut object: Value, body: Value) -> Value {
    if let (Some(object), Value::Object(body)) = (object.as_object_mut(), body) {
        object.extend(body);
    }
    object
}

/// Adds a condition to a selector of a webhook, and the selector itself if it does not exist.
fn push(webhook: &mut Value, selector: &str, condition: Value) {
    if webhook.get(selector).is_none() {
        webhook[selector] = json!({"matchExpressions": []});
    }
    if let Some(conditions) = webhook[selector]["matchExpressions"].as_array_mut() {
        conditions.push(condition);
    }
}
