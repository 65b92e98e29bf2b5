{{/* The listener's configuration: what the values say, and what the chart knows itself. */}}

{{- define "listener.config" -}}
{{- $logs := dict "spool_folder" "/var/cache/tekton-listener" }}
{{- $spool := div (mul (int64 (include "listener.mebibytes" .Values.spool.size)) 4) 5 }}
{{- $_ := set $logs "spool_total" (printf "%dMiB" $spool) }}
{{- if lt $spool 4096 }}
{{- $_ := set $logs "spool_bytes" (printf "%dMiB" (div $spool 2)) }}
{{- end }}
{{- if .Values.archive.enabled }}
{{- $_ := set $logs "archive" "/var/lib/tekton-listener/logs" }}
{{- end }}
{{- $ours := dict "logs" $logs }}
{{- if include "listener.leases" . }}
{{- $shards := min 64 (int (include "listener.replicas" .)) }}
{{- $_ := set $ours "leases" (dict "name" (include "listener.fullname" .) "shards" $shards) }}
{{- end }}
{{- with .Values.namespaces }}
{{- $_ := set $ours "namespaces" . }}
{{- end }}
{{- with .Values.tektonPipelines.ns }}
{{- $_ := set $ours "default_namespace" . }}
{{- end }}
{{- if and .Values.ingress.enabled .Values.ingress.hosts }}
{{- $_ := set $ours "public_url" (printf "%s://%s" (ternary "https" "http" (not (empty .Values.ingress.tlsSecret))) (first .Values.ingress.hosts)) }}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames }}
{{- $_ := set $ours "public_url" (printf "https://%s" (first .Values.httpRoute.hostnames)) }}
{{- end }}
{{- $config := mergeOverwrite $ours (deepCopy .Values.config) }}
{{- range $config.services }}
{{- range .notify }}
{{- if hasKey . "true" }}{{/* Helm reads YAML 1.1, in which the key on is the truth. */}}
{{- $_ := set . "on" (get . "true") }}
{{- $_ := unset . "true" }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* Namespaces that are watched, as YAML {namespaces: […]}; none: all. */}}
{{- define "listener.watched" -}}
namespaces: {{ (include "listener.config" . | fromYaml).namespaces | default list | toJson }}
{{- end }}

{{/* Where the Leases are, as YAML. */}}
{{- define "listener.leasesOf" -}}
{{- $leases := (include "listener.config" . | fromYaml).leases }}
namespace: {{ default .Release.Namespace $leases.namespace }}
name: {{ default "tekton-listener" $leases.name }}
shards: {{ int $leases.shards }}
{{- end }}

{{/* What a change of needs new pods; the rest the service reads by itself. */}}
{{- define "listener.checksum" -}}
{{- $config := include "listener.config" . | fromYaml }}
{{- if .Values.rollOnConfigChange }}
{{- toYaml $config | sha256sum }}
{{- else }}
{{- toYaml (pick $config "leases" "namespaces" "logs") | sha256sum }}
{{- end }}
{{- end }}

{{/* A size such as 10Gi (Kubernetes) or 8GiB, 500MB (the listener) in mebibytes, rounded down. */}}
{{- define "listener.mebibytes" -}}
{{- $number := float64 (regexFind "^[0-9.]+" (toString .)) }}
{{- $unit := regexFind "[A-Za-z]+$" (toString .) }}
{{- $power := index (dict "K" 1 "M" 2 "G" 3 "T" 4) (upper (substr 0 1 (printf "%s " $unit))) | default 0 }}
{{- $factor := ternary 1024.0 1000.0 (contains "i" $unit) }}
{{- range until (int $power) }}
{{- $number = mulf $number $factor }}
{{- end }}
{{- floor (divf $number 1048576.0) | int64 }}
{{- end }}
