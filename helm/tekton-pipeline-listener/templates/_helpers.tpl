{{/* Names, labels and what several templates need. */}}

{{- define "listener.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what is put behind it: -auth, -archive, the numbers of the Leases. */}}
{{- define "listener.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "listener.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "listener.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "listener.selectorLabels" -}}
app.kubernetes.io/name: {{ include "listener.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "listener.labels" -}}
{{ include "listener.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tekton-pipeline-listener
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "listener.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "listener.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "listener.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* The Secret with AUTH_USERNAME and AUTH_PASSWORD; empty: none. */}}
{{- define "listener.authSecret" -}}
{{- if .Values.auth.existingSecret }}
{{- .Values.auth.existingSecret }}
{{- else if .Values.auth.password }}
{{- printf "%s-auth" (include "listener.fullname" .) }}
{{- end }}
{{- end }}

{{/* "true" or nothing: Leases are kept. */}}
{{- define "listener.leases" -}}
{{- if or .Values.leases.enabled .Values.config.leases }}true{{ end }}
{{- end }}

{{/* The largest number of replicas that there may be. */}}
{{- define "listener.replicas" -}}
{{- if .Values.autoscaling.enabled }}{{ int .Values.autoscaling.maxReplicas }}{{ else }}{{ int .Values.deployment.replicas }}{{ end }}
{{- end }}

{{- define "listener.archiveClaim" -}}
{{- default (printf "%s-archive" (include "listener.fullname" .)) .Values.archive.existingClaim }}
{{- end }}

{{/* "true" or nothing: a new pod may start while an old one runs. */}}
{{- define "listener.overlaps" -}}
{{- if and (include "listener.leases" .) (not (and .Values.archive.enabled (hasPrefix "ReadWriteOnce" .Values.archive.accessMode))) }}true{{ end }}
{{- end }}

{{/* What leads to people and CI jobs. /metrics, /livez and /readyz are not in it. */}}
{{- define "listener.paths" -}}
[/logs, /status, /runs, /s, /static, /health]
{{- end }}

{{/* Host names of a list of the values, else that of public_url, as a YAML list. */}}
{{- define "listener.hosts" -}}
{{- $hosts := .hosts }}
{{- if not $hosts }}
{{- with (include "listener.config" .root | fromYaml).public_url }}
{{- $hosts = list (index (splitList ":" (urlParse .).host) 0) }}
{{- end }}
{{- end }}
{{- toYaml $hosts }}
{{- end }}
