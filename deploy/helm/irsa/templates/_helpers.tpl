{{- define "irsa.name" -}}
{{- .Values.name | default .Release.Name -}}
{{- end -}}

{{- define "irsa.selector" -}}
app.kubernetes.io/name: irsa-webhook
app.kubernetes.io/instance: {{ include "irsa.name" . }}
{{- end -}}

{{- define "irsa.podLabels" -}}
{{ include "irsa.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: irsa
{{- end -}}

{{- define "irsa.labels" -}}
{{ include "irsa.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "irsa.metadata" -}}
name: {{ include "irsa.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "irsa.labels" . | nindent 2 }}
{{- end -}}

{{- define "irsa.clusterMetadata" -}}
name: {{ include "irsa.name" . }}
labels:
  {{- include "irsa.labels" . | nindent 2 }}
{{- end -}}

{{- /* Whether the profile is kops: "true" or "". */ -}}
{{- define "irsa.kops" -}}
{{- if eq .Values.profile "kops" }}true{{ end -}}
{{- end -}}

{{- define "irsa.watchConfigMap" -}}
{{- if kindIs "bool" .Values.watchConfigMap -}}
{{- if .Values.watchConfigMap }}true{{ end -}}
{{- else -}}
{{- include "irsa.kops" . -}}
{{- end -}}
{{- end -}}

{{- define "irsa.tlsSecret" -}}
{{- if .Values.tlsSecret -}}
{{- .Values.tlsSecret -}}
{{- else if eq .Values.certificates "self" -}}
{{- include "irsa.name" . -}}
{{- else -}}
{{- include "irsa.name" . }}-tls
{{- end -}}
{{- end -}}

{{- define "irsa.namespaceDefaults" -}}
{{- $flags := .Values.webhookFlags -}}
{{- if and (ne (toString (get $flags "compat")) "upstream") (ne (toString (get $flags "namespace-defaults")) "false") }}true{{ end -}}
{{- end -}}

{{- define "irsa.instanceMetadata" -}}
{{- $flags := .Values.webhookFlags -}}
{{- if and (hasKey $flags "compose-role-arn") (ne (toString (get $flags "compose-role-arn")) "false") (not (hasKey $flags "compose-role-account")) }}true{{ end -}}
{{- end -}}

{{- define "irsa.image" -}}
{{- $repository := required "image.repository is required: build an image with deploy/Dockerfile, push it to your registry, and set its name" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "irsa.args" -}}
- webhook
- --port=9443
- --metrics-port=9999
- --namespace={{ .Release.Namespace }}
- --annotation-prefix={{ .Values.annotationPrefix }}
{{- if eq .Values.certificates "self" }}
- --in-cluster=true
- --service-name={{ include "irsa.name" . }}
- --tls-secret={{ include "irsa.tlsSecret" . }}
- --webhook-configuration={{ include "irsa.name" . }}
{{- else }}
- --in-cluster=false
{{- end }}
{{- $region := required "region is required: set the region of the cluster, or none if all containers set a region themselves" .Values.region }}
{{- if ne $region "none" }}
- --aws-default-region={{ $region }}
{{- end }}
{{- if kindIs "bool" .Values.stsRegionalEndpoint }}
- --sts-regional-endpoint={{ .Values.stsRegionalEndpoint }}
{{- else if include "irsa.kops" . }}
- --sts-regional-endpoint=true
{{- end }}
{{- if include "irsa.watchConfigMap" . }}
- --watch-config-map=true
{{- end }}
{{- if and (include "irsa.kops" .) (not (hasKey .Values.webhookFlags "token-audience")) }}
- --token-audience=amazonaws.com
{{- end }}
{{- if and (include "irsa.kops" .) (not (hasKey .Values.webhookFlags "kubernetes")) (not (hasKey .Values.webhookFlags "compat")) }}
- --kubernetes=none
{{- end }}
{{- range $flag, $value := .Values.webhookFlags }}
- {{ printf "--%s=%v" $flag $value | quote }}
{{- end }}
{{- end -}}

{{- /* One webhook of the configuration. Parameters: root, name, path, failurePolicy, object and namespace (operators or ""). */ -}}
{{- define "irsa.webhook" -}}
{{- $root := .root -}}
{{- $label := printf "%s/identity" $root.Values.annotationPrefix -}}
- name: {{ .name }}.irsa.dev
  clientConfig:
    service:
      name: {{ include "irsa.name" $root }}
      namespace: {{ $root.Release.Namespace }}
      path: {{ .path }}
      port: 443
    {{- if eq $root.Values.certificates "files" }}
    caBundle: {{ $root.Values.caBundle | b64enc }}
    {{- end }}
  rules:
    - operations: [CREATE]
      apiGroups: [""]
      apiVersions: [v1]
      resources: [pods]
      scope: Namespaced
  objectSelector:
    matchExpressions:
      - key: {{ $root.Values.annotationPrefix }}/skip-pod-identity-webhook
        operator: DoesNotExist
      {{- if include "irsa.kops" $root }}
      - key: kops.k8s.io/managed-by
        operator: NotIn
        values: [kops]
      - key: k8s-app
        operator: NotIn
        values: [kube-apiserver]
      {{- end }}
      {{- with .object }}
      - key: {{ $label }}
        operator: {{ . }}
        values: [required]
      {{- end }}
  {{- with .namespace }}
  namespaceSelector:
    matchExpressions:
      - key: {{ $label }}
        operator: {{ . }}
        values: [required]
  {{- end }}
  failurePolicy: {{ .failurePolicy }}
  matchPolicy: Equivalent
  reinvocationPolicy: IfNeeded
  sideEffects: None
  timeoutSeconds: {{ $root.Values.timeoutSeconds }}
  admissionReviewVersions: [v1, v1beta1]
{{- end -}}
