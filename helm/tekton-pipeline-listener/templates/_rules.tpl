{{/* What the service does in the namespaces that it watches. tests/chart/test_rbac.py compares it with what it really asks for. */}}

{{- define "listener.rules" -}}
# Runs are watched; what has been reported is noted on them (an annotation), and deliver: guaranteed puts a finalizer there.
- apiGroups: [tekton.dev]
  resources: [pipelineruns]
  verbs: [get, list, watch, patch]
- apiGroups: [tekton.dev]
  resources: [taskruns]
  verbs: [list, watch]
# For logs.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# An Event on a run tells why its commit has no status; one that is told again is counted up.
- apiGroups: [""]
  resources: [events]
  verbs: [create, get, patch]
{{- end }}

{{- define "listener.subjects" -}}
- kind: ServiceAccount
  name: {{ include "listener.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Two releases of one name in two namespaces do not share a ClusterRole. */}}
{{- define "listener.clusterName" -}}
{{ .Release.Namespace }}:{{ include "listener.fullname" . }}
{{- end }}
